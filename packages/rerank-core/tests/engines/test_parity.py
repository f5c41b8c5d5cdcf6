"""Every engine against plain transformers, one pair at a time and without padding: the golden standard."""

import inspect
import random
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import rerank_core
import torch
from hypothesis import given
from hypothesis import strategies as st
from rerank_core import ScoreOptions
from rerank_core.engines import ENGINES
from rerank_core.models.local import LocalModel
from rerank_core.models.scoring import distinct_sequences, sigmoid
from rerank_core.testing.checkpoints import WORDS, write_tiny_checkpoint
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

FAMILIES = [
    "bert",
    "xlm-roberta",
    "xlm-roberta-xl",
    "roberta",
    "camembert",
    "distilbert",
    "electra",
    "mpnet",
    "modernbert",
    "deberta-v2",
    "deberta-v2-convolution",
]
QUERY = "where does the giant panda live?"


def some_text(words: int, seed: int) -> str:
    chosen = random.Random(seed).choices([*WORDS, "bridge", "Zürich", "3.14", "(so-called)"], k=words)
    return " ".join(chosen)


# Mixed lengths, empty and one word, and one that is far beyond 512 tokens.
DOCUMENTS = [some_text(words, seed) for seed, words in enumerate([3, 0, 600, 1, 25, 60, 12, 90, 2, 40])]


def is_close(ours: float, golden: float) -> bool:
    return abs(ours - golden) <= 1e-5 * max(1.0, abs(golden))


