"""Copies a gallery, for example from a folder to a server or back, and verifies the copy.

It uses only the gallery interface, so any two kinds work. The copy has new numbers; the result maps
old to new ones. On the way, stored pictures can be embedded by another network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adln.errors import GalleryError
from adln.gallery.adapting import space_name
from adln.gallery.bridging import bridges_from
from adln.gallery.interface import Gallery
from adln.gallery.names import kept_form
from adln.gallery.records import ModelKey, Sighting, StoredSighting
from adln.gallery.retention import Retention
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.bridge import Bridge

_BATCH = 500
_SEARCHES = 20
_ANSWERS = 10
# Sums of the same products differ in the last digits, depending on the order.
_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Move:
    """Result of a move.

    Attributes:
        person_ids: Old number -> new number of every person.
        sighting_ids: Old number -> new number of every sighting.
        searches: Number of searches with equal answers in both galleries.
    """

    person_ids: dict[int, int]
    sighting_ids: dict[int, int]
    searches: int


@dataclass(frozen=True, eq=False)
class Renewal:
    """Result of a renewal.

    Attributes:
        person_ids: Old number -> new number of every person.
        renewed: Number of sightings embedded again.
        kept: Number of sightings without a picture that were copied, because the networks share a
            space.
        left_out: Number of sightings dropped: without a usable picture, and of another space.
        unseen: New numbers of people who have lost all their sightings.
        templates_left_out: Number of templates of forgotten people that the new network cannot
            compare, between folders.
    """

    person_ids: dict[int, int]
    renewed: int
    kept: int
    left_out: int
    unseen: tuple[int, ...]
    templates_left_out: int = 0


def renew_gallery(
    source: Gallery,
    target: Gallery,
    embed: Callable[[Sequence[bytes]], Sequence[NDArray[np.floating] | None]],
    model: ModelKey,
    *,
    on_progress: Callable[[int], None] | None = None,
) -> Renewal:
    """Copy a gallery to an empty one, embedding its stored pictures with another network.

    The source is not changed. Its adaptations are not copied, because they were fitted to the old
    embeddings; its bridges are, because they apply to the sightings that are kept. Between folders,
    retention rules, barred names, and templates of forgotten people are copied, too.

    Args:
        source: Only read; must not be written to meanwhile.
        target: Without persons and sightings.
        embed: Returns the embedding (D,) of each picture, None for a broken one.
        model: The network of `embed`.
        on_progress: Called with the number of sightings just processed.

    Raises:
        GalleryError: The target is not empty, or refuses something.
    """
    _require_empty(target)
    person_ids = {person.person_id: target.enrol(person.name) for person in source.persons()}
    renewed = kept = left_out = 0
    before: set[int] = set()
    after: set[int] = set()
    for batch in source.iterate(batch_size=_BATCH):
        pictured = [record for record in batch if record.thumbnail is not None]
        pictures = [record.thumbnail for record in pictured if record.thumbnail is not None]
        found = dict(
            zip(
                (record.sighting_id for record in pictured),
                embed(pictures) if pictures else (),
                strict=True,
            )
        )
        sightings = []
        for record in batch:
            copy = _moved(record, person_ids)
            embedding = found.get(record.sighting_id)
            if embedding is not None:
                copy = replace(copy, embedding=embedding, model=model)
                renewed += 1
            elif model.shares_space(record.model):
                kept += 1
            else:
                left_out += 1
                before.add(copy.person_id or 0)
                continue
            sightings.append(copy)
            after.add(copy.person_id or 0)
        if None in target.add(sightings):
            raise GalleryError(
                "The target refuses a person who was forgotten there. Choose a target without "
                "forgotten people."
            )
        if on_progress is not None:
            on_progress(len(batch))
    comparable = [one for one in source.models if model.shares_space(one)]
    templates_left_out = _take_over(source, target, person_ids, comparable)
    _build_bridges(source, target)
    unseen = tuple(sorted(before - after - {0}))
    return Renewal(person_ids, renewed, kept, left_out, unseen, templates_left_out)


def _take_over(
    source: Gallery, target: Gallery, person_ids: dict[int, int], models: Sequence[ModelKey]
) -> int:
    """Copy what else a gallery keeps, if both are folders; last, as it affects what is added.

    Args:
        source: the gallery copied.
        target: keeps its retention rules, if it has some.
        person_ids: old number -> new number.
        models: networks whose templates of forgotten people are comparable in the target.

    Returns:
        The number of these templates left out.
    """
    if not (isinstance(source, SqliteGallery) and isinstance(target, SqliteGallery)):
        return 0
    rules = source.retention
    if target.retention == Retention() != rules:
        by_person = {
            person_ids[one]: keep_s
            for one, keep_s in rules.person_keep_s.items()
            if one in person_ids
        }
        target.set_retention(replace(rules, person_keep_s=by_person))
    return target.take_over(source, person_ids, models)


def _require_empty(target: Gallery) -> None:
    if target.count() > 0 or target.persons():
        raise GalleryError(
            "The target gallery must be empty, so that people are not mixed up; it has "
            f"{len(target.persons())} persons and {target.count():,} sightings. Choose another."
        )


def move_gallery(
    source: Gallery, target: Gallery, *, on_progress: Callable[[int], None] | None = None
) -> Move:
    """Copy everything to an empty gallery, then compare the two.

    The source is not changed; remove it once you trust the copy. Between folders, retention rules,
    barred names, and templates of forgotten people are copied, too, and adaptations (`adln adapt`)
    and bridges are activated. From and to a server, they are not.

    Args:
        source: Only read; must not be written to meanwhile.
        target: Without persons and sightings.
        on_progress: Called with the number of sightings just copied.

    Raises:
        GalleryError: The target is not empty, refuses something, does not support the source's
            adaptation, or differs afterwards.
    """
    adaptations = source.adaptations if isinstance(source, SqliteGallery) else ()
    calibrations = source.calibrations if isinstance(source, SqliteGallery) else {}
    if adaptations and not isinstance(target, SqliteGallery):
        raise GalleryError(
            "This gallery is adapted to its cameras, which a gallery on a server does not support. "
            "Undo that first: `adln adapt --undo`."
        )
    if _bridges(source) and not isinstance(target, SqliteGallery):
        raise GalleryError(
            "This gallery uses a bridge to another network, which a gallery on a server does not "
            "support. Remove it first: `adln networks rollback NAME --gallery FOLDER`."
        )
    _require_empty(target)
    person_ids = {person.person_id: target.enrol(person.name) for person in source.persons()}
    sighting_ids: dict[int, int] = {}
    for batch in source.iterate(batch_size=_BATCH):
        new_ids = target.add([_moved(record, person_ids) for record in batch])
        for record, new_id in zip(batch, new_ids, strict=True):
            if new_id is None:
                raise GalleryError(
                    f"The target refuses sighting {record.sighting_id} as a person who was "
                    "forgotten there. Choose a target without forgotten people."
                )
            sighting_ids[record.sighting_id] = new_id
        if on_progress is not None:
            on_progress(len(batch))
    _take_over(source, target, person_ids, source.models)
    _build_bridges(source, target)
    if isinstance(target, SqliteGallery):
        spaces = {space_name(model) for model in target.models}
        for adaptation in adaptations:
            # A space without remaining sightings cannot be adapted.
            if adaptation.space in spaces:
                target.adapt(adaptation, calibrations.get(adaptation.space))
    searches = verify_move(source, target, person_ids, sighting_ids)
    return Move(person_ids, sighting_ids, searches)


def _bridges(gallery: Gallery) -> dict[str, Bridge]:
    own = gallery.bridges if isinstance(gallery, SqliteGallery) else ()
    return {bridge.source: bridge for bridge in own}


def _build_bridges(source: Gallery, target: Gallery) -> None:
    """Build the source's bridges that apply to something in the target."""
    bridges = _bridges(source)
    if not isinstance(target, SqliteGallery) or not bridges:
        return
    ways = [bridges_from(bridges, model) for model in target.models]
    for bridge in {one.source: one for way in ways for one in way}.values():
        target.build_bridge(bridge)


