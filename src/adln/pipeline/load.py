"""Adapts the work to a budget: reduces crops, then depth, then frames.

Pure: the same costs give the same steps. Live cameras use measured costs (ms); recordings use
stated costs, so that each run gives the same results.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adln.errors import SettingsError
from adln.settings import require_between, settings

# After a rise that had to be undone, the next one waits longer, up to this many times.
_MOST_PATIENCE = 16


@dataclass(frozen=True, kw_only=True)
class LoadLevel:
    """Amount of work; one frame in `keep_one_in` is processed."""

    crops_per_track: int
    depth: int
    keep_one_in: int = 1


@settings
class LoadSettings:
    """When to reduce the work.

    Attributes:
        budget_ms: work allowed per second of video, in ms, for all cameras together. 0 adapts
            nothing.
        window_s: seconds of video measured before each step.
        headroom: work increases again if the part that grows would then take at most this share of
            the budget left for it,
        rise_after_s: for this many seconds.
        most_skipping: at the last level, one frame in this many is processed.
    """

    budget_ms: float = 800.0
    window_s: float = 1.0
    headroom: float = 0.7
    rise_after_s: float = 4.0
    most_skipping: int = 8

    def __post_init__(self) -> None:
        require_between(
            self,
            (0, math.inf, ["budget_ms", "rise_after_s"]),
            (1, math.inf, ["most_skipping"]),
        )
        if not self.window_s > 0 or not 0 < self.headroom < 1:
            raise SettingsError(
                f"window_s must be above 0, headroom between 0 and 1; got {self.window_s:g} and "
                f"{self.headroom:g}."
            )


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Costs of work: of one frame until its crops are selected; by depth, to embed one crop."""

    frame_ms: float
    crop_ms: Mapping[int, float]

    def of(self, frames: int, crops: Mapping[int, int]) -> tuple[float, float]:
        """Cost of the frames, and of embedding crops, whose number is given by depth."""
        crops_ms = sum(count * self.crop_ms[depth] for depth, count in crops.items())
        return frames * self.frame_ms, crops_ms


def make_ladder(
    *, crops_per_track: int, depths: Sequence[int], most_skipping: int
) -> list[LoadLevel]:
    """All levels, most work first: they reduce first crops, then depth, and only then frames.

    `depths` are those that differ in cost. At the last level, one frame in `most_skipping` is
    processed.
    """
    deepest, *shallower = sorted(depths, reverse=True)
    ladder = [
        LoadLevel(crops_per_track=crops, depth=deepest) for crops in range(crops_per_track, 0, -1)
    ]
    ladder += [LoadLevel(crops_per_track=1, depth=depth) for depth in shallower]
    skipping = 2
    while skipping <= most_skipping:
        ladder.append(LoadLevel(crops_per_track=1, depth=min(depths), keep_one_in=skipping))
        skipping *= 2
    return ladder


class LoadController:
    """Chooses the level of a ladder, by the cost of a crop at each depth; only ratios matter.

    Attributes:
        position: of the level on the ladder; 0 is full work.
        load_ms: work per second of video in the last window, in ms.

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
        """The current level."""
        return self._ladder[self.position]

    def observe(self, time_s: float, *, frames_ms: float, crops_ms: float) -> bool:
        """Record the work of a round, on its frames and to embed crops.

        Returns whether the level has changed. The time is that of the newest frame.
        """
        if self._settings.budget_ms <= 0:
            return False
        if self._begun_s is None:
            # The window starts at the first frame; the work before it has no known duration.
            self._begun_s = time_s
            return False
        self._frames_ms += frames_ms
        self._crops_ms += crops_ms
        elapsed_s = time_s - self._begun_s
        if elapsed_s < self._settings.window_s:
            return False
        frames, crops = self._frames_ms / elapsed_s, self._crops_ms / elapsed_s
        self._begun_s, self._frames_ms, self._crops_ms = time_s, 0.0, 0.0
        self.load_ms = frames + crops
        return self._fall(time_s, frames, crops) or self._rise(time_s, frames, crops)

    def _fall(self, time_s: float, frames: float, crops: float) -> bool:
        budget = self._settings.budget_ms
        if frames + crops <= budget or self.position == len(self._ladder) - 1:
            return False
        if time_s - self._rose_s <= 2 * self._settings.rise_after_s * self._patience:
            self._patience = min(2 * self._patience, _MOST_PATIENCE)
        # Several levels at once if needed: a sudden crowd cannot wait for one step per second.
        at = self.position + 1
        while at < len(self._ladder) - 1 and self._predict(at, frames, crops) > budget:
            at += 1
        self.position, self._calm_since_s = at, None
        return True

    def _rise(self, time_s: float, frames: float, crops: float) -> bool:
        limits = self._settings
        if self.position == 0 or not self._has_room(self.position - 1, frames, crops):
            self._calm_since_s = None
            return False
        if self._calm_since_s is None:
            self._calm_since_s = time_s
        if time_s - self._calm_since_s < limits.rise_after_s * self._patience:
            return False
        if time_s - self._rose_s > 60:
            self._patience = 1
        self._rose_s = time_s
        self.position, self._calm_since_s = self.position - 1, None
        return True

    def _has_room(self, at: int, frames: float, crops: float) -> bool:
        """Whether a higher level would stay well within the budget.

        The cost of frames already processed is known; only the added work is an estimate.
        """
        known = frames if self._ladder[at].keep_one_in == self.level.keep_one_in else 0.0
        guess = self._predict(at, frames, crops) - known
        return guess <= self._settings.headroom * (self._settings.budget_ms - known)

    def _predict(self, at: int, frames: float, crops: float) -> float:
        """Estimate the cost of the observed work at another level."""
        now, then = self.level, self._ladder[at]
        ratio = (then.crops_per_track * self._crop_ms[then.depth]) / (
            now.crops_per_track * self._crop_ms[now.depth]
        )
        return frames * now.keep_one_in / then.keep_one_in + crops * ratio
