"""Packed decoders against plain transformers, one sequence at a time: each family in several configurations.

Over lengths around the edges of windows and blocks, alone and behind a prefix that other sequences share.
"""

import json
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from rerank_core.checkpoints.chain import Chain, Dense, PoolingMode
from rerank_core.checkpoints.checkpoint import Checkpoint, is_bidirectional
from rerank_core.checkpoints.heads import Classification, Head, TokenLogits
from rerank_core.engines.base import Batch
from rerank_core.engines.hardware import cpu_features
from rerank_core.engines.packed.engine import PackedEngine
from rerank_core.engines.packed.kernels import instructions
from rerank_core.engines.target import Target, Unsupported
from rerank_core.testing.checkpoints import edit_json
from rerank_core.testing.language_models import write_tiny_language_model
from rerank_core.types import TokenSequence
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

TRUE, FALSE = 5, 9
YES_NO = TokenLogits(true_id=TRUE, false_id=FALSE)
PAD = 400  # an id that no random text has
QWEN3_8B_SCALING = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}

WINDOWS = {"use_sliding_window": True, "sliding_window": 4}
ROPE = {"rope_type": "default", "rope_theta": 300.0}
SLIDING, FULL = "sliding_attention", "full_attention"

CASES: dict[str, dict[str, dict[str, Any]]] = {
    "qwen2": {
        "tied": {},
        "untied, as many key heads": {
            "tie_word_embeddings": False,
            "num_key_value_heads": 4,
            "rope_parameters": ROPE,
            "rms_norm_eps": 1e-2,
        },
        "windows in the upper layers": {
            "num_hidden_layers": 3,
            "use_sliding_window": True,
            "sliding_window": 5,
            "max_window_layers": 1,
        },
    },
    "qwen3": {
        "tied": {"rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0}},
        "untied, wide heads with biases": {
            "tie_word_embeddings": False,
            "head_dim": 24,
            "attention_bias": True,
            "hidden_act": "gelu",
            "rope_parameters": ROPE,
        },
        "layers of both kinds": {
            "num_hidden_layers": 4,
            "layer_types": [SLIDING, FULL, SLIDING, SLIDING],
            "use_sliding_window": True,
            "sliding_window": 4,
        },
        "a window wider than a block": {
            "layer_types": [SLIDING, SLIDING],
            "use_sliding_window": True,
            "sliding_window": 70,
        },
    },
    "llama": {
        "as version 2": {"num_key_value_heads": 4, "tie_word_embeddings": False},
        "all biases": {"attention_bias": True, "mlp_bias": True, "head_dim": 20, "rms_norm_eps": 1e-2},
        "as version 3.2": {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            }
        },
    },
    "mistral": {
        "no window": {"tie_word_embeddings": False, "head_dim": 32},
        "a window": {"sliding_window": 17, "rope_parameters": ROPE},
        "a window that nothing fills": {"sliding_window": 4096, "num_attention_heads": 8, "head_dim": 8},
    },
    "gemma": {
        "one key head": {"head_dim": 32},
        "two key heads, untied": {"num_key_value_heads": 2, "tie_word_embeddings": False, "rope_parameters": ROPE},
        "biases": {"attention_bias": True, "hidden_size": 36, "num_hidden_layers": 3, "head_dim": 40},
    },
}
MAPS = Path("/proc/self/maps")
PREFIXES = (0, 1, 11, 12, 13, 16, 17, 31, 32, 33, 40, 64, 65)
RESTS = (1, 2, 3, 4, 5, 6, 17, 18, 63, 64, 65, 70, 71, 130)


def random_ids(count: int, seed: int) -> list[int]:
    return random.Random(seed).choices(range(10, PAD), k=count)


def sequence(prefix: int, rest: int, query: int = 0) -> TokenSequence:
    """So many tokens that all sequences of a query begin with, and others behind them."""
    return TokenSequence.of(random_ids(200, query)[:prefix] + random_ids(rest, 7 * rest + prefix), prefix=prefix)


