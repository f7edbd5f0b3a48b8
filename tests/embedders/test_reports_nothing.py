"""The runtime below reports nothing about the device to anybody."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Telemetry starts when the runtime is loaded, and keeps what it has not sent under the home.
_LOAD = "import adln.embedders.session, onnxruntime; onnxruntime.get_available_providers()"


def files_left_by(code: str, home: Path, **variables: str) -> set[str]:
    home.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "ORT_"))}
    subprocess.run(
        [sys.executable, "-c", code], env={**kept, "HOME": str(home), **variables}, check=True
    )
    return {str(path.relative_to(home)) for path in home.rglob("*")}


@pytest.mark.parametrize("variables", [{}, {"ORT_DISABLE_TELEMETRY": ""}])
def test_the_runtime_keeps_no_report_and_no_number_of_the_device(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    assert files_left_by(_LOAD, tmp_path / "home", **variables) == set()


def test_who_wants_to_report_can_say_so() -> None:
    said = "import adln, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "0"}
    run = subprocess.run(
        [sys.executable, "-c", said], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout == "0\n"
