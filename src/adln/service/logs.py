"""Logging: one line per record, as text or JSON."""

import json
import logging
import sys
import time
from collections.abc import Sequence

from adln.cameras.redaction import public_text


class TextFormatter(logging.Formatter):
    """Formats a record as a line of text, without the passwords of cameras."""

    def __init__(self, sources: Sequence[str] = ()) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._sources = sources

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return public_text(super().format(record), *self._sources)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The line without the traceback; what a message quotes cannot begin a line of its own."""
        return super().formatMessage(record).replace("\n", "\\n")


class JsonFormatter(TextFormatter):
    """Formats a record as a line of JSON, without the passwords of cameras."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        values = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": public_text(record.getMessage(), *self._sources),
        }
        if record.exc_info:
            error = self.formatException(record.exc_info)
            values["error"] = public_text(error, *self._sources)
        return json.dumps(values, ensure_ascii=False)


def set_up_logs(kind: str, sources: Sequence[str] = ()) -> None:
    """Send the logs of this process to stderr, as "text" or "json".

    The passwords in `sources`, the addresses of cameras, are removed from every record.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(sources) if kind == "json" else TextFormatter(sources))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
