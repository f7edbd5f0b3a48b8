"""Logs: one line a thing, for people or, as JSON, for machines."""

import json
import logging
import sys
import time


class JsonFormatter(logging.Formatter):
    """Each record as one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        values = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            values["error"] = self.formatException(record.exc_info)
        return json.dumps(values, ensure_ascii=False)


def set_up_logs(kind: str) -> None:
    """Send the logs of this process to stderr.

    Args:
        kind: "text" or "json".
    """
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if kind == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
