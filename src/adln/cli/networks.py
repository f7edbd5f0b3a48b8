"""`adln networks`: the known networks, and how to add one of another make."""

from pathlib import Path
from typing import Any

import click

import adln
from adln.api.networks import KnownNetwork
from adln.cli import options
from adln.cli.gallery_words import actor, many
from adln.cli.progress import print_json
from adln.embedders import shipped
from adln.embedders.session import OpenModel, open_session
from adln.errors import ModelFileError, SettingsError
from adln.evaluation.unseen import was_seen
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.bridge import exit_name, read_bridge

_TOLD = ("height_px", "width_px", "dim", "precision", "training_data", "licence")
_galleries_option = click.option(
    "--gallery",
    "galleries",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Gallery whose stored embeddings use the bridge (`rollback`: no longer). Repeatable.",
)


def triple(text: str) -> tuple[float, ...]:
    """Three numbers such as 0.485,0.456,0.406; an option type for click."""
    try:
        numbers = tuple(map(float, text.split(",")))
    except ValueError:
        numbers = ()
    if len(numbers) != 3:
        raise click.BadParameter(f"{text!r} are not three numbers; write 0.485,0.456,0.406.")
    return numbers


@click.group(invoke_without_command=True)
@options.flag("--json", "as_json", help="Print the list as JSON for a program.")
@click.pass_context
def networks(ctx: click.Context, as_json: bool) -> None:
    """List the known networks, or add one of another make.

    Each can be named wherever a command takes a network.
    """
    if ctx.invoked_subcommand is not None:
        return
    known = adln.networks()
    if as_json:
        print_json([_as_json(one) for one in known], indent=1)
        return
    for one in known:
        click.echo("\n".join(_lines(one)))


@networks.command()
@options.path_argument("path")
@click.option("--name", default="", help="Name to load it by; default: its file name.")
@click.option(
    "--mean",
    type=triple,
    metavar="X,Y,Z",
    help="Mean of pixels scaled to 0..1, in the order of --colours (ImageNet's of bgr: "
    "0.406,0.456,0.485); without it the network gets 0..255.",
)
@click.option(
    "--std",
    type=triple,
    metavar="X,Y,Z",
    help="Standard deviation of pixels scaled to 0..1, in the order of --colours.",
)
@click.option(
    "--colours",
    type=click.Choice(["rgb", "bgr"]),
    help="Order of the channels; default: what the file says, else rgb.",
)
@options.shown("--layout", type=click.Choice(["nchw", "nhwc"]), default="nchw")
@click.option(
    "--training-data", default="", help="Data that it was trained on: market1501 + msmt17."
)
@click.option("--licence", default="", help="Its licence.")
@options.path(
    "--reference",
    help=".npz with paths and embeddings that the network's own software gave of those pictures.",
)
def add(path: Path, name: str, reference: Path | None, **facts: Any) -> None:
    """Describe PATH, an ONNX or OpenVINO network of another make, so that all commands take it.

    What the file does not state itself is written beside it (PATH.adln.json).
    """
    pair = None
    if not path.is_file():
        raise ModelFileError(f"{path}: there is no such file; name an .onnx or .xml file.")
    if reference is not None:
        from adln.features import read_features

        features = read_features(reference)
        pair = (list(features.paths), features.embeddings)
    called = name or path.stem.lower()
    manifest = adln.describe_network(path, reference=pair, name=called, **facts)
    said = "checked against its reference" if pair else "not checked against a reference"
    click.echo(
        f"{called}: {manifest.height_px}x{manifest.width_px} px -> {manifest.dim} numbers, {said}"
    )


