import pytest
from rerank_core import InvalidRequest
from rerank_core.evaluation.run.systems import System, labels, systems


def test_every_model_runs_in_every_way_and_servers_come_last():
    found = systems(
        models=["a", "b"], urls=["http://s"], dtypes=["float32", "int8"], max_lengths=[128], long_documents=["truncate"]
    )

    assert labels(found) == [
        "a float32 128 tokens truncate",
        "a int8 128 tokens truncate",
        "b float32 128 tokens truncate",
        "b int8 128 tokens truncate",
        "http://s truncate",
    ]
    assert found[-1].dtype is None


def test_every_instruction_is_given_to_every_model_and_every_server_and_is_in_the_label():
    found = systems(models=["a"], urls=["http://s"], instructions=["find\ncode", "", "w " * 50])

    assert [system.options().instruction for system in found] == ["find\ncode", "", "w " * 50] * 2
    assert labels(found)[:4] == ['a "find code"', 'a ""', f'a "{"w " * 18}w..."', 'http://s "find code"']
    assert systems(models=["a"], urls=[])[0].options().instruction is None


def test_what_was_not_asked_for_is_not_in_the_label():
    assert labels(systems(models=["org/name"], urls=[])) == ["name"]


def test_the_same_system_twice_is_one():
    assert len(systems(models=["a", "a"], urls=["u", "u"], dtypes=["int8", "int8"])) == 2


def test_a_label_tells_models_apart_by_as_little_of_their_paths_as_does():
    found = systems(models=["/home/someone/one/model", "/home/someone/two/model/", "lite"], urls=[])

    assert labels(found) == ["one/model", "two/model", "lite"]


def test_a_label_has_no_password():
    assert labels([System(url="https://me:secret@host:8000/rerank/?key=secret")]) == ["https://host:8000/rerank"]


def test_systems_that_would_read_alike_are_numbered():
    alike = systems(models=[], urls=["http://me:one@host", "http://me:two@host"])

    assert labels(alike) == ["http://host", "http://host (2)"]


def test_what_cannot_be_is_refused_before_anything_runs():
    with pytest.raises(InvalidRequest, match="long_documents is 'burn': use one of truncate"):
        systems(models=["a"], urls=[], long_documents=["burn"])
    with pytest.raises(InvalidRequest, match="dtype is 'int9': use one of auto, float32"):
        systems(models=["a"], urls=[], dtypes=["int9"])
    with pytest.raises(InvalidRequest, match="nothing is to be compared"):
        systems(models=[], urls=[])


def test_scores_are_asked_for_raw():
    assert System(model="a").options().raw
    assert System(model="a", long_documents="truncate").options().raw
