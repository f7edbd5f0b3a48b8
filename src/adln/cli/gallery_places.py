"""Opens a gallery by what a person calls its place: a folder, or an address on a server."""

import re
from pathlib import Path

from adln.errors import GalleryError
from adln.gallery.interface import Gallery
from adln.gallery.milvus import MilvusGallery


def open_place(place: str, *, create: bool = False) -> Gallery:
    """Open the gallery of a folder, or of a Milvus server.

    Args:
        place: path of a folder, or "http://server:19530/name".
        create: make it if there is none; on a server it is made when needed.

    Raises:
        GalleryError: see `SqliteGallery` and `MilvusGallery`; or the address has no name.
    """
    if not re.match(r"https?://", place):
        from adln.gallery.sqlite_gallery import SqliteGallery

        return SqliteGallery(Path(place), create=create)
    found = re.fullmatch(r"(https?://[^/]+)/([^/]+)/?", place)
    if found is None:
        raise GalleryError(
            f"{place}: expected an address and a gallery's name, as in http://localhost:19530/shop."
        )
    return MilvusGallery(found[1], found[2])
