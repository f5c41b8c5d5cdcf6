"""The server's half of the tree of errors: its codes, their statuses, and what clients see of them."""

import re

from rerank_core.errors import (
    InputTooLong,
    InvalidRequest,
    ModelError,
    OutOfMemory,
    Overloaded,
    RerankError,
    UnknownModel,
)
from rerank_server import errors
from rerank_server.dialects.routing import ROUTES
from rerank_server.errors import PUBLIC_CODES, STATUS, EmptyBody, NoDocuments, UnsupportedCoding, public_code, status_of


def all_classes(root: type[RerankError] = RerankError) -> list[type[RerankError]]:
    return [root, *(found for child in root.__subclasses__() for found in all_classes(child))]


OURS = [class_ for class_ in all_classes() if class_.__module__ == errors.__name__]
CORES = [class_ for class_ in all_classes() if class_.__module__ == RerankError.__module__]
DIALECTS = {dialect.name: dialect for route in ROUTES for dialect in route.dialects}


def test_the_tree_is_the_one_in_the_docstring():
    drawn = re.findall(r"^ +[│ ]*[├└]── (\w+) +(\w+) ", errors.__doc__ or "", re.MULTILINE)

    assert sorted(drawn) == sorted((class_.__name__, class_.code) for class_ in OURS)


def test_every_class_has_a_code_of_its_own():
    codes = [class_.code for class_ in [*CORES, *OURS]]

    assert len(codes) == len(set(codes))


def test_statuses_and_public_codes_are_of_codes_that_exist():
    codes = {class_.code for class_ in [*CORES, *OURS]}

    assert STATUS.keys() <= codes
    assert codes >= PUBLIC_CODES
    for dialect in DIALECTS.values():
        assert dialect.statuses.keys() <= codes


def test_every_code_of_core_is_public_but_that_of_memory():
    """No request can do anything about memory: clients and alerts see a failure of the engine."""
    assert {class_.code for class_ in CORES} - PUBLIC_CODES == {"out_of_memory"}
    assert public_code(OutOfMemory("")) == "engine_error"
    assert status_of(OutOfMemory("")) == 500


def test_an_error_without_an_entry_has_the_status_of_the_class_above_it():
    assert status_of(UnknownModel("")) == 404
    assert status_of(InputTooLong("")) == status_of(InvalidRequest("")) == 400
    assert status_of(ModelError("")) == status_of(RerankError("")) == 500


def test_a_dialect_overrides_a_status_for_the_classes_below_it_too():
    overrides = {"invalid_request": 422, "no_documents": 418}

    assert status_of(InputTooLong(""), overrides) == 422
    assert status_of(NoDocuments("", field=None), overrides) == 418
    assert status_of(UnknownModel(""), overrides) == 404
    assert status_of(Overloaded(""), overrides) == 429


def test_clients_see_the_nearest_public_code():
    assert public_code(EmptyBody("")) == "invalid_request"
    assert public_code(UnsupportedCoding("")) == "unsupported_media_type"
    assert public_code(UnknownModel("")) == "unknown_model"
