"""What a section found: its tables, its figures, and what was left out, missing or failed."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from markdown_tables import table

Item = TypeVar("Item")


class Missing(Exception):
    """A system is not installed here, or does not do what its name says; the message says why."""


@dataclass(slots=True)
class Report:
    """Printed while it grows, and written after every table, so that nothing is lost where the section ends early.

    ``figures``: by the names of tables, whatever JSON can hold. ``checks``: what has to hold, and whether it does.
    """

    section: str
    path: Path
    seconds: float
    figures: dict[str, Any] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)
    checks: dict[str, bool] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    card: dict[str, Any] | None = None
    started: float = field(default_factory=time.perf_counter)

    def table(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[str]], figures: object) -> None:
        """Add a table, and the figures behind it."""
        self.figures[name] = figures
        self.tables.append(f"### {self.section}: {name}\n\n{table(columns, rows)}")
        print(f"\n{self.tables[-1]}", flush=True)
        self.write()

    def check(self, sentence: str, holds: bool) -> None:
        """Note what has to hold. The benchmark goes on, and fails at its end."""
        self.checks[sentence] = holds
        if not holds:
            print(f"DOES NOT HOLD: {sentence}", file=sys.stderr, flush=True)
        self.write()

    def is_missing(self, name: str, reason: str) -> None:
        """Note what cannot run here: a library, a device."""
        self.missing[name] = reason
        print(f"SKIPPED LOUDLY: {name}: {reason}", file=sys.stderr, flush=True)
        self.write()

    def within(self, items: Iterable[Item], name: str) -> Iterator[Item]:
        """Yield items until the section's time is spent; the others are left out."""
        waiting = list(items)
        while waiting:
            if time.perf_counter() - self.started > self.seconds:
                self.left_out += [f"{name}: {item}" for item in waiting]
                print(f"LEFT OUT, for want of time: {name}: {waiting}", file=sys.stderr, flush=True)
                self.write()
                return
            yield waiting.pop(0)

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Note a failure, and go on with what comes after it."""
        try:
            yield
        except Missing as reason:
            self.is_missing(name, str(reason))
        except Exception as error:  # of any library: the other figures are wanted all the same
            self.failed[name] = f"{type(error).__name__}: {error}"[:2000]
            print(f"FAILED: {name}", file=sys.stderr)
            traceback.print_exc()
            self.write()

    def write(self) -> None:
        """Write all that is known by now."""
        content = {
            "card": self.card,
            "seconds": round(time.perf_counter() - self.started, 1),
            "checks": self.checks,
            "figures": self.figures,
            "left_out": self.left_out,
            "missing": self.missing,
            "failed": self.failed,
        }
        self.path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
