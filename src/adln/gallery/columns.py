"""In-memory columns of all sightings by slot: person, camera, time, network.

They take about 40 bytes per sighting; filtering by them costs little compared with the search.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adln.gallery.records import NO_PERSON, Filter

_FEW = 8
_DTYPES: dict[str, Any] = {
    "sighting_ids": np.int64,
    "person_ids": np.int64,
    "times_s": np.float64,
    "camera_ids": np.int32,
    # 0 for free slots.
    "depths": np.int8,
    "model_ids": np.int32,
    "embedding_sums": np.uint32,
    "code_sums": np.uint32,
}

Row = tuple[int, int, int, float, int, int, int, int, int]
"""Slot, sighting, person (`NO_PERSON` if none), time, camera, depth, number of the network, and the
checksums of embedding and code."""


class Tally(NamedTuple):
    """Number, times and cameras of a person's sightings."""

    sightings: int
    first_s: float | None = None
    last_s: float | None = None
    cameras: tuple[int, ...] = ()


class Columns:
    """Columns of the sightings by slot."""

    # (S,) each, of the slots in use so far.
    sighting_ids: NDArray[np.int64]
    person_ids: NDArray[np.int64]  # `NO_PERSON` if unassigned
    times_s: NDArray[np.float64]
    camera_ids: NDArray[np.int32]
    depths: NDArray[np.int8]  # 0 for free slots
    model_ids: NDArray[np.int32]  # as the database numbers them
    embedding_sums: NDArray[np.uint32]  # checksums
    code_sums: NDArray[np.uint32]

    def __init__(self) -> None:
        self._arrays = {name: np.zeros(0, dtype) for name, dtype in _DTYPES.items()}
        self.set_slots(0)

    def set_slots(self, slots: int) -> None:
        """Set the number of slots in use; new ones are free."""
        capacity = len(self._arrays["depths"])
        if slots > capacity:
            for name, array in self._arrays.items():
                grown = np.zeros(max(slots, capacity * 5 // 4), array.dtype)
                grown[:capacity] = array
                self._arrays[name] = grown
        self.slots = slots
        for name, array in self._arrays.items():
            setattr(self, name, array[:slots])

    def put(self, rows: Iterable[Row]) -> None:
        """Fill slots.

        Raises:
            ValueError: A value is of the wrong type, or there is no such slot.
        """
        columns = list(zip(*rows, strict=True))
        if columns:
            slots = np.array(columns[0], dtype=np.int64)
            if slots.min() < 0 or slots.max() >= self.slots:
                raise ValueError(f"there is no slot {slots.max()}")
            for (_, array), values in zip(self._arrays.items(), columns[1:], strict=True):
                array[slots] = values

    def free(self, slots: Iterable[int]) -> None:
        """Mark slots as free and clear them."""
        where = np.fromiter(slots, np.int64)
        for array in self._arrays.values():
            array[where] = 0

    def free_slots(self, count: int) -> NDArray[np.int64]:
        """The lowest free slots, ascending; beyond those in use if necessary."""
        holes = np.flatnonzero(self.depths == 0)[:count]
        more = np.arange(self.slots, self.slots + count - len(holes), dtype=np.int64)
        return np.concatenate([holes, more])

    def newest(
        self, where: Filter, count: int, before: tuple[float, int] | None
    ) -> NDArray[np.int64]:
        """Ids of the newest sightings that pass, newest first; at equal times, highest id first.

        Args:
            where: the filter.
            count: at most this many.
            before: time and id; only sightings after these in the list.
        """
        passing = self.mask(where)
        if before is not None:
            time_s, sighting_id = before
            passing &= (self.times_s < time_s) | (
                (self.times_s == time_s) & (self.sighting_ids < sighting_id)
            )
        slots = np.flatnonzero(passing)
        if len(slots) > count:
            # Those of the same moment as the last one stay in.
            times = self.times_s[slots]
            slots = slots[times >= np.partition(times, -count)[-count]]
        ids = self.sighting_ids[slots]
        return ids[np.lexsort((ids, self.times_s[slots]))[::-1][:count]]

    def mask(self, where: Filter, *, models: frozenset[int] | None = None) -> NDArray[np.bool_]:
        """Mask of the slots whose sighting passes.

        Args:
            where: the filter.
            models: additionally, only sightings of the networks with these numbers.

        Returns:
            (S,) bool.
        """
        passing = self.depths > 0
        if models is not None:
            passing &= _is_among(self.model_ids, models)
        if where.depth is not None:
            passing &= self.depths == where.depth
        if where.cameras is not None:
            passing &= _is_among(self.camera_ids, where.cameras)
        if where.not_cameras:
            passing &= ~_is_among(self.camera_ids, where.not_cameras)
        if where.persons is not None:
            passing &= _is_among(self.person_ids, where.persons)
        if where.not_persons:
            passing &= ~_is_among(self.person_ids, where.not_persons)
        if where.from_s is not None:
            passing &= self.times_s >= where.from_s
        if where.until_s is not None:
            passing &= self.times_s < where.until_s
        return passing

    def count_persons(self, mask: NDArray[np.bool_]) -> int:
        """Number of different persons in the slots of a mask (S,)."""
        ids = self.person_ids[mask]
        largest = int(ids.max(initial=0))
        if largest > 8 * self.slots + _FEW:
            return len(np.unique(ids))
        # Numbers are consecutive, so a table of them is small.
        is_there = np.zeros(largest + 1, np.bool_)
        is_there[ids] = True
        return int(np.count_nonzero(is_there))

    def tallies(self) -> dict[int, Tally]:
        """Tally of each person's sightings; people without sightings are left out."""
        used = np.flatnonzero((self.depths > 0) & (self.person_ids != NO_PERSON))
        if not len(used):
            return {}
        persons, cameras, times = (
            array[used] for array in (self.person_ids, self.camera_ids, self.times_s)
        )
        by_time = np.lexsort((times, persons))
        numbers, starts, counts = np.unique(persons[by_time], return_index=True, return_counts=True)
        sorted_times = times[by_time]
        by_camera = np.lexsort((cameras, persons))
        pairs = np.stack([persons[by_camera], cameras[by_camera].astype(np.int64)])
        is_new = np.ones(len(used), np.bool_)
        is_new[1:] = (pairs[:, 1:] != pairs[:, :-1]).any(axis=0)
        seen_by: dict[int, list[int]] = {}
        for person, camera in pairs[:, is_new].T.tolist():
            seen_by.setdefault(person, []).append(camera)
        return {
            person: Tally(count, first, last, tuple(seen_by[person]))
            for person, count, first, last in zip(
                numbers.tolist(),
                counts.tolist(),
                sorted_times[starts].tolist(),
                sorted_times[starts + counts - 1].tolist(),
                strict=True,
            )
        }

    def saved(self) -> dict[str, NDArray[Any]]:
        """All columns, for `restore`."""
        return {name: array[: self.slots] for name, array in self._arrays.items()}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Set all columns from `saved`."""
        self._arrays = {name: saved[name].astype(dtype) for name, dtype in _DTYPES.items()}
        self.set_slots(len(self._arrays["depths"]))


def _is_among(values: NDArray[Any], wanted: frozenset[int]) -> NDArray[np.bool_]:
    if len(wanted) > _FEW:
        return np.isin(values, list(wanted))
    found = np.zeros(len(values), dtype=np.bool_)
    for value in wanted:
        found |= values == value
    return found
