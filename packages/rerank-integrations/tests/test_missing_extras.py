"""Without its framework an adapter says what to install."""

import subprocess
import sys

import pytest

ABSENT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


@pytest.mark.parametrize(
    ("adapter", "absent", "extra"),
    [("langchain", "langchain_core", "langchain"), ("llama_index", "llama_index", "llama-index")],
)
def test_an_absent_framework_is_named_with_the_extra_that_brings_it(adapter: str, absent: str, extra: str) -> None:
    """Pydantic comes with the frameworks, so it is absent too."""
    code = ABSENT.format(names={absent, "pydantic"}) + f"import rerank_integrations.{adapter}"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    last = ended.stderr.splitlines()[-1]
    assert last.startswith("rerank_core.errors.MissingExtra")
    assert f"install rerank-integrations[{extra}] (docs/install.md" in last