def verify_move(
    source: Gallery, target: Gallery, person_ids: dict[int, int], sighting_ids: dict[int, int]
) -> int:
    """Check that two galleries have the same content and answers.

    Compares all persons and records, then the answers to a sample of searches.

    Returns:
        The number of searches compared.

    Raises:
        GalleryError: They differ; the message names the first difference.
    """
    counts = source.count(), target.count()
    if counts != (len(sighting_ids), len(sighting_ids)):
        raise GalleryError(
            f"After the move, the source has {counts[0]:,} sightings and the target "
            f"{counts[1]:,}; {len(sighting_ids):,} were moved. Was it written to? {_AGAIN}"
        )
    expected = {
        person_ids[one.person_id]: replace(
            one,
            person_id=person_ids[one.person_id],
            # Earlier versions kept some names in other forms.
            name=None if one.name is None else kept_form(one.name),
        )
        for one in source.persons()
    }
    if expected != {one.person_id: one for one in target.persons()}:
        raise GalleryError(f"After the move, the persons of the two galleries differ. {_AGAIN}")
    sample: list[StoredSighting] = []
    # Drawn at random: every tenth one might always be of the same camera.
    rng = np.random.default_rng(0)
    chosen = set(rng.permutation(list(sighting_ids))[:_SEARCHES].tolist())
    for batch in source.iterate(batch_size=_BATCH):
        copies = target.get([sighting_ids[record.sighting_id] for record in batch])
        same = len(copies) == len(batch) and all(
            _alike(_moved(record, person_ids), copy)
            for record, copy in zip(batch, copies, strict=True)
        )
        if not same:
            raise GalleryError(
                f"After the move, some of the sightings {batch[0].sighting_id} to "
                f"{batch[-1].sighting_id} differ. {_AGAIN}"
            )
        sample += [record for record in batch if record.sighting_id in chosen]
    for record in sample:
        _require_same_answers(source, target, record, sighting_ids)
    return len(sample)


