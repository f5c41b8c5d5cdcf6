"""Large bodies are read in steps, and as any other: the same values, the same refusals."""

import json
from typing import Any

import msgspec
import pytest
from httpx import AsyncClient as Client
from hypothesis import given
from hypothesis import strategies as st
from rerank_core.errors import RerankError, TooManyDocuments
from rerank_server.dialects.routing import ARRAYS, FIELDS, ROUTES
from rerank_server.errors import MalformedBody, TooManyValues
from rerank_server.routes.body.json_reader import JsonReader, drain

MANY = 10**9
TEXTS = st.text(st.sampled_from('ab,:[]{}"\\\n\u0000é😀'), max_size=20)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5), max_leaves=30
)
NAMES = st.sampled_from(sorted(FIELDS)) | TEXTS
# As pairs: a key may stand twice.
BODIES = st.lists(st.tuples(NAMES, VALUES), max_size=12)
SPACES = st.sampled_from(["", " ", "\n\t "])


def reader(*, max_documents: int = MANY, max_values: int = MANY, at_once: int = 0) -> JsonReader:
    """One that takes every body for a large one."""
    limits = {"max_documents": max_documents, "max_values": max_values, "at_once": at_once}
    return JsonReader(FIELDS, arrays=ARRAYS, **limits)


def looked_over(body: bytes, **limits: int) -> Any:
    """What the reader makes of a body."""
    return drain(reader(**limits).read(body, None))


def written(pairs: list[tuple[str, Any]], space: str, *, ascii_only: bool) -> bytes:
    def dumped(value: object) -> str:
        return json.dumps(value, ensure_ascii=ascii_only, separators=("," + space, ":" + space))

    inside = f"{space},{space}".join(f"{dumped(name)}{space}:{space}{dumped(value)}" for name, value in pairs)
    return f"{space}{{{space}{inside}{space}}}{space}".encode()


def size(value: object) -> int:
    """The values in a value, itself included; an empty array or object counts for two."""
    if isinstance(value, dict | list):
        inner = list(value.values()) if isinstance(value, dict) else value
        return 1 + sum(map(size, inner)) + (not inner)
    return 1


@given(pairs=BODIES, space=SPACES, ascii_only=st.booleans())
def test_a_body_that_is_looked_over_is_read_as_it_is_decoded(
    pairs: list[tuple[str, Any]], space: str, ascii_only: bool
) -> None:
    body = written(pairs, space, ascii_only=ascii_only)
    plain = msgspec.json.decode(body)

    read = looked_over(body)

    assert read == {name: value for name, value in plain.items() if name in FIELDS}
    assert [(name, repr(value)) for name, value in sorted(read.items())] == [
        (name, repr(value)) for name, value in sorted(plain.items()) if name in FIELDS
    ]


@given(pairs=BODIES, space=SPACES)
def test_every_dialect_makes_the_same_request_of_it(pairs: list[tuple[str, Any]], space: str) -> None:
    body = written(pairs, space, ascii_only=False)
    plain, read = msgspec.json.decode(body), looked_over(body)

    def outcome(dialect: Any, value: object) -> object:
        try:
            request = dialect.read(value)
            return request, dialect.score_request(request)
        except RerankError as error:
            return type(error)  # of several wrong fields each may be the one that is named

    for route in ROUTES:
        for dialect in route.dialects:
            assert outcome(dialect, read) == outcome(dialect, plain)


@given(value=st.lists(VALUES, max_size=8) | st.dictionaries(TEXTS, VALUES, max_size=8), space=SPACES)
def test_values_are_counted_to_one(value: Any, space: str) -> None:
    body = written([("query", value)], space, ascii_only=False)

    assert looked_over(body, max_values=size(value)) == {"query": value}
    with pytest.raises(TooManyValues, match=f"more than {size(value) - 1} JSON values"):
        looked_over(body, max_values=size(value) - 1)


@given(value=st.lists(VALUES, min_size=1, max_size=8), name=st.sampled_from(ARRAYS))
def test_documents_are_counted_to_one(value: list[Any], name: str) -> None:
    body = written([(name, value)], " ", ascii_only=False)

    assert looked_over(body, max_documents=len(value)) == {name: value}
    with pytest.raises(TooManyDocuments, match=f"{name} has more than the {len(value) - 1} documents"):
        looked_over(body, max_documents=len(value) - 1)


