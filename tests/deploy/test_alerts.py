"""The alerts ask for metrics and labels that a server exposes, and Prometheus of the demo reads them."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml


@pytest.fixture(scope="module")
def alerts(root: Path) -> list[dict[str, str]]:
    read = yaml.safe_load((root / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
    rules: list[dict[str, str]] = [rule for group in read["groups"] for rule in group["rules"]]
    return rules


@pytest.fixture(scope="module")
def exposed(lite_server: Any) -> dict[str, set[str]]:
    """The names of all samples, each with its labels, of a server that has scored, failed and refused."""
    with httpx.Client(base_url=str(lite_server.url), trust_env=False) as client:
        for documents, status in ((["text"], 200), ([], 400), (["text"] * 1001, 413)):
            assert client.post("/v1/rerank", json={"query": "text", "documents": documents}).status_code == status
        lines = client.get("/metrics").text.splitlines()
    names: dict[str, set[str]] = {}
    for line in lines:
        if not line.startswith("#"):
            name, _, labels = line.rpartition(" ")[0].partition("{")
            names.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return names


def test_every_metric_of_an_alert_is_exposed(alerts: list[dict[str, str]], exposed: dict[str, set[str]]) -> None:
    asked = {name for rule in alerts for name in re.findall(r"\b(?:rerank|te|process)_\w+", rule["expr"])}

    assert len(asked) > 8
    assert asked - exposed.keys() == set()


def test_every_label_of_an_alert_is_exposed(alerts: list[dict[str, str]], exposed: dict[str, set[str]]) -> None:
    asked = [pair for rule in alerts for pair in re.findall(r"\b((?:rerank|te)_\w+)\{(\w+)=", rule["expr"])]

    assert len(asked) > 3
    assert [pair for pair in asked if pair[1] not in exposed[pair[0]]] == []


def test_prometheus_of_the_demo_reads_the_alerts_and_has_their_job(root: Path, alerts: list[dict[str, str]]) -> None:
    prometheus = yaml.safe_load((root / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    compose = yaml.safe_load((root / "deploy" / "docker-compose.demo.yml").read_text(encoding="utf-8"))
    mounted = dict(volume.split(":")[:2] for volume in compose["services"]["prometheus"]["volumes"])

    jobs = {job for rule in alerts for job in re.findall(r'job="(\w+)"', rule["expr"])}

    assert prometheus["rule_files"] == ["alerts.yml"]
    assert mounted["./prometheus/alerts.yml"] == "/etc/prometheus/alerts.yml"
    assert jobs == {scrape["job_name"] for scrape in prometheus["scrape_configs"]}
