"""Writes ``configuration.md`` from the server's settings. Run by ``make docs``."""

from pathlib import Path

from rerank_server.settings import DOCUMENTED, allowed, description, settings_fields, variable_of

PAGE = Path(__file__).parent / "configuration.md"

HEAD = """\
# Configuration

<!-- Written by docs/write_configuration.py from the server's settings: change those, then `make docs`. -->

The server is configured by its environment. An empty value counts as none. A value that is not allowed, or an unknown
name that begins with `RERANK_`, stops the start with the variable's name. Passed over are what Kubernetes and Docker
inject for a neighbour whose name begins with rerank (`RERANK_GPU_SERVICE_HOST`, `RERANK_PORT=tcp://...`), and what our
own client and the examples read (`RERANK_API_KEY`, `RERANK_URL`).

| variable | default | allowed | what it does |
|---|---|---|---|
"""


def page() -> str:
    """The whole page. The five names without our prefix come first."""
    fields = sorted(settings_fields(), key=lambda field: field.name not in DOCUMENTED.values())
    rows = []
    for field in fields:
        default = f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"
        cells = (
            f"`{variable_of(field.name)}`",
            "-" if field.default is None else default,
            allowed(field).replace("|", "\\|"),
            description(field),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
