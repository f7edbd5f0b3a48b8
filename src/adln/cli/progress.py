"""What commands say and write: progress, notes, JSON and pictures."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

import click
from PIL import Image

from adln.errors import SettingsError

if TYPE_CHECKING:
    from adln.training.loop import Progress
    from adln.training.state import Position

_NAMED = 20


class _LenientStderr:
    """Standard error, whose loss ends no work; see `mention`."""

    def write(self, text: str) -> None:
        """Write, if that is possible."""
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        """Flush, if that is possible."""
        with suppress(OSError):
            sys.stderr.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal; the bar is drawn on one only."""
        return sys.stderr.isatty()


@contextmanager
def counting(total: int, label: str, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Show a bar while the block runs; yields what is to be told of pictures just finished."""
    if quiet:
        yield lambda _: None
        return
    file = cast(TextIO, _LenientStderr())
    with click.progressbar(length=total, label=label, file=file, show_pos=True) as bar:
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

    `plain_every_s` is the time between two lines where there is no terminal; infinite for none but
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


class TrainingView:
    """Shows a person where a run stands: a line that is renewed, and one that stays per epoch."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self._line = RenewedLine(plain_every_s=float("inf"))

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if text and not self.quiet:
            self._line.end()
            mention(text)

    def on_start(self, start: str, position: "Position") -> None:
        """What the weights start from, and where a run goes on."""
        self.say(start)
        if position.step or position.epoch > 1:
            self.say(
                f"going on in epoch {position.epoch} after step {position.step} "
                f"({clock(position.seconds)} of training so far)"
            )

    def on_progress(self, progress: "Progress") -> None:
        """Renew the line of the epoch."""
        if self.quiet:
            return
        filled = round(20 * progress.step / progress.steps)
        line = (
            f"epoch {progress.epoch:>3}/{progress.epochs} "
            f"[{'#' * filled}{'.' * (20 - filled)}] "
            f"loss {progress.losses['total']:8.3f}  {progress.images_per_s:6.1f} images/s  "
            f"{clock(progress.remaining_s)} left"
        )
        self._line.renew(line, is_last=progress.step == progress.steps)

    def close(self) -> None:
        """End the line that is renewed."""
        self._line.end()


def counting_frames(label: str) -> Callable[[int, int], None]:
    """What is told how many frames are done, and of how many (0 if unknown); on standard error."""
    line = RenewedLine()

    def count(done: int, total: int) -> None:
        of = f" of {total:,}" if total else ""
        line.renew(f"{label}: {done:,}{of} frames", is_last=done == total)

    return count


def clock(seconds: float) -> str:
    """Seconds as a person reads them: 42 s, 3:07 min, 2:15 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"


def print_json(value: Any, *, indent: int | None = 2, ensure_ascii: bool = True) -> None:
    """Print the outcome for a program."""
    click.echo(json.dumps(value, indent=indent, ensure_ascii=ensure_ascii))


def warn(text: str, *, err: bool = True) -> None:
    """A line in yellow, on standard error unless it belongs to the outcome."""
    text = click.style(text, fg="yellow")
    if err:
        mention(text)
    else:
        click.echo(text)


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture in the format that its name ends in, or raise a `SettingsError`.

    Missing folders are made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{path}: the picture cannot be written ({error}); name a .jpg or .png in a folder "
            "that can be written."
        ) from error
