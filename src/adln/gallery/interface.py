"""The interface of all galleries, whether a local folder or on a server.

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
    """Stores who was seen where and when, and finds people by similarity.

    Embeddings of one space are compared with each other, whichever network and depth made them;
    those of different spaces are kept apart (`adln.gallery.spaces`).
    When a call returns, its changes are durable: on the disk, or stored by the server. A method
    that fails raises `GalleryError` with the reason, and changes nothing. A gallery may be used by
    several threads.
    """

    @property
    def models(self) -> tuple[ModelKey, ...]:
        """Networks of all embeddings ever stored; empty before the first sighting."""

    def add(self, sightings: Sequence[Sighting]) -> list[int | None]:
        """Store sightings, all or none.

        Args:
            sightings: embedded by the gallery's networks, or by others that share a file or a
                space with one of them.

        Returns:
            The id of each; None for one that was refused because it resembles a forgotten person
            (see `forget`).

        Raises:
            GalleryError: An embedding of a foreign network, an invalid value, an unknown person, or
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

        Only sightings in the queries' space are compared, whatever their depth. For a track, search
        with `adln.gallery.records.pool_track` of its crops.

        Args:
            embeddings: (Q, D), or (D,) for one query; unit length.
            model: their network.
            k: most answers per query.
            where: only sightings that pass are searched.
            cameras: camera number of each query, -1 if unknown; None if all are unknown. A gallery
                that is adapted to its cameras adapts queries by them; others do not need them.

        Returns:
            One result per query, without sightings whose erasure was acknowledged before the call.
            An empty gallery returns empty results.

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
        """Find the most similar persons, each by their most similar sighting.

        The result is exact: the k best persons of the whole gallery, regardless of how many
        sightings others have or how many are unassigned.

        Args:
            embeddings: (Q, D), or (D,) for one query; unit length.
            model: their network.
            k: most persons per query.
            where: only sightings that pass are compared; unassigned ones never are.
            without: sightings to ignore, such as the query's own.
            named: whether only people with a name are compared.
            cameras: of the queries; see `search`.
            sightings: also return this many of the most similar sightings, including unassigned
                ones; cheaper than a separate search.

        Raises:
            GalleryError: see `search`.
        """

    def get(self, sighting_ids: Iterable[int]) -> list[StoredSighting]:
        """Complete records, in the order of the ids; ids that no longer exist are left out."""

    def newest(
        self,
        where: Filter = EVERYTHING,
        *,
        limit: int = 50,
        before: tuple[float, int] | None = None,
    ) -> list[StoredSighting]:
        """The newest records that pass, newest first; at equal times, highest id first.

        Args:
            where: only sightings that pass.
            limit: at most this many.
            before: time and id of a sighting; only records after it in the list.
        """

    def newest_facts(
        self,
        where: Filter = EVERYTHING,
        *,
        limit: int = 50,
        before: tuple[float, int] | None = None,
    ) -> list[SightingFacts]:
        """As `newest`, but much faster, without embeddings and pictures."""

    def iterate(
        self, where: Filter = EVERYTHING, *, batch_size: int = 1000
    ) -> Iterator[list[StoredSighting]]:
        """All records that pass, by ascending id, in batches; may miss those added meanwhile."""

    def count(self, where: Filter = EVERYTHING) -> int:
        """Number of sightings that pass."""

    def enrol(self, name: str | None = None) -> int:
        """Create a person without sightings.

        Returns:
            The person's id.

        Raises:
            GalleryError: The name is taken, or belonged to a forgotten person.
        """

    def persons(self) -> list[Person]:
        """All people, by ascending id."""

    def names(self, person_ids: Iterable[int]) -> dict[int, str | None]:
        """Person -> name, of those of these people who exist."""

    def name_person(self, person_id: int, name: str | None) -> None:
        """Set, change or remove a person's name.

        Raises:
            GalleryError: There is no such person; or see `enrol`.
        """

    def assign(self, sighting_ids: Iterable[int], person_id: int | None) -> int:
        """Assign sightings to a person; None unassigns them.

        Returns:
            The number of sightings changed.

        Raises:
            GalleryError: There is no such person or no such sighting.
        """

    def merge(self, person_ids: Iterable[int], into: int) -> int:
        """Merge people: all their sightings are moved to `into`.

        The others cease to exist; `into` keeps its name, or takes the first of theirs.

        Returns:
            The number of sightings moved.
        """

    def unmerge(
        self, person_id: int, sighting_ids: Iterable[int], *, name: str | None = None
    ) -> int:
        """Undo a merge: restore a person under their old number.

        Args:
            person_id: the person who was merged.
            sighting_ids: their sightings; may be none.
            name: their name.

        Returns:
            The number of sightings changed.

        Raises:
            GalleryError: They were not merged, or were merged into a person who is forgotten; there
                is no such sighting; or see `enrol`.
        """

    def held(self) -> frozenset[int]:
        """People whose surplus sightings are kept for `HELD_S` after a merge or an assignment.

        It may be undone until then, and the others must get all of theirs back.
        """

    def merged_into(self, person_id: int) -> frozenset[int]:
        """Numbers of all people merged into this person, directly or indirectly."""

    def gone(self, person_ids: Collection[int]) -> frozenset[int]:
        """Those of these numbers that belong to no one: forgotten, or never assigned.

        A merged number is gone when the person it was merged into is gone.
        """

    def split(self, sighting_ids: Iterable[int], name: str | None = None) -> int:
        """Split sightings off: they become a new person.

        Returns:
            The new person's id.
        """

    def delete(self, sighting_ids: Iterable[int]) -> int:
        """Erase single sightings; ids that no longer exist are ignored.

        When this returns, no answer contains them any more. Only `forget` guarantees that nothing
        of them is left on the disk.

        Returns:
            The number erased.
        """

    def expire_before(self, time_s: float, where: Filter = EVERYTHING) -> int:
        """Erase sightings that are older than a time and pass the filter.

        Returns:
            The number erased.
        """

    def drop_emptied(self, person_ids: Collection[int]) -> int:
        """Remove people with neither a name nor a sighting.

        No names are barred, and their numbers are never reused.

        Args:
            person_ids: candidates; those with a name or a sighting, and unknown numbers, are
                ignored.

        Returns:
            The number removed.
        """

    def forget(self, person_id: int, *, suppress_above: float | None = None) -> Erasure:
        """Erase a person everywhere, and verify it.

        Their id is never reused, and no name that they, or people merged into them, ever had can be
        enrolled again. By default no template is kept, so that no one, including the gallery, can
        recognise them.

        Args:
            person_id: number of the person.
            suppress_above: keep one mean embedding per space, used only to refuse new sightings
                whose cosine to it is at least this.

        Raises:
            GalleryError: There is no such person, or bytes of them could not be removed.
        """

    def close(self) -> None:
        """Release files and connections; closing twice does nothing."""

    def __enter__(self) -> Self:
        """The gallery itself."""

    def __exit__(self, *_: object) -> None:
        """Close."""
