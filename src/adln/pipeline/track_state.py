"""The state of an open track: its person, verdict and what was stored of it."""

from dataclasses import dataclass, field

from adln.matching.calibration import Verdict
from adln.matching.identification import Identification, not_asked
from adln.pipeline.evidence import Evidence, TrackKey

NOT_SEEN = not_asked("not asked: the track has no usable crop")


@dataclass(eq=False)
class TrackState:
    """What is decided about an open track; see `adln.pipeline.identity`."""

    key: TrackKey
    first_s: float
    last_s: float
    person_id: int | None = None
    claims: bool = False  # holds the person; a candidate only names one
    is_founder: bool = False
    verdict: Verdict = "unknown"
    probability: float = 0.0
    depth: int | None = None
    evidence: Evidence | None = None
    retry_s: float | None = None
    is_refused: bool = False
    was_close: bool = False  # a look at it matched, but not clearly enough to learn from
    met: set[int] = field(default_factory=set)
    barred: set[int] = field(default_factory=set)
    own_sightings: set[int] = field(default_factory=set)
    pooled: frozenset[int] = frozenset()  # ids of the crops in own_sightings
    said: tuple[Verdict, int | None] | None = None
    why: Identification = NOT_SEEN