@networks.command()
@options.path_argument("network")
@click.option("--name", required=True, help="Name of the network in settings, such as site.")
@options.flag(
    "--new-space", help="Allow it even if stored embeddings cannot be compared with its own."
)
@_galleries_option
def use(network: Path, name: str, new_space: bool, galleries: tuple[Path, ...]) -> None:
    """Give NETWORK a name that settings use; `rollback` undoes it.

    Settings of a watch name it: network.files = ["site"]. Restart a watch or a service that is
    running, so that it takes the new network. Galleries stay valid, because the new network must
    share the space of the old one. With --gallery their stored embeddings gain, too: those of the
    old network are compared over the bridge that `adln adapt --out` has fitted. Embeddings, names
    and numbers stay as they are.
    """
    path = shipped.find_network(network)
    new = open_session(path)
    known = shipped.own_networks().get(name)
    if known is not None and known.is_file() and not new_space:
        old = open_session(known)
        mine, theirs = (set(one.manifest.spaces) - {""} or {one.sha256} for one in (new, old))
        if not mine & theirs:
            raise SettingsError(
                f"{path} lies in space {' and '.join(sorted(mine))}, {name!r} in "
                f"{' and '.join(sorted(theirs))}: galleries would have to be rebuilt. "
                "--new-space does it anyway."
            )
    _build_bridges(path, new, galleries)
    before = shipped.use_network(name, path)
    if before == path.resolve():
        click.echo(f"{name}: is {path} already")
        return
    click.echo(f"{name}: {path}" + ("" if before is None else f", before {before}"))
    click.echo("restart a running watch or service, so that it takes this network")


@networks.command()
@click.argument("name")
@_galleries_option
def rollback(name: str, galleries: tuple[Path, ...]) -> None:
    """Give NAME back to the network that had it before the last `use`."""
    shipped.network_before(name)
    _remove_bridges(shipped.own_networks().get(name), galleries)
    click.echo(f"{name}: {shipped.roll_back(name)} again")
    click.echo("restart a running watch or service, so that it takes this network")


@networks.command()
@click.argument("name")
def remove(name: str) -> None:
    """Remove the name of a network; its file stays."""
    if name not in shipped.own_networks():
        raise SettingsError(f"there is no network {name!r} that was added; see `adln networks`.")
    shipped.name_network(name, None)
    click.echo(f"{name}: no longer known by name")


def _exits(network: OpenModel) -> list[str]:
    return [exit_name(network.sha256, depth) for depth in network.manifest.depths]


def _build_bridges(path: Path, network: OpenModel, galleries: tuple[Path, ...]) -> None:
    if not galleries:
        return
    bridge = read_bridge(path, _exits(network))
    for folder in galleries:
        with SqliteGallery(folder, actor=actor()) as gallery:
            carried = gallery.build_bridge(bridge)
        click.echo(
            f"{folder}: {carried:,} sightings are compared with the new network over the bridge"
        )


def _remove_bridges(path: Path | None, galleries: tuple[Path, ...]) -> None:
    if path is None or not galleries:
        return
    exits = _exits(open_session(path))
    for folder in galleries:
        with SqliteGallery(folder, actor=actor()) as gallery:
            removed = sum(map(gallery.remove_bridge, exits))
        click.echo(f"{folder}: {many(removed, 'bridge')} removed")


def _lines(one: KnownNetwork) -> list[str]:
    head = click.style(one.name, bold=True)
    if one.manifest is None:
        return [f"{head}  cannot be used: {one.problem}"]
    manifest = one.manifest
    lines = [
        f"{head}  {manifest.height_px}x{manifest.width_px} px -> {manifest.dim} numbers, "
        f"{manifest.precision}, {one.size_bytes / 1e6:.1f} MB  {one.path}"
    ]
    if manifest.training_data:
        lines.append(f"  trained on  {manifest.training_data}")
    lines.append(f"  licence     {manifest.licence or 'not stated'}")
    for row in manifest.accuracy:
        seen = was_seen(row.dataset, manifest.training_data)
        lines.append(
            f"  accuracy    {row.dataset} ({seen}): Rank-1 {row.rank1:.1%}, mAP {row.mean_ap:.1%}"
        )
    return lines


def _as_json(one: KnownNetwork) -> dict[str, Any]:
    row = {**vars(one), "path": str(one.path)}
    manifest = row.pop("manifest")
    if manifest is not None:
        row |= {name: getattr(manifest, name) for name in _TOLD}
        row["accuracy"] = [
            {"dataset": a.dataset, "rank1": a.rank1, "mean_ap": a.mean_ap}
            for a in manifest.accuracy
        ]
    return row
