"""Start a server with the lite model, rank a small sample over HTTP, and stop it again: `make demo`."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from rerank_core import DEFAULT_MODEL, RankedDocument, RerankError, ScoreOptions, rank
from rerank_integrations.client import HTTPScorer

SAMPLE = Path(__file__).parent
HOST = "127.0.0.1"
START_LIMIT = 300.0  # seconds; the first import of torch on a slow disk takes most of it
STOP_LIMIT = 20.0
WIDEST = 100  # columns; longer lines are hard to read
SHOWN_WHOLE = 3  # passages; of the others the first sentence is shown
MEANING = (
    "lite is a bi-encoder: raw is the cosine of two embeddings, -1 to 1, and score the sigmoid of that, so always "
    "between 0.27 and 0.73. Read the order, not the distances; a cross-encoder's scores spread from 0 to 1 "
    "(docs/scores.md)."
)


class DemoFailed(Exception):
    """The server did not start, or did not stop."""


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C does, it stops the server too
    try:
        demonstrate()
    except (DemoFailed, RerankError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def demonstrate() -> None:
    question = (SAMPLE / "question.txt").read_text(encoding="utf-8").strip()
    lines = (SAMPLE / "passages.jsonl").read_text(encoding="utf-8").splitlines()
    passages = [json.loads(line)["text"] for line in lines]

    with sidecar() as (url, model), HTTPScorer(url) as scorer:
        began = time.perf_counter()
        raw = rank(scorer.score(question, passages, ScoreOptions(raw=True)))
        seconds = time.perf_counter() - began
        scores = scorer.score(question, passages).values

    width = max(40, min(WIDEST, shutil.get_terminal_size().columns))
    print(f"Question: {question}\n")
    print_table(raw, scores, passages, width)
    print(f"\n{len(passages)} passages ranked over HTTP in {seconds:.2f} s by: {model}")
    print(textwrap.fill(MEANING, width))
    following = (
        f"Next: MODEL_NAME=lite make serve, then open http://localhost:8000 (without MODEL_NAME: {DEFAULT_MODEL})"
    )
    print(textwrap.fill(following, width, break_on_hyphens=False, break_long_words=False))


# ---------------------------------------------------------------------------- the server


@contextmanager
def sidecar() -> Iterator[tuple[str, str]]:
    """A server of its own while the block runs: its address, and what it calls its model."""
    port = free_port()
    settings = {"MODEL_NAME": "lite", "HOST": HOST, "PORT": str(port), "USE_FP16": "false"}
    # What the environment says of another server is not for this one.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RERANK_")}
    os.environ.update(no_proxy=HOST, NO_PROXY=HOST)  # the client must not look for this machine behind a proxy
    with tempfile.TemporaryFile("a+", encoding="utf-8", errors="replace") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "rerank_server"], env=inherited | settings, stdout=log, stderr=log
        )
        try:
            yield f"http://{HOST}:{port}", wait_until_ready(server, port)
        except (DemoFailed, RerankError):
            print_end(log)
            raise
        finally:
            stop(server)
    if server.returncode != 0:
        raise DemoFailed(f"the server did not stop as it should: exit status {server.returncode}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def wait_until_ready(server: subprocess.Popen[bytes], port: int) -> str:
    """The model's name, once it is loaded. Raises ``DemoFailed`` where the server ends before, or takes too long."""
    message = f"Starting a server with the lite model at http://{HOST}:{port} ..."
    watched = sys.stdout.isatty()
    print(message, end="" if watched else "\n", flush=True)
    began = time.monotonic()
    try:
        while (waited := time.monotonic() - began) < START_LIMIT:
            if server.poll() is not None:
                raise DemoFailed(f"the server ended with exit status {server.returncode}")
            status, body = ask_health(port)
            if status == http.client.OK:
                return str(body["model_name"])
            if watched:
                print(f"\r{message} {waited:.0f} s", end="", flush=True)
            time.sleep(0.1)
        raise DemoFailed(f"the server was not ready within {START_LIMIT:.0f} s")
    finally:
        print("\n" if watched else "")


def ask_health(port: int) -> tuple[int, dict[str, object]]:
    """Status and body of `GET /health`: 200 once the model is loaded, 503 before; 0 where nobody answers yet."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        return response.status, json.load(response)
    except (OSError, http.client.HTTPException):
        return 0, {}
    finally:
        connection.close()


def stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            server.wait(STOP_LIMIT)
    finally:
        server.kill()  # does nothing where it has ended
        server.wait()


def print_end(log: IO[str]) -> None:
    """The last lines of the server's log."""
    log.seek(0)
    print("The end of the server's log:", *log.read().splitlines()[-15:], sep="\n  ", file=sys.stderr)


# ---------------------------------------------------------------------------- the table


def print_table(ranked: Sequence[RankedDocument], scores: Sequence[float], passages: Sequence[str], width: int) -> None:
    """Print rank, raw score, score and text of each passage; the first three whole, and in bold on a terminal."""
    bold = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and "NO_COLOR" not in os.environ
    print("rank     raw   score  passage")
    for place, document in enumerate(ranked, start=1):
        start = f"{place:4}  {document.score:6.4f}  {scores[document.index]:.4f}  "
        text = passages[document.index] if place <= SHOWN_WHOLE else first_sentence(passages[document.index])
        row = textwrap.fill(text, width, initial_indent=start, subsequent_indent=" " * len(start))
        print(f"\033[1m{row}\033[0m" if bold and place <= SHOWN_WHOLE else row)


def first_sentence(text: str) -> str:
    """The text up to its first full stop, question mark or exclamation mark."""
    return re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0]


if __name__ == "__main__":
    sys.exit(main())
