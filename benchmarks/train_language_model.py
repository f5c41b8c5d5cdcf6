"""Trains a small language model as a reranker, and writes it with a reranker's files: a check of our prompt road.

Random weights cannot show a wrong sign, prompt or position, because both sides of a comparison have it. A model that
was trained can: it ranks well only where it is read as it was trained. The model is Qwen3-shaped, scored by the logit
of "yes" less that of "no" behind a chat template. It learns the judgements of a collection's candidates, and the scores
of a trained cross-encoder (``--teacher``) for them, until its ranking is better than BM25's:

    python benchmarks/train_language_model.py OUT --teacher ../shared/models/minilm-ce
    rerank eval ../shared/data/wikiqa-test --model OUT --queries 243 --depth 100

It has then seen what it is judged on: that it ranks well shows how it is read, and not how good it is. ``--unseen 2``
leaves every second query out, to see how it does on others: some minutes from nothing make no good reranker.

It ends within ``--minutes`` of processor time on one core, and what is written meanwhile can be judged at any time.
Little time is enough because not all is learnt: the vocabulary and the token embeddings are the teacher's and stay as
they are, and in the beginning a query and a key of equal tokens are equal in every layer, so that a word finds itself
in the other text. Nothing of it is part of the product.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import rerank_core
import torch
from machine import describe
from rerank_core import ScoreOptions
from rerank_core.atomic_write import atomic_write
from rerank_core.testing.language_models import write_prompt
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional
from transformers import Qwen3Config, Qwen3ForCausalLM

DATA = Path(__file__).parent.parent.parent / "shared" / "data"

# The document comes first: each word of the query can look for itself in it, and the last token at each of them.
TEMPLATE = """{{- 'document: ' + (messages | selectattr('role', 'eq', 'document') | first).content }} [SEP]
{{- ' query: ' + (messages | selectattr('role', 'eq', 'query') | first).content }} [SEP] answer:
"""
MAX_LENGTH = 128
_GROUP = 8  # candidates of a query that stand beside each other in a step
_RELEVANT = 8.0  # added to the raw score of a candidate that is judged relevant


Row: TypeAlias = tuple[list[list[int]], Sequence[float]]
"""A group's token ids and targets."""


@dataclass(frozen=True, slots=True)
class Group:
    """One query, some of its candidates, and what is learnt for each."""

    query: str
    documents: Sequence[str]
    targets: Sequence[float]


@dataclass(frozen=True, slots=True)
class Budget:
    """Processor time of all threads of this process, which is what it takes alone on one core."""

    seconds: float

    @property
    def used(self) -> float:
        """The seconds that are used."""
        return time.process_time()

    @property
    def share(self) -> float:
        """The used part, from 0 to 1."""
        return min(1.0, self.used / self.seconds)


def taught(collection: Path, teacher: str, unseen: int, generator: random.Random) -> list[Group]:
    """Let the teacher score the candidates of a collection's queries, but for every ``unseen``-th query (0: of all).

    A candidate that is judged relevant has ``_RELEVANT`` more. A query with fewer candidates than a group has gets any
    other documents besides.
    """
    texts = {line["_id"]: f"{line.get('title') or ''} {line['text']}".strip() for line in _read(collection, "corpus")}
    queries = {line["_id"]: line["text"] for line in _read(collection, "queries")}
    judgements = (line.split("\t") for line in (collection / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:])
    relevant = {(query, document) for query, document, grade in judgements if int(grade) > 0}
    model = rerank_core.load(teacher, max_length=MAX_LENGTH, threads=1)
    found = []
    for number, line in enumerate(_read(collection, "candidates")):
        if unseen and number % unseen == unseen - 1:
            continue
        query, ids = queries[line["query_id"]], [candidate["id"] for candidate in line["candidates"]]
        ids += generator.sample(sorted(texts.keys() - ids), max(0, _GROUP - len(ids)))
        documents = [texts[id_] for id_ in ids]
        scores = model.score(query, documents, ScoreOptions(raw=True)).values
        more = [_RELEVANT * ((line["query_id"], id_) in relevant) for id_ in ids]
        pairs = [(text, score + extra) for text, score, extra in zip(documents, scores, more, strict=True)]
        for start in range(0, len(pairs), _GROUP):
            part = pairs[start : start + _GROUP]
            others = pairs[:start] + pairs[start + _GROUP :]
            part += generator.sample(others, _GROUP - len(part))
            found.append(Group(query, *zip(*part, strict=True)))
    return found


def _read(collection: Path, name: str) -> Iterator[Any]:
    yield from map(json.loads, (collection / f"{name}.jsonl").read_text(encoding="utf-8").splitlines())