SEQUENCES = [sequence(0, rest) for rest in RESTS] + [
    sequence(prefix, rest) for number, prefix in enumerate(PREFIXES[1:]) for rest in RESTS[number % 7 :: 7]
]


def checkpoint_of(directory: Path, head: Head = YES_NO) -> Checkpoint:
    config = json.loads((directory / "config.json").read_text())
    return Checkpoint(
        name="tiny",
        revision=None,
        root=directory,
        directory=directory,
        config=config,
        head=head,
        is_causal=not is_bidirectional(config, config["architectures"]),
    )


def load(directory: Path, head: Head = YES_NO, *, dtype: str = "float32", threads: int = 2) -> PackedEngine:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        plan = PackedEngine.plan(checkpoint_of(directory, head), Target("cpu", dtype))
        return plan.load(Batch.of([sequence(0, 60), sequence(0, 30)]), trust_remote_code=False)
    finally:
        torch.set_num_threads(before)


def rows(engine: PackedEngine, sequences: Sequence[TokenSequence]) -> list[tuple[float, ...]]:
    return [tuple(row) for row in engine.forward(Batch.of(sequences)).tolist()]


def ids_of(sequence: TokenSequence) -> torch.Tensor:
    """The token ids as transformers takes them: [1, tokens]."""
    return torch.frombuffer(bytearray(sequence.token_ids), dtype=torch.int32).long()[None]


def far(ours: Sequence[Sequence[float]], golden: Sequence[Sequence[float]]) -> list[object]:
    """The rows that are not those of the golden standard."""
    return [
        (number, mine, right)
        for number, (mine, right) in enumerate(zip(ours, golden, strict=True))
        if len(mine) != len(right) or any(abs(x - y) > 1e-5 * max(1, abs(y)) for x, y in zip(mine, right, strict=True))
    ]


@torch.inference_mode()
def golden_logits(directory: Path, sequences: Sequence[TokenSequence] = SEQUENCES) -> list[tuple[float, ...]]:
    """The difference of the two tokens' logits at the last position, as plain transformers has it."""
    network = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    logits = [network(ids_of(each), use_cache=False, logits_to_keep=1).logits[0, -1] for each in sequences]
    return [((row[TRUE] - row[FALSE]).item(),) for row in logits]


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """Writes each checkpoint once. Not to be changed."""

    @cache
    def written(family: str, case: str | None = None) -> Path:
        fields = CASES[family][case] if case else {}
        return write_tiny_language_model(tmp_path_factory.mktemp(family), family, config=fields)

    return written


@pytest.fixture(
    scope="module",
    params=[(family, case) for family, cases in CASES.items() for case in cases],
    ids=lambda param: f"{param[0]}: {param[1]}",
)
def directory(request, write) -> Path:
    return write(*request.param)


def test_logits_are_those_of_plain_transformers(directory):
    golden = golden_logits(directory)

    ours = rows(load(directory), SEQUENCES)

    assert len(set(golden)) == len(SEQUENCES), "a network that always says the same proves nothing"
    assert far(ours, golden) == []


def test_company_order_threads_and_batches_change_no_bit(directory):
    shuffled = random.Random(1).sample(range(len(SEQUENCES)), len(SEQUENCES))
    strangers = [sequence(prefix, 20, query) for query in (1, 2) for prefix in (0, 16, 40)]
    seen = set()
    for threads in (1, 2):
        engine = load(directory, threads=threads)
        together = tuple(rows(engine, SEQUENCES))
        mixed = rows(engine, [*strangers, *(SEQUENCES[index] for index in shuffled)])[len(strangers) :]
        alone = tuple(rows(engine, [each])[0] for each in SEQUENCES)
        seen |= {together, alone, tuple(mixed[shuffled.index(index)] for index in range(len(SEQUENCES)))}

    assert len(seen) == 1


def test_one_token_alone_may_be_the_score(write):
    directory = write("qwen3", "tied")
    both = rows(load(directory), SEQUENCES)
    yes, no = (rows(load(directory, TokenLogits(true_id=token)), SEQUENCES) for token in (TRUE, FALSE))

    assert far([(x[0] - y[0],) for x, y in zip(yes, no, strict=True)], both) == []
    assert yes != both


