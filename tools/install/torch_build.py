"""The choice of the build of torch, and the probes that it rests on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lock_file import Platform
from programs import InstallError, output_of, uv_environment

GPU_LIMIT = 10.0  # seconds; a driver that sleeps takes a few to answer
PROBE_LIMIT = 15.0  # seconds for one question about a wheel
CPU_WHEEL_BYTES = 200_000_000  # of PyTorch's index, which does not tell before the download


@dataclass(frozen=True, slots=True)
class Choice:
    """A build of torch, and where it comes from."""

    build: str  # "cpu" or "locked"
    reason: str
    options: tuple[str, ...] = ()  # of `uv pip install` for a CPU build that is not the lock's
    requirement: str = ""
    origin: str = ""
    size: int = 0  # bytes of a CPU build that is not the lock's
    is_last_resort: bool = False  # a CPU build is wanted, and none was found

    @property
    def replaces_locked_torch(self) -> bool:
        """Whether torch is installed from elsewhere than the lock says."""
        return bool(self.requirement)


class Probes(Protocol):
    """Questions about the machine and what it reaches; each takes seconds at most."""

    def has_nvidia_gpu(self) -> bool:
        """Whether the driver lists a GPU."""

    def folder_with(self, requirement: str) -> tuple[str, int] | None:
        """The first of the wheel folders with a wheel for this Python, and the wheel's bytes."""

    def index_has(self, requirement: str) -> bool:
        """Whether PyTorch's CPU index is reached and has the wheel."""


def choose(asked: str, version: str, platform: Platform, probes: Probes) -> Choice:
    """
    Choose the build of torch for `TORCH=asked`; `asked` is auto, cpu, cuda or locked.

    Raises `InstallError` where a CPU build is asked for and found nowhere.
    """
    if asked in ("locked", "cuda"):
        return Choice("locked", f"TORCH={asked}")
    if not platform.locked_torch_is_cuda:
        return Choice("locked", "the lock's build is for CPUs on this system")
    if asked == "auto" and probes.has_nvidia_gpu():
        return Choice("locked", "there is an NVIDIA GPU")

    reason = "TORCH=cpu" if asked == "cpu" else "no NVIDIA GPU was found"
    requirement = f"torch=={version}+cpu"
    if found := probes.folder_with(requirement):
        folder, size = found
        return Choice("cpu", reason, ("--no-index", "--find-links", folder), requirement, folder, size)
    if probes.index_has(requirement):
        return Choice("cpu", reason, ("--torch-backend", "cpu"), requirement, "PyTorch's CPU index", CPU_WHEEL_BYTES)
    if asked == "auto":
        return Choice("locked", "no NVIDIA GPU was found, but no CPU build either", is_last_resort=True)
    raise InstallError(
        f"no CPU build of torch {version} for Python {platform.python} is in the wheel folders, and PyTorch's index "
        "was not reached: name a folder that has the wheel with UV_FIND_LINKS=FOLDER, or take the larger build of the "
        "lock with TORCH=locked"
    )


class MachineProbes:
    """The probes of this machine: `nvidia-smi` and uv, each within a time limit."""

    def __init__(self, uv: str, python: str, folders: Sequence[str], limit: float = PROBE_LIMIT) -> None:
        self._uv = uv
        self._python = python
        self._folders = folders
        self._limit = limit

    def has_nvidia_gpu(self) -> bool:
        """Whether `nvidia-smi` lists a GPU."""
        listed = output_of(["nvidia-smi", "-L"], limit=min(GPU_LIMIT, self._limit))
        return listed is not None and listed.startswith("GPU ")

    def folder_with(self, requirement: str) -> tuple[str, int] | None:
        """Ask uv for each folder, without an index."""
        for folder in self._folders:
            if self._resolves(requirement, "--no-index", "--find-links", folder):
                return folder, _wheel_bytes(folder, requirement)
        return None

    def index_has(self, requirement: str) -> bool:
        """Ask uv with its CPU backend of PyTorch."""
        return self._resolves(requirement, "--torch-backend", "cpu")

    def _resolves(self, requirement: str, *options: str) -> bool:
        command = [self._uv, "pip", "compile", "-", "--quiet", "--no-deps", "--python", self._python, *options]
        # One attempt: a host that drops packets must cost seconds.
        bounds = {"UV_HTTP_TIMEOUT": "5", "UV_HTTP_CONNECT_TIMEOUT": "5", "UV_HTTP_RETRIES": "0"}
        return (
            output_of(command, limit=self._limit, given=requirement, environment=uv_environment() | bounds) is not None
        )


def _wheel_bytes(folder: str, requirement: str) -> int:
    """Bytes of the wheel in a local folder; for a page the usual size."""
    name, _, version = requirement.partition("==")
    sizes = [file.stat().st_size for file in Path(folder).glob(f"{name}-{version}-*.whl")]
    return max(sizes, default=CPU_WHEEL_BYTES)
