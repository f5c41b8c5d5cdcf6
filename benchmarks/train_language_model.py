"""Trains a small language model as a reranker, and writes it with a reranker's files: a check of our prompt road.

Random weights cannot show a wrong sign, prompt or position, because both sides of a comparison have it. A model that
was trained can: it ranks well only where it is read as it was trained. The model is Qwen3-shaped, scored by the logit
of "yes" less that of "no" behind a chat template. It learns the scores of a trained cross-encoder (``--teacher``) on
sentences of judged collections, but for the one on which it is judged then:

    python benchmarks/train_language_model.py OUT --teacher ../shared/models/minilm-ce --held-out wikiqa-test
    rerank eval ../shared/data/wikiqa-test --model OUT

The vocabulary and the first token embeddings are the teacher's. Nothing of it is part of the product.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import bm25s
import numpy as np
import rerank_core
import torch
from machine import describe
from rerank_core import Pair, ScoreOptions
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional
from transformers import Qwen3Config, Qwen3ForCausalLM

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
COLLECTIONS = ("xquad-en", "scifact", "cranfield", "wikiqa-test")

TEMPLATE = """{{- 'query: ' + (messages | selectattr('role', 'eq', 'query') | first).content }} [SEP]
{{- ' document: ' + (messages | selectattr('role', 'eq', 'document') | first).content }} [SEP] answer:
"""
_BM25, _RANDOM = 12, 4  # sentences that a query is scored with: those that share words with it, and any others


Row: TypeAlias = tuple[list[list[int]], list[float]]
"""A group's token ids and targets."""


@dataclass(frozen=True, slots=True)
class Group:
    """One query, some sentences, and what the teacher says of each."""

    query: str
    documents: list[str]
    targets: list[float]


def sentences(collection: str) -> list[str]:
    """Read the sentences of a collection's documents."""
    found = []
    for line in (DATA / collection / "corpus.jsonl").read_text(encoding="utf-8").splitlines():
        text = json.loads(line)["text"]
        found += [part.strip() for part in re.split(r"(?<=[.!?])\s+", text) if 5 <= len(part.split()) <= 60]
    return found


def queries(collection: str, spans: int, generator: random.Random, documents: Sequence[str]) -> list[str]:
    """Read a collection's queries, and take some runs of words out of its sentences besides."""
    lines = (DATA / collection / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line)["text"] for line in lines]
    for document in generator.sample(list(documents), min(spans, len(documents))):
        words = document.split()
        length = generator.randint(3, 8)
        start = generator.randrange(max(1, len(words) - length))
        found.append(" ".join(words[start : start + length]))
    return found


def groups(teacher: str, held_out: str, spans: int, generator: random.Random) -> list[Group]:
    """Let the teacher score sentences beside every query of the other collections."""
    model = rerank_core.load(teacher, dtype="bfloat16", max_length=128)
    found = []
    for collection in COLLECTIONS:
        if collection == held_out:
            continue
        documents = sentences(collection)
        index = bm25s.BM25()
        index.index(bm25s.tokenize(documents, show_progress=False), show_progress=False)
        asked = queries(collection, spans, generator, documents)
        tokens = bm25s.tokenize(asked, show_progress=False)
        best, _ = index.retrieve(tokens, k=_BM25, show_progress=False)
        for query, numbers in zip(asked, best, strict=True):
            chosen = [documents[number] for number in numbers] + generator.sample(documents, _RANDOM)
            found.append(Group(query, chosen, []))
    pairs = [Pair(group.query, document) for group in found for document in group.documents]
    values = model.score_pairs(pairs, ScoreOptions(raw=True)).values
    scored = iter(values)
    return [Group(g.query, g.documents, [next(scored) for _ in g.documents]) for g in found]


