"""Fixed thresholds for networks without a calibration."""

import math
from dataclasses import dataclass

from adln.errors import SettingsError
from adln.matching.calibration import Decision, verdict_at


@dataclass(frozen=True, kw_only=True)
class StatedThresholds:
    """A scale for networks without a calibration: two chosen cosines.

    The probability is a rough guess: 0.5 midway between the two, 0.88 at `match`.

    Attributes:
        match: lowest cosine of a match.
        candidate: lowest cosine of a candidate.

    Raises:
        SettingsError: not -1 <= candidate <= match <= 1.
    """

    match: float
    candidate: float

    def __post_init__(self) -> None:
        if not -1 <= self.candidate <= self.match <= 1:
            raise SettingsError(
                "thresholds must be -1 <= candidate <= match <= 1, got candidate "
                f"{self.candidate} and match {self.match}."
            )

    def decide(self, score: float | None, gallery_size: int) -> Decision:
        """Turn the best score of a search into an answer; the gallery size has no influence."""
        if score is None or gallery_size == 0:
            return Decision(verdict="unknown", probability=0.0)
        width = max(self.match - self.candidate, 1e-3)
        odds = 4 * (score - (self.match + self.candidate) / 2) / width
        return Decision(
            verdict=verdict_at(score, match=self.match, candidate=self.candidate),
            probability=1 / (1 + math.exp(-max(odds, -500.0))),
            match=self.match,
            candidate=self.candidate,
        )
