"""Measure a language model's reranking: time and memory, bits, and the same beside what its card and others do.

A random network of Qwen3-Reranker-0.6B's shape in bfloat16, as it is published, with a vocabulary of its size and its
prompt; in this process, in float32. Requests of some documents of equal length. Beside the packed engine: plain
transformers as the model's card writes it (padded on the left, the head at every position, in batches of 8), and
sentence-transformers on the same directory. Seconds are process CPU time. Memory is that of a fresh process for each
dtype. Our scores have to be the same bits alone, in company, and in another order. See README.md beside this.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias
from unittest.mock import patch

import torch
from bench_memory import Probe, memory_table
from bench_memory import measure as measure_memory
from machine import describe
from markdown_tables import table
from pairs import PairSet
from rerank_core import ScoreOptions, load
from rerank_core.engines.packed import network as packed_network
from rerank_core.models.local import LocalModel
from rerank_core.testing.checkpoints import WORDS, edit_json
from rerank_core.testing.language_models import write_prompt, write_tiny_language_model
from resident import is_counted
from results import settings_of, write_results
from tokenizers import AddedToken, Tokenizer, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config
from workers import say_skipped

Network: Any = AutoModelForCausalLM  # whose functions have no types

QUERY = "where does the giant panda live and what does it eat all day in the mountains of china"
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
HEAD = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
    f"<Instruct>: {INSTRUCTION}\n<Query>: "
)
MIDDLE, TAIL = "\n<Document>: ", "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
TEMPLATE = (
    "{%- macro of(role) -%}{% for m in messages if m['role'] == role %}{{ m['content'] }}{% endfor %}{%- endmacro -%}\n"
    + HEAD
    + "{{ of('query') }}"
    + MIDDLE
    + "{{ of('document') }}"
    + TAIL.replace("\n", "{{ '\\n' }}")
)
SHAPE = {
    "vocab_size": 151_669,
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 3072,
    "max_position_embeddings": 40_960,
    "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
}
CARD_BATCH = 8


def write_checkpoint(directory: Path, *, layers: int, shape: dict[str, Any]) -> Path:
    """Write the random network, a tokenizer that makes one token of most words, and the files that say the prompt."""
    write_tiny_language_model(directory)
    described = json.loads((directory / "tokenizer.json").read_text())
    special = [token["content"] for token in described["added_tokens"]]
    tokenizer = Tokenizer.from_str(json.dumps({**described, "added_tokens": []}))
    trainer = trainers.BpeTrainer(vocab_size=2000, show_progress=False)
    tokenizer.train_from_iterator(
        [HEAD + MIDDLE + TAIL, *(f" {word} {word}" for word in WORDS), "yes", "no"] * 20, trainer
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    tokenizer.save(str(directory / "tokenizer.json"))
    pad = tokenizer.token_to_id("<|endoftext|>")
    config = Qwen3Config(**shape, num_hidden_layers=layers, pad_token_id=pad, dtype="bfloat16")
    torch.manual_seed(0)
    network = Network.from_config(config, dtype=torch.bfloat16)
    network.save_pretrained(directory)
    true_id, false_id = (tokenizer.token_to_id(word) for word in ("yes", "no"))
    write_prompt(
        directory, TEMPLATE, true_id=true_id, false_id=false_id, activation_fn="torch.nn.modules.linear.Identity"
    )
    edit_json(directory / "tokenizer_config.json", model_max_length=shape["max_position_embeddings"])
    return directory


def document(directory: Path, tokens: int, seed: int) -> str:
    """Make a text of so many tokens."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    text = " ".join(random.Random(seed).choices(WORDS, k=tokens))
    encoding = tokenizer.encode(text, add_special_tokens=False)
    return text[: encoding.offsets[tokens - 1][1]]


class Ours:
    """The packed engine, with the shared prefix or without."""

    def __init__(self, model: LocalModel, *, shares: bool) -> None:
        self._model = model
        self._shares = shares

    def __call__(self, documents: Sequence[str]) -> list[float]:
        """Score, from texts to raw scores."""
        # Without: no prefix is long enough to be shared, and batches are made in the same way.
        least = packed_network.LEAST_PREFIX if self._shares else sys.maxsize
        with patch.object(packed_network, "LEAST_PREFIX", least):
            return list(self._model.score(QUERY, documents, ScoreOptions(raw=True)).values)


