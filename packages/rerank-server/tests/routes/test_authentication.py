from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from httpx import AsyncClient as Client
from rerank_core.errors import Unauthorized
from rerank_core.testing.doubles import OverlapModel
from rerank_server.api_keys import ApiKeys, read_keys, reload_keys
from rerank_server.app import create_app
from rerank_server.settings import Settings, SettingsError

PAIR = {"query": "where do pandas live", "passage": "pandas live in China"}
BODIES = {
    "/rerank": PAIR,
    "/rerank/batch": {"pairs": [PAIR]},
    "/v1/rerank": {"query": "x", "documents": ["y"]},
}
OPEN = [
    *("/", "/livez", "/readyz", "/health", "/ping", "/docs", "/redoc", "/openapi.json", "/playground", "/metrics"),
    *("/v1/cluster/auth", "/static/swagger-ui.css", "/v1/health/ready", "/v1/health/live"),
    *("http://server//livez", "/readyz//", "/static//playground.css"),  # as the router reads them
]


@pytest.fixture
async def client(shared) -> Client:
    return (await shared(api_keys="first-key, second-key"))[0]


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic first-key"}, {"Authorization": "Bearer"}],
)
async def test_no_score_without_a_key(client: Client, path: str, headers: dict[str, str]) -> None:
    response = await client.post(path, json=BODIES[path], headers=headers)

    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "API key" in response.json()["detail"]
    assert "first-key" not in response.text


async def test_an_error_is_in_the_language_of_its_route(client: Client) -> None:
    native = (await client.post("/rerank/batch")).json()
    documents = (await client.post("/v1/rerank")).json()

    assert set(native) == {"detail"}
    assert documents["code"] == documents["error"]["code"] == "unauthorized"


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("key", ["first-key", "second-key"])
async def test_each_of_several_keys_is_good(client: Client, path: str, key: str) -> None:
    response = await client.post(path, json=BODIES[path], headers={"Authorization": f"bearer {key}"})

    assert response.status_code == 200


@pytest.mark.parametrize("path", OPEN)
async def test_probes_and_pages_are_open(client: Client, path: str) -> None:
    assert (await client.get(path)).status_code == 200
    assert (await client.head(path)).status_code == 200


async def test_everything_else_is_not(client: Client) -> None:
    for path in ("/info", "/models", "/v1/models", "/v1/models/overlap", "http://server//info"):
        assert (await client.get(path)).status_code == (await client.head(path)).status_code == 401
    assert (await client.post("/rerank")).status_code == (await client.post("/")).status_code == 401
    assert (await client.get("/info", headers={"Authorization": "Bearer first-key"})).status_code == 200


async def test_metrics_may_be_closed_too(serve: Callable[..., AbstractAsyncContextManager[Client]]) -> None:
    async with serve(lambda _: OverlapModel(), api_keys="key", metrics_auth=True) as client:
        closed = await client.get("/metrics")
        opened = await client.get("/metrics", headers={"Authorization": "Bearer key"})

    assert (closed.status_code, opened.status_code) == (401, 200)
    assert 'rerank_rejections_total{reason="unauthorized"} 1.0' in opened.text


async def test_a_browser_may_send_its_key(
    serve: Callable[..., AbstractAsyncContextManager[Client]],
) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    async with serve(lambda _: OverlapModel(), api_keys="key", cors_origins="https://app.example") as client:
        preflight = await client.options("/v1/rerank", headers={"Origin": "https://app.example"} | asked)
        refused = await client.post("/v1/rerank", headers={"Origin": "https://app.example"})
    async with serve(lambda _: OverlapModel(), api_keys="key") as client:
        anyone = await client.options("/v1/rerank", headers={"Origin": "https://app.example"} | asked)

    assert preflight.headers["Access-Control-Allow-Headers"] == "authorization"
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, "https://app.example")
    assert anyone.headers["Access-Control-Allow-Headers"] == "authorization"


async def test_without_keys_everything_is_open(shared) -> None:
    client, _ = await shared(metrics_auth=True)

    for path in ("/info", "/metrics", "/v1/models"):
        assert (await client.get(path)).status_code == 200
    assert (await client.post("/rerank", json=PAIR)).status_code == 200


def test_keys_come_from_the_environment_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("\ufeff# rotated in May\nthird\n\n  # and this in June\n  fourth \n")

    assert read_keys(Settings(api_keys="first,second", api_keys_file=str(file))) == (
        b"first", b"second", b"third", b"fourth",
    )  # fmt: skip
    assert read_keys(Settings()) == ()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(api_keys=" , "), "RERANK_API_KEYS holds no key"),
        (Settings(api_keys_file="/nowhere/keys"), "RERANK_API_KEYS_FILE cannot be read: No such file"),
        (Settings(api_keys_file="/dev/null"), "RERANK_API_KEYS_FILE holds no key"),
    ],
)
def test_keys_that_were_meant_and_are_not_there_stop_the_start(settings: Settings, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        create_app(settings, load=lambda _: OverlapModel(), stop=lambda: None)


def test_a_keys_file_that_became_invalid_leaves_the_earlier_keys(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    file.write_text("first\n")
    settings = Settings(api_keys_file=str(file))
    keys = ApiKeys(read_keys(settings))

    file.write_text("# nobody\n")
    reload_keys(settings, keys)
    keys.check("Bearer first")
    file.write_text("second\nthird\n")
    reload_keys(settings, keys)

    with pytest.raises(Unauthorized):
        keys.check("Bearer first")
    keys.check("Bearer third")
    assert "holds no key" in caplog.text
    assert "the earlier keys stay (1)" in caplog.text


def test_without_a_keys_file_there_is_nothing_to_read_again(caplog: pytest.LogCaptureFixture) -> None:
    keys = ApiKeys((b"first",))
    with caplog.at_level("INFO"):
        reload_keys(Settings(api_keys="second"), keys)

    keys.check("Bearer first")
    assert "RERANK_API_KEYS_FILE is not set" in caplog.text


def test_a_key_is_not_in_the_settings_words() -> None:
    assert "very-secret" not in repr(Settings(api_keys="very-secret"))
