"""A test that is skipped for an unknown reason fails the run."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import NO_CHROMIUM

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("reason", "exit_code"), [(NO_CHROMIUM, 0), ("this is not wanted here", 1)]
)
def test_only_known_reasons_are_accepted(tmp_path: Path, reason: str, exit_code: int) -> None:
    path = tmp_path / "test_skipped.py"
    path.write_text(
        "import pytest\n\n\ndef test_it():\n    pass\n\n\n"
        f"def test_other():\n    pytest.skip({reason!r})\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [*command, "-c", "/dev/null", f"--rootdir={tmp_path}", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == exit_code, run.stdout + run.stderr
    assert (reason in run.stdout) == bool(exit_code)
