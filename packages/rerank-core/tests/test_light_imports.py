import pytest

HEAVY = ["torch", "transformers", "numpy", "tokenizers", "safetensors", "huggingface_hub", "sentence_transformers"]


@pytest.mark.parametrize("module", ["rerank_core", "rerank_core.cli", "rerank_core.testing.doubles"])
def test_importing_it_brings_in_nothing_heavy(fresh_python, module):
    """The integrations over HTTP live on the base install, and ``rerank --help`` answers at once."""
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"

    done = fresh_python("-c", code)

    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_it_works_on_the_base_install_alone(fresh_python):
    """Without any of the heavy libraries: ranking works, loading says what to install."""
    code = f"""
import sys
for name in {HEAVY}:
    sys.modules[name] = None
import rerank_core
from rerank_core.cli import main
from rerank_core.testing.doubles import OverlapModel
print(rerank_core.rerank(OverlapModel(), "panda", ["none", "a panda"])[0].index)
sys.exit(main(["--help"]))
"""
    done = fresh_python("-c", code)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1\nusage: rerank")