def write_beginning(directory: Path, teacher: Path, layers: int) -> Qwen3ForCausalLM:
    """Write a model that has learnt nothing yet, with all files of a reranker; return its network."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copy(teacher / name, directory / name)
        (directory / name).chmod(0o644)
    vocabulary = (teacher / "vocab.txt").read_text(encoding="utf-8").splitlines()
    config = Qwen3Config(
        vocab_size=len(vocabulary), hidden_size=384, intermediate_size=768, num_hidden_layers=layers,
        num_attention_heads=6, num_key_value_heads=3, head_dim=64, max_position_embeddings=512,
        tie_word_embeddings=True, pad_token_id=0, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    network = Qwen3ForCausalLM(config)
    embeddings = load_file(teacher / "model.safetensors")["bert.embeddings.word_embeddings.weight"].float()
    with torch.no_grad():
        network.model.embed_tokens.weight.copy_(embeddings / embeddings.std() * 0.5)
    network.save_pretrained(directory)
    (directory / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    _write(
        directory / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
            {
                "idx": 1,
                "name": "1",
                "path": "1_LogitScore",
                "type": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore",
            },
        ],
    )
    tokens = {"true_token_id": vocabulary.index("yes"), "false_token_id": vocabulary.index("no")}
    (directory / "1_LogitScore").mkdir(exist_ok=True)
    _write(directory / "1_LogitScore" / "config.json", tokens)
    _write(
        directory / "config_sentence_transformers.json",
        {"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.linear.Identity"},
    )
    _write(
        directory / "sentence_bert_config.json",
        {
            "transformer_task": "text-generation",
            "modality_config": {
                "text": {"method": "forward", "method_output_name": "logits"},
                "message": {"method": "forward", "method_output_name": "logits", "format": "flat"},
            },
            "module_output_name": "causal_logits",
        },
    )
    return network


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def encoded(model: rerank_core.LocalModel, found: Sequence[Group]) -> list[Row]:
    """Encode each group by our own prompt road."""
    rows = []
    for group in found:
        encodings = model.encode(group.query, group.documents, ScoreOptions())
        ids = [np.frombuffer(e.sequences[0].token_ids, dtype=np.int32).tolist() for e in encodings]
        rows.append((ids, group.targets))
    return rows


def batches(rows: list[Row], size: int, generator: random.Random) -> Iterator[list[int]]:
    """Yield numbers of groups, those of a batch of like length."""
    order = sorted(range(len(rows)), key=lambda row: (max(map(len, rows[row][0])) // 16, generator.random()))
    found = [order[start : start + size] for start in range(0, len(order), size)]
    generator.shuffle(found)
    yield from found


def train(
    network: Qwen3ForCausalLM,
    rows: list[Row],
    ids: tuple[int, int],
    *,
    epochs: float,
    size: int,
    rate: float,
) -> None:
    """Learn the teacher's order within a group, and where its scores are positive."""
    generator = random.Random(0)  # noqa: S311
    network.train()
    quiet = [p for name, p in network.named_parameters() if "embed" in name]
    loud = [p for name, p in network.named_parameters() if "embed" not in name]
    optimizer = torch.optim.AdamW([{"params": loud, "lr": rate}, {"params": quiet, "lr": rate / 5}], weight_decay=0.01)
    steps = int(epochs * -(-len(rows) // size))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [rate, rate / 5], total_steps=steps + 1, pct_start=0.1)
    done, began, mean = 0, time.monotonic(), 0.0
    while done < steps:
        for chosen in batches(rows, size, generator):
            if done == steps:
                break
            texts = [text for row in chosen for text in rows[row][0]]
            targets = torch.tensor([target for row in chosen for target in rows[row][1]])
            logits = last_difference(network, texts, ids)
            wanted, found = targets.view(len(chosen), -1), logits.view(len(chosen), -1)
            order = functional.kl_div(found.log_softmax(1), wanted.softmax(1), reduction="batchmean")
            sign = functional.binary_cross_entropy_with_logits(logits, targets.sigmoid())
            loss = order + sign
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            done += 1
            mean += (float(loss.detach()) - mean) / min(done, 50)
            if done % 50 == 0:
                print(f"step {done} of {steps}: loss {mean:.3f}, {time.monotonic() - began:.0f} s", flush=True)
    network.eval()


def last_difference(network: Qwen3ForCausalLM, texts: Sequence[Sequence[int]], ids: tuple[int, int]) -> Tensor:
    """Compute yes less no at the last token of each text; padding stands behind it, where nothing looks."""
    lengths = torch.tensor([len(text) for text in texts])
    padded = torch.zeros(len(texts), int(lengths.max()), dtype=torch.long)
    for row, text in enumerate(texts):
        padded[row, : len(text)] = torch.tensor(text)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = network.model(input_ids=padded, use_cache=False).last_hidden_state
    last = hidden[torch.arange(len(texts)), lengths - 1].float()
    weight = network.lm_head.weight
    difference: Tensor = last @ (weight[ids[0]] - weight[ids[1]])
    return difference


def main() -> None:
    """Train, and write the directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--held-out", default="wikiqa-test", choices=COLLECTIONS)
    parser.add_argument("--spans", type=int, default=1000, help="queries made of a collection's sentences")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--groups", type=int, default=8, help="queries in a step")
    parser.add_argument("--rate", type=float, default=1e-3)
    arguments = parser.parse_args()

    print(describe())
    network = write_beginning(arguments.out, arguments.teacher, arguments.layers)
    found = groups(str(arguments.teacher), arguments.held_out, arguments.spans, random.Random(0))  # noqa: S311
    print(f"{len(found)} queries, {sum(len(group.documents) for group in found)} pairs")
    rows = encoded(rerank_core.load(str(arguments.out), max_length=160), found)
    score = json.loads((arguments.out / "1_LogitScore" / "config.json").read_text(encoding="utf-8"))
    ids = score["true_token_id"], score["false_token_id"]
    train(network, rows, ids, epochs=arguments.epochs, size=arguments.groups, rate=arguments.rate)
    network.save_pretrained(arguments.out)
    print(f"written: {arguments.out}")


if __name__ == "__main__":
    main()
