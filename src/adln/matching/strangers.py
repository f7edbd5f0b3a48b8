"""How alike different people look here, and what scores mean where they look more alike than usual.

Before one camera people share a place, a light and a side from which they are seen, so that any two
of them score higher than two people of the data that a calibration was fitted to. What the people
seen so far have in common raises the thresholds: a score is judged by how far it stands out.

Source: the idea of score normalisation by a cohort (Auckenthaler, Carey and Lloyd-Thomas, "Score
Normalization for Text-Independent Speaker Verification Systems", Digital Signal Processing, 2000).
Deviation: thresholds are raised only, never lowered, and little as long as few people were seen.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adln.matching.calibration import Calibration, Decision, MostCautious, Scale, Scales

# The latest people are compared with each other; fewer tell nothing.
_MOST_PEOPLE, _FEWEST_PEOPLE = 64, 3
# What the calibration says counts as so many pairs: the cosines of pairs spread about as much
# around the mean of their site as the means of sites do among each other.
_PRIOR_PAIRS = 1.0


@dataclass(frozen=True)
class RaisedScale:
    """A scale for a site where strangers are more alike than where it was fitted.

    Attributes:
        scale: That was fitted elsewhere.
        usual: Mean cosine of two strangers there.
        here: And here; above `usual`, below 1.
    """

    scale: Scale
    usual: float
    here: float

    def decide(self, score: float | None, gallery_size: int) -> Decision:
        """The scale's answer to how far a score stands out from strangers."""
        stretch = (1 - self.usual) / (1 - self.here)
        plain = None if score is None else self.usual + (score - self.here) * stretch
        decision = self.scale.decide(plain, gallery_size)

        def back(threshold: float | None) -> float | None:
            return None if threshold is None else self.here + (threshold - self.usual) / stretch

        return replace(decision, match=back(decision.match), candidate=back(decision.candidate))


class Strangers:
    """Learns how alike different people are, from those whom a gallery holds apart.

    A person is known by one embedding, the latest; embeddings of several spaces are not compared.
    """

    def __init__(self) -> None:
        self._people: dict[Hashable, OrderedDict[int, NDArray[np.float32]]] = {}

    def saw(self, person_id: int, embedding: NDArray[np.floating], *, space: Hashable) -> None:
        """Take in what a person looks like: (D,) of unit length."""
        people = self._people.setdefault(space, OrderedDict())
        people[person_id] = embedding.astype(np.float32)
        people.move_to_end(person_id)
        if len(people) > _MOST_PEOPLE:
            people.popitem(last=False)

    def forget(self, person_id: int) -> None:
        """Somebody is no person of their own any more."""
        for people in self._people.values():
            people.pop(person_id, None)

    def judge(self, scales: Scales, *, space: Hashable) -> Scales:
        """What scores mean here.

        Args:
            scales: What they mean elsewhere. Stated thresholds are left as they are.
            space: Of the embeddings that are compared.
        """
        people = self._people.get(space, OrderedDict())
        if len(people) < _FEWEST_PEOPLE:
            return scales
        rows = np.stack(list(people.values()))
        cosines = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
        mean, pairs = float(cosines.mean()), len(cosines)
        return Scales(
            own={depth: _raised(scale, mean, pairs) for depth, scale in scales.own.items()},
            pairs={depths: _raised(scale, mean, pairs) for depths, scale in scales.pairs.items()},
            otherwise=scales.otherwise,
        )


def _raised(scale: Scale, mean: float, pairs: int) -> Scale:
    if isinstance(scale, MostCautious):
        return MostCautious(tuple(_raised(one, mean, pairs) for one in scale.scales))
    usual = scale.strangers if isinstance(scale, Calibration) else None
    if usual is None:
        return scale
    here = (_PRIOR_PAIRS * usual + pairs * mean) / (_PRIOR_PAIRS + pairs)
    return RaisedScale(scale, usual, here) if usual < here < 1 else scale
