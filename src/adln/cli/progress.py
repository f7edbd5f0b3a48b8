"""A progress bar for work that is counted in pictures."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


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
