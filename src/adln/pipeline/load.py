"""Keeps the pace: gives up crops, then depth, then frames when there is too much to do.

Pure: the same costs give the same steps. Who watches live cameras hands in measured milliseconds;
who works through files hands in stated ones, so that each run does the same.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adln.errors import SettingsError
from adln.settings import settings

# After a rise that had to be taken back the next one waits longer, at most this many times longer.
_MOST_PATIENCE = 16


@dataclass(frozen=True, kw_only=True)
class LoadLevel:
    """How much is done; levels of a ladder do less and less.

    Attributes:
        crops_per_track: crops that a track may have.
        depth: stages of the network.
        keep_one_in: one frame in this many is processed.
    """

    crops_per_track: int
    depth: int
    keep_one_in: int = 1


@settings
class LoadSettings:
    """When less is done.

    Attributes:
        budget_ms: work allowed for a second of video, of all cameras together. 0 adapts nothing.
        window_s: seconds of video that are measured before a step.
        headroom: more is done again when what grows by it would take this share, at most, of the
            budget that is left to it,
        rise_after_s: for so long.
        most_skipping: at the last level one frame in this many is processed.
    """

    budget_ms: float = 800.0
    window_s: float = 1.0
    headroom: float = 0.7
    rise_after_s: float = 4.0
    most_skipping: int = 8

    def __post_init__(self) -> None:
        if (
            not self.budget_ms >= 0
            or not self.window_s > 0
            or not 0 < self.headroom < 1
            or not self.rise_after_s >= 0
            or self.most_skipping < 1
        ):
            raise SettingsError(
                "budget_ms must be 0 or more, window_s above 0, headroom between 0 and 1, "
                f"rise_after_s 0 or more, most_skipping 1 or more; got {self}."
            )


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What work costs, in ms.

    Attributes:
        frame_ms: to detect, follow and select in one frame.
        crop_ms: depth -> to embed one crop.
    """

    frame_ms: float
    crop_ms: Mapping[int, float]

    def of(self, frames: int, crops: int, depth: int) -> tuple[float, float]:
        """Cost of the frames, and of embedding the crops at a depth."""
        return frames * self.frame_ms, crops * self.crop_ms[depth]


@dataclass(frozen=True, kw_only=True)
class LevelChange:
    """A change of level.

    Attributes:
        time_s: of the video.
        level: the new one, as a position on the ladder.
        load_ms: work for a second of video that gave rise to it.
    """

    time_s: float
    level: int
    load_ms: float


def make_ladder(
    *, crops_per_track: int, depths: Sequence[int], most_skipping: int
) -> list[LoadLevel]:
    """All levels, from the most work to the least.

    Args:
        crops_per_track: at the first level.
        depths: that the network can answer at its own price, ascending.
        most_skipping: at the last level one frame in this many is processed.

    Returns:
        First fewer crops, then less depth, and only then fewer frames.
    """
    deepest = max(depths)
    ladder = [
        LoadLevel(crops_per_track=crops, depth=deepest) for crops in range(crops_per_track, 0, -1)
    ]
    ladder += [
        LoadLevel(crops_per_track=1, depth=depth) for depth in sorted(depths, reverse=True)[1:]
    ]
    skipping, shallowest = 2, min(depths)
    while skipping <= most_skipping:
        ladder.append(LoadLevel(crops_per_track=1, depth=shallowest, keep_one_in=skipping))
        skipping *= 2
    return ladder


class LoadController:
    """Chooses the level.

    Args:
        ladder: of `make_ladder`.
        crop_ms: depth -> cost of a crop; only the ratios matter.
        settings: budget and patience.

    Attributes:
        position: place of the level on the ladder; 0 does all.
        load_ms: work for a second of video in the last window.

    Raises:
        SettingsError: a depth of the ladder has no cost.
    """

    def __init__(
        self, ladder: Sequence[LoadLevel], crop_ms: Mapping[int, float], settings: LoadSettings
    ) -> None:
        missing = sorted({level.depth for level in ladder} - crop_ms.keys())
        if missing or not ladder:
            raise SettingsError(f"the cost of a crop at depth {missing} is not known.")
        self._ladder = tuple(ladder)
        self._crop_ms = dict(crop_ms)
        self._settings = settings
        self.position = 0
        self._begun_s: float | None = None
        self._frames_ms = self._crops_ms = 0.0
        self._calm_since_s: float | None = None
        self._rose_s = -math.inf
        self._patience = 1
        self.load_ms = 0.0

    @property
    def level(self) -> LoadLevel:
        """What to do now."""
        return self._ladder[self.position]

    def observe(self, time_s: float, *, frames_ms: float, crops_ms: float) -> LevelChange | None:
        """Take in the work of a round.

        Args:
            time_s: of its newest frame.
            frames_ms: for detecting, following and all that goes with frames.
            crops_ms: for embedding.

        Returns:
            The step that was taken; None if the level stays.
        """
        if self._settings.budget_ms <= 0:
            return None
        if self._begun_s is None:
            # What follows is the work of a time that has a beginning.
            self._begun_s = time_s
            return None
        self._frames_ms += frames_ms
        self._crops_ms += crops_ms
        elapsed_s = time_s - self._begun_s
        if elapsed_s < self._settings.window_s:
            return None
        frames, crops = self._frames_ms / elapsed_s, self._crops_ms / elapsed_s
        self._begun_s, self._frames_ms, self._crops_ms = time_s, 0.0, 0.0
        self.load_ms = frames + crops
        return self._fall(time_s, frames, crops) or self._rise(time_s, frames, crops)

    def _fall(self, time_s: float, frames: float, crops: float) -> LevelChange | None:
        budget = self._settings.budget_ms
        if frames + crops <= budget or self.position == len(self._ladder) - 1:
            return None
        if time_s - self._rose_s <= 2 * self._settings.rise_after_s * self._patience:
            self._patience = min(2 * self._patience, _MOST_PATIENCE)
        # As far as it takes: a crowd does not wait for one step a second.
        at = self.position + 1
        while at < len(self._ladder) - 1 and self._predict(at, frames, crops) > budget:
            at += 1
        return self._go(at, time_s)

    def _rise(self, time_s: float, frames: float, crops: float) -> LevelChange | None:
        limits = self._settings
        if self.position == 0 or not self._has_room(self.position - 1, frames, crops):
            self._calm_since_s = None
            return None
        if self._calm_since_s is None:
            self._calm_since_s = time_s
        if time_s - self._calm_since_s < limits.rise_after_s * self._patience:
            return None
        if time_s - self._rose_s > 60:
            self._patience = 1
        self._rose_s = time_s
        return self._go(self.position - 1, time_s)

    def _has_room(self, at: int, frames: float, crops: float) -> bool:
        """Whether a higher level would stay well within the budget.

        The cost of frames that are processed anyway is known; only what would be added is a guess.
        """
        known = frames if self._ladder[at].keep_one_in == self.level.keep_one_in else 0.0
        guess = self._predict(at, frames, crops) - known
        return guess <= self._settings.headroom * (self._settings.budget_ms - known)

    def _predict(self, at: int, frames: float, crops: float) -> float:
        """What the work seen would have cost at another level."""
        now, then = self.level, self._ladder[at]
        ratio = (then.crops_per_track * self._crop_ms[then.depth]) / (
            now.crops_per_track * self._crop_ms[now.depth]
        )
        return frames * now.keep_one_in / then.keep_one_in + crops * ratio

    def _go(self, at: int, time_s: float) -> LevelChange:
        self.position = at
        self._calm_since_s = None
        return LevelChange(time_s=time_s, level=at, load_ms=self.load_ms)
