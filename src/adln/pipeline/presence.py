"""Who is in front of which camera now, from the processed frames."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from adln.pipeline.watch_parts import NamedBox


@dataclass(frozen=True, kw_only=True)
class Stay:
    """A person in front of a camera.

    Attributes:
        camera: its name.
        person_id: None if unknown or only a candidate.
        since_s: when they were first seen here this time, Unix time.
        last_s: when they were last seen.
        confidence: probability that it is this person, 0..1; None if not yet known.
        heard_s: when the last frame with them arrived, by this machine's steady clock.
    """

    camera: str
    person_id: int | None
    since_s: float
    last_s: float
    confidence: float | None
    heard_s: float


class Presence:
    """Tracks who is where. A person stays until they were not seen for a while.

    Absence is measured by the steady clock of this machine, so that it also begins when a camera
    dies, and a wall clock that is set changes nothing. A *candidate* counts as unknown: an
    automation may react to them, but not under another person's name.
    """

    def __init__(
        self,
        *,
        absent_after_s: float,
        is_ignored: Callable[[int | None], bool] = lambda _: False,
    ) -> None:
        self._absent_after_s = absent_after_s
        self._is_ignored = is_ignored
        self._stays: dict[tuple[str, int], Stay] = {}
        self._last: dict[int, Stay] = {}

    def saw(self, camera: str, time_s: float, people: Iterable[NamedBox], now_s: float) -> None:
        """Record the people in a frame of `time_s`; `now_s` is the steady clock."""
        for box in people:
            person_id = None if box.verdict == "candidate" else box.person_id
            before = self._stays.get((camera, box.track_id))
            since_s = time_s if before is None else before.since_s
            if person_id is not None:
                since_s = min(
                    [since_s, *(one.since_s for one in self.at(camera, now_s, person_id))]
                )
            stay = Stay(
                camera=camera,
                person_id=person_id,
                since_s=since_s,
                last_s=time_s,
                confidence=None if person_id is None else box.probability,
                heard_s=now_s,
            )
            self._stays[camera, box.track_id] = stay
            if person_id is not None:
                self._last[person_id] = stay

    def at(self, camera: str, now_s: float, person_id: int | None = None) -> list[Stay]:
        """Who is in front of a camera, or only this person: one entry each, longest stay first."""
        self._stays = {
            key: one
            for key, one in self._stays.items()
            if now_s - one.heard_s < self._absent_after_s
        }
        found: dict[tuple[int, int], Stay] = {}
        for (name, track), one in self._stays.items():
            if name != camera or self._is_ignored(one.person_id):
                continue
            if person_id is not None and one.person_id != person_id:
                continue
            key = (1, track) if one.person_id is None else (0, one.person_id)
            # Two tracks may be of one person.
            other = found.get(key, one)
            newest = max(other, one, key=lambda stay: stay.heard_s)
            found[key] = replace(newest, since_s=min(other.since_s, one.since_s))
        return sorted(found.values(), key=lambda one: (one.since_s, one.person_id or 0))

    def last_of(self, person_id: int) -> Stay | None:
        """Where a person was last seen since the start; None if nowhere."""
        return self._last.get(person_id)

    def keep_only(self, person_ids: Iterable[int]) -> None:
        """Forget where everybody else was last seen."""
        known = set(person_ids)
        self._last = {number: one for number, one in self._last.items() if number in known}
