"""A gallery for Python: enrol people and identify them."""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adln.api.networks import Network
from adln.arguments import checked
from adln.boxes import as_array
from adln.errors import GalleryError
from adln.gallery.enrolling import make_person, person_called
from adln.gallery.names import checked_name, is_same_name
from adln.gallery.records import (
    EVERYTHING,
    Filter,
    ModelKey,
    Person,
    SearchResult,
    Sighting,
    as_time_seen,
)
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.identification import Identification, identify


@checked(GalleryError)
class Gallery:
    """A gallery of people who were seen, in a folder on this device, which is made if need be.

    Attributes:
        folder: its absolute path.

    Raises:
        GalleryError: the folder is not a gallery, or cannot be used.

    Examples:
        >>> net = adln.load("res1")
        >>> with adln.Gallery(folder / "shop") as gallery:
        ...     anna = gallery.enrol("Anna", net.embed(picture), network=net)
        ...     answer = gallery.identify(net.embed(picture)[0], network=net)
        >>> answer.nearest.name
        'Anna'
    """

    def __init__(self, folder: str | Path) -> None:
        if not isinstance(folder, str | os.PathLike) or not str(folder):
            raise GalleryError(f"expected the folder of a gallery, got {folder!r}.")
        self._store = self._open(folder)
        self.folder = self._store.folder

    @property
    def store(self) -> SqliteGallery:
        """The full gallery, with all its methods.

        A forked process opens its own: a database connection must not cross a fork.
        """
        if self._process != os.getpid():
            # Not closed here: it is the parent's.
            self._of_parent, was_closed = self._store, self._store.closed
            self._store = self._open(self.folder)
            if was_closed:
                self._store.close()
        return self._store

    def _open(self, folder: str | Path) -> SqliteGallery:
        self._process = os.getpid()
        return SqliteGallery(folder, create=True, actor="python")

    def __reduce__(self) -> tuple[type["Gallery"], tuple[Path]]:
        """Pickled as its folder, which is reopened: for pools of processes."""
        return Gallery, (self.folder,)

    @property
    def people(self) -> list[Person]:
        """All people, by ascending number."""
        return self.store.persons()

    def person(self, name: str) -> Person:
        """Return the person with this name.

        Raises:
            GalleryError: nobody is called that.
        """
        for one in self.people:
            if is_same_name(one.name, name):
                return one
        raise GalleryError(f"nobody is called {name!r} in {self.folder}.")

    def enrol(
        self,
        name: str,
        embeddings: NDArray[np.floating],
        *,
        network: Network,
        camera: int = 0,
        times_s: ArrayLike | None = None,
    ) -> int:
        """Enrol a person, or add embeddings to a known one.

        Args:
            name: of the person; if it exists already, that person gets the embeddings.
            embeddings: (N, D) or (D,) of unit length, of pictures of that person.
            network: the network that made them.
            camera: number of the camera that saw them, 0 or more.
            times_s: (N,) times, or one for all, in seconds since 1970 (UTC), above 0, as
                `datetime.timestamp()` returns; default: now.

        Returns:
            The person's number.

        Raises:
            GalleryError: there is no embedding, name or embeddings belong to somebody who was
                forgotten, or the embeddings cannot be compared with those of the gallery. The
                gallery is then unchanged.
        """
        name, model = checked_name(name), _key(network)
        rows = np.atleast_2d(
            as_array(embeddings, np.float32, what="embeddings", raises=GalleryError)
        )
        if rows.size == 0:
            raise GalleryError(f"nobody can be enrolled as {name!r} without an embedding.")
        person_id = person_called(self.store, name)
        ids = self.store.add(
            [
                Sighting(
                    embedding=row,
                    model=model,
                    camera_id=camera,
                    time_s=time_s,
                    person_id=person_id,
                )
                for row, time_s in zip(rows, _times(times_s, len(rows)), strict=True)
            ]
        )
        stored = [sighting_id for sighting_id in ids if sighting_id is not None]
        if not stored:
            raise GalleryError(
                f"nobody can be enrolled as {name!r} with these embeddings: they are of somebody "
                "who was forgotten and is not to be stored again."
            )
        return make_person(self.store, stored, name) if person_id is None else person_id

    def identify(
        self,
        embedding: NDArray[np.floating],
        *,
        network: Network,
        where: Filter = EVERYTHING,
        camera: int | None = None,
    ) -> Identification:
        """Identify a person.

        Args:
            embedding: (D,) of unit length; for a track, the mean of its embeddings, scaled to unit
                length.
            network: the network that made it.
            where: compare only with sightings that pass this filter.
            camera: number of the camera that saw them; None if unknown. Its own sightings are
                judged more strictly, and a gallery may be adapted to its cameras (`adln adapt`).

        Returns:
            Verdict ("matched", "candidate" or "unknown"), person, probability, runners-up and the
            reason. The verdict is None if the network has no calibration (`adln calibrate`).

        Raises:
            GalleryError: the embedding cannot be compared with those of the gallery.
        """
        return identify(
            self.store,
            _one(embedding),
            model=_key(network),
            scales=network.scales,
            where=where,
            camera=camera,
        )

    def search(
        self,
        embedding: NDArray[np.floating],
        *,
        network: Network,
        k: int = 10,
        where: Filter = EVERYTHING,
        camera: int | None = None,
    ) -> SearchResult:
        """Find the k most similar sightings, best first; to identify a person use `identify`."""
        cameras = None if camera is None else [camera]
        (result,) = self.store.search(
            _one(embedding), model=_key(network), k=k, where=where, cameras=cameras
        )
        return result

    def forget(self, name: str) -> None:
        """Erase a person everywhere in this gallery, and verify it.

        Raises:
            GalleryError: nobody is called that, or bytes of them could not be removed.
        """
        self.store.forget(self.person(name).person_id)

    def merge(self, names: Iterable[str] | str, *, into: str) -> None:
        """Merge people who turn out to be one person; `into` keeps its number.

        Raises:
            GalleryError: nobody is called that, or `names` has the name `into`.
        """
        names = [names] if isinstance(names, str) else list(names)
        if any(is_same_name(name, into) for name in names):
            raise GalleryError(f"nobody is merged with themselves, got {into!r} for both.")
        self.store.merge(
            [self.person(name).person_id for name in names], self.person(into).person_id
        )

    def __len__(self) -> int:
        """Number of sightings."""
        return self.store.count()

    def close(self) -> None:
        """Close the files; closing twice does nothing."""
        self.store.close()

    def __enter__(self) -> Self:
        """The gallery itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def _key(network: Network) -> ModelKey:
    """What a gallery knows a network by."""
    if not isinstance(network, Network):
        raise GalleryError(
            f"expected a network as adln.load returns it, got {network!r:.80}; a name or file is "
            "loaded by adln.load."
        )
    return network.key


def _one(embedding: ArrayLike) -> NDArray[np.float32]:
    """One embedding (D,)."""
    given = as_array(embedding, np.float32, what="embedding", raises=GalleryError)
    if given.ndim != 1 and (given.ndim != 2 or len(given) != 1):
        raise GalleryError(
            f"expected one embedding (D,), got shape {given.shape}. For a track, pass the mean "
            "of its embeddings, scaled to unit length."
        )
    return given.reshape(-1)


def _times(times_s: ArrayLike | None, count: int) -> list[float]:
    """When each of so many was seen."""
    if times_s is None:
        return [time.time()] * count
    given = as_array(times_s, what="times_s", raises=GalleryError)
    if given.dtype.kind not in "iuf" or given.shape not in ((), (count,)):
        raise GalleryError(
            f"expected times_s in seconds since 1970, one number or ({count},), got shape "
            f"{given.shape} and type {given.dtype}; datetime.timestamp() gives them."
        )
    return [as_time_seen(one, "times_s") for one in np.broadcast_to(given, count).tolist()]