def write_beginning(directory: Path, teacher: Path, layers: int) -> Qwen3ForCausalLM:
    """Write a model that has learnt nothing yet, with all files of a reranker; return its network."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copy(teacher / name, directory / name)
        (directory / name).chmod(0o644)
    vocabulary = (teacher / "vocab.txt").read_text(encoding="utf-8").splitlines()
    config = Qwen3Config(
        vocab_size=len(vocabulary), hidden_size=384, intermediate_size=512, num_hidden_layers=layers,
        num_attention_heads=6, num_key_value_heads=3, head_dim=64, max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True, pad_token_id=0, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    network = Qwen3ForCausalLM(config)
    embeddings = load_file(teacher / "model.safetensors")["bert.embeddings.word_embeddings.weight"].float()
    with torch.no_grad():
        embeddings -= embeddings.mean(0)
        network.model.embed_tokens.weight.copy_(embeddings / embeddings.std() * 0.5)
        network.model.norm.weight.fill_(0.2)  # logits of a few units
        for layer in network.model.layers:
            attention = layer.self_attn
            keys = attention.k_proj.weight.view(3, 64, 384)
            attention.q_proj.weight.copy_(keys.repeat_interleave(2, dim=0).reshape(384, 384))
    network.model.embed_tokens.weight.requires_grad_(False)
    save(network, directory)
    true_id, false_id = vocabulary.index("yes"), vocabulary.index("no")
    write_prompt(
        directory, TEMPLATE, true_id=true_id, false_id=false_id, activation_fn="torch.nn.modules.linear.Identity"
    )
    return network


def save(network: Qwen3ForCausalLM, directory: Path) -> None:
    """Write configuration and weights; whoever reads the directory meanwhile finds the old weights or the new ones."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        network.save_pretrained(folder)
        for name in ("config.json", "model.safetensors"):
            with atomic_write(directory / name) as part:
                shutil.move(Path(folder) / name, part)


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
    budget: Budget,
    *,
    size: int,
    rate: float,
    out: Path,
) -> None:
    """Learn the order within a group, and where targets are positive, until the time is used."""
    generator = random.Random(0)
    network.train()
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], rate, weight_decay=0.01)
    began, saved, done, epoch, mean = budget.used, budget.used, 0, 0, 0.0
    while budget.share < 1:
        epoch += 1
        for chosen in batches(rows, size, generator):
            progress = min(1.0, (budget.used - began) / (budget.seconds - began))
            if progress == 1:
                break
            for group in optimizer.param_groups:  # up in a twentieth of the time, then down to nothing
                group["lr"] = rate * min(progress * 20, (1 + math.cos(math.pi * progress)) / 2)
            texts = [text for row in chosen for text in rows[row][0]]
            targets = torch.tensor([target for row in chosen for target in rows[row][1]])
            logits = last_difference(network, texts, ids)
            wanted, found = targets.view(len(chosen), -1), logits.view(len(chosen), -1)
            order = functional.kl_div(found.log_softmax(1), wanted.softmax(1), reduction="batchmean")
            sign = functional.binary_cross_entropy_with_logits(logits, targets.sigmoid())
            optimizer.zero_grad()
            (order + sign).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            done += 1
            mean += (float((order + sign).detach()) - mean) / min(done, 100)
            if done % 50 == 0:
                used = f"{budget.used:.0f} of {budget.seconds:.0f} s"
                print(f"step {done}, epoch {epoch}: loss {mean:.3f}, {used}", flush=True)
            if budget.used - saved > 120:
                save(network, out)
                saved = budget.used
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
    parser.add_argument("--collection", type=Path, default=DATA / "wikiqa-test")
    parser.add_argument("--unseen", type=int, default=0, help="leave every so many-th query out; 0: none")
    parser.add_argument("--minutes", type=float, default=12, help="processor time on one core, the teacher's included")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--groups", type=int, default=4, help=f"groups of {_GROUP} candidates in a step")
    parser.add_argument("--rate", type=float, default=1e-3)
    arguments = parser.parse_args()

    print(describe())
    torch.set_num_threads(1)
    budget = Budget(60 * arguments.minutes)
    network = write_beginning(arguments.out, arguments.teacher, arguments.layers)
    generator = random.Random(0)
    found = taught(arguments.collection, str(arguments.teacher), arguments.unseen, generator)
    if not found:
        parser.error("there is no query to learn: set --unseen to 0, or to 2 or more")
    queries = len({group.query for group in found})
    print(f"{queries} queries, {len(found)} groups of {_GROUP} pairs, {budget.used:.0f} s")
    rows = encoded(rerank_core.load(str(arguments.out), max_length=MAX_LENGTH, threads=1), found)
    score = json.loads((arguments.out / "1_LogitScore" / "config.json").read_text(encoding="utf-8"))
    ids = score["true_token_id"], score["false_token_id"]
    train(network, rows, ids, budget, size=arguments.groups, rate=arguments.rate, out=arguments.out)
    save(network, arguments.out)
    print(f"written: {arguments.out}, {budget.used:.0f} s")


if __name__ == "__main__":
    main()
