"""Signals and the clock end a run between two steps."""

import signal
import subprocess
import sys

import pytest

from adln.training.stopping import never, stop_on_request


def in_a_process_of_its_own(body: str) -> list[str]:
    """What a fresh interpreter prints: a signal concerns all libraries of a process."""
    program = f"import signal\nfrom adln.training.stopping import stop_on_request\n{body}"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted(number: signal.Signals) -> None:
    body = f"""
with stop_on_request(None) as check:
    print(check())
    signal.raise_signal({int(number)})
    print(check())
"""
    assert in_a_process_of_its_own(body) == ["None", f"received {number.name}"]


def test_a_second_signal_ends_at_once() -> None:
    body = """
try:
    with stop_on_request(None):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        print("went on")
except KeyboardInterrupt as interrupt:
    print("ended by", interrupt.args[0])
"""
    assert in_a_process_of_its_own(body) == [f"ended by {int(signal.SIGTERM)}"]


def test_time_runs_out() -> None:
    with stop_on_request(3600.0) as check:
        assert check() is None
    with stop_on_request(0.0) as check:
        assert check() == "the time of 0 s is up"


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_request(None):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_without_a_check_a_run_goes_on() -> None:
    assert never() is None
