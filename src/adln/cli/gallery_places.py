"""Opens a gallery by what a person calls its place: a folder, or an address on a server."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adln.atomic import atomic_folder
from adln.errors import GalleryError
from adln.gallery.interface import Gallery
from adln.gallery.milvus import MilvusGallery
from adln.pipeline.roster import copy_cameras


def open_place(place: str, *, create: bool = False) -> Gallery:
    """Open the gallery of a folder, or of a Milvus server.

    Args:
        place: path of a folder, or "http://server:19530/name".
        create: make it if there is none; on a server it is made when needed.

    Raises:
        GalleryError: see `SqliteGallery` and `MilvusGallery`; or the address has no name.
    """
    if not _is_server(place):
        from adln.gallery.sqlite_gallery import SqliteGallery

        return SqliteGallery(Path(place), create=create)
    found = re.fullmatch(r"(https?://[^/]+)/([^/]+)/?", place)
    if found is None:
        raise GalleryError(
            f"{place}: expected an address and a gallery's name, as in http://localhost:19530/shop."
        )
    return MilvusGallery(found[1], found[2])


@contextmanager
def open_to_copy(source: str, target: str) -> Iterator[tuple[Gallery, Gallery]]:
    """Open a gallery, and an empty one to copy it to.

    A folder that is new has its name only after the copy: one that fails or is interrupted leaves
    nothing behind. From folder to folder, the cameras keep their names and numbers.

    Args:
        source: see `open_place`.
        target: see `open_place`; made if there is none.

    Raises:
        GalleryError: see `open_place`; or the folder cannot be written.
    """
    folder = Path(target)
    with open_place(source) as old:
        if _is_server(target) or folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
            with open_place(target, create=True) as new:
                yield old, new
            return
        with atomic_folder(folder, raises=GalleryError) as partial:
            partial.rmdir()  # the gallery makes its own, for its owner only
            with open_place(str(partial), create=True) as new:
                yield old, new
            if not _is_server(source):
                copy_cameras(Path(source), partial)


def _is_server(place: str) -> bool:
    return re.match(r"https?://", place) is not None
