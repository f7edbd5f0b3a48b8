import json
import logging
import sys

from adln.service.logs import JsonFormatter, TextFormatter

TOLD = "no\x1b[2J\r\n2026-01-01 ERROR adln: forged"


def record() -> logging.LogRecord:
    return logging.LogRecord("adln", logging.ERROR, "", 1, "told: %s", (TOLD,), None)


def test_a_record_is_one_line_whatever_it_quotes() -> None:
    line = TextFormatter().format(record())
    assert line.endswith("told: no\\x1b[2J\\r\\n2026-01-01 ERROR adln: forged")
    assert line.isprintable()
    line = JsonFormatter().format(record())
    assert line.isprintable()
    assert json.loads(line)["message"].startswith("told: no\\x1b[2J\\r\n")


def test_a_traceback_keeps_its_lines() -> None:
    failed = record()
    try:
        raise ValueError("bad\x1b[2J")
    except ValueError:
        failed.exc_info = sys.exc_info()
    lines = TextFormatter().format(failed).splitlines()
    assert lines[1].startswith("Traceback")
    assert lines[-1] == "ValueError: bad\\x1b[2J"
