"""Who was where and when, for a report: one entry per finished track."""

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adln.matching.calibration import Verdict
from adln.pipeline.watch import TrackEnd
from adln.pipeline.watch_parts import Pictured, is_pictured
from adln.reports.pages import jpeg_uri

# A report is for people to read; of a long watch it holds the newest visits.
MOST_VISITS = 5_000
PICTURE_SIZE = (64, 128)
"""Width and height in px."""

Colour = tuple[int, int, int]


@dataclass(frozen=True, eq=False, kw_only=True)
class TimelineVisit:
    """One track: a person in front of one camera.

    Attributes:
        first_s: when the person was first seen, Unix time.
        last_s: when they were last seen.
        person_id: None if unknown.
        probability: that this is the person.
        upper: colour of the upper body; None if the track had no usable crop.
        lower: colour of the legs.
        picture: data URI of a JPEG as the report shows it; "" unless pictures are kept.
    """

    camera_name: str
    first_s: float
    last_s: float
    person_id: int | None
    verdict: Verdict
    probability: float
    upper: Colour | None
    lower: Colour | None
    picture: str

    @property
    def is_doubtful(self) -> bool:
        """Whether it may have been another person."""
        return self.verdict == "candidate"


class Timeline:
    """Collects visits, of which the newest are kept, with small pictures where these are kept."""

    def __init__(self, *, pictures: Pictured = False, most: int = MOST_VISITS) -> None:
        self._pictures = pictures
        self._visits: deque[TimelineVisit] = deque(maxlen=most)
        self._all = 0

    @property
    def visits(self) -> Sequence[TimelineVisit]:
        """The kept visits, in the order in which they ended."""
        return tuple(self._visits)

    @property
    def forgotten(self) -> int:
        """Number of older visits that were dropped."""
        return self._all - len(self._visits)

    def add(self, end: TrackEnd) -> None:
        """Add a finished track."""
        event, crop, picture = end.event, end.crop, ""
        if crop is not None and is_pictured(self._pictures, event.camera_name):
            # Crops themselves are several times as large.
            picture = jpeg_uri(Image.fromarray(crop).resize(PICTURE_SIZE), quality=80)
        self._all += 1
        self._visits.append(
            TimelineVisit(
                camera_name=event.camera_name,
                first_s=event.first_time_s,
                last_s=event.last_time_s,
                person_id=event.person_id,
                verdict=event.verdict,
                probability=event.probability,
                upper=None if crop is None else _colour(crop, 0.2, 0.45),
                lower=None if crop is None else _colour(crop, 0.55, 0.85),
                picture=picture,
            )
        )

    def leave_out(self, gone: Callable[[Collection[int]], Collection[int]]) -> None:
        """Drop the visits of people who were forgotten meanwhile; see `Gallery.gone`."""
        numbers = gone({one.person_id for one in self._visits if one.person_id is not None})
        left = [one for one in self._visits if one.person_id not in numbers]
        self._all -= len(self._visits) - len(left)
        self._visits.clear()
        self._visits.extend(left)

    def by_person(self) -> dict[int, list[TimelineVisit]]:
        """Visits of each person, candidates included; people in the order of their first visit."""
        found: dict[int, list[TimelineVisit]] = defaultdict(list)
        for visit in sorted(self._visits, key=lambda one: (one.first_s, one.camera_name)):
            if visit.person_id is not None:
                found[visit.person_id].append(visit)
        return dict(found)


def _colour(crop: NDArray[np.uint8], top: float, bottom: float) -> Colour:
    """Median colour of a band of a crop, from its inner half, where the body is."""
    height, width = crop.shape[:2]
    band = crop[int(top * height) : int(bottom * height), width // 4 : width - width // 4]
    red, green, blue = np.median(band.reshape(-1, 3), axis=0)
    return int(red), int(green), int(blue)
