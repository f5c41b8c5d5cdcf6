import os
import subprocess
import sys
from importlib.metadata import EntryPoint, version
from pathlib import Path
from typing import Any

import pytest
from rerank_core.cli import main
from rerank_core.cli import main as main_function
from rerank_core.cli.main import GROUP


@pytest.fixture
def plugins(monkeypatch):
    """Sets which commands other packages have registered."""
    module = sys.modules[main_function.__module__]

    def register(**commands: str) -> None:
        entries = [EntryPoint(name, value, GROUP) for name, value in commands.items()]
        monkeypatch.setattr(module, "entry_points", lambda *, group: entries if group == GROUP else [])

    return register


@pytest.fixture
def plugin_module(tmp_path, monkeypatch):
    """A package of somebody else's with a command."""
    (tmp_path / "their_commands.py").write_text(
        "from rerank_core.cli.command import Command\n"
        "HELLO = Command('hello', 'Greet.', lambda p: p.add_argument('name'), lambda a: print('hello', a.name) or 7)\n"
    )
    (tmp_path / "their_broken_commands.py").write_text("import no_such_library_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "their_commands"
    for name in ("their_commands", "their_broken_commands"):
        sys.modules.pop(name, None)


def test_help_lists_the_commands(plugins, capsys):
    plugins()

    assert main(["--help"]) == 0

    out = capsys.readouterr().out
    assert out.startswith("usage: rerank [-h] [--version] COMMAND ...\n")
    assert all(f"\n  {command} " in out for command in ("rank", "fetch", "info", "eval"))


def test_help_groups_the_commands_by_what_one_came_to_do(plugins, plugin_module, capsys):
    plugins(hello=f"{plugin_module}:HELLO")

    assert main(["--help"]) == 0

    headings: dict[str, list[str]] = {}
    for line in capsys.readouterr().out.split("\noptions:")[0].splitlines()[3:]:
        if line.endswith(":") and not line.startswith(" "):
            headings[line] = []
        elif line[:2] == "  " and line[2] != " ":
            headings[list(headings)[-1]].append(line.split()[0])
    assert headings == {
        "To score and rank:": ["rank", "batch"],
        "To run a server:": ["serve"],
        "To choose a model, and get it:": ["fetch", "info", "eval"],
        "Other commands:": ["hello"],
    }


def test_help_names_the_package_of_a_command_that_is_not_installed(plugins, capsys):
    plugins()

    assert main(["--help"]) == 0

    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "serve not installed: it comes with rerank-server." in lines
    assert "batch not installed: it comes with rerank-integrations[batch]." in lines


def test_the_version_is_the_packages(plugins, capsys):
    plugins()

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"rerank {version('rerank-core')}\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["polish"], "invalid choice: 'polish'"),
        (["rank"], "the following arguments are required: QUERY, FILE"),
        (["rank", "q", "-", "--wrong"], "unrecognized arguments: --wrong"),
        (["fetch", "lite"], "the following arguments are required: DIR"),
    ],
)
def test_a_wrong_command_line_is_code_2_and_says_what_is_wrong(plugins, capsys, arguments, complaint):
    plugins()

    assert main(arguments) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err
    assert "usage: rerank" in err


def test_serve_without_the_server_names_the_package(plugins, capsys):
    plugins()

    assert main(["serve", "--port", "1"]) == 2
    assert capsys.readouterr().err == (
        "rerank: 'serve' comes with rerank-server: install rerank-server (docs/install.md has the command)\n"
    )


def test_a_command_of_another_package_runs_and_its_code_is_ours(plugins, plugin_module, capsys):
    plugins(hello=f"{plugin_module}:HELLO")

    assert main(["hello", "you"]) == 7
    assert capsys.readouterr().out == "hello you\n"
    assert main(["--help"]) == 0
    assert "Greet." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("their_broken_commands:X", "ModuleNotFoundError: No module named 'no_such_library_at_all'"),
        ("their_commands:GONE", "AttributeError"),
    ],
)
def test_a_broken_package_breaks_only_its_own_command(plugins, plugin_module, capsys, value, reason):
    plugins(broken=value, hello=f"{plugin_module}:HELLO")

    assert main(["hello", "you"]) == 7
    assert main(["broken"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("rerank: broken: its package cannot be imported")
    assert reason in err
    assert main(["--help"]) == 0
    assert "not usable" in capsys.readouterr().out


def test_other_packages_are_not_imported_for_our_own_commands(plugins, plugin_module, capsys):
    plugins(hello=f"{plugin_module}:HELLO")

    main(["rank", "--help"])

    assert plugin_module not in sys.modules


def test_an_interrupt_is_code_130_and_says_nothing(plugins, plugin_module, capsys, monkeypatch):
    plugins(hello=f"{plugin_module}:HELLO")
    import their_commands

    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(their_commands, "HELLO", their_commands.Command("hello", "Greet.", lambda _: None, interrupt))

    assert main(["hello"]) == 130
    assert capsys.readouterr() == ("", "")


def test_what_the_system_refuses_is_one_line_and_code_1(plugins, tmp_path, capsys, tiny):
    plugins()
    (tmp_path / "file").write_text("")

    assert main(["fetch", str(tiny("bert")), str(tmp_path / "file" / "below")]) == 1

    err = capsys.readouterr().err
    assert err.startswith("rerank: ")
    assert err.count("\n") == 1
    assert "Not a directory" in err


def run_into(output: Any, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """With buffered output, as it is by default: what cannot be written shows at the end."""
    environment = os.environ | {"PYTHONUNBUFFERED": ""}
    return subprocess.run(arguments, stdout=output, stderr=subprocess.PIPE, env=environment, check=False)


def test_a_reader_that_is_gone_is_no_error(rerank_program):
    """As in ``rerank --help | head -0``."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = run_into(write_end, rerank_program, "--help")
    os.close(write_end)

    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full: this system has none")
def test_a_full_disk_is_one_line_and_code_1(rerank_program):
    with Path("/dev/full").open("w") as full:
        done = run_into(full, rerank_program, "--help")

    assert done.returncode == 1
    assert done.stderr == b"rerank: [Errno 28] No space left on device\n"
