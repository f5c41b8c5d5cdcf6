import logging

import pytest
from rerank_core.evaluation.run.answers import Answer, LoadedModel
from rerank_core.evaluation.run.cache import Cache, CacheEntry, default_folder

KNOWN = CacheEntry(
    LoadedModel(model="m", dtype="int8"),
    {"d1": Answer((0.1, -2.5), 0.25, 0.2, 1000), "d2": Answer((), 0.0, None, None)},
)


def test_what_is_written_is_read_again(tmp_path):
    Cache(tmp_path / "a" / "b").write("collection", "key", KNOWN)

    assert Cache(tmp_path / "a" / "b").read("collection", "key") == KNOWN


def test_new_answers_come_beside_the_old(tmp_path):
    cache = Cache(tmp_path)
    cache.write("collection", "key", KNOWN)
    cache.write("collection", "key", CacheEntry(KNOWN.loaded, {"d3": Answer((1.0,), 0.1, None, 7)}))

    known = cache.read("collection", "key")
    assert known is not None
    assert set(known.answers) == {"d1", "d2", "d3"}


def test_nothing_is_known_of_what_was_never_written(tmp_path):
    assert Cache(tmp_path).read("collection", "key") is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"format": 1}',
        '{"format": 1, "loaded": {"model": "m"}, "answers": {"d": '
        '{"scores": [NaN], "seconds": 1, "cpu_seconds": 1, "memory": 1}}}',
        '{"format": 1, "loaded": {"model": "m", "colour": 1}, "answers": {}}',
        '{"format": 1, "loaded": {"model": "m"}, "answers": {"d": 1}}',
    ],
)
def test_a_damaged_file_is_as_none_and_is_named(tmp_path, content, caplog):
    cache = Cache(tmp_path)
    cache.write("collection", "key", KNOWN)
    (file,) = (tmp_path / "collection").iterdir()
    file.write_text(content)

    with caplog.at_level(logging.WARNING):
        assert cache.read("collection", "key") is None
    assert str(file) in caplog.text
    cache.write("collection", "key", KNOWN)
    assert cache.read("collection", "key") == KNOWN


def test_a_file_of_another_format_is_as_none(tmp_path):
    cache = Cache(tmp_path)
    cache.write("collection", "key", KNOWN)
    (file,) = (tmp_path / "collection").iterdir()
    file.write_text('{"format": 0}')

    assert cache.read("collection", "key") is None


def test_a_collections_name_cannot_leave_the_folder(tmp_path):
    Cache(tmp_path / "cache").write("../outside/x", "key", KNOWN)

    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_writing_leaves_no_other_files(tmp_path):
    cache = Cache(tmp_path)
    cache.write("collection", "key", KNOWN)
    cache.write("collection", "key", KNOWN)

    assert [path.name for path in (tmp_path / "collection").iterdir()] == ["key.json"]


def test_the_users_cache_is_where_the_system_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "rerank" / "eval"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "rerank" / "eval"
