"""The command line, as far as no model is needed."""

import pytest
from rerank_server import __version__
from rerank_server.__main__ import main
from rerank_server.settings import settings_fields, variable_of


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


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"rerank-server {__version__}\n"


def test_a_wrong_setting_stops_the_start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RERANK_THREADS", "many")

    assert run() == 2
    assert capsys.readouterr().err == "rerank-server: RERANK_THREADS is 'many': it must be a whole number, at least 1\n"


def test_check_says_why_a_model_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_NAME", "./nowhere")

    assert run("--check") == 1
    assert capsys.readouterr().err == "rerank-server: there is no directory ./nowhere\n"
