"""`adln gallery move`: from this device to a server, or back, proved."""

from pathlib import Path

import click

from adln.atomic import atomic_write, require_writable
from adln.cli.gallery_places import open_to_copy
from adln.cli.options import file_option
from adln.cli.progress import counting, tell
from adln.errors import GalleryError
from adln.gallery.moving import move_gallery


@click.command()
@click.argument("source")
@click.argument("target")
@file_option("--ids", "ids_path", help="Write old and new numbers of sightings into this CSV file.")
@click.option("--quiet", is_flag=True, help="Show no progress bar.")
def move(source: str, target: str, ids_path: Path | None, quiet: bool) -> None:
    """Copy the gallery SOURCE to the empty TARGET and verify that both answer alike.

    Each is a folder, or an address such as http://localhost:19530/shop on a Milvus server. SOURCE
    is left as it is.
    """
    if ids_path is not None:
        require_writable(ids_path, raises=GalleryError)
    with (
        open_to_copy(source, target) as (old, new),
        counting(old.count(), "moving", quiet=quiet) as on_progress,
    ):
        moved = move_gallery(old, new, on_progress=on_progress)
    if ids_path is not None:
        lines = [f"{old_id},{new_id}" for old_id, new_id in moved.sighting_ids.items()]
        with atomic_write(ids_path, raises=GalleryError) as file:
            file.write(("\n".join(["old,new", *lines]) + "\n").encode())
    click.echo(
        f"{target}: {len(moved.person_ids):,} persons and {len(moved.sighting_ids):,} sightings, "
        f"each compared with {source}; {moved.searches} searches answered alike."
    )
    tell(
        "note",
        "not copied: names and templates of forgotten people, retention rules, the log. So people "
        "forgotten at the old place can be enrolled again at the new one.",
    )
