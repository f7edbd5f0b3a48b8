"""Progress of work that is counted in pictures: a bar, or a line that is renewed."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click

_NAMED = 20


@contextmanager
def counting(total: int, label: str, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Show a bar on the terminal while the block runs.

    Args:
        total: pictures in all.
        label: what is being done.
        quiet: show nothing.

    Yields:
        A function to be told how many pictures were finished since its last call.
    """
    if quiet:
        yield lambda _: None
        return
    with click.progressbar(length=total, label=label, file=sys.stderr, show_pos=True) as bar:
        yield bar.update


def tell_left_out(problems: Sequence[str]) -> None:
    """Name on standard error the first pictures that were left out, and count the others."""
    for problem in problems[:_NAMED]:
        click.secho("left out: ", fg="yellow", err=True, nl=False)
        click.echo(problem, err=True)
    if len(problems) > _NAMED:
        click.echo(f"... and {len(problems) - _NAMED:,} more", err=True)


class Counting:
    """Says how far work is whose length need not be known, on standard error.

    Args:
        label: what is being done.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._is_terminal = sys.stderr.isatty()
        self._every_s = 0.5 if self._is_terminal else 10.0
        self._said_s = float("-inf")

    def __call__(self, done: int, total: int) -> None:
        """Say how many frames are done, if it is time to; `total` is 0 if unknown."""
        now_s = time.monotonic()
        if now_s - self._said_s < self._every_s and done != total:
            return
        self._said_s = now_s
        of = f" of {total:,}" if total else ""
        line = f"{self._label}: {done:,}{of} frames"
        is_over = done == total or not self._is_terminal
        click.echo(f"\r{line}" if self._is_terminal else line, err=True, nl=is_over)
