"""The installation: which build of torch is chosen, how it is announced, and what is said where it fails."""

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

PROGRAM = Path(__file__).parent.parent.parent / "tools" / "install" / "install.py"

# A uv that knows two indexes and writes down what it is asked. FAKE_INDEX: reached, unreachable, or silent for ever.
FAKE_UV = f"""#!{sys.executable}
import json, os, pathlib, sys, time
arguments = sys.argv[1:]
asked = {{"arguments": arguments, "environment": {{k: v for k, v in os.environ.items() if k.startswith("UV_")}}}}
if arguments[:2] == ["pip", "compile"]:
    asked["requirement"] = sys.stdin.read()
with open(os.environ["FAKE_LOG"], "a") as log:
    print(json.dumps(asked), file=log)
if arguments[:2] == ["python", "find"]:
    print(sys.executable)
elif arguments[:2] == ["pip", "compile"]:
    if "--find-links" in arguments:
        folder = pathlib.Path(arguments[arguments.index("--find-links") + 1])
        sys.exit(not list(folder.glob("torch-2.13.0+cpu-*.whl")))
    index = os.environ["FAKE_INDEX"]
    if index == "silent":
        time.sleep(600)
    sys.exit(index != "reached")
elif "--dry-run" in arguments:
    names = {{"numpy": "2.4.6", "torch": "2.13.0", "nvidia-cublas": "13.1.1.3"}}
    left_out = [name.partition("=")[2] for name in arguments if name.startswith("--no-install-package=")]
    print(*(f" + {{name}}=={{version}}" for name, version in names.items() if name not in left_out),
          " + ours @ file:///ours", sep="\\n", file=sys.stderr)
else:
    print("Downloading numpy (16.1MiB)", " Downloaded numpy", "Installed 2 packages in 7ms", " + numpy==2.4.6",
          sep="\\n", file=sys.stderr)
    if os.environ.get("FAKE_FAILS"):
        print("error: Failed to fetch: dns error", file=sys.stderr)
        sys.exit(2)
"""

SIZES = {"numpy": ("2.4.6", 17), "torch": ("2.13.0", 500), "nvidia-cublas": ("13.1.1.3", 450), "triton": ("3.7.1", 1)}
LOCK = "".join(
    f"[[package]]\nname = '{name}'\nversion = '{version}'\nwheels = [\n"
    f"  {{ url = 'https://host/one-1-py3-none-any.whl', size = {megabytes}000000 }},\n"
    "  { url = 'https://host/one-1-cp27-cp27m-macosx_10_9_ppc.whl', size = 9000000000 },\n]\n"
    for name, (version, megabytes) in SIZES.items()
)

