"""The dashboard asks for what the server says, and for nothing else."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from rerank_server.observability.metrics import Metrics
from rerank_server.observability.request_record import RequestRecord

WATCHED = (
    "queue_pairs",
    "queue_tokens",
    "in_flight_pairs",
    "in_flight_tokens",
    "capacity_pairs",
    "capacity_tokens",
    "tokens_per_second",
    "model_ready",
    "batch_age_seconds",
    "event_loop_lag_seconds",
    "cache_bytes",
    "cache_entries",
)


@pytest.fixture(scope="module")
def dashboard(root: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((root / "deploy/grafana/rerank.json").read_text(encoding="utf-8"))
    return read


@pytest.fixture(scope="module")
def exposed() -> dict[str, set[str]]:
    """The names of all samples of a server that has seen everything once, each with its labels."""
    metrics = Metrics()
    metrics.watch(**dict.fromkeys(WATCHED, lambda: 1.0))
    metrics.request(RequestRecord(request_id="1", method="POST", route="/rerank", status=200, pairs=1))
    metrics.request(RequestRecord(request_id="2", method="POST", route="/rerank", status=429, error="overloaded"))
    metrics.rejected("pairs")
    metrics.batch(sequences=1, tokens=10, seconds=0.01, failed=False)
    names: dict[str, set[str]] = {}
    for line in metrics.render().decode().splitlines():
        if not line.startswith("#"):
            name, _, labels = line.rpartition(" ")[0].partition("{")
            names.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return names


def expressions(dashboard: dict[str, Any]) -> list[str]:
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    return asked + [variable["definition"] for variable in dashboard["templating"]["list"] if "definition" in variable]


def test_every_metric_that_it_asks_for_is_exposed(dashboard: dict[str, Any], exposed: dict[str, set[str]]) -> None:
    asked = {
        name for expression in expressions(dashboard) for name in re.findall(r"\b(?:rerank|te|process)_\w+", expression)
    }

    assert len(asked) > 30
    assert asked - exposed.keys() == set()


def test_every_label_that_it_sums_by_is_exposed(dashboard: dict[str, Any], exposed: dict[str, set[str]]) -> None:
    for expression in expressions(dashboard):
        for labels, name in re.findall(r"by \(([\w, ]+)\) \(rate\((\w+)", expression):
            assert set(labels.split(", ")) <= exposed[name], expression


def test_every_panel_has_a_number_of_its_own_and_a_place(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(set(places)) == len(panels)
    assert [panel["title"] for panel in panels if panel["type"] == "row"] == [
        "Traffic",
        "Queue",
        "Network",
        "Cache",
        "Process",
    ]


def test_the_data_source_is_the_readers_choice(dashboard: dict[str, Any]) -> None:
    asking = [panel for panel in dashboard["panels"] if panel["type"] != "row"]

    assert dashboard["templating"]["list"][0]["type"] == "datasource"
    assert {panel["datasource"]["uid"] for panel in asking} == {"${datasource}"}
    assert all('job=~"$job", instance=~"$instance"' in expression for expression in expressions(dashboard)[:-2])
