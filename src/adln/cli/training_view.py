"""What a person sees of a training run on the terminal."""

from typing import TYPE_CHECKING

from adln.cli.progress import RenewedLine, clock, mention

if TYPE_CHECKING:
    from adln.training.loop import Progress
    from adln.training.state import Position


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
