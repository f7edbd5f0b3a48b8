"""`adln gallery renew`: the same people, embedded by another network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from adln.cli.gallery_places import open_to_copy
from adln.cli.gallery_words import few
from adln.cli.options import path_option
from adln.cli.progress import counting, tell
from adln.embedders.embedder import OnnxEmbedder
from adln.embedders.shipped import find_network
from adln.embeddings import chosen_depth
from adln.gallery.moving import renew_gallery
from adln.gallery.records import ModelKey
from adln.gallery.sqlite_gallery import SqliteGallery


@click.command()
@click.argument("source")
@click.argument("target")
@path_option("--network", required=True, help="Network that embeds the kept pictures.")
@click.option(
    "--depth", type=click.IntRange(1, 4), help="Depth of the network; default: its deepest."
)
@click.option("--quiet", is_flag=True, help="Show no progress bar.")
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


def _embed(embedder: OnnxEmbedder, depth: int, pictures: Sequence[bytes]) -> list[Any]:
    answer = embedder.embed_pictures(pictures)
    found: list[Any] = [None] * len(pictures)
    for at, embedding in zip(answer.indices.tolist(), answer.embeddings[depth], strict=True):
        found[at] = embedding
    return found
