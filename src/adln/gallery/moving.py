"""Moves a gallery to another place, from a folder to a server or back, and proves the copy.

Everything goes through what every gallery promises, so that any two kinds will do. The new place
gives new numbers; the answer says which became which. On the way its kept pictures may be embedded
by another network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adln.errors import GalleryError
from adln.gallery.adapting import space_name
from adln.gallery.bridging import way_of
from adln.gallery.interface import Gallery
from adln.gallery.names import kept_form
from adln.gallery.records import ModelKey, Sighting, StoredSighting
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.bridge import Bridge

_BATCH = 500
_SEARCHES = 20
_ANSWERS = 10
# Two ways of summing the same products differ in the last digits.
_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Move:
    """What was moved and how it was proved.

    Attributes:
        person_ids: Old number -> new number, of every person.
        sighting_ids: The same of every sighting.
        searches: Searches that gave the same answers in both places.
    """

    person_ids: dict[int, int]
    sighting_ids: dict[int, int]
    searches: int


@dataclass(frozen=True, eq=False)
class Renewal:
    """What became of a gallery whose pictures another network has embedded.

    Attributes:
        person_ids: Old number -> new number, of every person.
        renewed: Sightings that were embedded anew.
        kept: Sightings without a picture that stay as they were, because the networks share a
            space.
        left_out: Sightings that nothing can be compared with any more: without a usable picture,
            and of another space.
        unseen: New numbers of people of whom no sighting is left, though there was one.
    """

    person_ids: dict[int, int]
    renewed: int
    kept: int
    left_out: int
    unseen: tuple[int, ...]


def renew_gallery(
    source: Gallery,
    target: Gallery,
    embed: Callable[[Sequence[bytes]], Sequence[NDArray[np.floating] | None]],
    model: ModelKey,
    *,
    on_progress: Callable[[int], None] | None = None,
) -> Renewal:
    """Copy a gallery to an empty one, embedding the pictures that it keeps with another network.

    The source stays as it is. What it is adapted by stays behind, because it was fitted to the
    embeddings of before; bridges hold for what is kept as it was, and come along.

    Args:
        source: Read only; nobody should write to it meanwhile.
        target: Without persons and sightings.
        embed: Gives the embedding (D,) of each picture, None for one that is broken.
        model: What `embed` makes.
        on_progress: Called with the number of sightings just looked at.

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
                "The new place refuses somebody who was forgotten there. Choose a place where "
                "nobody was."
            )
        if on_progress is not None:
            on_progress(len(batch))
    _build_bridges(source, target)
    unseen = tuple(sorted(before - after - {0}))
    return Renewal(person_ids, renewed, kept, left_out, unseen)


def _require_empty(target: Gallery) -> None:
    if target.count() > 0 or target.persons():
        raise GalleryError(
            "A gallery is only moved to an empty place, so that nobody is mixed up; this one has "
            f"{len(target.persons())} persons and {target.count():,} sightings. Choose another."
        )


