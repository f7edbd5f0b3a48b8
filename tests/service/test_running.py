"""The service as a process: it stops well, and what it acknowledged outlives it."""

import contextlib
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from adln.embeddings import unit_length
from adln.errors import ServiceError
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.service.answers import encode_embedding
from adln.service.running import address, listening
from adln.service.settings import ServeSettings
from adln.service.state import TOKENS_FILE, ServiceState

MODEL = {"digest": "ab" * 32, "depth": 2, "dim": 16}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextlib.contextmanager
def serving(folder: Path, port: int, *more: str) -> Iterator["subprocess.Popen[str]"]:
    options = ("--gallery", str(folder), "--network", "", "--port", str(port), *more)
    process = subprocess.Popen(
        [sys.executable, "-m", "adln", "serve", *options],
        stderr=subprocess.PIPE,
        text=True,
        env={key: value for key, value in os.environ.items() if not key.startswith("ADLN_")},
    )
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/api/v1/health").status_code == 200:
                    break
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.communicate()


def push(port: int, number: int) -> list[int]:
    rng = np.random.default_rng(number)
    content = {
        "model": MODEL,
        "sightings": [
            {"embedding": encode_embedding(one), "camera_id": 1, "time_s": 1 + number}
            for one in unit_length(rng.normal(size=(5, 16)))
        ],
    }
    answer = httpx.post(f"http://127.0.0.1:{port}/api/v1/sightings", json=content)
    assert answer.status_code == 201
    ids: list[int] = answer.json()["sighting_ids"]
    return ids


def test_nothing_acknowledged_is_lost_when_it_is_killed_and_it_stops_well_when_asked(
    tmp_path: Path,
) -> None:
    folder, port = tmp_path / "gallery", free_port()
    acknowledged: list[int] = []
    with serving(folder, port) as process:
        for number in range(6):
            acknowledged += push(port, number)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    with serving(folder, port, "--set", 'log_format="json"') as process:
        acknowledged += push(port, 7)
        # A page that follows events must not hold up the end.
        with httpx.stream("GET", f"http://127.0.0.1:{port}/api/v1/events") as answer:
            lines = answer.iter_lines()
            assert next(lines) == "retry: 2000"
            process.send_signal(signal.SIGTERM)
            assert list(lines) == [""]
        _, told = process.communicate(timeout=30)
    assert process.returncode == 0
    assert '"message": "POST /sightings 201' in told
    # Tokens were shown at the first start only.
    assert "adln_" not in told
    with SqliteGallery(folder) as gallery:
        assert len(gallery.get(acknowledged)) == len(acknowledged) == 35


def test_beyond_loopback_nobody_gets_in_without_the_token_that_was_shown(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path / "gallery", port, "--host", "0.0.0.0") as process:
        where = f"http://127.0.0.1:{port}/api/v1/session"
        assert httpx.get(where).status_code == 401
        path = tmp_path / "gallery" / "service" / TOKENS_FILE
        assert path.stat().st_mode & 0o777 == 0o600
        tokens = dict(line.split() for line in path.read_text().splitlines())
        assert list(tokens) == ["viewer", "operator", "admin"]
        answer = httpx.get(where, headers={"Authorization": f"Bearer {tokens['operator']}"})
        assert answer.json()["role"] == "operator"
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=30)
    # Standard error is no terminal here, but something that keeps what it gets.
    assert str(path) in told
    assert "adln_" not in told


def test_where_no_token_is_asked_for_none_is_made_or_spoken_of(tmp_path: Path) -> None:
    with serving(tmp_path / "gallery", free_port()) as process:
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=30)
    assert "no token is needed" in told
    assert "okens, shown" not in told
    state = ServiceState(tmp_path / "gallery" / "service")
    assert state.tokens() == []
    state.close()


def test_first_tokens_are_on_a_terminal_and_in_no_file(tmp_path: Path) -> None:
    options = ("--gallery", str(tmp_path / "gallery"), "--network", "", "--port", str(free_port()))
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "adln", "serve", *options, "--set", "require_token=true"]
    process = subprocess.Popen(command, stderr=theirs)
    os.close(theirs)
    told = b""
    try:
        while told.count(b"adln_") < 3:
            told += os.read(ours, 4096)
    finally:
        process.kill()
        process.wait(30)
        os.close(ours)
    assert not (tmp_path / "gallery" / "service" / TOKENS_FILE).exists()


@pytest.mark.parametrize("length", [0, 600])
def test_silent_connections_of_one_address_do_not_close_the_service(
    tmp_path: Path, length: int
) -> None:
    port = free_port()
    with serving(tmp_path / "gallery", port), contextlib.ExitStack() as stack:
        for _ in range(600):
            connection = socket.create_connection(("127.0.0.1", port), timeout=20)
            stack.enter_context(connection)
            # With or without the beginning of a request.
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"GET / HTTP/1.1\r\n"[:length])
        for _ in range(5):
            answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/session", timeout=10)
            assert answer.status_code == 200


def test_cameras_run_with_the_service_and_end_with_it(demo_folder: Path, tmp_path: Path) -> None:
    folder, port = tmp_path / "gallery", free_port()
    options = ("--watch", str(demo_folder / "watch.toml"), "--set", "repeat_recordings=true")
    status: dict[str, Any] = {}
    with serving(folder, port, *options) as process:
        until = time.monotonic() + 60
        while not status.get("sightings") and time.monotonic() < until:
            status = httpx.get(f"http://127.0.0.1:{port}/api/v1/status").json()
            time.sleep(0.05)
        assert status["pipeline"]["state"] == "running"
        assert status["camera_names"] == {"1": "square-north", "2": "square-south", "3": "hall"}
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in told
    with SqliteGallery(folder) as gallery:
        # Tracks that were open are finished: nobody is left without an answer.
        assert gallery.count() >= status["sightings"]


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        options = ("--gallery", str(tmp_path / "gallery"), "--network", "")
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "adln", "serve", *options, "--port", port],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert "(Address already in use). Choose another port" in done.stderr
    assert "Traceback" not in done.stderr
    # Nothing was made or promised in vain.
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "gallery").exists()


def test_a_certificate_that_cannot_be_used_is_said_before_anything_is_listened_to(
    tmp_path: Path,
) -> None:
    path = tmp_path / "certificate.pem"
    path.write_text("none")
    settings = ServeSettings(port=0, tls_certificate=str(path), tls_key=str(path))
    with (
        pytest.raises(ServiceError, match=r"cannot be used.*certificate\.pem"),
        listening(settings),
    ):
        pass


def test_a_name_is_listened_to_at_all_its_addresses_by_one_port() -> None:
    with listening(ServeSettings(host="localhost", port=0)) as sockets:
        ports = {one.getsockname()[1] for one in sockets}
        assert len(ports) == 1
        socket.create_connection(("127.0.0.1", ports.pop()), timeout=10).close()


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "http://127.0.0.1:8484/"),
        ("0.0.0.0", "http://localhost:8484/"),
        ("::1", "http://[::1]:8484/"),
        ("reid.example", "http://reid.example:8484/"),
    ],
)
def test_the_address_is_one_that_a_browser_can_open(host: str, shown: str) -> None:
    assert address(ServeSettings(host=host)) == shown
