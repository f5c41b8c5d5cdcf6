"""The server as a process: how it starts, fails and ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

SERVER = [sys.executable, "-m", "rerank_server"]


def run(*command: str, timeout: float = 100, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def test_being_told_to_stop_is_no_failure(serving: Callable[..., Any], tiny: Path) -> None:
    with serving(tiny) as server:
        server.process.send_signal(signal.SIGTERM)

        assert server.process.wait(timeout=30) == 0


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_being_told_to_stop_while_the_model_loads_is_no_failure(tiny: Path, told: signal.Signals) -> None:
    environment = os.environ | {"MODEL_NAME": str(tiny), "HOST": "127.0.0.1", "PORT": "0"}
    with subprocess.Popen(SERVER, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "loading the model" in line:
                process.send_signal(told)
                break
        rest = process.stderr.read()

    assert process.returncode == 0
    assert "Traceback" not in rest


def test_a_request_beside_the_signal_is_answered_or_refused_but_never_dropped(
    serving: Callable[..., Any], tiny: Path
) -> None:
    body = {"query": "panda", "documents": [f"{number} " + "giant panda " * 40 for number in range(500)]}
    with serving(tiny) as server, ThreadPoolExecutor(4) as threads:
        scoring = [threads.submit(httpx.post, f"{server.url}/v1/rerank", json=body, timeout=60) for _ in range(4)]
        while not any(request.done() for request in scoring):
            httpx.get(f"{server.url}/livez")
        server.process.send_signal(signal.SIGTERM)
        statuses = {request.result().status_code for request in scoring}

        assert server.process.wait(timeout=30) == 0
    assert 200 in statuses
    assert statuses <= {200, 503}


def test_a_model_that_is_not_there_ends_the_process_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    ended = run(*SERVER, MODEL_NAME=str(tmp_path / "empty"), HOST="127.0.0.1", PORT="0")

    assert ended.returncode == 1
    assert "config.json is missing" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_check_loads_scores_and_says_so(tiny: Path) -> None:
    ended = run(*SERVER, "--check", MODEL_NAME=str(tiny))

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"ok: {tiny} on cpu in float32 by the packed engine, 128 tokens\n"


def test_ready_asks_the_server_that_runs_here(tiny_server: Any) -> None:
    port = tiny_server.url.rpartition(":")[2]

    asked = run(*SERVER, "--ready", HOST="127.0.0.1", PORT=port)

    assert (asked.returncode, asked.stdout.strip()) == (0, '200 {"status":"healthy"}')


def test_ready_asks_at_a_socket_too(serving: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    with serving(tiny, uds=tmp_path / "socket"):
        asked = run(*SERVER, "--ready", RERANK_UDS=str(tmp_path / "socket"))

    assert asked.returncode == 0


def test_ready_says_where_nobody_answers() -> None:
    asked = run(*SERVER, "--ready", HOST="127.0.0.1", PORT="1")

    assert asked.returncode == 1
    assert asked.stdout.startswith("no answer: ")


def test_half_precision_without_cuda_starts_in_float32_with_one_warning(
    serving: Callable[..., Any], tiny: Path
) -> None:
    with serving(tiny, USE_FP16="true", RERANK_DEVICE="cpu") as server:
        health = httpx.get(f"{server.url}/health").json()
        log = server.log.read_text()

    assert (health["dtype"], health["device"]) == ("float32", "cpu")
    assert log.count("WARNING") == 1
    assert "USE_FP16=true needs CUDA" in log


def test_an_explicit_float16_on_a_cpu_is_an_error(tiny: Path) -> None:
    ended = run(*SERVER, "--check", MODEL_NAME=str(tiny), RERANK_DTYPE="float16", RERANK_DEVICE="cpu")

    assert ended.returncode == 1
    assert "float16" in ended.stderr


def test_a_port_in_use_ends_the_process(tiny_server: Any, tiny: Path) -> None:
    port = tiny_server.url.rpartition(":")[2]

    ended = run(*SERVER, MODEL_NAME=str(tiny), HOST="127.0.0.1", PORT=port)

    assert ended.returncode == 1
    assert "address already in use" in ended.stderr


def test_no_text_is_logged(serving: Callable[..., Any], tiny: Path) -> None:
    secret = "do-not-log-this"
    with serving(tiny, RERANK_LOG_LEVEL="debug") as server:
        for path, body in (
            ("/rerank", {"query": secret, "passage": secret}),
            ("/rerank", {"query": secret, "passage": 7}),
            ("/v1/rerank", {"query": secret, "documents": [secret], "truncation_side": secret}),
        ):
            httpx.post(server.url + path, json=body)
    log = server.log.read_text()  # a running server writes its last lines a little later

    assert "/v1/rerank" in log
    assert secret not in log


def test_the_console_log_says_each_fact_once(serving: Callable[..., Any], tiny: Path) -> None:
    """When it loads, where it listens, what runs, and that it ends; each with a time and a level before it."""
    with serving(tiny) as server:
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(timeout=30)

    lines = [line.split(" ", 3)[2:] for line in server.log.read_text().splitlines()]
    port = server.url.rpartition(":")[2]
    assert lines[:1] + sorted(lines[1:3]) + lines[3:] == [
        ["INFO", "loading the model"],
        ["INFO", f"listening on http://127.0.0.1:{port}"],
        ["INFO", f"ready: {tiny} on cpu in float32 by the packed engine"],
        ["INFO", "shutting down"],
    ]


def test_keys_beside_every_origin_are_a_warning_in_the_log(serving: Callable[..., Any], tiny: Path) -> None:
    with serving(tiny, RERANK_API_KEYS="k") as server:
        log = server.log.read_text()

    assert log.count("WARNING") == 1
    assert "API keys are required, and CORS_ORIGINS is *" in log


def test_the_command_line_ranks_over_http(tiny_server: Any, tmp_path: Path) -> None:
    passages = tmp_path / "passages.txt"
    passages.write_text("The giant panda lives in China.\nParis is the capital of France.\n")
    rerank = str(Path(sys.executable).parent / "rerank")

    ended = run(rerank, "rank", "where does the panda live", str(passages), "--url", tiny_server.url)
    refused = run(rerank, "rank", "x", str(passages), "--url", "http://127.0.0.1:1")

    assert ended.returncode == 0
    assert len(ended.stdout.splitlines()) == 3
    assert refused.returncode == 1
    read, said = refused.stderr.splitlines()
    assert read == f"rerank: {passages} is plain text: 2 passages, each a line"
    assert said.startswith("rerank: http://127.0.0.1:1 cannot be reached")


@pytest.mark.parametrize("command", [["serve", "--help"], ["--help"]])
def test_the_server_is_a_subcommand_of_rerank(command: list[str]) -> None:
    ended = run(str(Path(sys.executable).parent / "rerank"), *command)

    assert ended.returncode == 0
    assert "serve" in ended.stdout
