"""What the README and the examples show is what happens."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
URL = "http://localhost:8000"


@pytest.fixture(scope="module")
def url(lite_server: Any) -> str:
    return str(lite_server.url)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_finds_the_panda(example: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = example.read_text(encoding="utf-8").replace(URL, url)

    exec(compile(code, str(example), "exec"), {"__name__": "__main__"})

    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("The giant panda is a bear species endemic to China.")
    assert second.endswith("pandas is a Python library for data analysis.")


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.DOTALL), ids=lambda text: text[:30])
def test_a_block_of_the_readme_is_an_example(block: str) -> None:
    assert any(block.strip() in example.read_text(encoding="utf-8") for example in EXAMPLES)


@pytest.mark.parametrize("line", re.findall(r"^\$ (curl .*)$", README, re.MULTILINE), ids=lambda text: text[:40])
def test_a_curl_of_the_readme_is_answered(line: str, url: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("SKIPPED LOUDLY: curl is not installed, the README's commands were not run")

    command = line.replace("localhost:8000", url.removeprefix("http://")) + " --fail"
    ended = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 0
    assert ended.stdout.startswith("{")


def test_the_readme_names_files_that_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
