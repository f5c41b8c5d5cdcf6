"""Each option of loading is an argument, with one default, of everything that loads a model."""

import argparse
import inspect
import json
from dataclasses import fields, replace

import pytest
import rerank_core
from rerank_core import InvalidRequest
from rerank_core.cli import evaluate, info, rank
from rerank_core.cli.command import add_load_options, load_options
from rerank_core.load_options import LoadOptions, help_of, read_label

NAMES = [option.name for option in fields(LoadOptions)]
SET = LoadOptions(
    revision="main", device="cpu", dtype="int8", engine="packed", max_length=64, truncation="only_second",
    long_documents="chunk", recipe="zerank", template="{{ messages }}", instruction="be brief", calibration="2,1",
    label=3, threads=2, trust_remote_code=True, max_characters=5000,
)  # fmt: skip
ARGUMENTS = [
    "--revision", "main", "--device", "cpu", "--dtype", "int8", "--engine", "packed", "--max-length", "64",
    "--truncation", "only_second", "--long-documents", "chunk", "--recipe", "zerank",
    "--template", "{{ messages }}", "--instruction", "be brief", "--calibration", "2,1", "--label", "3",
    "--threads", "2", "--trust-remote-code", "--max-characters", "5000",
]  # fmt: skip


def test_load_takes_each_option_with_its_default():
    parameters = inspect.signature(rerank_core.load).parameters

    assert {name: parameter.default for name, parameter in parameters.items() if name != "model"} == {
        option.name: option.default for option in fields(LoadOptions)
    }


@pytest.mark.parametrize(
    ("command", "left_out"),
    # `rerank eval` compares raw scores, which a calibration does not change.
    [(rank.COMMAND, set()), (info.COMMAND, set()), (evaluate.COMMAND, {"calibration"})],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_command_that_loads_a_model_takes_each_option(command, left_out):
    parser = argparse.ArgumentParser()
    command.configure(parser)

    flags = {word for word in parser.format_help().split() if word.startswith("--")}
    assert {name for name in NAMES if f"--{name.replace('_', '-')}" not in flags} == left_out


def test_arguments_become_the_options_that_they_name():
    parser = argparse.ArgumentParser()
    add_load_options(parser)

    assert load_options(parser.parse_args(ARGUMENTS)) == SET
    assert load_options(parser.parse_args([])) == LoadOptions()
    assert load_options(parser.parse_args([]), threads=3) == LoadOptions(threads=3)
    assert load_options(parser.parse_args(ARGUMENTS), without=["label"], threads=3) == replace(SET, label=None)


def test_an_argument_has_the_help_of_its_option():
    parser = argparse.ArgumentParser()
    add_load_options(parser)

    shown = " ".join(parser.format_help().split())
    for name in NAMES:
        assert " ".join(help_of(name).replace("`", "").split())[:40] in shown


def test_the_options_of_a_command_reach_the_model(tiny, monkeypatch, capsys):
    parser = argparse.ArgumentParser()
    info.COMMAND.configure(parser)

    info.COMMAND.run(parser.parse_args([str(tiny("bert")), "--json", "--max-length", "40", "--engine", "reference"]))

    found = json.loads(capsys.readouterr().out)
    assert (found["max_length"], found["engine"]) == (40, "reference")


def test_keywords_are_what_is_not_the_default():
    assert LoadOptions().keywords() == {}
    assert LoadOptions(**SET.keywords()) == SET
    assert set(SET.keywords()) == set(NAMES)


def test_a_value_that_cannot_be_is_refused():
    with pytest.raises(InvalidRequest, match="truncation is 'shortest': use one of longest_first"):
        LoadOptions(truncation="shortest")
    with pytest.raises(InvalidRequest, match="threads is 0: use at least 1"):
        LoadOptions(threads=0)


def test_a_label_is_a_number_or_a_name():
    assert read_label("3") == 3
    assert read_label("yes") == "yes"


def test_a_model_is_loaded_again_with_all_its_options(tiny):
    model = rerank_core.load(str(tiny("bert")), device="cpu", max_characters=5000, engine="reference", threads=1)

    _, (_, options) = model.__reduce__()

    assert json.loads(options) == {"device": "cpu", "max_characters": 5000, "engine": "reference", "threads": 1}
