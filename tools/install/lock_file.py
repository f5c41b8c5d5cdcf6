"""The packages of `uv.lock`: their versions, and the sizes of their wheels for a platform."""

import re
import tomllib
from dataclasses import dataclass
from typing import Any

CUDA_PACKAGES = re.compile(r"triton|nvidia-.+|cuda-.+")


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform that wheels are built for."""

    system: str  # as in sys.platform
    machine: str  # as in os.uname().machine
    python: str  # such as "3.11"

    @property
    def locked_torch_is_cuda(self) -> bool:
        """Whether the lock's build of torch needs CUDA here: its markers say so for all of Linux, on x86 and on Arm."""
        return self.system == "linux"

    def runs(self, wheel: str) -> bool:
        """Whether a wheel, by its file's name, fits this platform; near enough to add up sizes."""
        python, abi, platform = wheel.rsplit("/", 1)[-1].removesuffix(".whl").split("-")[-3:]
        if platform != "any":
            system = {"linux": "manylinux", "darwin": "macosx", "win32": "win"}.get(self.system, self.system)
            if system not in platform or not (self.machine.lower() in platform or "universal2" in platform):
                return False
        exact = f"cp{self.python.replace('.', '')}"
        return (exact in python.split(".") and abi in (exact, "none")) or abi == "abi3" or python.startswith("py")


class Lock:
    """The packages of `uv.lock`: versions and sizes of their wheels."""

    def __init__(self, text: str) -> None:
        self._packages: list[dict[str, Any]] = tomllib.loads(text)["package"]

    @property
    def torch_version(self) -> str:
        """The version of torch, without a local part such as `+cpu`."""
        versions = [str(package["version"]) for package in self._packages if package["name"] == "torch"]
        return versions[0].partition("+")[0]

    @property
    def cuda_packages(self) -> list[str]:
        """Names of torch and of what only its CUDA build needs, in the lock's order."""
        names = [str(package["name"]) for package in self._packages]
        return [name for name in names if name == "torch" or CUDA_PACKAGES.fullmatch(name)]

    def size(self, name: str, version: str, platform: Platform) -> int:
        """Bytes to download for a package; 0 where the lock has no wheel of it for the platform."""
        for package in self._packages:
            if (package["name"], package["version"]) == (name, version):
                fitting = [wheel["size"] for wheel in package.get("wheels", []) if platform.runs(wheel["url"])]
                return max(fitting, default=0)
        return 0
