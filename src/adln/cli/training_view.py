"""What a person sees of a training run on the terminal."""

import sys
from typing import TYPE_CHECKING

import click

from adln.cli.options import clock

if TYPE_CHECKING:
    from adln.training.loop import Progress
    from adln.training.state import Position


class TrainingView:
    """Shows a person where a run stands: a line that is renewed, and one that stays per epoch."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self._live = sys.stderr.isatty()
        self._width = 0

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if text and not self.quiet:
            self._clear()
            click.echo(text, err=True)

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
        last = progress.step == progress.steps
        if self._live:
            click.echo("\r" + line.ljust(self._width), err=True, nl=last)
            self._width = 0 if last else len(line)
        elif last:
            click.echo(line, err=True)

    def close(self) -> None:
        """End the line that is renewed."""
        self._clear()

    def _clear(self) -> None:
        if self._width:
            click.echo("", err=True)
            self._width = 0
