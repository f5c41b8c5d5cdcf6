import pytest
from rerank_server.settings import DOCUMENTED, Settings, SettingsError, settings_fields, variable_of


def test_nothing_set_gives_the_documented_defaults() -> None:
    settings = Settings.from_env({"PATH": "/bin", "HOME": "/root"})

    assert settings == Settings()
    assert (settings.model, settings.port, settings.host) == ("BAAI/bge-reranker-v2-m3", 8000, "0.0.0.0")
    assert settings.origins == ("*",)
    assert not settings.use_fp16


def test_every_documented_name_is_read() -> None:
    settings = Settings.from_env(
        {"MODEL_NAME": "lite", "PORT": "9", "HOST": "::1", "USE_FP16": "True", "CORS_ORIGINS": "https://a.b, http://c"}
    )

    assert (settings.model, settings.port, settings.host, settings.use_fp16) == ("lite", 9, "::1", True)
    assert settings.origins == ("https://a.b", "http://c")


def test_further_settings_have_a_prefix() -> None:
    assert Settings.from_env({"RERANK_MAX_DOCUMENTS": "5"}).max_documents == 5


def test_an_empty_value_is_no_value() -> None:
    assert Settings.from_env({"RERANK_MAX_LENGTH": "", "MODEL_NAME": ""}) == Settings()


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("PORT", "-1", "a whole number from 0 to 65535"),
        ("PORT", "http", "a whole number from 0 to 65535"),
        ("USE_FP16", "maybe", "true or false"),
        ("RERANK_DTYPE", "float8", "one of auto, bfloat16, float16, float16-weights, float32, int8"),
        ("RERANK_MAX_LENGTH", "3", "a whole number, at least 8"),
        ("RERANK_DEVICE", "tpu", "text that matches"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_what_is_allowed(variable: str, value: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({variable: value})

    assert str(caught.value).startswith(f"{variable} is {value!r}: it must be {allowed}")


@pytest.mark.parametrize("variable", ["RERANK_PROT", "RERANK_MODEL", "RERANK_HOST", "RERANK_"])
def test_an_unknown_name_is_refused(variable: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable} is not a setting: "):
        Settings.from_env({variable: "8000"})


def test_an_unknown_name_is_refused_with_the_nearest_one_or_all_of_them() -> None:
    with pytest.raises(SettingsError, match=r"did you mean RERANK_THREADS\?"):
        Settings.from_env({"RERANK_THREAD": "2"})
    with pytest.raises(SettingsError, match="known are CORS_ORIGINS, HOST"):
        Settings.from_env({"RERANK_QQQ": "2"})


def test_what_kubernetes_injects_for_a_service_called_rerank_is_passed_over() -> None:
    injected = {
        "RERANK_SERVICE_HOST": "10.0.0.1",
        "RERANK_SERVICE_PORT_HTTP": "8000",
        "RERANK_PORT": "tcp://10.0.0.1:8000",
        "RERANK_PORT_8000_TCP_ADDR": "10.0.0.1",
    }

    assert Settings.from_env(injected) == Settings()


@pytest.mark.parametrize(
    ("use_fp16", "dtype"), [("true", "float32"), ("true", "bfloat16"), ("false", "float16")]
)  # fmt: skip
def test_use_fp16_and_a_dtype_that_disagree_are_refused(use_fp16: str, dtype: str) -> None:
    with pytest.raises(SettingsError, match=f"USE_FP16={use_fp16} and RERANK_DTYPE={dtype} disagree"):
        Settings.from_env({"USE_FP16": use_fp16, "RERANK_DTYPE": dtype})


@pytest.mark.parametrize(("use_fp16", "dtype"), [("true", "float16"), ("false", "bfloat16"), ("false", "auto")])
def test_use_fp16_and_a_dtype_that_agree_are_fine(use_fp16: str, dtype: str) -> None:
    assert Settings.from_env({"USE_FP16": use_fp16, "RERANK_DTYPE": dtype}).dtype == dtype


@pytest.mark.parametrize("origins", ["*,https://a.b", "a.b", "https://a.b,ftp://c"])
def test_origins_that_cannot_be_are_refused(origins: str) -> None:
    with pytest.raises(SettingsError, match="CORS_ORIGINS"):
        Settings.from_env({"CORS_ORIGINS": origins})


def test_every_setting_has_a_variable_of_its_own() -> None:
    variables = [variable_of(field.name) for field in settings_fields()]

    assert len(set(variables)) == len(variables)
    assert set(DOCUMENTED) < set(variables)


@pytest.mark.parametrize("variable", ["RERANK_API_KEYS", "RERANK_API_KEYS_FILE"])
def test_a_blank_key_does_not_open_the_server(variable: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable} is blank"):
        Settings.from_env({variable: " \n"})


def test_a_prefix_that_is_a_route_of_ours_is_refused() -> None:
    with pytest.raises(SettingsError, match="a route of ours begins"):
        Settings.from_env({"RERANK_ROOT_PATH": "/rerank"})
