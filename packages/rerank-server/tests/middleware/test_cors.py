"""Pages of other origins: who may call, what their browsers are told, and who is refused."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
from httpx import AsyncClient as Client
from rerank_core.testing.doubles import OverlapModel
from rerank_server.middleware.origins import Origins, parse_origins
from rerank_server.settings import Settings, SettingsError

Serve = Callable[..., AbstractAsyncContextManager[Client]]

APP = "https://app.example"
EVIL = "https://evil.example"
DOCUMENTS = {"query": "x", "documents": ["y"]}
PREFLIGHT = {"Access-Control-Request-Method": "POST"}


@pytest.fixture
async def named(shared) -> Client:
    """A client of a server that names one origin."""
    return (await shared(cors_origins=APP))[0]


@pytest.mark.parametrize(
    ("named", "origin"),
    [
        (APP, APP),
        ("https://app.example/", APP),
        ("HTTPS://App.Example:443", APP),
        (APP, "https://APP.example"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("chrome-extension://dofdpnoclkigpakdndmhigfojjecnfln", "chrome-extension://dofdpnoclkigpakdndmhigfojjecnfln"),
        ("moz-extension://*", "moz-extension://1b2c-3d4e"),
        ("tauri://localhost", "tauri://localhost"),
        ("app://obsidian.md", "app://obsidian.md"),
        ("app://-", "app://-"),
        ("vscode-webview://*", "vscode-webview://0abc"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("file://", "file://"),
        ("https://*.example.com", "https://a.b.example.com"),
        ("https://*.example.com", "https://a.example.com:443"),
        ("http://localhost:*", "http://localhost:5173"),
        ("http://localhost:*", "http://localhost"),
        (f"http://x, {APP} ,", APP),
        ("*", "null"),
    ],
)
def test_an_origin_is_known_as_browsers_send_it(named: str, origin: str) -> None:
    assert Origins(parse_origins(named)).allow(origin)


@pytest.mark.parametrize(
    ("named", "origin"),
    [
        (APP, "http://app.example"),
        (APP, "https://app.example:8443"),
        (APP, "https://app.example.evil.com"),
        (APP, "https://sub.app.example"),
        (APP, "null"),
        (APP, ""),
        (APP, "https://app.example, https://evil.example"),
        ("https://*.example.com", "https://example.com"),
        ("https://*.example.com", "https://evilexample.com"),
        ("https://*.example.com", "https://evil.com/.example.com"),
        ("https://*.example.com", "https://evil.com:1.example.com"),
        ("https://*.example.com", "https://a.example.com:8443"),
        ("https://*.example.com", "http://a.example.com"),
        ("http://localhost:*", "http://localhost.evil.com:1"),
        ("http://localhost:*", "http://localhost:1@evil.com"),
        ("moz-extension://*", "chrome-extension://1b2c"),
        (",", APP),
    ],
)
def test_no_other_origin_is(named: str, origin: str) -> None:
    assert not Origins(parse_origins(named)).allow(origin)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("*,https://a.b", "or the other"),
        ("a.b", "'a.b'"),
        ("https://a.b/path", "without a path"),
        ("https://a.b?x", "without a path"),
        ("https://user@a.b", "CORS_ORIGINS"),
        ("https://a.b:port", "CORS_ORIGINS"),
        ("https://", "names no host"),
        ("https://*", "names no host"),
        ("https://*.", "stands before a name"),
        ("https://a.*", "CORS_ORIGINS"),
        ("https://bücher.example", "punycode"),
        ("null", "any page"),
        ("ftp://c", "scheme 'ftp'"),
        ("wss://c", "scheme 'wss'"),
        ("htps://c", "scheme 'htps'"),
        ("https://a.b https://c.d", "CORS_ORIGINS"),
    ],
)
def test_an_origin_that_no_browser_sends_stops_the_start_with_the_reason(value: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=r"^CORS_ORIGINS holds") as caught:
        Settings.from_env({"CORS_ORIGINS": value})

    assert reason in str(caught.value)
    assert "CORS_ORIGINS" in str(caught.value)


@pytest.mark.parametrize("origins", [APP, "*"])
@pytest.mark.parametrize(
    "names",
    [
        "content-type",
        "authorization,content-type",
        "authorization,content-type,x-client-name,x-fern-language,x-fern-sdk-version",
        "authorization, content-type, x-stainless-arch, x-stainless-retry-count, x-request-id",
        "X-Whatever_Comes.Next,!#$%&'*+-.^_`|~",
    ],
)
async def test_a_preflight_may_ask_for_any_headers(shared, origins: str, names: str) -> None:
    client, _ = await shared(cors_origins=origins, api_keys="key")
    asked = {"Origin": APP, "Access-Control-Request-Headers": names}
    answer = await client.options("/v1/rerank", headers=PREFLIGHT | asked)

    assert (answer.status_code, answer.content) == (204, b"")
    allowed = answer.headers["Access-Control-Allow-Headers"].split(", ")
    assert allowed == [name.strip().lower() for name in names.split(",")]
    assert answer.headers["Access-Control-Allow-Origin"] == ("*" if origins == "*" else APP)
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert int(answer.headers["Access-Control-Max-Age"]) >= 600


@pytest.mark.parametrize("names", ["a b", "x:y", "n" * 101, ",".join(f"x-{number}" for number in range(101)), "é"])
async def test_a_preflight_for_names_that_are_none_or_too_many_is_refused(named: Client, names: str) -> None:
    asked = {"Origin": APP, "Access-Control-Request-Headers": names.encode()}
    answer = await named.options("/v1/rerank", headers=PREFLIGHT | asked)

    assert answer.status_code == 400
    assert "Access-Control-Allow-Headers" not in answer.headers
    assert len(answer.text) < 2000


async def test_a_preflight_of_a_foreign_origin_is_refused_and_says_where_to_name_it(serve: Serve) -> None:
    async with serve(lambda _: OverlapModel(), cors_origins=APP) as named:
        answer = await named.options("/v1/rerank", headers=PREFLIGHT | {"Origin": EVIL})
        metrics = (await named.get("/metrics")).text

    assert answer.status_code == 400
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "CORS_ORIGINS" in answer.json()["detail"]
    assert "rerank_rejections_total{" not in metrics  # it asked for no scores


async def test_a_public_page_may_enter_a_private_network_only_where_it_is_named(serve: Serve, named: Client) -> None:
    asked = PREFLIGHT | {"Origin": APP, "Access-Control-Request-Private-Network": "true"}
    async with serve(lambda _: OverlapModel()) as anyone:
        to_all = await anyone.options("/v1/rerank", headers=asked)
    to_one = await named.options("/v1/rerank", headers=asked)

    assert "Access-Control-Allow-Private-Network" not in to_all.headers
    assert to_one.headers["Access-Control-Allow-Private-Network"] == "true"


@pytest.mark.parametrize("origin", [None, APP, EVIL])
async def test_every_answer_varies_by_origin_where_origins_are_named(named: Client, origin: str | None) -> None:
    headers = {"Origin": origin} if origin else {}

    for answer in (
        await named.get("/v1/models", headers=headers),
        await named.get("/playground", headers=headers),
        await named.get("/nowhere", headers=headers),
        await named.get("/v1/rerank", headers=headers),
        await named.post("/v1/rerank", json={}, headers=headers),
        await named.post("/v1/rerank", json=DOCUMENTS, headers=headers),
        await named.options("/v1/rerank", headers=headers | PREFLIGHT),
        await named.options("/v1/rerank", headers=headers),
    ):
        assert "Origin" in [name.strip() for name in answer.headers["Vary"].split(",")]
        assert answer.headers.get("Access-Control-Allow-Origin") == (APP if origin == APP else None)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/rerank", {"id", "message", "detail", "code", "error"}),
        ("/rerank/batch", {"detail"}),
        ("/tei/rerank", {"error", "error_type"}),
        ("/vllm/v1/rerank", {"error"}),
        ("/cohere/v2/rerank", {"id", "message"}),
        ("/jina/v1/rerank/", {"detail"}),
    ],
)
@pytest.mark.parametrize("kind", ["application/json", "text/plain", None])
async def test_a_foreign_page_is_refused_in_the_dialect_of_the_path_and_nothing_is_read(
    shared, path: str, fields: set[str], kind: str | None
) -> None:
    client, model = await shared(cors_origins=APP)

    async def body():
        raise AssertionError("the body was read")
        yield b""

    headers = {"Origin": EVIL} | ({"Content-Type": kind} if kind else {})
    answer = await client.post(path, content=body(), headers=headers)

    assert answer.status_code == 403
    assert set(answer.json()) == fields
    assert model.forwards == []


async def test_a_refused_page_is_counted(serve: Serve) -> None:
    async with serve(lambda _: OverlapModel(), cors_origins=APP) as named:
        await named.post("/v1/rerank", json=DOCUMENTS, headers={"Origin": EVIL})

        assert 'rerank_rejections_total{reason="foreign_origin"} 1.0' in (await named.get("/metrics")).text


@pytest.mark.parametrize("origin", ["null", "", "https://app.example, https://app.example"])
async def test_an_origin_that_cannot_be_read_is_foreign(named: Client, origin: str) -> None:
    assert (await named.post("/v1/rerank", json=DOCUMENTS, headers={"Origin": origin})).status_code == 403


async def test_two_origins_are_foreign(named: Client) -> None:
    headers = [("Origin", APP), ("Origin", APP)]

    assert (await named.post("/v1/rerank", json=DOCUMENTS, headers=headers)).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},  # a server, curl
        {"Origin": APP},
        {"Origin": "http://server"},  # the playground
        {"Origin": "http://server:80"},
        {"Origin": "https://server"},  # behind a proxy that ends TLS
        {"Origin": "https://ranking.example:8443", "Host": "ranking.example:8443"},
        {"Origin": "https://ranking.example", "X-Forwarded-Host": "ranking.example"},
        {"Origin": "https://ranking.example", "X-Forwarded-Host": "Ranking.example:443, inner"},
        {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_servers_named_origins_and_the_servers_own_pages_pass(named: Client, headers: dict[str, str]) -> None:
    assert (await named.post("/v1/rerank", json=DOCUMENTS, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://server:8000"},
        {"Origin": "chrome-extension://server"},
        {"Origin": EVIL, "X-Forwarded-Host": "server"},
        {"Origin": EVIL, "Sec-Fetch-Site": "same-site"},
        {"Origin": "https://server.evil.example"},
    ],
)
async def test_what_only_looks_like_the_servers_own_page_does_not_pass(named: Client, headers: dict[str, str]) -> None:
    assert (await named.post("/v1/rerank", json=DOCUMENTS, headers=headers)).status_code == 403


@pytest.mark.parametrize("path", ["/ranking/v1/rerank", "/v1/rerank"])
async def test_the_playground_below_a_prefix_passes(serve: Serve, until_ready, path: str) -> None:
    async with serve(lambda _: OverlapModel(), cors_origins=APP, root_path="/ranking") as client:
        await until_ready(client)
        ours = await client.post(path, json=DOCUMENTS, headers={"Origin": "http://server"})
        foreign = await client.post(path, json=DOCUMENTS, headers={"Origin": EVIL})

    assert (ours.status_code, foreign.status_code) == (200, 403)
    assert foreign.json()["code"] == "foreign_origin"


async def test_where_no_origin_is_named_every_page_may_call(client: Client) -> None:
    for origin in (APP, "null", "chrome-extension://abc"):
        answer = await client.post("/v1/rerank", json=DOCUMENTS, headers={"Origin": origin})

        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, "*")
        assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]


async def test_looking_is_open_to_foreign_pages_but_their_browsers_do_not_show_it(named: Client) -> None:
    answer = await named.get("/v1/models", headers={"Origin": EVIL})

    assert answer.status_code == 200
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Access-Control-Expose-Headers" not in answer.headers