Asked: TypeAlias = list[dict[str, Any]]
Install: TypeAlias = Callable[..., tuple[int, list[str], str, Asked]]


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """The folder of the fake programs; nothing else is on the path."""
    program(tmp_path / "bin", "uv", FAKE_UV)
    return tmp_path / "bin"


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with a CPU build of torch."""
    folder = tmp_path / "folder of wheels"
    folder.mkdir()
    (folder / "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl").write_bytes(b"x" * 5_000_000)
    return folder


@pytest.fixture
def install(programs: Path, tmp_path: Path) -> Install:
    """Runs the installation with the fake uv: status, lines on stdout, stderr, and what uv was asked."""
    (tmp_path / "home").mkdir()
    (tmp_path / "uv.lock").write_text(LOCK)
    (tmp_path / ".venv").mkdir()

    def run(
        torch: str, *options: str, index: str = "unreachable", **environment: str
    ) -> tuple[int, list[str], str, Asked]:
        log = tmp_path / "asked"
        log.write_text("")
        given = {
            "PATH": str(programs), "HOME": str(tmp_path / "home"), "XDG_CONFIG_DIRS": str(tmp_path / "none"),
            "FAKE_LOG": str(log), "FAKE_INDEX": index,
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, PROGRAM, "--torch", torch, *options, "--", "--all-packages"],
            cwd=tmp_path, env=given | environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        asked = [json.loads(line) for line in log.read_text().splitlines()]
        return done.returncode, done.stdout.splitlines(), done.stderr, asked

    return run


def installed_torch(asked: Asked) -> list[str]:
    """The arguments with which torch was installed from elsewhere than the lock; none where it was not."""
    commands = [one["arguments"] for one in asked if one["arguments"][:2] == ["pip", "install"]]
    assert len(commands) < 2
    return [part for command in commands for part in command[command.index("--no-deps") + 1 :]]


def synchronised(asked: Asked) -> list[str]:
    """The arguments of the one `uv sync` that was no dry run."""
    found = [one["arguments"] for one in asked if one["arguments"][0] == "sync" and "--dry-run" not in one["arguments"]]
    assert len(found) == 1
    arguments: list[str] = found[0]
    return arguments


def probes(asked: Asked) -> int:
    return sum(one["arguments"][:2] == ["pip", "compile"] for one in asked)


linux = pytest.mark.skipif(sys.platform != "linux", reason="the lock's torch needs CUDA on Linux only")


@linux
def test_with_a_gpu_the_locks_build_is_installed_and_nothing_else_is_asked(
    install: Install, programs: Path, wheels: Path
) -> None:
    program(programs, "nvidia-smi", "#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-1)'\n")

    code, out, _, asked = install("auto", PIP_FIND_LINKS=str(wheels))

    assert code == 0
    assert "there is an NVIDIA GPU" in out[0]
    assert probes(asked) == 0
    assert synchronised(asked) == ["sync", "--locked", "--all-packages"]
    assert installed_torch(asked) == []


@linux
@pytest.mark.parametrize("text", ["echo 'No devices were found'", "echo NVIDIA-SMI has failed; exit 9", "exit 0"])
def test_a_driver_without_a_gpu_is_no_gpu(install: Install, programs: Path, wheels: Path, text: str) -> None:
    program(programs, "nvidia-smi", f"#!/bin/sh\n{text}\n")

    _, out, _, asked = install("auto", UV_FIND_LINKS=str(wheels))

    assert "no NVIDIA GPU was found" in out[0]
    assert installed_torch(asked)[0] == "torch==2.13.0+cpu"


@linux
def test_a_folder_with_the_cpu_build_is_used_and_no_index_is_asked(install: Install, wheels: Path) -> None:
    code, out, _, asked = install("auto", UV_FIND_LINKS=str(wheels), index="reached")

    assert code == 0
    assert installed_torch(asked) == ["torch==2.13.0+cpu", "--no-index", "--find-links", str(wheels)]
    assert {"torch", "triton", "nvidia-cublas"} <= {part.partition("=")[2] for part in synchronised(asked)}
    assert out[0].startswith("Installing the packages into .venv, where it is kept: 3 packages, about 22 MB")
    assert f"torch 2.13.0 for CPUs (5 MB) from {wheels}" in out[0]
    assert probes(asked) == 1


@linux
@pytest.mark.parametrize("named", ["UV_FIND_LINKS", "PIP_FIND_LINKS", "user", "legacy", "site", "PIP_CONFIG_FILE"])
def test_folders_are_taken_from_uv_and_from_pip(install: Install, wheels: Path, tmp_path: Path, named: str) -> None:
    files = {
        "user": tmp_path / "home" / ".config" / "pip" / "pip.conf",
        "legacy": tmp_path / "home" / ".pip" / "pip.conf",
        "site": tmp_path / "none" / "pip" / "pip.conf",
        "PIP_CONFIG_FILE": tmp_path / "own.conf",
    }
    environment = {named: str(files.get(named, wheels))} if named.isupper() else {}
    if named in files:
        files[named].parent.mkdir(parents=True, exist_ok=True)
        section = "install" if named == "legacy" else "global"
        files[named].write_text(f"[{section}]\nfind-links =\n    {wheels.rename(tmp_path / 'wheels')}\n    /none%s\n")

    _, _, _, asked = install("auto", **environment)

    assert installed_torch(asked)[-1] == str(tmp_path / "wheels" if named in files else wheels)


@linux
def test_pips_configuration_is_not_read_where_pip_is_told_to_read_none(
    install: Install, wheels: Path, tmp_path: Path
) -> None:
    (tmp_path / "home" / ".pip").mkdir()
    (tmp_path / "home" / ".pip" / "pip.conf").write_text(f"[global]\nfind-links = {wheels}\n")

    _, _, _, asked = install("auto", PIP_CONFIG_FILE=os.devnull)

    assert installed_torch(asked) == []


@linux
@pytest.mark.parametrize(
    "content", ["find-links = no section", "[global]\nfind-links =\n", "[global]\nindex-url = x\n"]
)
def test_a_configuration_of_pip_that_names_no_folder_is_none(install: Install, tmp_path: Path, content: str) -> None:
    """A value without a word is no folder: the current one would be taken for it."""
    (tmp_path / "home" / ".pip").mkdir()
    (tmp_path / "home" / ".pip" / "pip.conf").write_text(content)

    _, _, _, asked = install("auto", index="reached")

    assert probes(asked) == 1


@linux
def test_the_first_of_several_folders_that_has_the_wheel_is_used(
    install: Install, wheels: Path, tmp_path: Path
) -> None:
    _, _, _, asked = install("auto", UV_FIND_LINKS=f"{tmp_path / 'home'},{wheels}")

    assert installed_torch(asked)[-1] == str(wheels)
    assert probes(asked) == 2


@linux
@pytest.mark.parametrize("folder", ["", "home", "gone"])
def test_without_the_wheel_in_a_folder_the_index_is_asked(install: Install, tmp_path: Path, folder: str) -> None:
    environment = {"PIP_FIND_LINKS": str(tmp_path / folder)} if folder else {}

    _, out, _, asked = install("auto", index="reached", **environment)

    assert installed_torch(asked) == ["torch==2.13.0+cpu", "--torch-backend", "cpu"]
    assert "from PyTorch's CPU index" in out[0]


@linux
def test_a_probe_of_an_index_is_one_attempt_of_seconds(install: Install) -> None:
    _, _, _, asked = install("auto")

    (probe,) = [one for one in asked if one["arguments"][:2] == ["pip", "compile"]]
    assert probe["requirement"] == "torch==2.13.0+cpu"
    assert probe["environment"]["UV_HTTP_RETRIES"] == "0"
    assert float(probe["environment"]["UV_HTTP_TIMEOUT"]) <= 5


@linux
def test_where_no_cpu_build_is_reached_the_locks_is_installed_and_its_size_is_said(install: Install) -> None:
    code, out, err, asked = install("auto")

    assert (code, err) == (0, "")
    assert installed_torch(asked) == []
    assert synchronised(asked) == ["sync", "--locked", "--all-packages"]
    assert "4 packages, about 967 MB" in out[0]
    assert "no NVIDIA GPU was found, but no CPU build either" in out[0]
    assert "UV_FIND_LINKS=FOLDER" in out[0]


@linux
def test_a_cpu_build_that_is_asked_for_and_found_nowhere_is_one_sentence_and_nothing_is_installed(
    install: Install,
) -> None:
    code, out, err, asked = install("cpu")

    assert (code, out) == (1, [])
    assert err.count("\n") == 1
    assert "UV_FIND_LINKS=FOLDER" in err
    assert "TORCH=locked" in err
    assert not [one for one in asked if one["arguments"][0] == "sync"]


@pytest.mark.parametrize("torch", ["locked", "cuda"])
def test_the_locks_build_is_installed_without_a_question_where_it_is_asked_for(
    install: Install, wheels: Path, torch: str
) -> None:
    _, _, _, asked = install(torch, UV_FIND_LINKS=str(wheels), index="reached")

    assert probes(asked) == 0
    assert synchronised(asked) == ["sync", "--locked", "--all-packages"]


@linux
def test_uv_never_sees_the_folders_as_a_setting_of_its_own(install: Install, wheels: Path) -> None:
    """The lock is resolved without: a sync that saw some would call it out of date."""
    _, _, _, asked = install("auto", UV_FIND_LINKS=str(wheels))

    resolving = [one for one in asked if one["arguments"][0] in ("sync", "pip")]
    assert len(resolving) == 4  # a probe, a dry run, and two installations
    assert not [one for one in resolving if "UV_FIND_LINKS" in one["environment"]]


@linux
def test_what_uv_writes_is_shown_without_the_list_of_packages(install: Install, wheels: Path) -> None:
    _, out, _, _ = install("auto", UV_FIND_LINKS=str(wheels))

    assert "Downloading numpy (16.1MiB)" in out[1]
    assert not [line for line in out if "==" in line]
    assert out[-1].startswith("Installed in ")


@linux
def test_a_failed_download_ends_with_a_sentence_and_the_way_out(install: Install, wheels: Path) -> None:
    code, out, err, _ = install("auto", "--mark", "setup", UV_FIND_LINKS=str(wheels), FAKE_FAILS="yes")

    assert code == 1
    assert "error: Failed to fetch: dns error" in out[-1]
    assert err.startswith("install: uv ended with status 2")
    assert "HTTPS_PROXY" in err
    assert err.count("\n") == 1


def test_a_machine_without_uv_is_told_so(install: Install, programs: Path) -> None:
    (programs / "uv").unlink()

    code, _, err, _ = install("auto")

    assert code == 1
    assert "uv" in err
    assert err.count("\n") == 1


@linux
@pytest.mark.parametrize(("torch", "mark"), [("auto", "demo-cpu"), ("cpu", "demo-cpu"), ("cuda", "demo-cuda")])
def test_what_was_installed_last_is_remembered_by_its_build(
    install: Install, wheels: Path, tmp_path: Path, torch: str, mark: str
) -> None:
    (tmp_path / ".venv" / "setup-locked").touch()

    install(torch, "--mark", "demo", UV_FIND_LINKS=str(wheels))

    assert [file.name for file in (tmp_path / ".venv").iterdir()] == [mark]


@linux
def test_nothing_is_remembered_of_what_failed(install: Install, wheels: Path, tmp_path: Path) -> None:
    (tmp_path / ".venv" / "setup-locked").touch()

    install("auto", "--mark", "setup", UV_FIND_LINKS=str(wheels), FAKE_FAILS="yes")

    assert [file.name for file in (tmp_path / ".venv").iterdir()] == ["setup-locked"]


# ---------------------------------------------------------------------------- decisions


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules of the installation, to be imported as it imports them."""
    monkeypatch.syspath_prepend(str(PROGRAM.parent))


