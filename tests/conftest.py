"""Settings for all tests; and no test is skipped but for a reason that is known."""

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adln.cameras.fetching import YOLOX_NANO, default_cache, fetch
from adln.errors import ModelFileError

# Two test processes share two cores; more threads than cores only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ON_X86_LINUX = sys.platform == "linux" and platform.machine() == "x86_64"
NO_CHROMIUM = "no Chromium on this machine"
NO_DETECTOR = "the detector's file is not here and cannot be fetched"
NO_SERVER = "no Milvus server: it exists for x86-64 Linux only"
# A test that is skipped for any other reason fails the run: what is never tried does not hold.
EXPECTED_SKIPS = (
    NO_CHROMIUM,  # a browser is no Python package
    NO_DETECTOR,  # a machine without a network
    *(() if ON_X86_LINUX else (NO_SERVER,)),
)

# Files that take longest. They are begun first: one begun last would leave the other process idle.
LONGEST = (
    "site/test_training.py",
    "gallery/test_conformance.py",
    "export/test_exporting.py",
    "site/test_killing.py",
    "export/test_ncnn.py",
    "training/test_several_processes.py",
    "export/test_rewriting_int8.py",
    "service/test_hostile.py",
    "cli/test_adapt_overnight.py",
    "cli/test_evaluate.py",
    "cli/test_train.py",
)

CACHE = default_cache()  # before tests get one of their own

_unexpected: list[str] = []


@pytest.fixture(scope="session")
def detector_path() -> Path:
    """The real detector: named in ADLN_YOLOX, beside the project, or fetched once."""
    named = os.environ.get("ADLN_YOLOX")
    beside = Path(__file__).parents[2] / "shared" / "detector" / "yolox_nano_416.onnx"
    for path in ([Path(named)] if named else []) + [beside]:
        if path.is_file():
            return path
    try:
        return fetch(YOLOX_NANO, cache=CACHE)
    except ModelFileError:
        pytest.skip(NO_DETECTOR)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is left in the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get("/".join(item.path.parts[-2:]), len(ranks)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember tests that were skipped for a reason that is not known."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(known in reason for known in EXPECTED_SKIPS):
            _unexpected.append(f"{report.nodeid}: {reason}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skip that nobody expects fails the run."""
    if _unexpected and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which skips fail the run."""
    if _unexpected:
        terminalreporter.section("skipped for a reason that is not in EXPECTED_SKIPS")
        for line in _unexpected:
            terminalreporter.line(line)
