"""What a machine makes of the OpenAPI document: whatever it sends, the server answers as described."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LIMIT = 380  # seconds: more than a minute of processor time, beside another test and the server

pytestmark = pytest.mark.timeout(LIMIT + 20)

SCHEMATHESIS = str(Path(sys.executable).parent / "schemathesis")
AS_DESCRIBED = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance"
)


def check(url: str, folder: Path, checks: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        SCHEMATHESIS, "run", f"{url}/openapi.json", "--checks", checks,
        "--generation-deterministic", "--no-color", "--request-timeout", "60",
        # Else it sends the shortest that there is, and is answered 504, as it asked.
        "--header", "X-Request-Timeout: 60", *options,
    ]  # fmt: skip
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT, check=False)


def test_every_route_answers_as_it_is_described(tiny_server: Any, tmp_path: Path) -> None:
    ended = check(
        tiny_server.url, tmp_path, AS_DESCRIBED, "--max-examples", "40", "--phases", "examples,coverage,fuzzing"
    )

    assert ended.returncode == 0, ended.stdout[-6000:]


def test_the_documented_routes_reject_what_is_not_as_described(tiny_server: Any, tmp_path: Path) -> None:
    # Without the coverage phase: it wants a header that nobody knows to be an error.
    only = ("--include-path-regex", "^/rerank(/batch)?$", "--max-examples", "100", "--phases", "examples,fuzzing")
    ended = check(tiny_server.url, tmp_path, f"{AS_DESCRIBED},negative_data_rejection", *only)

    assert ended.returncode == 0, ended.stdout[-6000:]
