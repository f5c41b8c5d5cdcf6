import dataclasses
import sys
from pathlib import Path
from typing import get_args

import pytest
from rerank_core.engines import ENGINES, EngineName
from rerank_core.load_options import LoadOptions, help_of
from rerank_server.__main__ import main
from rerank_server.lifecycle import loading
from rerank_server.machine.memory import available_memory
from rerank_server.settings import (
    DOCUMENTED,
    Settings,
    SettingsError,
    _is_of_others,
    description,
    in_variables,
    settings_fields,
    variable_of,
)

VARIABLE = "RERANK_API_KEY"  # of rerank_integrations, which the server does not import


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


def test_all_settings_are_shown_and_of_keys_only_that_there_are_some() -> None:
    assert "port=8000, " in repr(Settings())
    assert "api_keys=None, " in repr(Settings())
    assert "api_keys='(hidden)', " in repr(Settings(api_keys="very-secret"))


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


SERVICES = ["RERANK", "RERANK_GPU", "RERANK_SERVER", "RERANK_MAX", "RERANK_THREADS", "RERANK_SERVICE", "RERANK_ENV"]


@pytest.mark.parametrize("service", SERVICES)
def test_what_kubernetes_injects_for_a_neighbour_is_passed_over(service: str) -> None:
    injected = {
        f"{service}_SERVICE_HOST": "10.0.0.1",
        f"{service}_SERVICE_PORT": "8000",
        f"{service}_SERVICE_PORT_HTTP": "8000",
        f"{service}_SERVICE_PORT_METRICS_2": "9000",
        f"{service}_PORT": "tcp://10.0.0.1:8000",
        f"{service}_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        f"{service}_PORT_8000_TCP_PROTO": "tcp",
        f"{service}_PORT_8000_TCP_PORT": "8000",
        f"{service}_PORT_8000_TCP_ADDR": "10.0.0.1",
        f"{service}_PORT_53_UDP_ADDR": "fd00::1",
        f"{service}_PORT_9_SCTP": "sctp://10.0.0.1:9",
    }

    assert Settings.from_env(injected) == Settings()


def test_what_docker_injects_for_a_link_is_passed_over() -> None:
    injected = {
        "RERANK_NAME": "/app/rerank",
        "RERANK_1_NAME": "/app/rerank_1",
        "RERANK_PORT": "tcp://172.17.0.5:8000",
        "RERANK_PORT_8000_TCP": "tcp://172.17.0.5:8000",
        "RERANK_PORT_8000_TCP_START": "tcp://172.17.0.5:8000",
        "RERANK_ENV_PATH": "/usr/bin",
        "RERANK_ENV_RERANK_THREADS": "four",
    }

    assert Settings.from_env(injected) == Settings()


def test_the_variables_of_our_own_client_and_examples_are_passed_over() -> None:
    assert Settings.from_env({VARIABLE: "key", "RERANK_URL": "http://localhost:8000"}) == Settings()


def test_no_setting_is_taken_for_what_somebody_injects() -> None:
    """It would be passed over in silence."""
    for field in settings_fields():
        for value in ("1", "tcp://10.0.0.1:8000", "/app/rerank"):
            assert variable_of(field.name) in DOCUMENTED or not _is_of_others(variable_of(field.name), value)


@pytest.mark.parametrize(
    ("variable", "suggestion"),
    [
        ("RERANK_PORT", "did you mean PORT?"),
        ("RERANK_MODEL_NAME", "did you mean MODEL_NAME?"),
        ("RERANK_GPU_PORT", "is not a setting"),
        ("RERANK_API_KEYZ", "did you mean RERANK_API_KEYS?"),
        ("RERANK_SERVICE", "is not a setting"),
        ("RERANK_SERVICE_HOSTS", "is not a setting"),
        ("RERANK_PORT_HTTP", "is not a setting"),
        ("RERANK_PORT_8000", "is not a setting"),
    ],
)
def test_what_only_resembles_it_is_refused(variable: str, suggestion: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable} is not a setting") as caught:
        Settings.from_env({variable: "8000"})

    assert suggestion in str(caught.value)


