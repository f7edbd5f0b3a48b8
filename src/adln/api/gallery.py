"""A gallery for Python: remember people, and say who somebody is."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adln.api.networks import Network
from adln.errors import GalleryError
from adln.gallery.names import is_same_name
from adln.gallery.records import EVERYTHING, Filter, Person, SearchResult, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.identification import Identification, identify


class Gallery:
    """People who were seen, in a folder on this device.

    Args:
        folder: made if it is not there.

    Raises:
        GalleryError: the folder is no gallery, or cannot be used.

    Examples:
        >>> net = adln.load("res1")
        >>> with adln.Gallery(folder / "shop") as gallery:
        ...     anna = gallery.enrol("Anna", net.embed(picture), network=net)
        ...     answer = gallery.identify(net.embed(picture)[0], network=net)
        >>> answer.nearest.name
        'Anna'
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.store = SqliteGallery(self.folder, create=True, actor="python")

    @property
    def people(self) -> list[Person]:
        """Everybody, by ascending number."""
        return self.store.persons()

    def person(self, name: str) -> Person:
        """Somebody by name.

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
        """Remember somebody, or add to what is known of them.

        Args:
            name: who it is; a person of that name who is there already gets the embeddings.
            embeddings: (N, D) or (D,) of unit length, of pictures of that person.
            network: that made them.
            camera: number of the camera that saw them, 0 or more.
            times_s: (N,) when, in seconds since 1970 (UTC); now if left out.

        Returns:
            The person's number.

        Raises:
            GalleryError: there is no embedding, the name belongs to somebody who was forgotten, or
                the embeddings cannot be compared with those of the gallery.
        """
        rows = np.atleast_2d(np.asarray(embeddings, np.float32))
        if rows.size == 0:
            raise GalleryError(f"nobody can be enrolled as {name!r} without an embedding.")
        when = np.full(len(rows), time.time()) if times_s is None else np.asarray(times_s, float)
        when = np.broadcast_to(when, len(rows))
        known = [one.person_id for one in self.people if is_same_name(one.name, name)]
        person_id = known[0] if known else self.store.enrol(name)
        sightings = [
            Sighting(
                embedding=row,
                model=network.key,
                camera_id=camera,
                time_s=float(time_s),
                person_id=person_id,
            )
            for row, time_s in zip(rows, when, strict=True)
        ]
        try:
            self.store.add(sightings)
        except GalleryError:
            if not known:
                self.store.forget(person_id)
            raise
        return person_id

    def identify(
        self,
        embedding: NDArray[np.floating],
        *,
        network: Network,
        where: Filter = EVERYTHING,
        camera: int | None = None,
    ) -> Identification:
        """Say who somebody is.

        Args:
            embedding: (D,) of unit length; of a track, the mean of its embeddings, scaled to unit
                length.
            network: that made it.
            where: only sightings that pass count.
            camera: number of the camera that saw them, for a gallery that is adapted to its
                cameras (`adln adapt`); None if it is not known.

        Returns:
            Verdict ("matched", "candidate" or "unknown"), person, probability, runners-up and the
            reason. The verdict is None if the network has no calibration (`adln calibrate`).

        Raises:
            GalleryError: the embedding cannot be compared with those of the gallery.
        """
        return identify(
            self.store,
            embedding,
            model=network.key,
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
        """Find the k most similar sightings, best first; see `identify` for who it is."""
        cameras = None if camera is None else [camera]
        (result,) = self.store.search(
            embedding, model=network.key, k=k, where=where, cameras=cameras
        )
        return result

    def forget(self, name: str) -> None:
        """Erase somebody everywhere in this gallery, and prove it.

        Raises:
            GalleryError: nobody is called that, or bytes of them could not be removed.
        """
        self.store.forget(self.person(name).person_id)

    def merge(self, names: Iterable[str], *, into: str) -> None:
        """Several names turn out to be one person; `into` keeps its number.

        Raises:
            GalleryError: nobody is called that.
        """
        self.store.merge(
            [self.person(name).person_id for name in names], self.person(into).person_id
        )

    def __len__(self) -> int:
        """Number of sightings."""
        return self.store.count()

    def close(self) -> None:
        """Let go of the files; closing twice does nothing."""
        self.store.close()

    def __enter__(self) -> Self:
        """The gallery itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()
