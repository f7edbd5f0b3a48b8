r"""What a training at a site gives: half of the persons of CUHK are the site, half are searched.

    python -m benchmarks.site_training crops --data data/CUHK/CUHK01 /tmp/site
    adln adapt /tmp/site --out /tmp/mine.onnx --teacher i0277 \
        --start models/generalising.safetensors --minutes 90    # or --teacher none
    python -m benchmarks.site_training search --data data/CUHK/CUHK01 \
        i0277 i0288 res2 models/generalising.safetensors /tmp/mine.onnx
    python -m benchmarks.site_training search --data data/CUHK/CUHK01 \
        --stored res2 /tmp/mine.onnx    # with --carried over the bridge beside each network

`crops` lays links to the crops of the site as `adln adapt` takes them: what a person has under a
camera is a track, and nothing says who is who under the other one. `search` searches the crops of
the first camera in those of the second, of the half that nobody learned from; with `--stored`,
among what another network has stored, with `--carried` as a gallery carries it over
to the network that searches. --data names CUHK01, or a folder of CUHK03
(`data/CUHK/labeled`), of which the persons to be tested on are taken.
"""

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from adln.crops import decode_crop, kept_jpeg, read_crop
from adln.datasets.cuhk import is_cuhk03, read_cuhk01, read_cuhk03
from adln.datasets.loading import load_crops
from adln.datasets.split import ReidDataset, Split
from adln.embedders.embedder import OnnxEmbedder
from adln.embedders.shipped import find_network
from adln.embeddings import Embedder
from adln.evaluation.ranking import evaluate_features
from adln.matching.bridge import exit_name, read_bridge
from adln.model.checkpoint import load_network
from adln.model.embedder import TorchEmbedder

_TOGETHER = 64


def halves(split: Split) -> tuple[Split, Split]:
    """Persons by their numbers: the first half is the site, the second is searched."""
    persons = np.unique(split.person_ids)
    is_site = split.person_ids < persons[len(persons) // 2]
    return split.select(is_site), split.select(~is_site)


def read(data: Path) -> ReidDataset:
    """CUHK01 or CUHK03."""
    return read_cuhk03(data) if is_cuhk03(data) else read_cuhk01(data)


def open_network(name: str) -> Embedder:
    """A network by name or file; a .safetensors file computes in float32."""
    if name.endswith(".safetensors"):
        return TorchEmbedder(load_network(Path(name)), device="cpu", flip=False)
    return OnnxEmbedder(find_network(name))


def embed(
    embedder: Embedder, depth: int, split: Split, *, kept: bool = False
) -> NDArray[np.float32]:
    """Embeddings of all pictures at a depth, (N, D); the deepest if there is no such exit.

    The pictures are as in the data set or, if `kept`, as a gallery keeps them of an enrolment.
    """
    height, width = embedder.crop_size
    if kept:
        jpegs = (kept_jpeg(read_crop(path)) for path in split.paths)
        crops = np.stack([decode_crop(one, height_px=height, width_px=width) for one in jpegs])
    else:
        crops = load_crops(split.paths, height_px=height, width_px=width)
    found = depth if depth in embedder.depths else embedder.depths[-1]
    starts = range(0, len(crops), _TOGETHER)
    return np.concatenate([embedder.embed(crops[at : at + _TOGETHER])[found] for at in starts])


def over(kept: NDArray[np.float32], name: str, *, carried: bool) -> NDArray[np.float32]:
    """What is stored, as it is or over the bridge beside a network."""
    if not carried:
        return kept
    network = OnnxEmbedder(find_network(name))
    exits = [exit_name(network.model.sha256, depth) for depth in network.depths]
    return read_bridge(find_network(name), exits).apply(kept)


@click.group()
def main() -> None:
    """Site training on half of the persons of CUHK01, or of those of CUHK03 to be tested on."""


@main.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--data", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--switched", default=0.0, help="Share of tracks that go on with somebody else.")
def crops(folder: Path, data: Path, switched: float) -> None:
    """Lay links to the crops of the site: camera/track/picture."""
    dataset = read(data)
    rng = np.random.default_rng(0)
    for split in (dataset.query, dataset.gallery):
        site, _ = halves(split)
        persons = np.unique(site.person_ids)
        chosen = rng.permutation(persons)[: round(switched * len(persons))]
        goes_on_with = dict(zip(chosen.tolist(), np.roll(chosen, 1).tolist(), strict=True))
        for at, path in enumerate(site.paths):
            person = int(site.person_ids[at])
            is_last = at + 1 == len(site) or site.person_ids[at + 1] != person
            # Somebody else's crop takes the place of the last one of a switched track.
            track = goes_on_with.get(person, person) if is_last else person
            place = folder / f"camera{site.camera_ids[at]}" / str(track)
            place.mkdir(parents=True, exist_ok=True)
            (place / path.name).symlink_to(path.resolve())


@main.command()
@click.argument("networks", nargs=-1, required=True)
@click.option("--data", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--stored", default="", help="Network that has stored what is searched in.")
@click.option("--carried", is_flag=True, help="Carry that over the bridge beside each network.")
@click.option("--renewed", is_flag=True, help="Embed the searched ones from kept pictures.")
@click.option("--depth", default=2, show_default=True)
def search(
    networks: tuple[str, ...], data: Path, stored: str, carried: bool, renewed: bool, depth: int
) -> None:
    """Print Rank-1 and mAP of networks, in percent, on the half that is searched."""
    dataset = read(data)
    query, gallery = halves(dataset.query)[1], halves(dataset.gallery)[1]
    kept = embed(open_network(stored), depth, gallery) if stored else None
    for name in networks:
        network = open_network(name)
        found = evaluate_features(
            (embed(network, depth, query), *query.ids),
            (
                embed(network, depth, gallery, kept=renewed)
                if kept is None
                else over(kept, name, carried=carried),
                *gallery.ids,
            ),
        )
        click.echo(f"{name}: Rank-1 {found.cmc[0]:.1%}, mAP {found.mean_ap:.1%}")


if __name__ == "__main__":
    main()