class NoProbes:
    """Fails where anything is asked."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked")


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize("asked", ["auto", "cpu"])
@pytest.mark.parametrize(("system", "machine"), [("darwin", "arm64"), ("win32", "AMD64")])
def test_where_the_locks_build_is_for_cpus_nothing_is_asked(asked: str, system: str, machine: str) -> None:
    from lock_file import Platform
    from torch_build import choose

    choice = choose(asked, "2.13.0", Platform(system, machine, "3.12"), NoProbes())

    assert not choice.replaces_locked_torch


@pytest.mark.usefixtures("tools")
def test_the_lock_asks_for_cuda_on_all_of_linux_and_nowhere_else(root: Path) -> None:
    """On Arm too: what the choice takes for granted about the lock."""
    from lock_file import CUDA_PACKAGES

    torch = (root / "uv.lock").read_text().partition('name = "torch"\n')[2].partition("[[package]]")[0]
    cuda = [line for line in torch.splitlines() if (name := re.search('name = "(.*?)"', line))
            and CUDA_PACKAGES.fullmatch(name[1])]  # fmt: skip

    assert cuda
    for line in cuda:
        assert "sys_platform == 'linux'" in line
        assert "platform_machine" not in line


@pytest.mark.usefixtures("tools")
def test_a_probe_that_gets_no_answer_is_given_up(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch_build import MachineProbes

    program(programs, "nvidia-smi", "#!/bin/sh\nexec sleep 600\n")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "asked"))
    monkeypatch.setenv("FAKE_INDEX", "silent")
    found = MachineProbes(str(programs / "uv"), sys.executable, [], limit=0.5)

    assert not found.has_nvidia_gpu()
    assert not found.index_has("torch==2.13.0+cpu")


@pytest.mark.usefixtures("tools")
def test_downloads_are_counted_and_the_largest_that_run_are_named() -> None:
    from progress import Progress

    progress = Progress()
    lines = [
        "Downloading torch (181.2MiB)",
        "Downloading scipy (33.7MiB)",
        "Downloading numpy (16.0MiB)",
        " Downloaded scipy",
    ]
    for line in lines:
        assert progress.shows(line)

    assert progress.status(12.3) == "  12 s, 35 MB downloaded, waiting for torch (190 MB), numpy (17 MB)"
    assert not progress.shows(" + torch==2.13.0+cpu")
    assert not progress.shows("Resolved 228 packages in 2ms")
    assert not progress.shows(" ~ ours==0.1.0 (from file:///ours)")


# ---------------------------------------------------------------------------- with a real uv


@pytest.mark.usefixtures("tools")
def test_a_real_uv_tells_a_folder_with_a_fitting_wheel_from_one_without(root: Path, tmp_path: Path) -> None:
    import shutil

    from torch_build import MachineProbes

    uv = shutil.which("uv") or str(root / ".uv" / "bin" / "uv")
    if not Path(uv).exists():
        pytest.skip("SKIPPED LOUDLY: there is no uv, which `make setup` brings")
    for folder, name in {"other": "cp27-cp27m-macosx_10_9_x86_64", "any": "py3-none-any"}.items():
        (tmp_path / folder).mkdir()
        with zipfile.ZipFile(tmp_path / folder / f"torch-2.13.0+cpu-{name}.whl", "w") as wheel:
            wheel.writestr(
                "torch-2.13.0+cpu.dist-info/METADATA", "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0+cpu\n"
            )
            wheel.writestr("torch-2.13.0+cpu.dist-info/WHEEL", f"Wheel-Version: 1.0\nTag: {name}\n")
            wheel.writestr("torch-2.13.0+cpu.dist-info/RECORD", "")
    folders = [str(tmp_path / "gone"), str(tmp_path / "other"), str(tmp_path / "any")]

    found = MachineProbes(uv, sys.executable, folders).folder_with("torch==2.13.0+cpu")

    assert found is not None
    assert found[0] == str(tmp_path / "any")
    assert MachineProbes(uv, sys.executable, folders[:2]).folder_with("torch==2.13.0+cpu") is None