@cache
def golden_logits(directory: Path, max_length: int, truncation: str = "longest_first") -> list[float]:
    """What plain transformers says of each pair alone."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    network = AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.float32).eval()
    reads = inspect.signature(network.forward).parameters
    logits = []
    for document in DOCUMENTS:
        # A list of one: on its own, an empty document would be taken for none, and the query for a single text.
        inputs = tokenizer([QUERY], [document], truncation=truncation, max_length=max_length, return_tensors="pt")
        with torch.inference_mode():
            output = network(**{name: tensor for name, tensor in inputs.items() if name in reads})
        logits.append(output.logits[0, 0].item())
    return logits


@pytest.fixture(scope="module", params=sorted(ENGINES))
def engine(request) -> str:
    return request.param


@pytest.fixture(scope="module", params=[*FAMILIES, "minilm-ce"])
def directory(request, tiny, shared) -> Path:
    return shared("minilm-ce") if request.param == "minilm-ce" else tiny(request.param)


@pytest.fixture(scope="module")
def model(directory, engine) -> LocalModel:
    return rerank_core.load(str(directory), engine=engine, device="cpu")


@pytest.fixture(scope="module")
def tiny_bert(tiny, engine) -> LocalModel:
    return rerank_core.load(str(tiny("bert")), engine=engine, device="cpu")


def test_logits_are_those_of_plain_transformers(model, directory):
    golden = golden_logits(directory, model.info.max_length)

    ours = model.score(QUERY, DOCUMENTS, ScoreOptions(raw=True)).values

    assert len(set(golden)) > len(DOCUMENTS) // 2, "a network that always says the same proves nothing"
    assert [value for value, wanted in zip(ours, golden, strict=True) if not is_close(value, wanted)] == []
    assert model.score(QUERY, DOCUMENTS).values == tuple(map(sigmoid, ours))


def test_only_second_is_what_transformers_calls_only_second(tiny_bert, tiny):
    model, directory = tiny_bert, tiny("bert")
    golden = golden_logits(directory, model.info.max_length, "only_second")

    ours = model.score(QUERY, DOCUMENTS, options=ScoreOptions(raw=True, truncation="only_second")).values

    assert [value for value, wanted in zip(ours, golden, strict=True) if not is_close(value, wanted)] == []


def test_company_and_order_change_no_bit(model):
    together = model.score(QUERY, DOCUMENTS, ScoreOptions(raw=True)).values
    shuffled = random.Random(1).sample(range(len(DOCUMENTS)), len(DOCUMENTS))

    assert model.score(QUERY, [DOCUMENTS[index] for index in shuffled], ScoreOptions(raw=True)).values == tuple(
        together[index] for index in shuffled
    )
    alone = tuple(model.score(QUERY, [document], ScoreOptions(raw=True)).values[0] for document in DOCUMENTS)
    assert alone == together


@given(cuts=st.sets(st.integers(1, len(DOCUMENTS) - 1)), order=st.permutations(range(len(DOCUMENTS))))
def test_sequences_may_be_dealt_into_any_batches(tiny_bert, cuts, order):
    encodings = tiny_bert.encode(QUERY, DOCUMENTS, ScoreOptions())
    sequences = [distinct_sequences(encodings)[index] for index in order]
    whole = tiny_bert.forward(sequences)

    edges = [0, *sorted(cuts), len(sequences)]
    dealt = [tiny_bert.forward(sequences[start:end]) for start, end in pairwise(edges)]

    assert [output for batch in dealt for output in batch] == whole


def test_a_batch_is_not_changed_by_what_ran_before(tiny_bert):
    first = tiny_bert.score(QUERY, DOCUMENTS[:3]).values
    tiny_bert.score("something else", DOCUMENTS[::-1])

    assert tiny_bert.score(QUERY, DOCUMENTS[:3]).values == first


# ---------------------------------------------------------------------------- bi-encoders


TEXTS = [*DOCUMENTS, "  leading and trailing white space \n", "UPPER lower"]


@pytest.fixture(scope="module")
def golden_library():
    return pytest.importorskip("sentence_transformers", reason="needs sentence-transformers to compare with")


def golden_cosines(library, directory: Path, texts: list[str]) -> list[float]:
    golden = library.SentenceTransformer(str(directory), device="cpu")
    query = golden.encode_query(QUERY, convert_to_tensor=True)
    # One at a time: no padding.
    return [library.util.cos_sim(query, golden.encode_document(t, convert_to_tensor=True)).item() for t in texts]


def test_lite_is_the_cosine_of_sentence_transformers(lite, golden_library):
    from rerank_core.checkpoints.sources import locate

    golden = golden_cosines(golden_library, locate("lite").directory, TEXTS)

    ours = lite.score(QUERY, TEXTS, ScoreOptions(raw=True))

    assert ours.usage.truncated == sum(len(text.split()) > 256 for text in TEXTS) > 0
    assert [value for value, wanted in zip(ours.values, golden, strict=True) if abs(value - wanted) > 1e-5] == []
    assert lite.score(QUERY, TEXTS).values == tuple(map(sigmoid, ours.values))


@pytest.mark.parametrize(
    "family", ["bert", "xlm-roberta", "xlm-roberta-xl", "distilbert", "modernbert", "deberta-v2-convolution"]
)
@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
def test_a_bi_encoder_is_the_cosine_of_sentence_transformers(golden_library, tmp_path, family, pooling, engine):
    """From the layout that sentence-transformers writes today, with prompts and lower case."""
    modules = golden_library.sentence_transformer.modules
    plain = write_tiny_checkpoint(tmp_path / "plain", family, kind="bi-encoder")
    whole = golden_library.SentenceTransformer(
        modules=[modules.Transformer(str(plain), max_seq_length=50), modules.Pooling(32, pooling)],
        prompts={"query": "query: ", "document": "passage: "},
        device="cpu",
    )
    whole.save(str(tmp_path / "saved"))

    golden = golden_cosines(golden_library, tmp_path / "saved", TEXTS)
    model = rerank_core.load(str(tmp_path / "saved"), engine=engine, device="cpu")
    ours = model.score(QUERY, TEXTS, ScoreOptions(raw=True)).values

    assert model.info.kind == "bi-encoder"
    assert model.info.max_length == 50
    assert [value for value, wanted in zip(ours, golden, strict=True) if abs(value - wanted) > 1e-5] == []


def test_the_legacy_layout_is_the_same_model(golden_library, tiny, tiny_model):
    directory = tiny("bert", "bi-encoder")

    golden = golden_cosines(golden_library, directory, TEXTS)
    ours = tiny_model("bert", "bi-encoder").score(QUERY, TEXTS, ScoreOptions(raw=True)).values

    assert [value for value, wanted in zip(ours, golden, strict=True) if abs(value - wanted) > 1e-5] == []


def test_without_a_pooler_in_the_file_a_bi_encoder_loads(tmp_path):
    """Its pooling reads the last hidden state, so the pooler's weights are never missed."""
    directory = write_tiny_checkpoint(tmp_path, "bert", kind="bi-encoder")
    network = AutoModel.from_pretrained(directory, add_pooling_layer=False)
    network.save_pretrained(directory)

    assert len(rerank_core.load(str(directory), device="cpu").score("panda", ["a panda"]).values) == 1


@pytest.fixture
def rows(monkeypatch, tiny_model) -> Iterator[list[int]]:
    """How many rows each forward pass of the tiny bi-encoder has."""
    counted: list[int] = []
    network = tiny_model("bert", "bi-encoder")._engine
    forward = network.forward

    def count(batch):
        counted.append(len(batch.lengths))
        return forward(batch)

    monkeypatch.setattr(network, "forward", count)
    return counted


def test_each_distinct_text_is_embedded_once_a_request(rows, tiny_model):
    tiny_model("bert", "bi-encoder").score("a panda", ["china", "a panda", "china", "bamboo"] * 50)

    assert sum(rows) == 3
