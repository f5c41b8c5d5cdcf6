"""Writes the users' page and the full matrix of clients, both from one file of results.

    python tests/clients/table.py

``results.json`` is what ``run.py`` found. The pages are the same for equal results.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from groups.cases import AS_IT_DOES, CASES, ERRORS, INSTRUCTION, Seen
from listed import GROUPS, Group, Listed

_HERE = Path(__file__).parent
RESULTS = _HERE / "results.json"
MATRIX = _HERE / "RESULTS.md"
USERS_PAGE = _HERE.parent.parent / "docs" / "clients.md"

MATRIX_HEAD = """\
# Results of all clients

<!-- Written by tests/clients/table.py: `make test-clients` runs the clients and writes this again. -->

Other services' clients against a server of ours with the model `lite`, whose address is B here. The ranking must be the
one that `rerank_core` computes in process, to 1e-6 in its scores; so must be the one with an instruction, of a client
that can send one to a model that takes one. An error must arrive as the client's own, with the server's reason in it. A
replay is the request that a program is known to send, and a reading of what it reads.

"""

ERRORS_HEAD = """
## Errors

"As that client does" marks what a client makes of any server's answer, or does before it sends one. The full server
answers 429 with `Retry-After: 2`, and is an ordinary server the next time. A replay shows the server's status.

"""

USERS_HEAD = """\
# Which base URL does my client need?

<!-- Written by tests/clients/table.py from what `make test-clients` found. -->

Keep your client, and change its base URL. The server recognises the dialect of each vendor by path and body
([http-api.md](http-api.md#dialects-of-other-servers)). In the table B is the address of your server, such as
`http://localhost:8000`.

- Any model name will do, unless `RERANK_STRICT_MODEL` is set.
- If the server asks for a key, give it to the client as its usual API key. If not, any key will do.
- An error (a wrong key, an unknown model, a full server) arrives as the client's own error, with the server's reason,
  unless the remark says otherwise.

Every row was run against a real server, and ranked as the model in process does, to 1e-6 in its scores. In brackets is
the version of the client. *Replay* means that the program is too large to install in a test: the requests that it is
known to send were sent instead.

"""

USERS_TAIL = """
`make test-clients` runs all of them again. [RESULTS.md](../tests/clients/RESULTS.md) has every single result.

## Python without another client

`HTTPScorer("http://localhost:8000")` of `rerank_integrations.client` is our own client, and what our LangChain and
LlamaIndex adapters use. It shows the server's reason as an exception, waits `Retry-After`, and tries again.

With several addresses, `HTTPScorer(["http://a:8000", "http://b:8000"], timeout=2.0)` sends a request to the server with
the fewest requests in progress, and to another one where that one is lost or full. `timeout` covers the whole call. A
server that is stopped or stuck is noticed within 3 seconds; with `hedge_after=0.3` a second server is asked where the
first is slow. The [README of the package](../packages/rerank-integrations/README.md) says more.
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


def read(line: Mapping[str, object]) -> tuple[str, str, str, Seen]:
    """A line that a group wrote: client, version, case, and what was seen."""
    ok = line["ok"]
    seen = Seen(None if ok is None else bool(ok), str(line["shows"]), str(line["detail"]))
    return str(line["client"]), str(line["version"]), str(line["case"]), seen


# ---------------------------------------------------------------------------- the file of results


def dump(found: Iterable[Row]) -> str:
    """The results as JSON, without what differs between equal runs."""
    lines = [
        {
            "client": row.listed.name,
            "version": row.version,
            "not_run": row.not_run,
            "cases": {case: {"ok": seen.ok, "shows": seen.shows} for case, seen in _of(row)},
        }
        for row in found
    ]
    return json.dumps(lines, indent=1) + "\n"


def load(text: str) -> list[Row]:
    """The rows of ``dump``. Raises ``KeyError`` for a client that is not listed any more."""
    listed = {client.name: client for group in GROUPS for client in group.clients}
    return [
        Row(
            listed[line["client"]],
            line["version"],
            {case: Seen(seen["ok"], seen["shows"]) for case, seen in line["cases"].items()},
            line["not_run"],
        )
        for line in json.loads(text)
    ]


# ---------------------------------------------------------------------------- the users' page


def users_page(found: Sequence[Row]) -> str:
    """What a user looks up: what to set in each product, and what is unusual about it."""
    lines = [
        _users_row(list(same))
        for _, same in groupby(_by_product(found), key=lambda row: (row.listed.product, row.listed.setting))
    ]
    return USERS_HEAD + _table(("client", "what to set", "works", "remark"), lines) + USERS_TAIL


def _by_product(found: Iterable[Row]) -> list[Row]:
    """Rows of one product and setting side by side, in the order in which they first come."""
    first: dict[tuple[str, str], int] = {}
    return sorted(found, key=lambda row: first.setdefault((row.listed.product, row.listed.setting), len(first)))


def _users_row(same: Sequence[Row]) -> Sequence[str]:
    listed, version = same[0].listed, same[0].version
    if any(row.not_run is not None for row in same):
        return (listed.product, listed.setting, f"not run ({version})", "")
    works = "**no**" if any(row.failed for row in same) else "yes"
    remarks = [_remark(case, seen, row.listed.field) for row in same for case, seen in _of(row)] + [listed.remark]
    return (listed.product, listed.setting, f"{works} ({version})", "; ".join(filter(None, dict.fromkeys(remarks))))


def _remark(case: str, seen: Seen, field: str) -> str:
    """What is unusual: neither a ranking, nor the client's own error with the server's reason, nor no documents."""
    if seen.ok is False:
        return f"**{seen.shows}**"
    if case == INSTRUCTION:
        return f"takes `{field}`"
    if seen.shows.startswith("waits"):
        return "full server: waits `Retry-After`, then tries again"
    if seen.shows.startswith("asks again"):
        return "full server: tries again"
    if seen.shows.startswith(f"{AS_IT_DOES} returns `None`"):
        return "returns `None` instead of an error"
    return "errors do not show the reason" if seen.shows.startswith(AS_IT_DOES) and "reason" in seen.shows else ""


# ---------------------------------------------------------------------------- the matrix


def matrix(found: Sequence[Row]) -> str:
    """All that is known of each client."""
    return MATRIX_HEAD + _results(found) + ERRORS_HEAD + _errors(found)


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
    lines = (
        (row.listed.name, *(row.seen[case].shows if case in row.seen else "not run" for case in ERRORS))
        for row in found
    )
    return _table(("client", *ERRORS), lines)


def _of(row: Row) -> Iterable[tuple[str, Seen]]:
    return ((case, row.seen[case]) for case in CASES if case in row.seen)


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    written = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in written)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def main() -> None:
    """Write both pages."""
    found = load(RESULTS.read_text(encoding="utf-8"))
    MATRIX.write_text(matrix(found), encoding="utf-8")
    USERS_PAGE.write_text(users_page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
