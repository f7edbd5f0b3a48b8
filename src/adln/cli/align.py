"""`adln align`: depths that can be mixed."""

from pathlib import Path
from typing import Any

import click

from adln.cli import options
from adln.cli.embedders import require_trained_out
from adln.cli.progress import counting, print_json
from adln.datasets.catalogue import open_dataset
from adln.datasets.split import identity_labels
from adln.evaluation.protocol import embed_split


@click.command()
@options.path_argument("network_path", metavar="NETWORK")
@options.path("--data", "data_path", required=True, help="Folder or CSV of the data set.")
@options.layout
@options.path("--out", required=True, help="File to write, .safetensors.")
@options.path(
    "--join",
    "joined_path",
    metavar="NETWORK",
    help="Take further exits from this network, with which the first shares its lower stages.",
)
@click.option(
    "--dim",
    type=click.IntRange(1, 2047),
    help="Length of the new embeddings; 512, or the number of persons if that is less.",
)
@options.shown(
    "--ridge",
    default=1.0,
    type=click.FloatRange(0, min_open=True),
    help="Ridge regularisation of the maps.",
)
@options.shown(
    "--together/--alone",
    default=True,
    help="From Res2 on: embed by the sum of all exits up to the depth, or by the last alone.",
)
@click.option(
    "--goal",
    "goal_depth",
    type=click.IntRange(1, 4),
    help="Align to this exit instead of the deepest, so that exits that were added later join a "
    "space that is in use.",
)
@options.flag("--half", help="Store in fp16: half the size.")
@options.device
@options.flag("--json", "as_json", help="Print the outcome as JSON for a program.")
def align(
    network_path: Path,
    data_path: Path,
    layout: str,
    out: Path,
    joined_path: Path | None,
    together: bool,
    half: bool,
    device: str,
    as_json: bool,
    **fit: Any,
) -> None:
    """Fit a linear map behind each exit of NETWORK that brings all depths into one space.

    A query at one depth then finds a gallery of another, and embeddings become shorter. NETWORK
    is one that `adln train` wrote, DATA what it was trained on: only its training split is used.
    """
    import torch

    from adln.model import checkpoint
    from adln.model.embedder import TorchEmbedder
    from adln.training import common_space

    require_trained_out(out)
    network = checkpoint.load_network(network_path)
    if joined_path is not None:
        network = common_space.join_exits(network, checkpoint.load_network(joined_path))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    embedder = TorchEmbedder(network, device=device, flip=False)
    dataset = open_dataset(data_path, layout)
    split = dataset.train
    identities, persons = identity_labels(split.person_ids)
    labels = torch.from_numpy(identities)
    if fit["dim"] is None:
        fit["dim"] = min(common_space.DEFAULT_DIM, len(persons))
    common_space.require_alignable(network.architecture, labels, **fit)
    with counting(len(split), "embedding", quiet=as_json) as on_progress:
        embeddings = embed_split(embedder, split, on_progress=on_progress)
    space = common_space.fit_common_space(
        {depth: torch.from_numpy(values) for depth, values in embeddings.items()}, labels, **fit
    )
    aligned = common_space.with_common_space(network.cpu(), space, together=together)
    made_from = [path for path in (network_path, joined_path) if path is not None]
    data = checkpoint.joined_data(*map(checkpoint.stated_data, made_from), dataset.name)
    summed = aligned.architecture.summed_exits
    facts = {
        "dim": fit["dim"],
        "ridge": fit["ridge"],
        "crops": len(split),
        "persons": len(persons),
    }
    if half:
        aligned.half()
    provenance = {**checkpoint.read_provenance(network_path), "data": data, "common_space": facts}
    checkpoint.save_network(out, aligned, provenance=provenance)
    if as_json:
        made = {"network": str(out), "depths": list(embeddings), "summed_exits": list(summed)}
        print_json({**made, **facts}, indent=None)
    else:
        depths = ", ".join(f"Res{depth}" for depth in embeddings)
        click.echo(f"{depths} share a space of {fit['dim']} dimensions: {out}")
        if summed:
            names = ", ".join(f"Res{depth}" for depth in summed)
            click.echo(f"{names} answer together: each by the sum of its own and those before it")
        click.echo(f"next: adln evaluate {out} --data {data_path} --cross-depth")