def test_a_head_in_the_file_counts_where_the_configuration_ties_it_to_the_embeddings(write, tmp_path):
    source = write("qwen3", "tied")
    embeddings = load_file(source / "model.safetensors")["model.embed_tokens.weight"]
    copy_of(source, tmp_path, {"lm_head.weight": embeddings.flip(1)})

    assert far(rows(load(tmp_path), SEQUENCES), golden_logits(tmp_path)) == []


def copy_of(source: Path, directory: Path, more: dict[str, torch.Tensor], **fields: object) -> Path:
    """A checkpoint with other parameters and fields."""
    edit_json(directory / "config.json", **(json.loads((source / "config.json").read_text()) | fields))
    tensors = load_file(source / "model.safetensors") | more
    save_file({n: t.clone() for n, t in tensors.items()}, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def test_the_fields_of_before_transformers_5_are_read_the_same(write, tmp_path):
    """Published checkpoints say rope_theta, and rope_scaling where there is some."""
    source = write("llama", "as version 3.2")
    scaling = dict(CASES["llama"]["as version 3.2"]["rope_parameters"])
    theta = scaling.pop("rope_theta")
    copy_of(source, tmp_path, {}, rope_parameters=None, rope_theta=theta, rope_scaling=scaling)

    assert rows(load(tmp_path), SEQUENCES) == rows(load(source), SEQUENCES)


def test_windows_of_the_upper_layers_are_read_where_no_kinds_are_listed(write, tmp_path):
    source = write("qwen2", "windows in the upper layers")
    copy_of(source, tmp_path, {}, layer_types=None)

    assert rows(load(tmp_path), SEQUENCES) == rows(load(source), SEQUENCES)


@pytest.mark.parametrize(
    "fields", [{"hidden_act": "gelu"}, {"hidden_act": "gelu", "hidden_activation": "gelu_pytorch_tanh"}]
)
def test_gemma_means_the_approximation_where_it_says_gelu(write, tmp_path, fields):
    source = write("gemma", "one key head")
    copy_of(source, tmp_path, {}, **fields)

    assert rows(load(tmp_path), SEQUENCES) == rows(load(source), SEQUENCES)


# ---------------------------------------------------------------------------- other heads

LABELS = Classification(labels=("0", "1"))
PADDED = [
    *SEQUENCES,
    # Texts that end in the padding id, hold it, are nothing else, or have a prefix that ends in it.
    TokenSequence.of([*random_ids(30, 1), PAD, PAD]),
    TokenSequence.of([*random_ids(30, 1), PAD, PAD], prefix=20),
    TokenSequence.of([*random_ids(20, 1), *[PAD] * 20], prefix=30),
    TokenSequence.of([PAD, *random_ids(20, 1), PAD, *random_ids(9, 2)], prefix=22),
    TokenSequence.of([PAD] * 3),
    TokenSequence.of([PAD] * 40, prefix=20),
]


@torch.inference_mode()
def golden_classes(directory: Path, sequences: Sequence[TokenSequence]) -> list[list[float]]:
    network = AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.float32).eval()
    return [network(ids_of(each), use_cache=False).logits[0].tolist() for each in sequences]


@pytest.mark.parametrize(
    ("family", "labels", "fields"),
    [
        ("qwen2", 2, {"pad_token_id": PAD}),
        ("qwen3", 1, {"pad_token_id": PAD}),
        ("qwen3", 2, {"pad_token_id": None}),
        ("llama", 2, {"pad_token_id": PAD}),
        ("llama", 2, {"pad_token_id": PAD, "is_causal": False}),
        ("mistral", 1, {"pad_token_id": PAD, "sliding_window": 9}),
        ("gemma", 3, {"pad_token_id": PAD}),
    ],
)
def test_a_classification_head_reads_the_rightmost_token_that_is_not_padding(family, labels, fields, tmp_path):
    write_tiny_language_model(tmp_path, family, head="sequence-classification", labels=labels, config=fields)
    head = Classification(labels=tuple(map(str, range(labels))))
    golden = golden_classes(tmp_path, PADDED)

    engine = load(tmp_path, head)

    ours = rows(engine, PADDED)
    assert far(ours, golden) == []
    assert [rows(engine, [each])[0] for each in PADDED] == ours


