"""The compose files, as text: what they set is what the server knows."""

import re
from pathlib import Path

from rerank_server.settings import settings_fields, variable_of

SERVER = {variable_of(field.name) for field in settings_fields()}
APP = {"RERANK_URL"}  # of examples/sidecar_app


def test_every_variable_is_a_setting(root: Path) -> None:
    files = [root / "deploy" / "docker-compose.yml", root / "deploy" / "docker-compose.demo.yml"]
    named = {name for file in files for name in re.findall(r"\bRERANK_[A-Z_]+", file.read_text())}

    assert "RERANK_API_KEYS" in named
    assert named <= SERVER | APP


def test_compose_waits_longer_than_the_server_drains(root: Path) -> None:
    grace = re.search(r"stop_grace_period: (\d+)s", (root / "deploy" / "docker-compose.yml").read_text())
    defaults = {field.name: field.default for field in settings_fields()}

    assert grace is not None
    assert int(grace[1]) > defaults["prestop_seconds"] + defaults["drain_seconds"]
