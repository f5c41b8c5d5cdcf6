"""
Test tiers: each test file belongs to one, by the table below, and its tests get the tier's name as a marker.

`make test` runs `everyday`, `make test-all` also `full`, `make test-release` also `release`; `hub` needs the model hub.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path, PurePath

import hypothesis
import pytest

# A busy machine is no failure. CI asks for the thorough profile.
for name, examples in {"everyday": 20, "thorough": 100}.items():
    hypothesis.settings.register_profile(
        name, max_examples=examples, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "everyday"))

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores, and more threads would only wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The longest path that a file lies in or is counts.
TIERS = {
    "packages": "everyday",
    # Command lines, forks, and whatever is compared with other libraries or over all families and dtypes.
    "packages/rerank-core/tests/checkpoints/test_tokenizer_files.py": "full",
    "packages/rerank-core/tests/cli": "full",
    "packages/rerank-core/tests/engines/packed/kernels": "full",  # its kernels take seconds to compile
    "packages/rerank-core/tests/engines/packed/architectures": "full",
    "packages/rerank-core/tests/engines/packed/test_last_layer.py": "full",
    "packages/rerank-core/tests/engines/test_dtypes.py": "full",
    "packages/rerank-core/tests/engines/test_families.py": "full",
    "packages/rerank-core/tests/engines/test_parity.py": "full",
    "packages/rerank-core/tests/engines/test_torch_settings.py": "full",
    "packages/rerank-core/tests/engines/test_unread.py": "full",
    "packages/rerank-core/tests/models/test_sentence_transformers.py": "full",
    "packages/rerank-core/tests/models/test_copies.py": "full",
    "packages/rerank-core/tests/models/test_language_models.py": "full",
    "packages/rerank-core/tests/models/test_shared_prefixes.py": "full",
    "packages/rerank-core/tests/text/test_boundaries.py": "full",
    "packages/rerank-core/tests/text/test_qwen_tokens.py": "full",
    "packages/rerank-core/tests/text/test_tokenizer.py": "full",
    "packages/rerank-core/tests/test_forking.py": "full",
    "packages/rerank-integrations/tests/batch/test_on_ray.py": "release",
    "packages/rerank-integrations/tests/http/test_forks.py": "full",
    "packages/rerank-integrations/tests/http/test_interpreter_end.py": "full",
    "packages/rerank-server/tests/inference/test_shared_prefixes.py": "full",
    "packages/rerank-server/tests/test_ray.py": "release",
    "tests/wire": "everyday",
    "tests/docs": "everyday",
    "tests/docs/test_guides.py": "full",  # it scores thousands of pairs
    "tests/docs/test_site.py": "full",
    "tests/fuzz": "full",
    "tests/e2e": "full",
    "tests/e2e/test_roads.py": "everyday",
    "tests/e2e/test_spark.py": "release",
    "tests/packaging": "full",
    "tests/packaging/test_one_version.py": "everyday",
    "tests/packaging/test_public_imports.py": "everyday",
    "tests/packaging/test_frameworks.py": "release",
    "tests/packaging/test_install_lines.py": "release",
    "tests/packaging/test_pythons.py": "release",
    "tests/packaging/test_wheels.py": "release",
    "tests/deploy": "release",
    "tests/clients": "release",
    "tests/hub": "hub",
}

# Files of a group are run one after another, by one of the processes of `--dist loadfile`: each of these starts a
# cluster that takes both cores.
GROUPS = {
    "packages/rerank-integrations/tests/batch/test_on_ray.py": "clusters",
    "packages/rerank-server/tests/test_ray.py": "clusters",
    "tests/e2e/test_spark.py": "clusters",
}


def tier(file: PurePath) -> str | None:
    """Look up the tier of a file by its path in the repository."""
    found = (TIERS.get(path.as_posix()) for path in (file, *file.parents))
    return next(filter(None, found), None)


@pytest.hookimpl(tryfirst=True)  # before -m looks at the markers
def pytest_collection_modifyitems(config: pytest.Config, items: Iterable[pytest.Item]) -> None:
    """Mark every test with the tier of its file."""
    for item in items:
        found = tier(item.path.relative_to(config.rootpath))
        if found is None:
            raise pytest.UsageError(f"{item.path} has no tier: give its folder one in {Path(__file__).name}")
        item.add_marker(found)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Let one process run all files of a group, where one runs all tests of a file."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    scheduler = LoadFileScheduling(config, log)
    file_of = scheduler._split_scope
    scheduler._split_scope = lambda nodeid: GROUPS.get(file_of(nodeid), file_of(nodeid))
    return scheduler


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Save what was measured: a process of pytest-xdist that takes long to end is killed before it does so itself."""
    coverage = sys.modules.get("coverage")
    running = coverage.Coverage.current() if coverage and hasattr(session.config, "workerinput") else None
    if running is not None:
        running.save()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave files of other tiers unread where one tier is asked for: their imports take seconds."""
    wanted = config.getoption("markexpr")
    if wanted not in TIERS.values() or not collection_path.is_file():
        return None
    found = tier(collection_path.relative_to(config.rootpath))
    return True if found not in (wanted, None) else None
