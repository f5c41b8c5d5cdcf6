"""The packed engine: which checkpoints it runs, and that nothing but a pair decides about its score."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import rerank_core
import torch
from rerank_core import CheckpointError, ScoreOptions
from rerank_core.engines import workers
from rerank_core.engines.hardware import cpu_features
from rerank_core.engines.packed import dtypes
from rerank_core.engines.packed.architectures import ARCHITECTURES, DECODERS
from rerank_core.engines.packed.kernels import instructions
from rerank_core.engines.packed.ops.linear import FloatLinear, filled
from rerank_core.testing.checkpoints import WORDS
from safetensors.torch import load_file, save_file

QUERY = "where does the giant panda live?"


def some_text(words: int, seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets torch's threads, and puts them back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def copy(tiny: Callable[..., Path], tmp_path: Path) -> Path:
    """A checkpoint to damage."""
    return Path(shutil.copytree(tiny("bert"), tmp_path / "copy"))


def edit(directory: Path, **changes: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# ---------------------------------------------------------------------------- nothing but the pair


@pytest.mark.parametrize("by_onednn", [False, True])
@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "modernbert", "deberta-v2"])
def test_a_score_is_the_same_to_the_bit_in_any_company_and_with_any_threads(
    family, by_onednn, tiny, threads, monkeypatch
):
    """Products have other bits for few rows, or where several threads share one: here neither ever happens.

    What threads do share, each number has its bits alone.
    """
    monkeypatch.setattr(workers, "_LEAST_PIECE", 1e-9)
    monkeypatch.setattr(cpu_features, "multiplies_by_onednn", lambda: by_onednn)
    pair = some_text(30, 0)
    companions = [some_text(words, seed) for seed, words in enumerate([1, 70, 9, 250, 33, 2, 120, 15, 48, 5] * 5)]
    scores = set()
    for count in (1, 2):
        threads(count)
        model = rerank_core.load(str(tiny(family)), device="cpu", engine="packed")
        for company in (0, 1, 2, 11, 12, 50):
            documents = [pair, *companions[:company]]
            scores.add(model.score(QUERY, documents, ScoreOptions(raw=True)).values[0])
            scores.add(model.score(QUERY, documents[::-1], ScoreOptions(raw=True)).values[-1])

    assert len(scores) == 1


def test_a_thousand_different_batches_have_few_different_numbers_of_rows():
    """A library that keeps something for each shape that it has seen would grow with every batch."""
    counts = {filled(tokens) for tokens in range(1, 1001)}

    assert all(filled(tokens) >= tokens for tokens in range(1, 1001))
    assert len(counts) < 65


def test_the_threads_of_the_caller_are_left_alone(tiny, threads):
    threads(2)
    model = rerank_core.load(str(tiny("bert")), device="cpu", engine="packed")
    model.score(QUERY, ["a", "b"])

    assert torch.get_num_threads() == 2


def test_one_token_may_be_the_whole_document_of_a_batch_of_one(tiny):
    model = rerank_core.load(str(tiny("bert")), device="cpu", engine="packed")
    reference = rerank_core.load(str(tiny("bert")), device="cpu", engine="reference")

    (ours,) = model.score("", [""], ScoreOptions(raw=True)).values

    assert ours == pytest.approx(reference.score("", [""], ScoreOptions(raw=True)).values[0], rel=1e-5)


def test_a_padding_token_in_a_text_has_the_position_that_transformers_gives_it(tiny):
    """Roberta's positions count the tokens that are not padding."""
    text = "panda <pad> bamboo <pad> <pad> eats"
    model = rerank_core.load(str(tiny("roberta")), device="cpu", engine="packed")
    reference = rerank_core.load(str(tiny("roberta")), device="cpu", engine="reference")

    (ours,) = model.score(QUERY, [text], ScoreOptions(raw=True)).values
    (golden,) = reference.score(QUERY, [text], ScoreOptions(raw=True)).values

    assert model.encode(QUERY, [text], rerank_core.ScoreOptions())
    assert ours == pytest.approx(golden, rel=1e-5)


# ---------------------------------------------------------------------------- what a GPU runs, on a CPU


def one_kernel(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, window_size=(-1, -1)):
    """In place of torch's ``varlen_attn``, which has no kernel for a CPU."""
    out = torch.empty_like(query)
    for start, end in pairwise(cu_seq_q.tolist()):
        parts = (part[start:end].transpose(0, 1)[None] for part in (query, key, value))
        ahead = torch.arange(end - start) - torch.arange(end - start)[:, None]
        left, right = (end if reach < 0 else reach for reach in window_size)
        seen = (ahead >= -left) & (ahead <= right)
        out[start:end] = torch.nn.functional.scaled_dot_product_attention(*parts, seen)[0].transpose(0, 1)
    return out


def one_kernel_without_windows(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k):
    """As an older torch has it."""
    return one_kernel(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k)


def no_kernel(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, window_size=(-1, -1)):
    """As an older GPU has it."""
    raise RuntimeError("FlashAttention only supports Ampere GPUs or newer.")


