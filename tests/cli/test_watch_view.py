import logging
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from adln.cli.watch_view import WatchView


def test_what_is_logged_is_one_line_without_passwords(capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("adln.test_watch_view")
    with WatchView(quiet=True).taking_logs(logger):
        logger.warning("%s", "http://me:s3cret@cam/a: 500 \x1b[2J\rall is well\nforged")
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].endswith("warning: http://***@cam/a: 500 \\x1b[2J\\rall is well\\nforged")


def test_a_log_on_a_full_disk_does_not_end_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115
    monkeypatch.setattr(sys, "stderr", full)
    view = WatchView(quiet=False)
    view.say("where it stands")
    with view.taking_logs(logging.getLogger("adln.test_watch_view")):
        logging.getLogger("adln.test_watch_view").warning("a camera is silent")
    with suppress(OSError):
        full.close()
