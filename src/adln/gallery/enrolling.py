"""Enrols people from folders, files and lists of pictures."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adln.crops import kept_jpeg, picture_size, read_crop
from adln.datasets.listing import is_image_name
from adln.datasets.pictures import find_pictures
from adln.embedders.embedder import OnnxEmbedder
from adln.errors import DatasetError, GalleryError, ImageError, SettingsError
from adln.gallery.records import Filter, ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.framing import why_not_a_crop

_BATCH = 256
_SAME = 1e-5  # the last digits depend on how many crops are embedded together
_FEW = 5


@dataclass(frozen=True, kw_only=True)
class PicturesOfOne:
    """Pictures of one person, or unassigned ones.

    Attributes:
        paths: paths of the pictures.
        name: name of the person; None for a new person without a name, or unassigned pictures.
        is_nobody: whether they are stored unassigned.
    """

    paths: list[Path]
    name: str | None
    is_nobody: bool = False


@dataclass(frozen=True, kw_only=True)
class Enrolled:
    """What was stored of one person.

    Attributes:
        person_id: number of the person; 0 if nothing was stored or they are unassigned.
        stored: number of pictures stored.
        refused: number of pictures refused because they resemble a forgotten person.
        here: number of pictures left out because the person has the same one of this camera, as
            after an interrupted enrolment.
    """

    person_id: int
    stored: int
    refused: int
    here: int


def people_of(
    sources: Sequence[Path], *, name: str | None, nobody: bool, each_folder: bool
) -> list[PicturesOfOne]:
    """Group the pictures of folders, files and lists by person.

    Raises:
        SettingsError: A folder has pictures in several sub-folders, and no option says whether
            these are one person or several.
        DatasetError: See `adln.datasets.pictures.find_pictures`.
    """
    if each_folder:
        people = []
        for source in sources:
            parts = _folders_with_pictures(source)
            if not parts:
                raise SettingsError(
                    f"{source}: --each-folder needs a folder with a sub-folder for each person."
                )
            people += [PicturesOfOne(paths=find_pictures([part]), name=part.name) for part in parts]
        return people
    if name is None and not nobody:
        for source in sources:
            parts = _folders_with_pictures(source)
            if len(parts) > 1:
                few = ", ".join(part.name for part in parts[:_FEW])
                few += ", ..." if len(parts) > _FEW else ""
                raise SettingsError(
                    f"{source}: its pictures are in {len(parts)} folders ({few}). If each is a "
                    "person, add --each-folder; if all show one person, --name; if unknown, "
                    "--nobody."
                )
    return [PicturesOfOne(paths=find_pictures(sources), name=name, is_nobody=nobody)]


@dataclass(eq=False)
class Enrolment:
    """Embeds pictures and stores them in a gallery.

    Args:
        opened: the gallery.
        embedder: the network.
        key: its key in the gallery.
        camera_id: camera of the pictures.
        time_s: their time, in seconds since 1970.
        thumbnails: whether small pictures are stored.
        on_left_out: called with a message for each picture that cannot be used.
    """

    opened: SqliteGallery
    embedder: OnnxEmbedder
    key: ModelKey
    _: KW_ONLY
    camera_id: int
    time_s: float
    thumbnails: bool
    on_left_out: Callable[[str], None]

    def store(self, pictures: PicturesOfOne, on_progress: Callable[[int], None]) -> Enrolled:
        """Store the usable pictures; a new person is created only if there is one."""
        person_id = None if pictures.is_nobody else person_called(self.opened, pictures.name)
        own = self._embeddings_of(person_id)
        stored = refused = here = 0
        for start in range(0, len(pictures.paths), _BATCH):
            part = self._crops_of(pictures.paths[start : start + _BATCH], on_progress)
            result = self.embedder.embed_pictures(part, on_progress=on_progress)
            for picture in result.unusable:
                self.on_left_out(picture.reason)
            found = zip(result.indices, result.embeddings[self.key.depth], strict=True)
            new = [
                (index, one)
                for index, one in found
                if not (np.abs(own - one).max(axis=1, initial=0) < _SAME).any()
            ]
            here += len(result.indices) - len(new)
            ids = self.opened.add(
                [
                    Sighting(
                        embedding=embedding,
                        model=self.key,
                        camera_id=self.camera_id,
                        time_s=self.time_s,
                        person_id=person_id,
                        thumbnail=kept_jpeg(read_crop(part[index])) if self.thumbnails else None,
                    )
                    for index, embedding in new
                ]
            )
            there = [sighting_id for sighting_id in ids if sighting_id is not None]
            stored += len(there)
            refused += len(ids) - len(there)
            if person_id is None and there and not pictures.is_nobody:
                person_id = make_person(self.opened, there, pictures.name)
        return Enrolled(person_id=person_id or 0, stored=stored, refused=refused, here=here)

    def _embeddings_of(self, person_id: int | None) -> NDArray[np.float32]:
        """What a person has of this network and camera, (N, D)."""
        if person_id is None:
            return np.empty((0, self.key.dim), np.float32)
        where = Filter(persons=frozenset({person_id}), cameras=frozenset({self.camera_id}))
        rows = [
            record.embedding
            for batch in self.opened.iterate(where)
            for record in batch
            if record.model == self.key
        ]
        return np.array(rows, np.float32).reshape(-1, self.key.dim)

    def _crops_of(self, paths: Sequence[Path], on_progress: Callable[[int], None]) -> list[Path]:
        """The pictures that may be crops of one person; unreadable ones are reported later."""
        kept = []
        for path in paths:
            try:
                why = why_not_a_crop(*picture_size(path), done="not stored")
            except ImageError:
                why = None
            if why is None:
                kept.append(path)
            else:
                self.on_left_out(f"{path}: {why}")
                on_progress(1)
        return kept


def person_called(gallery: SqliteGallery, name: str | None) -> int | None:
    """The number of the person with a name; None if there is none, or no name is given.

    Raises:
        GalleryError: the name is barred: it was that of a forgotten person.
    """
    if name is None:
        return None
    there = gallery.person_called(name)
    if there is None:
        try:
            gallery.require_free_name(name)
        except GalleryError:
            # Another thread or process may have used it in the meantime.
            there = gallery.person_called(name)
            if there is None:
                raise
    return there


def make_person(gallery: SqliteGallery, sighting_ids: Sequence[int], name: str | None) -> int:
    """Make a person of sightings that were just stored without one.

    Returns:
        Their number; if another thread or process has created a person of this name in the
        meantime, that person's.

    Raises:
        GalleryError: The name cannot be given. The sightings are then erased.
    """
    try:
        return gallery.split(sighting_ids, name)
    except GalleryError:
        there = None if name is None else gallery.person_called(name)
        if there is not None:
            gallery.assign(sighting_ids, there)
            return there
        # If the disk fills up before the person is stored, unassigned pictures would be left over,
        # some more with every attempt.
        gallery.delete(sighting_ids)
        raise


def _folders_with_pictures(source: Path) -> list[Path]:
    """Sub-folders with pictures, of a folder without pictures of its own."""
    if not source.is_dir() or any(
        path.is_file() and is_image_name(path.name) for path in source.iterdir()
    ):
        return []
    found = []
    for path in sorted(source.iterdir()):
        if path.is_dir() and not path.name.startswith("."):
            try:
                find_pictures([path])
            except DatasetError:
                continue
            found.append(path)
    return found