def test_a_bias_of_the_classification_head_is_added(tmp_path):
    """transformers passes over it, and who has trained one means it."""
    source = write_tiny_language_model(tmp_path / "source", head="sequence-classification", labels=2)
    golden = rows(load(source, LABELS), SEQUENCES)
    (tmp_path / "biased").mkdir()
    biased = copy_of(source, tmp_path / "biased", {"score.bias": torch.tensor([0.5, -2.0])})

    assert far(rows(load(biased, LABELS), SEQUENCES), [(x + 0.5, y - 2.0) for x, y in golden]) == []


BIDIRECTIONAL = {
    "model_type": "llama_bidirec",
    "architectures": ["LlamaBidirectionalForSequenceClassification"],
    "auto_map": {
        "AutoModelForSequenceClassification": "llama_bidirectional_model.LlamaBidirectionalForSequenceClassification"
    },
}


@torch.inference_mode()
def golden_bidirectional(directory: Path, pooling: str, temperature: float) -> list[list[float]]:
    """NVIDIA's network, from its description: Llama with a mask that hides nothing, pooled, times the score's rows."""
    network = AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    score = load_file(directory / "model.safetensors")["score.weight"]
    found = []
    for each in SEQUENCES:
        ids = ids_of(each)
        hides_nothing = torch.zeros(1, 1, ids.shape[1], ids.shape[1])
        hidden = network(ids, attention_mask=hides_nothing, use_cache=False).last_hidden_state[0]
        pooled = {"avg": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}[pooling]
        found.append((score @ pooled / temperature).tolist())
    return found


@pytest.mark.parametrize(("pooling", "temperature"), [("avg", 1.0), ("avg", 0.25), ("cls", 1.0), ("last", 2.0)])
def test_bidirectional_llama_sees_the_whole_text(pooling, temperature, tmp_path):
    rope = CASES["llama"]["as version 3.2"]
    source = write_tiny_language_model(tmp_path, "llama", head="sequence-classification", config=rope)
    golden = golden_bidirectional(source, pooling, temperature)
    edit_json(tmp_path / "config.json", **BIDIRECTIONAL, pooling=pooling, temperature=temperature)

    engine = load(tmp_path, Classification(labels=("score",)))

    ours = rows(engine, SEQUENCES)
    assert far(ours, golden) == []
    assert [rows(engine, [each])[0] for each in SEQUENCES] == ours
    assert engine.cost(SEQUENCES) == sum(map(len, SEQUENCES)), "what sees all tokens shares none"