def test_every_wrong_variable_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"RERANK_THREDS": "2", "PORT": "http", "RERANK_TIMEOUT": "5m", "RERANK_API_KEYS": " "})

    for part in ("RERANK_THREDS is not", "PORT is 'http'", "RERANK_TIMEOUT is '5m'", "RERANK_API_KEYS is blank"):
        assert part in str(caught.value)


def test_values_that_contradict_each_other_are_named_at_once_with_the_others() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(
            {"RERANK_TIMEOUT": "5m", "USE_FP16": "true", "RERANK_DTYPE": "bfloat16", "RERANK_ROOT_PATH": "/v1",
             "CORS_ORIGINS": "null", "RERANK_MAX_QUEUE_PAIRS": "10"}
        )  # fmt: skip

    beginnings = (
        "RERANK_TIMEOUT is '5m'",
        "USE_FP16=true",
        "RERANK_ROOT_PATH",
        "RERANK_MAX_QUEUE_PAIRS",
        "CORS_ORIGINS",
    )
    assert len(caught.value.wrong) == len(beginnings)
    assert all(line.startswith(start) for line, start in zip(caught.value.wrong, beginnings, strict=True))


def test_a_recipe_that_there_is_not_is_named_at_once_with_the_others() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"RERANK_RECIPE": "qwen3", "PORT": "http"})

    assert [line.partition(":")[0] for line in caught.value.wrong] == [
        "PORT is 'http'",
        "RERANK_RECIPE='qwen3' is not known",
    ]
    assert "use qwen3-reranker, " in caught.value.wrong[1]


def test_no_prompt_contradicts_a_prompt_of_ones_own() -> None:
    with pytest.raises(
        SettingsError, match=r"^RERANK_RECIPE='none' asks for no prompt, and RERANK_TEMPLATE gives one: "
    ):
        Settings.from_env({"RERANK_RECIPE": "none", "RERANK_TEMPLATE": "{{ messages }}"})


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ("give a template with template=", "give a template with RERANK_TEMPLATE"),
        ("recipe= (a, b), or template=.", "RERANK_RECIPE (a, b), or RERANK_TEMPLATE."),
        ("leave instruction='be brief' out", "leave RERANK_INSTRUCTION='be brief' out"),
        ("calibration=[-1.0, 0.0]: use", "RERANK_CALIBRATION=[-1.0, 0.0]: use"),
        ("model= is missing", "MODEL_NAME is missing"),
        ("max_length=600, and it reads", "RERANK_MAX_LENGTH=600, and it reads"),
        ("device='cuda' is not here (dtype=int8)", "RERANK_DEVICE='cuda' is not here (RERANK_DTYPE=int8)"),
        ("template='put recipe=x before \\' model=y'", "RERANK_TEMPLATE='put recipe=x before \\' model=y'"),
        ('instruction="model=x isn\'t it"', 'RERANK_INSTRUCTION="model=x isn\'t it"'),
        ("the model's own (dtype=int8) isn't", "the model's own (RERANK_DTYPE=int8) isn't"),
        ("/models/device=cpu/a has no config.json", "/models/device=cpu/a has no config.json"),
        ("http://hub/a?model=x&dtype=y", "http://hub/a?model=x&dtype=y"),
        ("raw=True and chat_template=x are no settings", "raw=True and chat_template=x are no settings"),
    ],
)
def test_an_argument_in_a_message_is_named_by_its_variable(message: str, named: str) -> None:
    assert in_variables(message) == named


def test_what_the_machine_does_not_allow_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"RERANK_THREADS": "9", "RERANK_CACHE_MB": "101", "PORT": "x"}, cpus=2, memory=100_000_000)

    assert [line.split()[0] for line in caught.value.wrong] == ["PORT", "RERANK_THREADS", "RERANK_CACHE_MB"]


