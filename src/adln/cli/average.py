"""`adln average`: what several networks know, in one."""

from pathlib import Path

import click

from adln.cli import options
from adln.cli.embedders import require_trained_out
from adln.cli.progress import counting, print_json
from adln.datasets.catalogue import names_of_pictures, open_datasets
from adln.datasets.listing import pictures_below


@click.command()
@options.path_argument("network_paths", metavar="NETWORK...", nargs=-1, required=True)
@options.path("--data", "data_paths", multiple=True, help="Data set; its training split is used.")
@options.layout
@options.path("--unlabelled", "folders", multiple=True, help="Folder with pictures of any people.")
@options.path("--out", required=True, help="File to write, .safetensors.")
@options.shown(
    "--crops",
    "most",
    default=500,
    type=click.IntRange(1),
    help="Most crops of each data set and folder that statistics are estimated on.",
)
@options.flag("--half", help="Store in fp16: half the size.")
@options.as_json
def average(
    network_paths: tuple[Path, ...],
    data_paths: tuple[Path, ...],
    layout: str,
    folders: tuple[Path, ...],
    out: Path,
    most: int,
    half: bool,
    as_json: bool,
) -> None:
    """Average the weights of NETWORKs.

    For networks that were trained on from one another, such as one before and after it learned the
    people of some cameras: the average often tells people of other places apart better than either.
    Statistics of batch norms are averaged like weights, which is best for networks that differ
    little; with --data or --unlabelled they are estimated anew on pictures, which should show what
    the networks were trained on. Judge the average with `adln evaluate`.
    """
    from adln.model import checkpoint
    from adln.training.averaging import average_networks, estimate_statistics
    from adln.training.data import evenly

    require_trained_out(out)
    network = average_networks([checkpoint.load_network(path) for path in network_paths])
    datasets = open_datasets(data_paths, layout)
    unlabelled = [pictures_below(folder) for folder in folders]
    # What could fail is done before the work.
    stated = [checkpoint.stated_data(path) for path in network_paths]
    data = checkpoint.joined_data(
        *stated,
        *(dataset.name for dataset in datasets),
        *names_of_pictures(path for folder in unlabelled for path in folder),
    )
    sources = [*(dataset.train.paths for dataset in datasets), *unlabelled]
    paths = [paths[place] for paths in sources for place in evenly(len(paths), most)]
    if data_paths or folders:
        with counting(len(paths), "embedding", quiet=as_json) as on_progress:
            estimate_statistics(network, paths, on_progress=on_progress)
    if half:
        network.half()
    facts = {"networks": [path.name for path in network_paths], "crops": len(paths)}
    checkpoint.save_network(out, network, provenance={"data": data, "average": facts})
    if as_json:
        print_json({"network": str(out), **facts}, indent=None)
    else:
        estimated = f", statistics of {len(paths):,} crops" if paths else ""
        click.echo(f"average of {len(network_paths)}{estimated}: {out}")
        click.echo(f"next: adln evaluate {out} --data OF-OTHER-PEOPLE")
