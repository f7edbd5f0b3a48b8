"""Progress of work that is counted in pictures: a bar, or a line that is renewed."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import click

_NAMED = 20


@contextmanager
def counting(total: int, label: str, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Show a bar on the terminal while the block runs.

    Yields:
        A function to be told how many pictures were finished since its last call.
    """
    if quiet:
        yield lambda _: None
        return
    with click.progressbar(length=total, label=label, file=sys.stderr, show_pos=True) as bar:
        yield bar.update


def mention(text: str, *, nl: bool = True) -> None:
    """Print on standard error, if that is possible.

    A terminal that was closed, or a log on a disk that is full, must not end the work.
    """
    with suppress(OSError):
        click.echo(text, err=True, nl=nl)


def tell(word: str, text: str, *, colour: str = "yellow") -> None:
    """A line for people beside the outcome: what kind it is, in a colour, and what there is."""
    mention(click.style(f"{word}: ", fg=colour), nl=False)
    mention(text)


def tell_left_out(problems: Sequence[str]) -> None:
    """Name on standard error the first pictures that were left out, and count the others."""
    for problem in problems[:_NAMED]:
        tell("left out", problem)
    if len(problems) > _NAMED:
        mention(f"... and {len(problems) - _NAMED:,} more")


class RenewedLine:
    """A line on standard error that is renewed on a terminal, and printed now and then elsewhere.

    Args:
        plain_every_s: seconds between two lines where there is no terminal; infinite for none but
            the last.
    """

    def __init__(self, plain_every_s: float = 10.0) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._every_s = 0.5 if self._is_terminal else plain_every_s
        self._width = 0
        self._said_s = float("-inf")

    def renew(self, text: str, *, is_last: bool = False) -> None:
        """Print, if it is time to or the text is the last."""
        now_s = time.monotonic()
        if now_s - self._said_s <= self._every_s and not is_last:
            return
        self._said_s = now_s
        ends = is_last or not self._is_terminal
        shown = f"\r{text.ljust(self._width)}" if self._is_terminal else text
        mention(shown, nl=ends)
        self._width = 0 if ends else len(text)

    def end(self) -> None:
        """Leave the line, if it is not left yet."""
        if self._width:
            mention("")
            self._width = 0


class Counting:
    """Counts frames whose number need not be known, on standard error."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._line = RenewedLine()

    def __call__(self, done: int, total: int) -> None:
        """Say how many frames are done, if it is time to; `total` is 0 if unknown."""
        of = f" of {total:,}" if total else ""
        self._line.renew(f"{self._label}: {done:,}{of} frames", is_last=done == total)