def test_a_value_that_was_refused_contradicts_no_other() -> None:
    """Its default would, which nobody has set."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"RERANK_MAX_QUEUE_PAIRS": "10k", "RERANK_MAX_DOCUMENTS": "5000"})

    assert len(caught.value.wrong) == 1


def test_the_command_names_each_wrong_setting_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable, value in {"RERANK_TIMEOUT": "5m", "RERANK_THREDS": "2"}.items():
        monkeypatch.setenv(variable, value)

    assert main([]) == 2

    assert [line.split(" is ")[0] for line in capsys.readouterr().err.splitlines()] == [
        "rerank-server: RERANK_TIMEOUT", "rerank-server: RERANK_THREDS",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "is_said"),
    [
        ({"RERANK_API_KEYS": "k"}, True),
        ({"RERANK_API_KEYS_FILE": "keys.txt", "CORS_ORIGINS": "*"}, True),
        ({"RERANK_API_KEYS": "k", "CORS_ORIGINS": "https://app.example"}, False),
        ({"CORS_ORIGINS": "*"}, False),
    ],
)
def test_keys_beside_every_origin_are_remarked_upon(environment: dict[str, str], is_said: bool) -> None:
    remarks = list(Settings.from_env(environment).remarks())

    assert ["CORS_ORIGINS is *" in remark for remark in remarks] == ([True] if is_said else [])


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("RERANK_MAX_BODY_BYTES", "10MB", "at least 1024, without a unit"),
        ("RERANK_TIMEOUT", "30s", "from 0.01 to 86400, without a unit"),
        ("RERANK_TIMEOUT", "30 s", "without a unit"),
        ("RERANK_MAX_DOCUMENTS", "1,000", "a whole number, at least 1"),
        *((name, value, "from 0") for name in ("RERANK_TIMEOUT", "RERANK_RECEIVE_TIMEOUT", "RERANK_PRESTOP_SECONDS")
          for value in ("inf", "nan", "-inf", "-1", "1e9", "-0.5")),
        ("RERANK_TIMEOUT", "0", "from 0.01 to 86400"),
        ("RERANK_RECEIVE_TIMEOUT", "1e-9", "from 0.1 to 86400"),
        ("RERANK_DRAIN_SECONDS", "-1", "from 0 to 86400"),
        ("RERANK_DRAIN_SECONDS", "1000000", "from 0 to 86400"),
        ("PORT", "tcp://10.0.0.1:8000", "a whole number from 0 to 65535"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_work_is_refused_with_what_is_allowed(variable: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable} is ") as caught:
        Settings.from_env({variable: value})

    assert said in str(caught.value)


@pytest.mark.parametrize("variable", ["RERANK_THREADS", "MODEL_NAME", "CORS_ORIGINS", "RERANK_API_KEYS"])
@pytest.mark.parametrize("value", ['"secret"', "'secret'", ' "secret" '])
def test_quotes_that_a_shell_would_have_taken_away_are_refused_and_not_repeated(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable} stands in quotes: leave them out$"):
        Settings.from_env({variable: value})


def test_spaces_around_a_value_do_no_harm() -> None:
    assert Settings.from_env({"PORT": " 9 ", "RERANK_THREADS": "1\n"}) == Settings(port=9, threads=1)


def test_more_threads_than_the_machine_could_ever_use_are_refused() -> None:
    assert Settings.from_env({"RERANK_THREADS": "8"}, cpus=2).threads == 8
    with pytest.raises(
        SettingsError, match=r"^RERANK_THREADS is 9, more than 4 for each of the 2 CPUs here: use at most 8"
    ):
        Settings.from_env({"RERANK_THREADS": "9"}, cpus=2)


def test_a_cache_beyond_the_memory_is_refused() -> None:
    assert Settings.from_env({"RERANK_CACHE_MB": "100"}, memory=100_000_000).cache_mb == 100
    with pytest.raises(SettingsError, match=r"^RERANK_CACHE_MB is 101, more than the 100 MB of memory here"):
        Settings.from_env({"RERANK_CACHE_MB": "101"}, memory=100_000_000)


def test_where_the_system_does_not_tell_its_memory_the_containers_limit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sysconf(name: str) -> int:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr("rerank_server.machine.memory.os.sysconf", sysconf)
    unlimited = available_memory(tmp_path)
    (tmp_path / "memory.max").write_text("123456\n")

    assert unlimited == sys.maxsize
    assert available_memory(tmp_path) == 123_456


def test_a_containers_memory_is_its_limit(tmp_path: Path) -> None:
    machine = available_memory(tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    unlimited = available_memory(tmp_path)
    (tmp_path / "memory.max").write_text("123456\n")

    assert machine == unlimited > 123_456
    assert available_memory(tmp_path) == 123_456


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({"RERANK_MAX_QUEUE_PAIRS": "999"}, "RERANK_MAX_QUEUE_PAIRS"),
        ({"RERANK_MAX_QUEUE_TOKENS": "511999"}, "RERANK_MAX_QUEUE_TOKENS"),
        ({"RERANK_MAX_QUEUE_TOKENS": "4000", "RERANK_MAX_LENGTH": "8"}, "RERANK_MAX_QUEUE_TOKENS"),
        ({"RERANK_MAX_BODY_BYTES_IN_FLIGHT": "9999999"}, "RERANK_MAX_BODY_BYTES_IN_FLIGHT"),
    ],
)
def test_a_queue_smaller_than_one_request_is_refused(environment: dict[str, str], variable: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable} is .* could never be taken"):
        Settings.from_env(environment)


def test_a_queue_of_exactly_one_request_is_fine() -> None:
    Settings.from_env({"RERANK_MAX_QUEUE_PAIRS": "10", "RERANK_MAX_QUEUE_TOKENS": "5120", "RERANK_MAX_DOCUMENTS": "10"})
    Settings.from_env({"RERANK_MAX_BODY_BYTES_IN_FLIGHT": "10000000"})


@pytest.mark.parametrize(
    ("use_fp16", "dtype"), [("true", "float32"), ("true", "bfloat16"), ("false", "float16")]
)  # fmt: skip
def test_use_fp16_and_a_dtype_that_disagree_are_refused(use_fp16: str, dtype: str) -> None:
    with pytest.raises(SettingsError, match=f"USE_FP16={use_fp16} and RERANK_DTYPE={dtype} disagree"):
        Settings.from_env({"USE_FP16": use_fp16, "RERANK_DTYPE": dtype})


@pytest.mark.parametrize(("use_fp16", "dtype"), [("true", "float16"), ("false", "bfloat16"), ("false", "auto")])
def test_use_fp16_and_a_dtype_that_agree_are_fine(use_fp16: str, dtype: str) -> None:
    assert Settings.from_env({"USE_FP16": use_fp16, "RERANK_DTYPE": dtype}).dtype == dtype


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


def test_each_option_of_loading_is_a_setting_with_its_default_and_description() -> None:
    settings = {field.name: field for field in settings_fields()}

    for option in dataclasses.fields(LoadOptions):
        if option.name == "max_characters":  # from RERANK_MAX_TEXT_CHARS, which is a limit of requests too
            continue
        assert settings[option.name].default == option.default
        assert description(settings[option.name]) == help_of(option.name)


def test_the_engines_of_the_settings_are_those_of_the_table() -> None:
    assert get_args(EngineName) == ("auto", *ENGINES)


def test_a_model_is_loaded_with_every_option_of_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}
    monkeypatch.setattr(loading, "require_libraries", lambda: None)
    monkeypatch.setattr(loading, "choose_device", lambda wanted: wanted)
    monkeypatch.setattr(loading, "load", lambda model, **options: asked.update(options))

    loading.load_model(Settings(device="cpu"))

    assert set(asked) == {option.name for option in dataclasses.fields(LoadOptions)}
