"""Copies, pickles and hashes of adapters: they work, and the original stays as it was."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rerank_core.errors import Unavailable
from rerank_core.testing.doubles import FailingScorer, OverlapModel
from rerank_integrations.client import HTTPScorer
from rerank_integrations.local import ModelScorer

documents = pytest.importorskip("langchain_core.documents")
schema = pytest.importorskip("llama_index.core.schema")

from rerank_integrations.langchain import RerankCompressor, RerankCrossEncoder  # noqa: E402
from rerank_integrations.llama_index import RerankPostprocessor  # noqa: E402

QUERY, TEXTS = "giant panda", ["a train", "a giant panda"]

ADAPTERS: dict[str, Callable[[Any], Any]] = {
    "RerankCompressor": lambda scorer: RerankCompressor(scorer=scorer, top_n=2),
    "RerankCrossEncoder": RerankCrossEncoder,
    "RerankPostprocessor": lambda scorer: RerankPostprocessor(scorer=scorer, keep_retrieval_score=True),
    "scorer": lambda scorer: scorer,
}
COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {protocol}": lambda given, protocol=protocol: pickle.loads(pickle.dumps(given, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}
MODEL_COPIES: dict[str, Callable[[Any], Any]] = {
    "model_copy": lambda given: given.model_copy(),
    "deep model_copy": lambda given: given.model_copy(deep=True),
}


@pytest.fixture(params=["http", "double", "model"])
def scorer(request: pytest.FixtureRequest) -> Any:
    match request.param:
        case "http":
            return HTTPScorer(request.getfixturevalue("url"), api_key="key", hedge_after=5.0)
        case "double":
            return FailingScorer(Unavailable("no"))
    return ModelScorer(str(request.getfixturevalue("checkpoint")), threads=1)


def use(adapter: Any) -> list[float]:
    """Its scores, in the texts' order."""
    try:
        if isinstance(adapter, RerankCompressor):
            found = adapter.compress_documents([documents.Document(text) for text in TEXTS], QUERY)
            return [
                one.metadata["relevance_score"] for one in sorted(found, key=lambda one: TEXTS.index(one.page_content))
            ]
        if isinstance(adapter, RerankPostprocessor):
            nodes = [schema.NodeWithScore(node=schema.TextNode(text=text)) for text in TEXTS]
            found = adapter.postprocess_nodes(nodes, query_str=QUERY)
            scores = {one.text: one.score for one in found}
            return [scores[text] for text in TEXTS]
        if isinstance(adapter, RerankCrossEncoder):
            return adapter.score([(QUERY, text) for text in TEXTS])
        return list(adapter.score(QUERY, TEXTS).values)
    except Unavailable:
        return []


@pytest.mark.parametrize("adapter", list(ADAPTERS))
@pytest.mark.parametrize("copied", list(COPIES))
def test_a_copy_works_and_the_original_is_as_it_was(scorer: Any, adapter: str, copied: str) -> None:
    original = ADAPTERS[adapter](scorer)
    expected = use(original)  # with connections open

    other = COPIES[copied](original)

    assert type(other) is type(original)
    assert use(other) == use(original) == expected
    for one in (original, other):
        inner = getattr(one, "scorer", one)
        if isinstance(inner, HTTPScorer):
            assert inner._options == scorer._options
            inner.close()


@pytest.mark.parametrize("adapter", ["RerankCompressor", "RerankPostprocessor"])
@pytest.mark.parametrize("copied", list(MODEL_COPIES))
def test_a_copy_of_the_model_works(scorer: Any, adapter: str, copied: str) -> None:
    original = ADAPTERS[adapter](scorer)
    expected = use(original)

    other = MODEL_COPIES[copied](original)

    assert use(other) == expected
    assert "key" not in f"{other!r} {other.model_dump()}"
    for one in (original, other):
        if isinstance(one.scorer, HTTPScorer):
            one.scorer.close()


@pytest.mark.parametrize("adapter", list(ADAPTERS))
@pytest.mark.parametrize("scorer", ["http", "model"], indirect=True)
def test_the_pickle_is_the_same_whatever_was_done_before(scorer: Any, adapter: str) -> None:
    """So that caches which hash their functions by pickle find what they hold."""
    joblib = pytest.importorskip("joblib")
    given = ADAPTERS[adapter](scorer)
    before, hashed = pickle.dumps(given), joblib.hash(given)

    use(given)

    assert pickle.dumps(given) == before
    assert joblib.hash(given) == hashed
    assert joblib.hash(pickle.loads(before)) == hashed
    assert len(before) < 10_000
    if isinstance(inner := getattr(given, "scorer", given), HTTPScorer):
        inner.close()


def test_another_process_makes_the_same_pickle_of_it(url: str, tmp_path: Path) -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    compressor = RerankCompressor.from_url(url, top_n=1)
    (tmp_path / "pickle").write_bytes(cloudpickle.dumps(lambda texts: [use_one(compressor, text) for text in texts]))
    code = (
        "import pickle, sys\n"
        "from rerank_integrations.langchain import RerankCompressor\n"
        "found = pickle.load(open(sys.argv[2], 'rb'))(['a giant panda'])\n"
        "print(found, pickle.dumps(RerankCompressor.from_url(sys.argv[1], top_n=1)).hex())\n"
    )

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, url, str(tmp_path / "pickle")],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    expected = use_one(compressor, "a giant panda")
    assert done.stdout == f"{[expected]} {pickle.dumps(compressor).hex()}\n"
    compressor.scorer.close()


use_one: Any = lambda compressor, text: (  # noqa: E731  # pickled by value, as a lambda of a notebook is
    compressor.compress_documents([type_of_document(text)], "giant panda")[0].metadata["relevance_score"]
)
type_of_document = documents.Document


def test_a_scorer_that_cannot_be_pickled_is_copied_in_process_and_is_an_error_elsewhere() -> None:
    """LlamaIndex would leave it out of the pickle, and the copy would fail with its first search."""
    keyed = HTTPScorer("http://localhost:8000", api_key=lambda: "key")
    for adapter in (RerankCompressor(scorer=keyed), RerankPostprocessor(scorer=keyed), RerankCrossEncoder(keyed)):
        assert copy.deepcopy(adapter).scorer.base_urls == keyed.base_urls
        with pytest.raises((pickle.PicklingError, AttributeError)):
            pickle.dumps(adapter)


def test_an_outage_goes_on_in_a_copy() -> None:
    compressor = RerankCompressor(scorer=FailingScorer(Unavailable("no")), on_error="passthrough")
    (found,) = compressor.model_copy(deep=True).compress_documents([documents.Document("a")], QUERY)

    assert found.metadata["rerank_error"] == "unavailable"


def test_a_local_model_in_an_adapter_can_be_copied() -> None:
    """The double has locks and events, as a model has threads: sharing it is enough for a shallow copy."""
    compressor = RerankCompressor(scorer=OverlapModel())

    assert use(copy.copy(compressor)) == use(compressor.model_copy()) == use(compressor)