@pytest.mark.parametrize("pooling", ["lasttoken", "mean", "cls", "max"])
def test_layers_of_sentence_transformers_may_stand_behind_a_decoder(pooling: PoolingMode, tmp_path):
    write_tiny_language_model(tmp_path, "qwen3")
    tensors = load_file(tmp_path / "model.safetensors")
    headless = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name != "lm_head.weight"}
    save_file(headless, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "2_Dense").mkdir()
    weight, bias = torch.randn(3, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([0.5, -1.0, 0.0])
    save_file({"linear.weight": weight, "linear.bias": bias}, tmp_path / "2_Dense" / "model.safetensors")
    dense = Dense(folder="2_Dense", inputs=64, outputs=3, has_bias=True, activation="Tanh")
    network = AutoModel.from_pretrained(tmp_path, dtype=torch.float32).eval()
    pool = {
        "lasttoken": lambda hidden: hidden[-1],
        "mean": lambda hidden: hidden.mean(0),
        "cls": lambda hidden: hidden[0],
        "max": lambda hidden: hidden.amax(0),
    }[pooling]
    with torch.inference_mode():
        hidden = [network(ids_of(each), use_cache=False).last_hidden_state[0] for each in SEQUENCES]
        golden = [torch.tanh(weight @ pool(states) + bias).tolist() for states in hidden]

    engine = load(tmp_path, Classification(labels=("a", "b", "c"), chain=Chain(pooling, (dense,))))

    ours = rows(engine, SEQUENCES)
    assert far(ours, golden) == []
    assert [rows(engine, [each])[0] for each in SEQUENCES] == ours


# ---------------------------------------------------------------------------- dtypes

# The root of the mean square error, against the spread of the scores: measured on these random networks, with room.
TOLERANCE = {"float16-weights": 0.01, "bfloat16": 0.1, "int8": 0.2}


def runs_here(dtype: str) -> bool:
    return {
        "float16-weights": cpu_features.has_float16_weights,
        "bfloat16": cpu_features.has_bfloat16,
        "int8": cpu_features.has_int8,
    }[dtype]()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("family", CASES)
def test_other_dtypes_stay_near_and_company_still_changes_no_bit(family, dtype, write, same_bfloat16_rows):
    if not runs_here(dtype):
        pytest.skip(f"SKIPPED LOUDLY: this processor does not compute in {dtype}")
    directory = write(family, next(iter(CASES[family])))
    golden = rows(load(directory), SEQUENCES)

    seen = set()
    for threads in (1, 2):
        engine = load(directory, dtype=dtype, threads=threads)
        together, alone = rows(engine, SEQUENCES), [rows(engine, [each])[0] for each in SEQUENCES]
        seen |= {tuple(together), tuple(alone)}

    scores, wanted = torch.tensor(together), torch.tensor(golden)
    assert 0 < (scores - wanted).square().mean().sqrt() / wanted.std() < TOLERANCE[dtype]
    if dtype == "bfloat16" and not same_bfloat16_rows():
        pytest.skip("SKIPPED LOUDLY: this processor's bfloat16 products are not the same to the bit in any company")
    assert len(seen) == 1


def test_a_file_in_bfloat16_gives_the_scores_of_its_numbers(tmp_path):
    """As published checkpoints are: their weights are widened, nothing else is rounded."""
    directory = write_tiny_language_model(tmp_path, "qwen3", tied=False)
    tensors = {name: tensor.bfloat16() for name, tensor in load_file(directory / "model.safetensors").items()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})

    assert far(rows(load(directory), SEQUENCES), golden_logits(directory)) == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_weights_of_a_file_in_bfloat16_stay_mapped(dtype, tmp_path, monkeypatch):
    """They take no memory of the process's own, in float32 neither. (Kernels in bfloat16 need them laid out anew.)"""
    monkeypatch.setattr(instructions, "found", lambda: None)
    if not MAPS.exists():
        pytest.skip("SKIPPED LOUDLY: this system does not say what it has mapped")
    directory = write_tiny_language_model(tmp_path, "qwen3")
    path = directory / "model.safetensors"
    save_file({name: tensor.bfloat16() for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})

    decoder = load(directory, dtype=dtype)._network.decoder  # type: ignore[attr-defined]

    lines = [line.split() for line in MAPS.read_text().splitlines() if line.endswith(str(path))]
    mapped = [range(*(int(bound, 16) for bound in line[0].split("-"))) for line in lines]
    for layer in decoder.layers:
        for product in layer.products:
            assert any(getattr(layer, product)._weight.data_ptr() in pages for pages in mapped)
    assert any(decoder.embeddings.tokens.data_ptr() in pages for pages in mapped)


