"""What every gallery promises, whether it is a folder on this device or a server far away.

`adln.gallery.sqlite_gallery.SqliteGallery` is the default: one folder, exact answers.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from adln.gallery.records import (
    EVERYTHING,
    Erasure,
    Filter,
    ModelKey,
    Person,
    PersonsResult,
    SearchResult,
    Sighting,
    SightingFacts,
    StoredSighting,
)


class Gallery(Protocol):
    """Who was seen, where and when; found again by likeness.

    Embeddings of one space are compared with each other, whatever network and depth made them; all
    others of the gallery's networks are kept apart (`adln.gallery.spaces`).
    What a call has returned from is on the disk (or with the server) for good. Every method
    raises `GalleryError` with the reason if it cannot do what was asked; then nothing of it has
    happened. A gallery may be used by several threads.
    """

    @property
    def models(self) -> tuple[ModelKey, ...]:
        """What made the embeddings that were ever stored; empty before the first sighting."""

    def add(self, sightings: Sequence[Sighting]) -> list[int | None]:
        """Store sightings, all or none.

        Args:
            sightings: of the gallery's networks, or of others that share a file or a space with
                one.

        Returns:
            The id of each; None for one that was refused because it looks like somebody who
            asked not to be enrolled again (see `forget`).

        Raises:
            GalleryError: A foreign network's embedding, an impossible value, an unknown person, or
                the disk is full.
        """

    def search(
        self,
        embeddings: NDArray[np.floating],
        *,
        model: ModelKey,
        k: int = 10,
        where: Filter = EVERYTHING,
        cameras: Sequence[int] | None = None,
    ) -> list[SearchResult]:
        """Find the most similar sightings.

        Only sightings that share the queries' space are compared, at whatever depth they were
        embedded. For a track, search with `adln.gallery.records.pool_track` of its crops.

        Args:
            embeddings: (Q, D), or (D,) for one query; unit length.
            model: what made them.
            k: at most that many answers a query.
            where: only sightings that pass are counted.
            cameras: numbers of the cameras that saw the queries, one for each, -1 where that is
                not known; left out if it is not of any. A gallery that is adapted to its cameras
                adapts queries by them, as it does the sightings; others need none.

        Returns:
            One result per query. None holds a sighting whose erasure was acknowledged before the
            call. A gallery that is still empty gives empty results.

        Raises:
            GalleryError: The gallery's embeddings are of foreign networks; or k is below one.
        """

    def search_persons(
        self,
        embeddings: NDArray[np.floating],
        *,
        model: ModelKey,
        k: int = 5,
        where: Filter = EVERYTHING,
        without: Set[int] = frozenset(),
        named: bool = False,
        cameras: Sequence[int] | None = None,
        sightings: int = 0,
    ) -> list[PersonsResult]:
        """Find the most similar persons, each by the best of all their sightings.

        However many sightings a person has, and however many are unassigned, nobody is hidden: the
        k best persons are those of the whole gallery.

        Args:
            embeddings: (Q, D), or (D,) for one query; unit length.
            model: what made them.
            k: at most that many persons a query.
            where: only sightings that pass are counted; unassigned ones never are.
            without: sightings that are not counted, such as the query's own.
            named: whether only people who have a name are counted.
            cameras: of the queries; see `search`.
            sightings: besides, so many of the most similar sightings that are counted are given,
                those of nobody among them, for less than another search costs.

        Raises:
            GalleryError: see `search`.
        """

    def get(self, sighting_ids: Iterable[int]) -> list[StoredSighting]:
        """Whole records, in the order of the ids; ids that are gone are left out."""

    def newest(
        self,
        where: Filter = EVERYTHING,
        *,
        limit: int = 50,
        before: tuple[float, int] | None = None,
    ) -> list[StoredSighting]:
        """The newest records that pass, newest first; of one moment, the highest id first.

        Args:
            where: only these.
            limit: at most this many.
            before: time and id of a sighting: only what comes after it in the list.
        """

    def newest_facts(
        self,
        where: Filter = EVERYTHING,
        *,
        limit: int = 50,
        before: tuple[float, int] | None = None,
    ) -> list[SightingFacts]:
        """As `newest`, but without embeddings and pictures, which take most of the time."""

    def iterate(
        self, where: Filter = EVERYTHING, *, batch_size: int = 1000
    ) -> Iterator[list[StoredSighting]]:
        """All records that pass, by ascending id, in batches; what is added meanwhile may lack."""

    def count(self, where: Filter = EVERYTHING) -> int:
        """How many sightings pass."""

    def enrol(self, name: str | None = None) -> int:
        """Make a new person, as yet without sightings.

        Returns:
            The person's id.

        Raises:
            GalleryError: The name is taken, or belonged to somebody who was forgotten.
        """

    def persons(self) -> list[Person]:
        """Everybody, by ascending id."""

    def name_person(self, person_id: int, name: str | None) -> None:
        """Give a person a name, another name, or take it away.

        Raises:
            GalleryError: There is no such person, or see `enrol`.
        """

    def assign(self, sighting_ids: Iterable[int], person_id: int | None) -> int:
        """Say who was seen; None takes it back.

        Returns:
            How many sightings changed.

        Raises:
            GalleryError: There is no such person or no such sighting.
        """

    def merge(self, person_ids: Iterable[int], into: int) -> int:
        """Two or more people turn out to be one: all their sightings go to `into`.

        The others cease to exist; `into` keeps its own name, or takes the first of theirs.

        Returns:
            How many sightings moved.
        """

    def unmerge(
        self, person_id: int, sighting_ids: Iterable[int], *, name: str | None = None
    ) -> int:
        """Take back that a person was somebody else: they get their old number back.

        Args:
            person_id: who was merged.
            sighting_ids: which sightings are theirs; may be none.
            name: what they are called.

        Returns:
            How many sightings changed.

        Raises:
            GalleryError: They were not merged, or with somebody who is forgotten; there is no such
                sighting; or see `enrol`.
        """

    def merged_into(self, person_id: int) -> frozenset[int]:
        """Numbers of all who were merged into this person, and into them, and so on."""

    def gone(self, person_ids: Collection[int]) -> frozenset[int]:
        """Of these numbers, those that belong to nobody: forgotten, or never given.

        A number that was merged is gone when the person is whom it was merged into.
        """

    def split(self, sighting_ids: Iterable[int], name: str | None = None) -> int:
        """One person turns out to be two: these sightings become a new person.

        Returns:
            The new person's id.
        """

    def delete(self, sighting_ids: Iterable[int]) -> int:
        """Erase single sightings; ids that are gone already count as nothing.

        No answer holds them any more when this returns. That nothing of them is left on the disk
        is a promise of `forget` only.

        Returns:
            How many were erased.
        """

    def expire_before(self, time_s: float, where: Filter = EVERYTHING) -> int:
        """Erase sightings that were seen before a time and pass the filter.

        Returns:
            How many were erased.
        """

    def drop_emptied(self, person_ids: Collection[int]) -> int:
        """Remove people of whom nothing is left, neither a name nor a sighting.

        Nothing is barred by it, and their numbers are never given again.

        Args:
            person_ids: who may be removed; those with a name or a sighting, and whoever is not
                there, are passed over.

        Returns:
            How many were removed.
        """

    def forget(self, person_id: int, *, suppress_above: float | None = None) -> Erasure:
        """Erase a person everywhere, and prove it.

        Their id is never given again, and no name that they, or who was merged into them, ever had
        can be enrolled again. By default no template stays behind, so that nobody, the gallery
        included, could recognise them.

        Args:
            person_id: who.
            suppress_above: keep one mean embedding per space after all, for the sole purpose of
                refusing new sightings whose cosine to it is at least this.

        Raises:
            GalleryError: There is no such person, or bytes of them could not be removed.
        """

    def close(self) -> None:
        """Release files and connections; closing twice does nothing."""

    def __enter__(self) -> Self:
        """The gallery itself."""

    def __exit__(self, *_: object) -> None:
        """Close."""