_AGAIN = "The source is unchanged; empty the target and move again."


def _require_same_answers(
    source: Gallery, target: Gallery, query: StoredSighting, sighting_ids: dict[int, int]
) -> None:
    old, new = (
        place.search(query.embedding, model=query.model, k=_ANSWERS, cameras=[query.camera_id])[0]
        for place in (source, target)
    )
    same = len(old) == len(new) and np.allclose(old.similarity, new.similarity, atol=_TOLERANCE)
    if same and len(old) > 0:
        # Among equal scores at the end, either gallery may return others.
        last = old.similarity[-1] + _TOLERANCE
        clear = [
            {
                number
                for number, similarity in zip(numbers, result.similarity, strict=True)
                if similarity > last
            }
            for numbers, result in (
                ([sighting_ids[number] for number in old.sighting_ids.tolist()], old),
                (new.sighting_ids.tolist(), new),
            )
        ]
        same = clear[0] <= set(new.sighting_ids.tolist()) and clear[1] <= {
            sighting_ids[number] for number in old.sighting_ids.tolist()
        }
    if not same:
        raise GalleryError(
            f"After the move, a search with sighting {query.sighting_id} has different answers. "
            f"An approximate index (HNSW) causes that. {_AGAIN}"
        )


def _moved(record: StoredSighting, person_ids: dict[int, int]) -> Sighting:
    values = {**vars(record)}
    del values["sighting_id"]
    person_id = None if record.person_id is None else person_ids[record.person_id]
    return Sighting(**{**values, "person_id": person_id})


def _alike(sighting: Sighting, copy: Sighting) -> bool:
    names = set(Sighting.__dataclass_fields__) - {"embedding"}
    return all(getattr(sighting, name) == getattr(copy, name) for name in names) and np.array_equal(
        sighting.embedding, copy.embedding
    )
