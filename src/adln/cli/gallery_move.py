"""`adln gallery move` and `renew`: to another place, or embedded by another network."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from adln.atomic import atomic_write, folder_beside, is_there, require_writable
from adln.cli import options
from adln.cli.gallery_words import few, gallery, is_server, many, open_place
from adln.cli.progress import counting, tell
from adln.embedders.embedder import OnnxEmbedder
from adln.embedders.shipped import find_network
from adln.embeddings import chosen_depth
from adln.errors import GalleryError
from adln.gallery.database import DATABASE_NAME
from adln.gallery.interface import Gallery
from adln.gallery.milvus import MilvusGallery
from adln.gallery.moving import move_gallery, renew_gallery
from adln.gallery.records import ModelKey
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.pipeline.roster import copy_cameras, read_cameras


@gallery.command()
@click.argument("source")
@click.argument("target")
@options.file("--ids", help="Write old and new numbers of sightings into this CSV file.")
@options.quiet
def move(source: str, target: str, ids: Path | None, quiet: bool) -> None:
    """Copy the gallery SOURCE to the empty TARGET and verify that both answer alike.

    Each is a folder, or an address such as http://localhost:19530/shop on a Milvus server. SOURCE
    is left as it is.
    """
    if ids is not None:
        require_writable(ids, raises=GalleryError)
    with (
        open_to_copy(source, target) as (old, new),
        counting(old.count(), "moving", quiet=quiet) as on_progress,
    ):
        moved = move_gallery(old, new, on_progress=on_progress)
    if ids is not None:
        lines = [f"{old_id},{new_id}" for old_id, new_id in moved.sighting_ids.items()]
        with atomic_write(ids, raises=GalleryError) as file:
            file.write(("\n".join(["old,new", *lines]) + "\n").encode())
    click.echo(
        f"{target}: {len(moved.person_ids):,} persons and {len(moved.sighting_ids):,} sightings, "
        f"each compared with {source}; {moved.searches} searches answered alike."
    )
    _tell_what_is_missing(source, target)


@gallery.command()
@click.argument("source")
@click.argument("target")
@options.path("--network", required=True, help="Network that embeds the kept pictures.")
@click.option(
    "--depth", type=click.IntRange(1, 4), help="Depth of the network; default: its deepest."
)
@options.quiet
def renew(source: str, target: str, network: Path, depth: int | None, quiet: bool) -> None:
    """Copy the gallery SOURCE to the empty TARGET, its kept pictures embedded by another network.

    Use it after training a network (`adln adapt --out`), half of whose gain is lost on embeddings
    of the old one, or for a network of another space. Sightings without a picture are copied
    unchanged if the networks share a space, and skipped if not. SOURCE is left as it is; point the
    settings of watch and service to TARGET.
    """
    embedder = OnnxEmbedder(find_network(network))
    chosen = chosen_depth(embedder.depths, depth, network=network)
    manifest = embedder.manifest
    model = ModelKey(embedder.model.sha256, chosen, manifest.dim, manifest.space_of(chosen))
    with (
        open_to_copy(source, target) as (old, new),
        counting(old.count(), "embedding", quiet=quiet) as on_progress,
    ):
        renewal = renew_gallery(
            old,
            new,
            lambda pictures: _embed(embedder, chosen, pictures),
            model,
            on_progress=on_progress,
        )
        was_adapted = isinstance(old, SqliteGallery) and bool(old.adaptations)
    click.echo(
        f"{target}: {len(renewal.person_ids):,} persons; {renewal.renewed:,} sightings embedded by "
        f"{network.name}"
        + (f", {renewal.kept:,} without a picture kept as they were" if renewal.kept else "")
        + (f", {renewal.left_out:,} without a usable picture left out" if renewal.left_out else "")
    )
    _tell_what_is_missing(source, target)
    if renewal.templates_left_out:
        tell(
            "note",
            f"{many(renewal.templates_left_out, 'template')} of forgotten people not copied: the "
            "new network cannot compare them. Their names stay barred, new pictures of them are "
            "stored as those of unknown people.",
        )
    if renewal.unseen:
        tell(
            "note",
            f"no sighting is left of {len(renewal.unseen):,} people ({few(renewal.unseen, 10)}): "
            "enrol them with a picture.",
        )
    if was_adapted:
        tell(
            "note",
            "the adaptation of the old gallery was fitted to its embeddings; run `adln adapt`.",
        )


def _tell_what_is_missing(source: str, target: str) -> None:
    """What a copy does not have of the gallery it was made from."""
    if is_server(source) or is_server(target):
        tell(
            "note",
            "not copied: names and templates of forgotten people, retention rules, the log. So "
            "people forgotten at the old place can be enrolled again at the new one.",
        )
    else:
        tell("note", "not copied: the log.")


def _embed(embedder: OnnxEmbedder, depth: int, pictures: Sequence[bytes]) -> list[Any]:
    answer = embedder.embed_pictures(pictures)
    found: list[Any] = [None] * len(pictures)
    for at, embedding in zip(answer.indices.tolist(), answer.embeddings[depth], strict=True):
        found[at] = embedding
    return found


@contextmanager
def open_to_copy(source: str, target: str) -> Iterator[tuple[Gallery, Gallery]]:
    """Open a gallery, and an empty one to copy it to.

    A folder without a gallery has one only after the copy: one that fails or is interrupted leaves
    nothing behind, nor on a server, unless it is killed. From folder to folder, the cameras keep
    their names and numbers.

    Args:
        source: see `open_place`.
        target: see `open_place`; made if there is none.

    Raises:
        GalleryError: see `open_place`; or the folder cannot be written.
    """
    folder = Path(target)
    with open_place(source) as old:
        if is_server(target) or is_there(folder / DATABASE_NAME):
            with open_place(target, create=True) as new:
                try:
                    yield old, new
                except BaseException:
                    if isinstance(new, MilvusGallery):
                        new.discard_new()
                    raise
            if not (is_server(source) or is_server(target) or read_cameras(folder)):
                copy_cameras(Path(source), folder)
            return
        is_new = not (folder.exists() or folder.is_symlink())
        # A folder that is there may be a disk of its own, which cannot be replaced, only filled.
        made = folder if is_new else folder / DATABASE_NAME
        with folder_beside(made, raises=GalleryError) as place:
            partial = place / "gallery"
            with open_place(str(partial), create=True) as new:
                yield old, new
            if not (is_server(source) or read_cameras(folder)):
                copy_cameras(Path(source), partial)
            if made.exists():
                raise GalleryError(
                    f"{target}: another program has made it meanwhile; it is left as it is, and "
                    "nothing was copied. Name another folder."
                )
            if is_new:
                partial.replace(folder)
                return
            # The log of a database that is gone would be taken for one of the new database.
            for ending in ("-wal", "-shm"):
                made.with_name(made.name + ending).unlink(missing_ok=True)
            # The database last: without it there is no gallery.
            for file in sorted(partial.iterdir(), key=lambda one: one.name == DATABASE_NAME):
                file.rename(folder / file.name)