@given(pairs=BODIES, at=st.integers(0, 400), byte=st.binary(min_size=1, max_size=1))
def test_what_is_no_json_is_refused_whether_looked_over_or_not(
    pairs: list[tuple[str, Any]], at: int, byte: bytes
) -> None:
    """One byte changed somewhere: both ways take it, or both refuse it. Only of numbers beyond every limit, in a field
    that nobody reads, the longer way knows nothing."""
    body = bytearray(written(pairs, "", ascii_only=False))
    body[at % len(body)] = byte[0]

    def outcome(read: Any) -> object:
        try:
            value = read(bytes(body))
        except MalformedBody:
            return "refused"
        if not isinstance(value, dict):
            return "no object"
        return {name: value for name, value in value.items() if name in FIELDS}

    plain = outcome(lambda content: looked_over(content, at_once=MANY))

    assert outcome(looked_over) == plain or plain == "refused"


@pytest.mark.parametrize(
    "text", ["\\" * 300_001, '"' * 300_001, '\\"[{,' * 60_000, "a" * 400_000, "\u0000" * 70_000, ","]
)
@pytest.mark.parametrize("before", ["", "x", "xy"])
def test_long_texts_full_of_marks_are_no_structure(text: str, before: str) -> None:
    """Windows end anywhere, also within an escape."""
    body = json.dumps({"query": "q", "documents": [before + text, text]}).encode()

    assert looked_over(body, max_values=10, max_documents=2) == {"query": "q", "documents": [before + text, text]}
    with pytest.raises(TooManyDocuments):
        looked_over(body, max_values=10, max_documents=1)


