"""The page that says how every client gets on: the same for equal runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from groups.cases import AS_IT_DOES, CASES, Seen
from listed import Group, Listed

HEAD = """\
# Clients

<!-- Written by tests/clients/run.py: `make test-clients` writes it again. -->

Other services' clients, pointed at a server of ours with the model `lite`, whose address is B here. The ranking must be
the one that `rerank_core` computes in process, to 1e-6 in its scores, and an error must arrive as the client's own,
with the server's reason in it. A replay is the request that a program is known to send, and a reading of what it reads.

"""

ERRORS_HEAD = """
## What each of them shows

"As that client does" marks what a client makes of any server's answer, or does before it asks. The full server answers
429 with `Retry-After: 2`, and an ordinary one the next time. Of a replay it is the server's status.

"""


@dataclass(slots=True)
class Row:
    """What is known of one client: ``not_run`` and, at length, ``why`` where it could not be installed."""

    listed: Listed
    version: str
    seen: dict[str, Seen] = field(default_factory=dict)
    not_run: str | None = None
    why: str = ""

    @property
    def failed(self) -> bool:
        """A client that ran, and not as expected."""
        return self.not_run is None and any(case.ok is False for case in self.seen.values())


def rows(group: Group) -> list[Row]:
    """A row for each of a group's clients, before anything is run."""
    return [Row(listed, group.version(listed.package)) for listed in group.clients]


def page(found: Sequence[Row]) -> str:
    """The whole page."""
    return HEAD + _results(found) + ERRORS_HEAD + _errors(found)


def _results(found: Iterable[Row]) -> str:
    return _table(
        ("client", "version", "what was run", "result"),
        ((row.listed.name, row.version, row.listed.call, _result(row)) for row in found),
    )


def _result(row: Row) -> str:
    if row.not_run is not None:
        return f"not run ({row.not_run})"
    if row.failed:
        return "FAILED: " + "; ".join(f"{case}: {seen.shows}" for case, seen in _of(row) if seen.ok is False)
    expected: list[str] = []
    odd: list[str] = []
    skipped: list[str] = []
    for case, seen in _of(row):
        (skipped if seen.ok is None else odd if seen.shows.startswith(AS_IT_DOES) else expected).append(case)
    said = (("as expected:", expected), (AS_IT_DOES, odd), ("not run:", skipped))
    return "; ".join(f"{how} {', '.join(cases)}" for how, cases in said if cases)


def _errors(found: Iterable[Row]) -> str:
    cases = CASES[1:]
    lines = (
        (row.listed.name, *(row.seen[case].shows if case in row.seen else "not run" for case in cases)) for row in found
    )
    return _table(("client", *cases), lines)


def _of(row: Row) -> Iterable[tuple[str, Seen]]:
    return ((case, row.seen[case]) for case in CASES if case in row.seen)


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    written = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in written)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def read(line: Mapping[str, object]) -> tuple[str, str, str, Seen]:
    """A line that a group wrote: client, version, case, and what was seen."""
    ok = line["ok"]
    seen = Seen(None if ok is None else bool(ok), str(line["shows"]), str(line["detail"]))
    return str(line["client"]), str(line["version"]), str(line["case"]), seen