def move_gallery(
    source: Gallery, target: Gallery, *, on_progress: Callable[[int], None] | None = None
) -> Move:
    """Copy everything to an empty gallery, then compare the two.

    The source stays as it is; remove it when the copy has proved itself in use. Names and
    templates of people who were forgotten are not part of what a gallery tells, and stay behind.
    What a folder is adapted by (`adln adapt`) is switched on in the new folder, too, and so are the
    bridges to other networks.

    Args:
        source: Read only; nobody should write to it meanwhile.
        target: Without persons and sightings.
        on_progress: Called with the number of sightings just copied.

    Raises:
        GalleryError: The target is not empty, refuses something, cannot be adapted as the source
            is, or differs afterwards.
    """
    adaptations = source.adaptations if isinstance(source, SqliteGallery) else ()
    calibrations = source.calibrations if isinstance(source, SqliteGallery) else {}
    if adaptations and not isinstance(target, SqliteGallery):
        raise GalleryError(
            "This gallery is adapted to its cameras, which a gallery on a server cannot be. Switch "
            "that off first: `adln adapt --undo`."
        )
    if _bridges(source) and not isinstance(target, SqliteGallery):
        raise GalleryError(
            "This gallery uses a bridge to another network, which a gallery on a server "
            "cannot. Remove it first: `adln networks rollback NAME --gallery FOLDER`."
        )
    _require_empty(target)
    person_ids = {person.person_id: target.enrol(person.name) for person in source.persons()}
    sighting_ids: dict[int, int] = {}
    for batch in source.iterate(batch_size=_BATCH):
        new_ids = target.add([_moved(record, person_ids) for record in batch])
        for record, new_id in zip(batch, new_ids, strict=True):
            if new_id is None:
                raise GalleryError(
                    f"The new place refuses sighting {record.sighting_id} as somebody who was "
                    "forgotten there. Choose a place where nobody was."
                )
            sighting_ids[record.sighting_id] = new_id
        if on_progress is not None:
            on_progress(len(batch))
    _build_bridges(source, target)
    if isinstance(target, SqliteGallery):
        spaces = {space_name(model) for model in target.models}
        for adaptation in adaptations:
            # Of a space whose sightings are all erased there is nothing to adapt.
            if adaptation.space in spaces:
                target.adapt(adaptation, calibrations.get(adaptation.space))
    searches = verify_move(source, target, person_ids, sighting_ids)
    return Move(person_ids, sighting_ids, searches)


def _bridges(gallery: Gallery) -> dict[str, Bridge]:
    own = gallery.bridges if isinstance(gallery, SqliteGallery) else ()
    return {bridge.source: bridge for bridge in own}


def _build_bridges(source: Gallery, target: Gallery) -> None:
    """Those of the source that something in the target goes over."""
    bridges = _bridges(source)
    if not isinstance(target, SqliteGallery) or not bridges:
        return
    ways = [way_of(bridges, model) for model in target.models]
    for bridge in {one.source: one for way in ways for one in way}.values():
        target.build_bridge(bridge)


def verify_move(
    source: Gallery, target: Gallery, person_ids: dict[int, int], sighting_ids: dict[int, int]
) -> int:
    """Make sure that two galleries hold and answer the same.

    Persons and records are compared one by one, then the answers to a sample of searches.

    Returns:
        How many searches were compared.

    Raises:
        GalleryError: They differ; the message names the first difference.
    """
    counts = source.count(), target.count()
    if counts != (len(sighting_ids), len(sighting_ids)):
        raise GalleryError(
            f"After the move the old place has {counts[0]:,} sightings and the new one "
            f"{counts[1]:,}; {len(sighting_ids):,} were moved. Was somebody writing? {_AGAIN}"
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
        raise GalleryError(f"After the move the persons of the two places differ. {_AGAIN}")
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
                f"After the move some of the sightings {batch[0].sighting_id} to "
                f"{batch[-1].sighting_id} differ. {_AGAIN}"
            )
        sample += [record for record in batch if record.sighting_id in chosen]
    for record in sample:
        _require_same_answers(source, target, record, sighting_ids)
    return len(sample)


_AGAIN = "The old place is as it was; empty the new one and move again."


def _require_same_answers(
    source: Gallery, target: Gallery, query: StoredSighting, sighting_ids: dict[int, int]
) -> None:
    old, new = (
        place.search(query.embedding, model=query.model, k=_ANSWERS, cameras=[query.camera_id])[0]
        for place in (source, target)
    )
    same = len(old) == len(new) and np.allclose(old.similarity, new.similarity, atol=_TOLERANCE)
    if same and len(old) > 0:
        # Answers as good as the last one may have been cut off in one place.
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
            f"After the move a search with sighting {query.sighting_id} is answered differently. "
            f"An index that misses some (HNSW) does that. {_AGAIN}"
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
