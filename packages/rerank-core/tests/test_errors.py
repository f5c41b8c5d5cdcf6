import pickle

import pytest
from rerank_core import errors
from rerank_core.errors import RerankError, Unavailable, error_class


def all_classes(root: type[RerankError] = RerankError) -> list[type[RerankError]]:
    return [root, *(found for child in root.__subclasses__() for found in all_classes(child))]


CLASSES = [class_ for class_ in all_classes() if class_.__module__ == errors.__name__]


def test_the_tree_is_the_one_in_the_docstring():
    words = (errors.__doc__ or "").split()

    assert len(CLASSES) == 15
    for class_ in CLASSES[1:]:
        assert class_.__name__ in words
        assert class_.code in words


@pytest.mark.parametrize("class_", CLASSES)
def test_each_code_maps_back_to_its_class(class_):
    assert error_class(class_.code) is class_


def test_a_code_of_somebody_elses_maps_to_nothing():
    assert error_class("teapot") is None


def test_a_class_that_another_package_derives_changes_the_meaning_of_no_code():
    derived = type("Derived", (RerankError,), {"code": "derived"})

    assert derived in RerankError.__subclasses__()
    assert error_class("derived") is None


@pytest.mark.parametrize("class_", CLASSES)
def test_errors_travel_between_processes(class_):
    original = class_("what happened, and the way out")
    if isinstance(original, Unavailable):
        original.retry_after = 1.5

    copy = pickle.loads(pickle.dumps(original))

    assert type(copy) is class_
    assert str(copy) == "what happened, and the way out"
    assert copy.__dict__ == original.__dict__


def test_callers_may_catch_the_built_in_classes_too():
    assert issubclass(errors.InvalidRequest, ValueError)
    assert issubclass(errors.InputTooLong, errors.InvalidRequest)
    assert issubclass(errors.MissingExtra, ImportError)
    assert issubclass(errors.Overloaded, Unavailable)
    assert Unavailable("later", retry_after=2).retry_after == 2
    assert Unavailable("later").retry_after is None
