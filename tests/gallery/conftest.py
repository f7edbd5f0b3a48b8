"""A real Milvus server for the tests of galleries, where one is installed."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import gettempdir

import pytest
from tests.conftest import NO_SERVER

# Milliseconds between two looks of the server at its own state; each strongly consistent read and
# each new collection waits for some of them.
_SHORT_WAITS = {
    "PROXY_TIMETICKINTERVAL": "20",
    "QUERYCOORD_CHECKINTERVAL": "50",
    "QUERYCOORD_CHECKCHANNELINTERVAL": "50",
    "QUERYCOORD_CHECKSEGMENTINTERVAL": "50",
    "QUERYCOORD_DISTPULLINTERVAL": "50",
}

RUNNING = os.environ.get("ADLN_MILVUS_URI")
_BESIDE_PYTHON = Path(sys.executable).with_name("milvus-server")
SERVER = (
    os.environ.get("ADLN_MILVUS_SERVER")
    or shutil.which("milvus-server")
    or (str(_BESIDE_PYTHON) if _BESIDE_PYTHON.exists() else None)
)


@pytest.fixture(scope="module")
def milvus_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server; it ends with the tests of a file, as it is never idle."""
    if RUNNING:
        yield RUNNING
        return
    if SERVER is None or find_spec("pymilvus") is None:
        pytest.skip(
            f"{NO_SERVER}; pip install milvus==2.3.5, or name the command milvus-server in "
            "ADLN_MILVUS_SERVER, or a server that runs in ADLN_MILVUS_URI"
        )
    import fcntl

    folder = tmp_path_factory.mktemp("milvus")
    # Two of these servers cannot live on one machine: test processes take turns.
    with (Path(gettempdir()) / "adln-milvus-server.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield from _started(SERVER, folder)


def _started(server: str, folder: Path) -> Iterator[str]:
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [server, "--data", str(folder)],
            stdout=output,
            stderr=subprocess.STDOUT,
            # What it prints when it is ready would wait in a buffer.
            env={**os.environ, "PYTHONUNBUFFERED": "1", **_SHORT_WAITS},
        )
    found = None
    try:
        deadline = time.monotonic() + 180
        while not (found := re.search(r"Process:\s+(\d+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        config = (folder / "configs" / "milvus.yaml").read_text()
        port = re.search(r"^proxy:\n(?:.*\n)*?  port: (\d+)", config, re.MULTILINE)
        assert port is not None, config
        yield f"http://localhost:{port[1]}"
    finally:
        # The command has a child that does the work, which only an interrupt takes along.
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            if found:
                with suppress(ProcessLookupError):
                    os.kill(int(found[1]), signal.SIGKILL)
