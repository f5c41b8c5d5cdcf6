"""Calibration: Platt's sigmoid (1999) turns a model's raw score into a probability, with its own slope and offset."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from rerank_core.errors import InvalidRequest
from rerank_core.types import Calibration

_WAY_OUT = "use two numbers, a and b of sigmoid(a * raw + b), or a file that `rerank eval --calibrate` wrote"


def read_calibration(given: str | Path | Sequence[float] | None) -> Calibration | None:
    """Read ``a`` and ``b``: two numbers, ``"a,b"``, or a JSON file with both; None: no calibration.

    Raises ``InvalidRequest`` for anything else; ``a`` has to be above 0, so that the order stays.
    """
    if given is None:
        return None
    if isinstance(given, str | Path):
        numbers = _of_text(str(given)) or _of_file(Path(given))
    else:
        numbers = [float(number) for number in given]
    if len(numbers) != 2 or not all(math.isfinite(number) for number in numbers) or numbers[0] <= 0:
        raise InvalidRequest(f"calibration={numbers}: {_WAY_OUT}; a is above 0")
    return Calibration(*numbers)


def _of_text(text: str) -> list[float]:
    """Return the numbers of ``"a,b"``; none where it is no such text."""
    try:
        return [float(part) for part in text.split(",")] if "," in text else []
    except ValueError:
        return []


def _of_file(path: Path) -> list[float]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [float(content["a"]), float(content["b"])]
    except OSError as error:
        raise InvalidRequest(f"calibration={str(path)!r} cannot be read ({error.strerror}): {_WAY_OUT}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(f"calibration={str(path)!r} has no numbers a and b: {_WAY_OUT}") from error
