"""What commands say beside their work must not end it."""

import errno
import io
import os
import sys

import pytest

from adln.cli.progress import counting, mention, tell_left_out, warn


class Terminal(io.StringIO):
    """A terminal, which is gone at some time."""

    gone = False

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self.gone:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().write(text)

    def flush(self) -> None:
        self.write("")


def test_a_bar_whose_terminal_goes_does_not_end_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with counting(100, "embedding") as on_progress:
        on_progress(50)
        drawn = terminal.getvalue()
        terminal.gone = True
        for _ in range(50):
            on_progress(1)
    assert "50/100" in drawn
    assert terminal.getvalue() == drawn


def test_nor_does_anything_else_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    terminal.gone = True
    mention("a")
    warn("b")
    tell_left_out(["c"] * 30)
    terminal.gone = False
    warn("said")
    assert "said" in terminal.getvalue()
