"""`adln embed`: features of pictures by an exported network, on any device."""

from pathlib import Path

import click

_NAMED = 20


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--model",
    "model_path",
    required=True,
    type=click.Path(path_type=Path),
    help="File of `adln export`.",
)
@click.option(
    "--out",
    "out_path",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Feature file to write: .npz, or .parquet (needs pyarrow).",
)
@click.option(
    "--depth",
    type=click.IntRange(1, 4),
    help="Depth to store, if the file has several; the deepest if left out.",
)
@click.option("--flip", is_flag=True, help="Average with the mirrored picture: twice the work.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Cores to use; all that there are if left out.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Pictures that a core takes at a time.",
)
@click.option(
    "--provider", help="Execution provider of onnxruntime: cpu, cuda, ...  [default: cpu]"
)
@click.option("--quiet", is_flag=True, help="Show no progress bar.")
def embed(
    sources: tuple[Path, ...],
    model_path: Path,
    out_path: Path,
    depth: int | None,
    flip: bool,
    threads: int | None,
    batch_size: int,
    provider: str | None,
    quiet: bool,
) -> None:
    """Embed the pictures of SOURCES and store their features.

    Each of SOURCES is a folder (searched with its sub-folders), a picture, or a list: a .csv with
    a column "path", or a .txt with one path a line. Pictures that cannot be read are named and
    left out.
    """
    from adln import __version__
    from adln.cli.progress import counting
    from adln.errors import ImageError, SettingsError
    from adln.runtime.embedder import OnnxEmbedder
    from adln.runtime.features import (
        Features,
        FeatureSource,
        require_writable_format,
        write_features,
    )
    from adln.runtime.pictures import find_pictures

    # What can go wrong at the end is looked at before the work.
    require_writable_format(out_path)
    embedder = OnnxEmbedder(
        model_path, flip=flip, threads=threads, provider=provider, batch_size=batch_size
    )
    chosen = embedder.depths[-1] if depth is None else depth
    if chosen not in embedder.depths:
        raise SettingsError(
            f"{model_path} has no depth {chosen}; it has: {', '.join(map(str, embedder.depths))}."
        )
    paths = find_pictures(sources)
    with counting(len(paths), "embedding", quiet=quiet) as on_progress:
        result = embedder.embed_pictures(paths, on_progress=on_progress)
    for picture in result.unusable[:_NAMED]:
        click.secho("left out: ", fg="yellow", err=True, nl=False)
        click.echo(picture.reason, err=True)
    if len(result.unusable) > _NAMED:
        click.echo(f"... and {len(result.unusable) - _NAMED:,} more", err=True)
    if len(result.indices) == 0:
        raise ImageError(f"none of the {len(paths):,} pictures could be used; nothing was written.")
    manifest = embedder.manifest
    features = Features(
        paths=tuple(str(paths[index]) for index in result.indices),
        embeddings=result.embeddings[chosen],
        source=FeatureSource(
            depth=chosen,
            flip=flip,
            model_sha256=embedder.model.sha256,
            source_sha256=manifest.source_sha256,
            precision=manifest.precision,
            adln_version=__version__,
        ),
    )
    write_features(features, out_path)
    left_out = f", {len(result.unusable):,} left out" if result.unusable else ""
    click.echo(
        f"{out_path}: {len(features.paths):,} pictures{left_out}, "
        f"{manifest.dim} numbers each, Res{chosen} {manifest.precision}"
    )
