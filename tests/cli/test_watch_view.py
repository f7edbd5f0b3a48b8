import logging

import pytest

from adln.cli.watch_view import WatchView


def test_what_is_logged_is_one_line_without_passwords(capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("adln.test_watch_view")
    with WatchView(quiet=True).taking_logs(logger):
        logger.warning("%s", "http://me:s3cret@cam/a: 500 \x1b[2J\rall is well\nforged")
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].endswith("warning: http://***@cam/a: 500 \\x1b[2J\\rall is well\\nforged")
