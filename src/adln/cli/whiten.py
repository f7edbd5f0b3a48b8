"""`adln whiten`: strangers who look less alike."""

from dataclasses import asdict
from pathlib import Path

import click

from adln.cli import options
from adln.cli.embedders import require_trained_out
from adln.cli.progress import counting, print_json
from adln.datasets.catalogue import names_of_pictures, open_datasets
from adln.datasets.listing import pictures_below


@click.command()
@options.path_argument("network_path", metavar="NETWORK")
@options.path("--data", "data_paths", multiple=True, help="Data set; its training split is used.")
@options.layout
@options.path("--unlabelled", "folders", multiple=True, help="Folder with pictures of any people.")
@options.path("--out", required=True, help="File to write, .safetensors.")
@click.option(
    "--power", type=click.FloatRange(0, 0.5), help="Power of the whitening; default: 0.15."
)
@click.option(
    "--power-within",
    type=click.FloatRange(0, 0.5),
    help="The same within persons; default: 0.15, or 0 without --data.",
)
@click.option(
    "--centred", type=click.FloatRange(0, 1), help="Share of the mean to subtract; default: 0.5."
)
@click.option(
    "--exit",
    "exits",
    type=click.IntRange(1, 4),
    multiple=True,
    help="Only this exit, such as one that is not whitened yet; repeatable.",
)
@options.flag("--half", help="Store in fp16: half the size.")
@options.as_json
def whiten(
    network_path: Path,
    data_paths: tuple[Path, ...],
    layout: str,
    folders: tuple[Path, ...],
    out: Path,
    exits: tuple[int, ...],
    half: bool,
    as_json: bool,
    **given: float | None,
) -> None:
    """Reduce the weight of what many people's embeddings have in common.

    NETWORK is one that imitates a teacher in the teacher's space. Up to 4,000 crops of each data
    set, and of all folders together, show how embeddings vary. The result is folded into the last
    layers: crops cost the same, and embeddings stay comparable with those in galleries. Judge it
    with `adln evaluate` on people that it was not fitted to.
    """
    from adln.model import checkpoint
    from adln.training import whitening

    require_trained_out(out)
    if not data_paths and not folders:
        raise click.UsageError("name people to fit to: --data or --unlabelled.")
    network = checkpoint.load_network(network_path)
    whitening.require_whitenable(network)
    own = network.architecture.exits
    if not set(exits) <= set(own):
        raise click.UsageError(f"--exit: {network_path} has exits {list(own)}.")
    if not data_paths and given["power_within"] is None:
        given["power_within"] = 0.0
    strength = whitening.WhiteningStrength(
        **{name: value for name, value in given.items() if value is not None}
    )
    datasets = open_datasets(data_paths, layout)
    splits = [dataset.train for dataset in datasets]
    unlabelled = [path for folder in folders for path in pictures_below(folder)]
    # What could fail is done before the work.
    provenance = checkpoint.read_provenance(network_path)
    data = checkpoint.joined_data(
        checkpoint.stated_data(network_path),
        *(dataset.name for dataset in datasets),
        *names_of_pictures(unlabelled),
    )
    counts = [*map(len, splits), len(unlabelled)]
    most = sum(min(count, whitening.CROPS) for count in counts)
    with counting(most, "embedding", quiet=as_json) as on_progress:
        crops = whitening.whiten(
            network, splits, unlabelled, strength, exits=exits or own, on_progress=on_progress
        )
    facts = {**asdict(strength), "crops": crops, "exits": sorted(exits or own)}
    if half:
        network.half()
    provenance = {**provenance, "data": data, "whitening": facts}
    checkpoint.save_network(out, network, provenance=provenance)
    if as_json:
        print_json({"network": str(out), **facts}, indent=None)
    else:
        click.echo(f"whitened on {crops:,} crops: {out}")
        click.echo(f"next: adln evaluate {out} --data OF-OTHER-PEOPLE")
