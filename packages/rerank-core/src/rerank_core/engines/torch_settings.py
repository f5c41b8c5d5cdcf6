"""Sets torch's process-wide settings as a score needs them, whatever the program around it has set for itself.

What is set for one thread (autocast, a default device, modes) needs nothing here: engines compute in threads of their
own. A setting of the process is changed while an engine computes, only where it differs, and set back afterwards.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from rerank_core.forking import PerProcess, running


@dataclass(frozen=True, slots=True)
class _Setting:
    """``wanted`` is torch's own default."""

    read: Callable[[], Any]
    write: Callable[[Any], object]
    wanted: Any


def _matmul_precision(backend: str) -> _Setting:
    """Make the setting that multiplies float32 in float32, and neither in bfloat16 nor in TF32."""
    read = getattr(torch._C, "_get_fp32_precision_getter", None)
    write = getattr(torch._C, "_set_fp32_precision_setter", None)
    if read is None or write is None:  # torch before 2.9 has one for all
        return _Setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest")

    def value() -> str:
        own = read(backend, "matmul")
        return "ieee" if own == "none" else str(own)

    def put(wanted: str) -> None:
        # "none": as the setting above it says.
        write(backend, "matmul", "none" if wanted == read(backend, "all") else wanted)

    return _Setting(value, put, "ieee")


def _quantized_engine() -> _Setting | None:
    """Make the setting of the library that multiplies weights of less than 32 bits; None where there is none."""
    if "x86" not in torch.backends.quantized.supported_engines:
        return None
    return _Setting(
        lambda: torch.backends.quantized.engine, lambda name: setattr(torch.backends.quantized, "engine", name), "x86"
    )


_SETTINGS = [
    setting
    for setting in (
        _Setting(torch.get_default_dtype, torch.set_default_dtype, torch.float32),
        _Setting(torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled, True),
        # Which kernel computes attention, on a CPU too.
        _Setting(torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp, True),
        _Setting(torch.backends.cuda.mem_efficient_sdp_enabled, torch.backends.cuda.enable_mem_efficient_sdp, True),
        _Setting(torch.backends.cuda.math_sdp_enabled, torch.backends.cuda.enable_math_sdp, True),
        _matmul_precision("mkldnn"),
        _matmul_precision("cuda"),
        _quantized_engine(),
    )
    if setting is not None
]


class _Host:
    """Keeps the settings of the program around us while at least one engine computes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engines = 0
        self._before: list[tuple[_Setting, Any]] = []

    def put_aside(self) -> None:
        with self._lock:
            if not self._engines:
                self._before = [
                    (setting, value) for setting in _SETTINGS if (value := setting.read()) != setting.wanted
                ]
                for setting, _ in self._before:
                    setting.write(setting.wanted)
            self._engines += 1

    def put_back(self) -> None:
        with self._lock:
            self._engines -= 1
            if not self._engines:
                for setting, value in self._before:
                    setting.write(value)
                self._before = []


_host = PerProcess(_Host)


@contextmanager
def our_settings() -> Iterator[None]:
    """Give the whole process torch's defaults for a while, for which a fork waits: no child is left with them."""
    with running():
        host = _host.get()
        host.put_aside()
        try:
            yield
        finally:
            host.put_back()
