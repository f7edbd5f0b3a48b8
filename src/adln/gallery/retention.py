"""Retention rules: how long sightings are kept, and how many per person."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from adln.errors import GalleryError
from adln.gallery.interface import Gallery
from adln.gallery.records import NO_PERSON, Filter
from adln.gallery.spaces import template_kind
from adln.gallery.templates import choose_templates

DAY_S = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Rules for automatic erasure. None means that there is no such rule.

    The retention time of a sighting is that of its person if there is one, otherwise that of its
    camera, otherwise the general one.

    Attributes:
        keep_s: how long sightings are kept, in s.
        camera_keep_s: camera -> how long its sightings are kept, in s.
        person_keep_s: person -> how long their sightings are kept, in s.
        max_templates: most sightings kept per person and depth: good and different ones. The
            gallery applies this when it adds sightings.
        max_unnamed: most unassigned sightings kept; the oldest are erased first.
    """

    keep_s: float | None = None
    camera_keep_s: Mapping[int, float] = field(default_factory=dict)
    person_keep_s: Mapping[int, float] = field(default_factory=dict)
    max_templates: int | None = None
    max_unnamed: int | None = None

    def __post_init__(self) -> None:
        times = [self.keep_s, *self.camera_keep_s.values(), *self.person_keep_s.values()]
        counts = [self.max_templates, self.max_unnamed]
        if any(time is not None and not time > 0 for time in times) or any(
            count is not None and count < 1 for count in counts
        ):
            raise GalleryError(f"Times must be above 0 and counts at least 1, got {self}.")

    @property
    def has_ages(self) -> bool:
        """Whether there is a retention time."""
        return self.keep_s is not None or bool(self.camera_keep_s or self.person_keep_s)

    def to_json(self) -> str:
        """Serialise as JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Retention":
        """Parse the output of `to_json`."""
        values: dict[str, Any] = json.loads(text)
        for name in ("camera_keep_s", "person_keep_s"):
            # Keys in JSON are always text.
            values[name] = {int(key): value for key, value in values[name].items()}
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Tidied:
    """What `apply_retention` erased.

    Attributes:
        expired: sightings past their retention time.
        surplus_templates: sightings beyond `max_templates`.
        surplus_unnamed: unassigned sightings beyond `max_unnamed`.
        people: people without a name who lost their last sighting.
    """

    expired: int
    surplus_templates: int
    surplus_unnamed: int
    people: int = 0


def apply_retention(gallery: Gallery, retention: Retention, *, now_s: float) -> Tidied:
    """Erase what the rules no longer keep; call it regularly, for example every hour.

    Args:
        gallery: the gallery.
        retention: the rules.
        now_s: current time, in seconds since 1970.
    """
    had_sightings = _unnamed_with_sightings(gallery) if retention.has_ages else set()
    cameras, persons = frozenset(retention.camera_keep_s), frozenset(retention.person_keep_s)
    expired = 0
    if retention.keep_s is not None:
        others = Filter(not_cameras=cameras, not_persons=persons)
        expired += gallery.expire_before(now_s - retention.keep_s, others)
    for camera_id, keep_s in retention.camera_keep_s.items():
        seen_there = Filter(cameras=frozenset({camera_id}), not_persons=persons)
        expired += gallery.expire_before(now_s - keep_s, seen_there)
    for person_id, keep_s in retention.person_keep_s.items():
        expired += gallery.expire_before(now_s - keep_s, Filter(persons=frozenset({person_id})))
    templates = surplus_templates(gallery, retention.max_templates)
    unnamed = _surplus_unnamed(gallery, retention.max_unnamed)
    # A single erasure, because each waits for the disk.
    gallery.delete([*templates, *unnamed])
    # Passers-by leave unnamed people. Those who never had a sighting may be about to get one.
    emptied = had_sightings - _unnamed_with_sightings(gallery) if expired else set()
    return Tidied(
        expired=expired,
        surplus_templates=len(templates),
        surplus_unnamed=len(unnamed),
        people=gallery.drop_emptied(emptied),
    )


def _unnamed_with_sightings(gallery: Gallery) -> set[int]:
    return {
        one.person_id for one in gallery.persons() if one.name is None and one.num_sightings > 0
    }


def surplus_templates(gallery: Gallery, most: int | None) -> list[int]:
    """Ids of sightings beyond `most` per person and depth, but for people who are held."""
    if most is None:
        return []
    surplus: list[int] = []
    held = gallery.held()
    for person in gallery.persons():
        if person.num_sightings <= most or person.person_id in held:
            continue
        theirs = Filter(persons=frozenset({person.person_id}))
        records = [record for batch in gallery.iterate(theirs) for record in batch]
        for kind in {template_kind(record.model) for record in records}:
            same = [record for record in records if template_kind(record.model) == kind]
            kept = choose_templates(
                np.stack([record.embedding for record in same]).astype(np.float32),
                np.array([record.quality for record in same]),
                most,
            )
            gone = np.setdiff1d(np.arange(len(same)), kept)
            surplus += [same[position].sighting_id for position in gone]
    return surplus


def _surplus_unnamed(gallery: Gallery, most: int | None) -> list[int]:
    nobody = Filter(persons=frozenset({NO_PERSON}))
    if most is None or gallery.count(nobody) <= most:
        return []
    found = [
        (record.time_s, record.sighting_id) for batch in gallery.iterate(nobody) for record in batch
    ]
    return [sighting_id for _, sighting_id in sorted(found)[: len(found) - most]]
