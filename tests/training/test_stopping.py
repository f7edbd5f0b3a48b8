"""Signals and the clock end a run between two steps."""

import signal

import pytest

from adln.training.stopping import never, stop_on_request


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted(number: signal.Signals) -> None:
    with stop_on_request(None) as check:
        assert check() is None
        signal.raise_signal(number)
        assert check() == f"received {number.name}"


def test_a_second_signal_ends_at_once() -> None:
    with stop_on_request(None):
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


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