SHAPES = {
    "empty texts": b'{"query":"q","documents":[' + b'"",' * 300_000 + b'""]}',
    "numbers": b'{"query":"q","documents":[' + b"1," * 300_000 + b"1]}",
    "objects": b'{"query":"q","documents":[' + b"{}," * 300_000 + b"{}]}",
    "texts": b'{"query":"q","texts":[' + b'"",' * 300_000 + b'""]}',
    "passages": b'{"query":{"text":"q"},"passages":[' + b'{"text":""},' * 100_000 + b'{"text":""}]}',
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_far_too_many_documents_are_413_before_any_is_made(client: Client, shape: str) -> None:
    answer = await client.post("/v1/rerank", content=SHAPES[shape])

    said = answer.json()
    assert answer.status_code == 413
    assert "1000 documents" in (said.get("message") or said["error"])


@pytest.mark.parametrize("count", [2_000, 30_000, 100_000])
async def test_too_many_pairs_are_422_as_it_is_documented_however_many(client: Client, count: int) -> None:
    pairs = b'{"pairs":[' + b'{"query":"a,b,c","passage":"[{,,,,"},' * count + b"{}]}"

    answer = await client.post("/rerank/batch", content=pairs)

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["type"] in {"too_long", "value_error"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"query":"q","documents":[{' + b",".join(b'"%d":1' % number for number in range(200_000)) + b"}]}",
        b'{"query":"q","documents":[{"content":[' + b'{"type":"text","text":"a"},' * 100_000 + b"1]}]}",
        b'{"query":{"text":"q","x":[' + b"[]," * 200_000 + b'1]},"documents":["a"]}',
        b'{"query":"q","documents":["a"],"rank_fields":[' + b'"a",' * 200_000 + b'"a"]}',
    ],
    ids=["fields", "parts", "a query's fields", "rank_fields"],
)
async def test_far_too_many_values_are_refused_with_how_many_there_may_be(client: Client, body: bytes) -> None:
    answer = await client.post("/v1/rerank", content=body)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert "more than 100000 JSON values" in answer.json()["message"]


async def test_what_nobody_reads_may_be_as_much_as_a_body_holds(client: Client) -> None:
    body = b'{"x":[' + b"[]," * 300_000 + b'1],"query":"q","documents":["a"],' + b'"y":1,' * 200_000 + b'"z":{}}'

    assert (await client.post("/v1/rerank", content=body)).status_code == 200


async def test_a_large_array_instead_of_an_object_is_no_request(client: Client) -> None:
    answer = await client.post("/v1/rerank", content=b"[" + b"1," * 200_000 + b"1]")

    assert (answer.status_code, answer.json()["message"]) == (400, "the body is not as it should be: expected object")


async def test_more_documents_than_allowed_are_counted_before_each_is_made(client: Client) -> None:
    answer = await client.post("/v1/rerank", json={"query": "q", "documents": [""] * 90_000})

    assert answer.status_code == 413
    assert "the request has 90000 documents, a request may have 1000" in answer.json()["message"]


async def test_more_rank_fields_than_anybody_needs_are_refused(client: Client) -> None:
    body = {"query": "q", "documents": [{"a": "b"}], "rank_fields": ["a"] * 101}
    answer = await client.post("/v1/rerank", json=body)
    fine = await client.post("/v1/rerank", json=body | {"rank_fields": ["a"] * 100})

    assert (answer.status_code, answer.json()["message"]) == (400, "rank_fields has 101 names: send at most 100")
    assert fine.status_code == 200


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"content":'])
@pytest.mark.parametrize("field", [b"documents", b"x", b"query"])
async def test_what_is_nested_too_deeply_is_a_broken_body(client: Client, field: bytes, opening: bytes) -> None:
    answer = await client.post("/v1/rerank", content=b'{"query":"q","' + field + b'":' + opening * 500_000)

    assert answer.status_code == 400
    assert "nested too deeply" in answer.json()["message"]


async def test_nesting_that_is_just_decoded_is_no_failure_of_the_server(client: Client) -> None:
    """Writing it takes a little more room on the stack than reading it: at one depth the one works, the other not."""

    async def status(depth: int) -> int:
        document = b'{"a":' * depth + b"1" + b"}" * depth
        body = b'{"query":"q","return_documents":true,"rank_fields":["a"],"documents":[' + document + b"]}"
        return (await client.post("/v1/rerank", content=body)).status_code

    fine, refused = 1, 500_000  # how deep is too deep, depends on the version of Python
    while refused - fine > 1:
        depth = (fine + refused) // 2
        if await status(depth) == 200:
            fine = depth
        else:
            refused = depth

    statuses = [await status(depth) for depth in range(max(1, fine - 70), fine + 70)]

    assert set(statuses) == {200, 400}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"query": "q", "documents": [{"b": 1}], "rank_fields": ["x" * 1_000_000]}, "/v1/rerank"),
        ({"query": "q", "documents": ["a"], "chunk_score": "x" * 1_000_000}, "/v1/rerank"),
        ({"query": "q", "documents": ["a"], "truncation_side": "x" * 1_000_000}, "/v1/rerank"),
        ({"query": "q", "documents": ["a"], "top_n": "x" * 1_000_000}, "/v1/rerank"),
        ({"query": "q", "documents": ["a"], "top_n": -(10**300)}, "/v1/rerank"),
        ({"query": "q", "documents": ["a"], "truncate_prompt_tokens": 10**300}, "/v1/rerank"),
        ({"query": "q", "documents": ["a"], "relevant_spans": {"mode": "x" * 1_000_000}}, "/v1/rerank"),
        ({"query": "q", "documents": [{"x" * 1_000_000: 1}]}, "/v1/rerank"),
        ({"query": "q", "passage": ["x" * 1_000_000], "normalize": "x" * 1_000_000}, "/rerank"),
        ({"x" * 1_000_000: 1}, "/rerank/batch"),
    ],
)
async def test_an_error_says_what_is_wrong_in_few_words_however_much_was_sent(
    client: Client, body: dict[str, Any], path: str
) -> None:
    answer = await client.post(path, json=body)

    assert 400 <= answer.status_code < 500
    assert len(answer.content) < 2500
    assert "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" * 10 not in answer.text


async def test_a_model_with_a_long_name_is_unknown_in_few_words(serve, until_ready) -> None:
    from rerank_core.testing.doubles import OverlapModel

    async with serve(lambda _: OverlapModel(), strict_model=True) as client:
        await until_ready(client)
        body = {"query": "q", "documents": ["a"], "model": "x" * 1_000_000}
        answer = await client.post("/v1/rerank", json=body, headers={"X-Request-ID": "y" * 10_000})

    assert answer.status_code == 404
    assert len(answer.content) < 2500
    assert len(answer.headers["X-Request-ID"]) <= 128