@pytest.mark.parametrize(("numbers", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.2)])
@pytest.mark.parametrize("kernel", [one_kernel, one_kernel_without_windows, no_kernel])
@pytest.mark.parametrize(
    "name", ["minilm-ce", "xlm-roberta", "xlm-roberta-xl", "electra", "modernbert", "deberta-v2-convolution", "lite"]
)
def test_the_road_of_cuda_computes_the_same(name, kernel, numbers, tolerance, tiny, shared, monkeypatch):
    """All that is different there, but for the device: one kernel for all sequences, and every part in 16 bits."""
    source = {"minilm-ce": lambda: str(shared(name)), "lite": lambda: "lite"}.get(name, lambda: str(tiny(name)))()
    documents = [some_text(words, words) for words in (3, 170, 1, 60)]
    golden = (
        rerank_core.load(source, device="cpu", engine="reference")
        .score(QUERY, documents, ScoreOptions(raw=True))
        .values
    )
    monkeypatch.setattr(dtypes, "numbers", lambda device, dtype: (numbers, FloatLinear))
    monkeypatch.setattr(dtypes, "has_one_kernel", lambda device, dtype: True)
    for kernels in ("computes_rows", "reads_rows"):  # a GPU has none of a CPU's
        monkeypatch.setattr(instructions, kernels, lambda: False)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)

    ours = (
        rerank_core.load(source, device="cpu", engine="packed").score(QUERY, documents, ScoreOptions(raw=True)).values
    )

    assert ours == pytest.approx(golden, abs=tolerance, rel=tolerance)
    assert (numbers == torch.float32) or ours != golden


# ---------------------------------------------------------------------------- what it runs


@pytest.mark.parametrize(
    "family", ["bert", "xlm-roberta", "roberta", "distilbert", "electra", "modernbert", "deberta-v2"]
)
def test_it_is_chosen_for_the_families_that_it_knows(tiny, family):
    info = rerank_core.load(str(tiny(family)), device="cpu").info

    assert (info.engine, info.engine_reason) == ("packed", f"the fastest that runs {family}")


def test_other_families_run_on_the_reference_engine_which_says_why(tiny):
    info = rerank_core.load(str(tiny("albert")), device="cpu").info

    assert info.engine == "reference"
    assert f"packed does not: it runs {', '.join([*ARCHITECTURES, *DECODERS])}, not albert" in info.engine_reason
    with pytest.raises(CheckpointError, match=r"the packed engine does not run .*not albert"):
        rerank_core.load(str(tiny("albert")), device="cpu", engine="packed")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden_act": "selu"}, "not selu"),
        ({"position_embedding_type": "relative_key"}, "distance_embedding.weight is missing"),
        ({"add_cross_attention": True}, "decoder"),
        ({"auto_map": {"AutoModel": "code.Model"}}, "code of its own"),
        ({"num_hidden_layers": 1}, "parameters that it does not know"),
        ({"num_hidden_layers": 3}, "encoder.layer.2.* is missing"),
        ({"intermediate_size": 128}, r"has the shape \(64, 32\), not \(128, 32\)"),
        ({"num_attention_heads": 5}, "32 does not divide into 5 heads"),
    ],
)
def test_a_checkpoint_that_only_looks_familiar_is_refused_with_the_reason(copy, changes, reason):
    edit(copy, **changes)

    with pytest.raises(CheckpointError, match=reason):
        rerank_core.load(str(copy), device="cpu", engine="packed")


def test_a_parameter_too_many_means_the_reference_engine(copy):
    tensors = load_file(copy / "model.safetensors")
    save_file(tensors | {"bert.adapter.weight": torch.zeros(2)}, copy / "model.safetensors", metadata={"format": "pt"})

    info = rerank_core.load(str(copy), device="cpu").info

    assert info.engine == "reference"
    assert "parameters that it does not know: bert.adapter.weight" in info.engine_reason


@pytest.mark.parametrize("activation", ["gelu_new", "gelu_pytorch_tanh", "relu", "silu"])
def test_the_activation_is_the_one_that_the_configuration_names(copy, activation):
    edit(copy, hidden_act=activation)
    documents = [some_text(words, words) for words in (3, 17, 60)]

    ours = (
        rerank_core.load(str(copy), device="cpu", engine="packed")
        .score(QUERY, documents, ScoreOptions(raw=True))
        .values
    )
    golden = (
        rerank_core.load(str(copy), device="cpu", engine="reference")
        .score(QUERY, documents, ScoreOptions(raw=True))
        .values
    )

    assert ours == pytest.approx(golden, rel=1e-5)


def test_weights_in_several_files_are_one_checkpoint(copy):
    tensors = load_file(copy / "model.safetensors")
    names = sorted(tensors)
    files = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in files.items():
        save_file({name: tensors[name] for name in part}, copy / file, metadata={"format": "pt"})
    whole = rerank_core.load(str(copy), device="cpu").score(QUERY, ["a panda"]).values
    (copy / "model.safetensors").unlink()
    index = {"weight_map": {name: file for file, part in files.items() for name in part}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))

    model = rerank_core.load(str(copy), device="cpu")

    assert model.info.engine == "packed"
    assert model.score(QUERY, ["a panda"]).values == whole