class Card:
    """Plain transformers, as the model's card has it."""

    def __init__(self, directory: Path, model: Any) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(directory, padding_side="left")
        self._model = model
        self._tokens = [self._tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no")]

    @torch.inference_mode()
    def __call__(self, documents: Sequence[str]) -> list[float]:
        """Score, a batch after the other."""
        prompts = [HEAD + QUERY + MIDDLE + text + TAIL for text in documents]
        scores: list[float] = []
        for start in range(0, len(prompts), CARD_BATCH):
            inputs = self._tokenizer(prompts[start : start + CARD_BATCH], padding=True, return_tensors="pt")
            inputs.pop("token_type_ids", None)
            logits = self._model(**inputs).logits[:, -1]
            scores += (logits[:, self._tokens[0]] - logits[:, self._tokens[1]]).tolist()
        return scores


class Library:
    """sentence-transformers, as its users call it."""

    def __init__(self, directory: Path) -> None:
        from sentence_transformers import CrossEncoder

        self._model = CrossEncoder(str(directory), device="cpu", model_kwargs={"dtype": torch.float32})

    def __call__(self, documents: Sequence[str]) -> list[float]:
        """Score."""
        pairs = [(QUERY, text) for text in documents]
        return [float(score) for score in self._model.predict(pairs, show_progress_bar=False)]


Score: TypeAlias = Callable[[Sequence[str]], list[float]]


def measure(
    systems: Mapping[str, Score], requests: Mapping[str, Sequence[str]], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Measure each system's CPU seconds of each request; the systems take turns, so that a slow minute meets all."""
    seconds: dict[str, dict[str, list[float]]] = {name: {request: [] for request in requests} for name in systems}
    for _ in range(rounds):
        for request, documents in requests.items():
            for name, score in systems.items():
                start = time.process_time()
                score(documents)
                seconds[name][request].append(time.process_time() - start)
    return seconds


def has_same_bits(score: Score, documents: Sequence[str]) -> bool:
    """Return whether each document has one score, to the last bit: alone, in company, and in another order."""
    together = score(documents)
    alone = [score([document])[0] for document in documents]
    reordered = score(documents[::-1])[::-1]
    return together == alone == reordered


def memory_by_dtype(
    directory: Path, dtypes: Sequence[str], documents: Sequence[str], *, max_length: int, threads: int
) -> list[Probe]:
    """Measure the packed engine's memory at each step, in a fresh process for each dtype."""
    if not is_counted():
        say_skipped("memory", "this system has no /proc/self/status that counts it")
        return []
    pairs = PairSet("of a language model", QUERY, tuple(documents), ())  # nothing reads the lengths
    return measure_memory(directory, dtypes, pairs, rounds=1, max_length=max_length, threads=threads)


def main() -> int:
    """Measure each system, and print tables; 1 where one of them does not agree, or ours has not the same bits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=28, help="of the random network (default: %(default)s)")
    parser.add_argument("--small", action="store_true", help="a network of the smallest shape, to see that all runs")
    parser.add_argument("--documents", type=int, nargs="+", default=[20, 100], help="(default: %(default)s)")
    parser.add_argument("--lengths", type=int, nargs="+", default=[100, 200, 500], help="tokens (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--dtypes", nargs="+", default=["float32"], help="of ours (default: %(default)s)")
    parser.add_argument("--agree", type=float, default=1e-3, help="as near scores have to be (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write all figures here too")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shape = SHAPE | ({"vocab_size": 2010, "hidden_size": 64, "intermediate_size": 96} if arguments.small else {})

    with tempfile.TemporaryDirectory() as folder:
        directory = write_checkpoint(Path(folder), layers=arguments.layers, shape=shape)
        requests = {
            f"{count} x {length}": [document(directory, length, seed) for seed in range(count)]
            for count in arguments.documents
            for length in arguments.lengths
        }
        first = next(iter(requests.values()))[:3]
        # Documents of every length: in company each is in a batch of another shape than alone.
        company = list(dict.fromkeys([*first, *(texts[-1] for texts in requests.values())]))
        longest = max(arguments.lengths) + 400
        probes = memory_by_dtype(directory, arguments.dtypes, first, max_length=longest, threads=arguments.threads)
        systems: dict[str, Score] = {}
        for dtype in arguments.dtypes:
            model = load(
                str(directory),
                device="cpu",
                engine="packed",
                dtype=dtype,
                threads=arguments.threads,
                max_length=longest,
            )
            prefix = model.encode(QUERY, first[:1], ScoreOptions())[0].sequences[0].prefix
            systems[f"ours, {dtype}"] = Ours(model, shares=True)
            systems[f"ours, {dtype}, no shared prefix"] = Ours(model, shares=False)
        same_bits = {name: has_same_bits(score, company) for name, score in systems.items()}
        network = Network.from_pretrained(directory, dtype=torch.float32).eval()
        systems["the card's code"] = Card(directory, network)
        systems["sentence-transformers"] = Library(directory)
        scores = {name: score(first) for name, score in systems.items()}
        measured = measure(systems, requests, arguments.rounds)

    golden = scores["the card's code"]
    far = [
        name
        for name, values in scores.items()
        if not name.startswith("ours") or "float32" in name
        for ours, theirs in zip(values, golden, strict=True)
        if abs(ours - theirs) > arguments.agree * max(1.0, abs(theirs))
    ]
    machine = describe()
    print(f"{machine.processor}, torch {machine.versions['torch']}, {arguments.threads} threads")
    print(f"{prefix} tokens are shared\n")
    cells = []
    theirs = {request: median(values) for request, values in measured["the card's code"].items()}
    for name, found in measured.items():
        medians = {request: median(values) for request, values in found.items()}
        row = [f"{seconds:.2f} ({theirs[request] / seconds:.2f} x)" for request, seconds in medians.items()]
        cells.append([name, *row])
    print(table(["CPU seconds (against the card's code)", *requests], cells))
    if probes:
        print(f"\n{memory_table(probes)}")
    if arguments.json:
        write_results(
            arguments.json,
            machine,
            settings_of(arguments),
            shared_tokens=prefix,
            seconds=measured,
            scores=scores,
            same_bits=same_bits,
            memory_mb={probe.dtype: probe.memory[0] for probe in probes},
        )
    for name in sorted(set(far)):
        print(f"{name} does not agree with the card's code", file=sys.stderr)
    changed = [name for name, same in same_bits.items() if not same]
    for name in changed:
        print(f"{name}: the bits of a score change with the company or the order of its document", file=sys.stderr)
    return 1 if far or changed else 0


if __name__ == "__main__":
    sys.exit(main())