# ---------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("family", "fields", "reason"),
    [
        ("qwen3", WINDOWS | {"layer_types": [FULL]}, "one a layer"),
        ("qwen3", WINDOWS | {"layer_types": [FULL, "chunked_attention"]}, "chunked_attention"),
        ("qwen3", WINDOWS | {"sliding_window": 0}, "sliding_window is 0"),
        ("qwen2", {"layer_types": [SLIDING, FULL]}, "use_sliding_window or sliding_window is not set"),
        ("qwen2", {"layer_types": [SLIDING, FULL], "use_sliding_window": True}, "or sliding_window is not set"),
        ("llama", {"layer_types": [SLIDING, FULL]}, "layer_types is"),
        ("llama", {"sliding_window": 64}, "sliding_window is 64"),
        ("mistral", {"layer_types": [SLIDING, FULL]}, "one kind of layers"),
        ("mistral", {"sliding_window": 4, "is_causal": False}, "its tokens see each other, and there are windows"),
        ("qwen3", {"rope_parameters": {"rope_theta": 1e6, **QWEN3_8B_SCALING}}, "yarn: it knows default and llama3"),
        ("qwen3", {"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2.0}}, "linear"),
        ("llama", {"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "full_attention"),
        ("llama", {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ("gemma", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is 50.0"),
        ("gemma", {"final_logit_softcapping": 30.0}, "final_logit_softcapping is 30.0"),
        ("gemma", {"use_bidirectional_attention": True}, "use_bidirectional_attention is True"),
        ("gemma", {"hidden_act": "silu", "hidden_activation": "gelu"}, "hidden_act and hidden_activation"),
        ("qwen2", {"hidden_act": "selu"}, "not selu"),
        ("qwen2", {"auto_map": {"AutoModelForCausalLM": "mine.Network"}}, "code of its own"),
        ("qwen2", {"num_key_value_heads": 3}, "4 heads do not divide into 3"),
        ("qwen2", {"num_key_value_heads": 4}, r"k_proj.weight has the shape \(32, 64\), not \(64, 64\)"),
        ("qwen2", {"head_dim": 8}, r"q_proj.weight has the shape \(64, 64\), not \(32, 64\)"),
        ("qwen2", {"head_dim": 15}, "heads of 15 have no halves"),
        ("qwen3", {"attention_bias": True}, "q_proj.bias is missing"),
        ("llama", {"mlp_bias": True}, "gate_proj.bias is missing"),
        ("qwen3", {"num_hidden_layers": 1}, "parameters that it does not know: model.layers.1"),
        ("qwen3", {"num_hidden_layers": 3}, "layers.2.* is missing"),
        ("qwen3", {"hidden_size": None}, "does not say hidden_size"),
        ("qwen3", {"hidden_size": "wide"}, "hidden_size is 'wide'"),
        ("qwen3", {"tie_word_embeddings": False}, "lm_head.weight is missing"),
        ("qwen3", {"max_position_embeddings": 2**21}, "it needs 1 to 1,048,576"),
        ("llama", {"model_type": "llama_bidirec", "pooling": "weighted_avg"}, "pooling is 'weighted_avg'"),
        ("llama", {"model_type": "llama_bidirec", "temperature": 0}, "temperature is 0"),
        ("qwen3", {"rms_norm_eps": "small"}, "a value of the wrong kind"),
    ],
)
def test_a_checkpoint_that_is_not_computed_is_refused_with_the_reason(family, fields, reason, write, tmp_path):
    copy_of(write(family), tmp_path, {}, **fields)

    with pytest.raises(Unsupported, match=reason):
        PackedEngine.plan(checkpoint_of(tmp_path), Target("cpu", "float32"))


@pytest.mark.parametrize(
    ("more", "head", "reason"),
    [
        ({"model.layers.0.self_attn.q_proj.lora_A": torch.zeros(1)}, YES_NO, "it does not know: .*lora_A"),
        ({}, TokenLogits(true_id=100_000), "there is no token 100000"),
        ({}, TokenLogits(true_id=1, false_id=-1), "there is no token -1"),
        ({}, LABELS, "score.weight is missing"),
        ({"score.weight": torch.zeros(1, 64)}, LABELS, r"score.weight has the shape \(1, 64\), not \(2, 64\)"),
    ],
)
def test_parameters_that_do_not_fit_the_head_are_refused_with_the_reason(more, head, reason, write, tmp_path):
    copy_of(write("qwen3", "tied"), tmp_path, more)

    with pytest.raises(Unsupported, match=reason):
        PackedEngine.plan(checkpoint_of(tmp_path, head), Target("cpu", "float32"))
