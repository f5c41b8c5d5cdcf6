"""The cheap part of `make test-clients`: no environment but ours, no network."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HERE / "run.py"), *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_replayed_programs_are_served_and_what_cannot_be_installed_is_said(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    nowhere = {"UV": str(tmp_path / "no-uv"), "CLIENTS_ENVIRONMENTS": str(tmp_path / "environments")}

    ended = run("--only", "replays", "--only", "xinference", "--results", str(results), **nowhere)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "16 as expected, 0 failed, 2 not run" in ended.stdout
    assert ended.stdout.count("SKIPPED LOUDLY: Xinference client") == 2
    found = json.loads(results.read_text(encoding="utf-8"))
    replayed = [line for line in found if line["version"].startswith("replay of ")]
    assert [line["client"] for line in found if (line["not_run"] or "").startswith("not installed: ")] == [
        "Xinference client, handle",
        "Xinference client, get_model",
    ]
    assert len(replayed) == 16
    assert all(line["cases"]["ranking"]["ok"] for line in replayed)
    instructed = {
        line["client"]: line["cases"]["instruction"]["shows"] for line in found if "instruction" in line["cases"]
    }
    assert instructed == dict.fromkeys(
        ("vLLM, instruction", "vLLM, chat_template_kwargs", "SGLang, instruct"), "order and scores"
    )


def test_without_node_the_clients_of_npm_are_said_not_to_be_run(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for program in ("sh", "env"):
        (programs / program).symlink_to(str(shutil.which(program)))

    ended = run("--only", "npm", PATH=str(programs), CLIENTS_ENVIRONMENTS=str(tmp_path / "environments"))

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 as expected, 0 failed, 5 not run" in ended.stdout
    assert "SKIPPED LOUDLY: AI SDK, cohere: not installed: there is no npm, which comes with Node.js" in ended.stdout
