"""NVIDIA's NIM as its clients test it: LlamaIndex's postprocessor-nvidia-rerank (test_postprocessor_nvidia_rerank.py,
test_truncate.py, test_available_models.py), and LangChain's NVIDIARerank 1.5.0."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from httpx import AsyncClient as Client
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import ScoreOptions

Serve = Callable[..., AbstractAsyncContextManager[Client]]

PASSAGES = [{"text": text} for text in ("first", "last", "last or first")]
PATHS = ["/v1/ranking", "/nim/v1/ranking", "/rerank", "/v1/rerank"]


async def ranked(client: Client, path: str, **fields: Any) -> Any:
    body = {"model": "any", "query": {"text": "last"}, "passages": PASSAGES} | fields
    answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["rankings"]


@pytest.mark.parametrize("path", PATHS)
async def test_every_passage_has_its_logit_the_best_first(client: Client, path: str) -> None:
    rankings = await ranked(client, path)

    values = OverlapModel().score("last", [passage["text"] for passage in PASSAGES], ScoreOptions(raw=True)).values
    assert [(ranking["index"], ranking["logit"]) for ranking in rankings] == [
        (index, values[index]) for index in (1, 2, 0)
    ]


@pytest.mark.parametrize("path", PATHS)
async def test_one_passage(client: Client, path: str) -> None:
    assert len(await ranked(client, path, passages=PASSAGES[:1])) == 1


async def test_batches_of_any_size_give_the_same_logits(client: Client) -> None:
    """Its client sends batches and merges them."""
    passages = [{"text": f"{'last ' * (number % 3)}{number}"} for number in range(20)]
    together = {
        ranking["index"]: ranking["logit"] for ranking in await ranked(client, "/v1/ranking", passages=passages)
    }

    for size in (1, 3, 7, 17):
        apart = {
            start + ranking["index"]: ranking["logit"]
            for start in range(0, len(passages), size)
            for ranking in await ranked(client, "/v1/ranking", passages=passages[start : start + size])
        }
        assert apart == together


@pytest.mark.parametrize(("truncate", "status"), [("END", 200), (None, 200), ("NONE", 400), ("START", 400)])
async def test_truncate(client: Client, truncate: str | None, status: int) -> None:
    body = {"query": {"text": "last"}, "passages": [{"text": "last " * 100}], "truncate": truncate}

    assert (await client.post("/v1/ranking", json=body)).status_code == status


@pytest.mark.parametrize("base", ["", "/nim"])
@pytest.mark.parametrize("probe", ["/v1/health/ready", "/v1/health/live"])
async def test_probes_need_no_key(serve: Serve, base: str, probe: str) -> None:
    async with serve(api_keys="secret") as client:
        assert (await client.get(base + probe)).status_code == 200
        assert (await client.head(base + probe)).status_code == 200


@pytest.mark.parametrize("base", ["", "/nim"])
async def test_models_are_listed_by_their_ids(client: Client, base: str) -> None:
    models = (await client.get(f"{base}/v1/models")).json()["data"]

    assert [model["id"] for model in models] == ["overlap"]


async def test_differs_no_passages_are_refused(client: Client) -> None:
    """Its client returns an empty list itself, and never asks."""
    answer = await client.post("/v1/ranking", json={"query": {"text": "last"}, "passages": []})

    assert answer.status_code == 400
