"""The command line, as far as no model is needed."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from rerank_core.testing.doubles import OverlapModel
from rerank_core.testing.language_models import write_tiny_language_model
from rerank_server import __version__
from rerank_server.__main__ import application, main
from rerank_server.settings import settings_fields, variable_of
from uvicorn.importer import import_from_string

_VARIABLES = {variable_of(field.name) for field in settings_fields()}


def run(*arguments: str) -> int:
    try:
        return main(list(arguments))
    except SystemExit as exit_:
        return int(exit_.code or 0)


def test_help_lists_every_setting_with_what_it_may_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0

    printed = capsys.readouterr().out
    for field in settings_fields():
        assert variable_of(field.name) in printed
    assert "a whole number from 0 to 65535 (default: 8000)" in printed


def test_help_has_what_each_setting_may_be_in_one_column(capsys: pytest.CaptureFixture[str]) -> None:
    run("--help")

    printed = capsys.readouterr().out.splitlines()
    settings = [line for line in printed if line.split(" ")[2:] and line.split()[0] in _VARIABLES]
    assert len(settings) == len(_VARIABLES)
    assert len({len(line) - len(line[2:].partition(" ")[2].lstrip()) for line in settings}) == 1


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"rerank-server {__version__}\n"


def test_a_wrong_setting_stops_the_start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RERANK_THREADS", "many")

    assert run() == 2
    assert capsys.readouterr().err == "rerank-server: RERANK_THREADS is 'many': it must be a whole number, at least 1\n"


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log of this process is left as it is."""
    monkeypatch.setattr("rerank_server.__main__.configure_logging", lambda *_: None)


@pytest.mark.usefixtures("quiet")
def test_what_the_machine_does_not_allow_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RERANK_MAX_CONNECTIONS", "100000000")

    assert run() == 2
    assert capsys.readouterr().err.startswith("rerank-server: RERANK_MAX_CONNECTIONS is 100000000, and of the ")


@pytest.mark.usefixtures("quiet")
def test_a_library_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RERANK_OTLP_ENDPOINT", "http://collector:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)

    assert run() == 1
    assert "rerank-server[otel]" in capsys.readouterr().err


@pytest.mark.usefixtures("quiet")
def test_an_interrupt_is_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rerank_server.lifecycle.loading.load_model", interrupted)

    assert run("--check") == 130


@pytest.mark.usefixtures("quiet")
def test_what_a_model_does_not_take_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    directory = write_tiny_language_model(tmp_path)
    monkeypatch.setenv("MODEL_NAME", str(directory))
    monkeypatch.setenv("RERANK_THREADS", "1")

    assert run("--check") == 1
    assert "name a recipe with RERANK_RECIPE (" in capsys.readouterr().err
    monkeypatch.setenv("RERANK_TEMPLATE", "{{ messages[0].content }} {{ messages[1].content }}")
    assert run("--check") == 1
    assert "name a recipe that has them with RERANK_RECIPE (" in capsys.readouterr().err
    monkeypatch.setenv("RERANK_RECIPE", "qwen3-reranker")
    assert run("--check") == 0
    assert capsys.readouterr().out.endswith("by the packed engine, prompt: template, 512 tokens\n")


def test_an_error_stands_below_what_was_logged_before_it() -> None:
    program = """
import logging, sys
from rerank_core import CheckpointError
from rerank_server import __main__
from rerank_server.lifecycle import loading

def load(_):
    sys.setswitchinterval(60)  # the thread that writes the log does not come in between
    for attempt in range(3):
        logging.getLogger("rerank_core").info("attempt %d", attempt)
    raise CheckpointError("the hub could not be reached")

loading.load_model = load
sys.exit(__main__.main(["--check"]))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    assert ended.returncode == 1
    lines = ended.stderr.splitlines()
    assert lines[-2].endswith("attempt 2")
    assert lines[-1] == "rerank-server: the hub could not be reached"


@pytest.mark.usefixtures("quiet")
def test_check_scores_a_pair_and_says_what_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = OverlapModel()
    monkeypatch.setattr("rerank_server.lifecycle.loading.load_model", lambda _: model)

    assert run("--check") == 0
    assert capsys.readouterr().out == "ok: overlap on cpu in float32 by the overlap engine, 64 tokens\n"
    assert model.forwards == [1]


def test_ready_says_that_nobody_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("RERANK_UDS", str(tmp_path / "nobody"))

    assert run("--ready") == 1
    assert capsys.readouterr().out.startswith("no answer: ")


@pytest.mark.usefixtures("quiet")
def test_other_asgi_servers_make_the_application_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANK_MAX_DOCUMENTS", "7")

    assert application().settings.max_documents == 7


@pytest.mark.usefixtures("quiet")
def test_settings_that_may_surprise_are_remarked_upon_at_the_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RERANK_API_KEYS", "secret")

    application()

    (record,) = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "rerank_server.__main__")
    assert record.getMessage().startswith("API keys are required, and CORS_ORIGINS is *")


@pytest.mark.usefixtures("quiet")
def test_reload_gives_uvicorn_the_application_and_the_folders_of_our_code(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: given.update(options, app=app))
    monkeypatch.setenv("PORT", "1234")

    assert run("--reload") == 0
    assert import_from_string(given["app"]) is application
    assert given["factory"]
    assert given["reload"]
    assert given["port"] == 1234
    assert [Path(folder, "__init__.py").exists() for folder in given["reload_dirs"]] == [True, True]


def test_check_says_why_a_model_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_NAME", "./nowhere")

    assert run("--check") == 1
    assert capsys.readouterr().err == "rerank-server: there is no directory ./nowhere\n"
