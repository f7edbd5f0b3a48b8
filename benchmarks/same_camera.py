r"""How much more alike strangers before one camera look than those of two cameras.

    python -m benchmarks.same_camera --data data/Market-1501-v15.09.15 res2 res1 i0277

A track is what Market-1501's test set has of a person in one sequence of a camera: two sequences
are two visits. For the score that so many of a million pairs of strangers reach across two
cameras, the table says how many reach it before one camera, and how many of the pairs of visits of
one person reach it. `adln.matching.identification.SAME_CAMERA` is this ratio.
"""

import re
from pathlib import Path

import click
import numpy as np
from benchmarks.site_training import embed, open_network
from numpy.typing import NDArray

from adln.datasets.market1501 import read_market1501
from adln.datasets.split import Split
from adln.gallery.records import pool_track

_SEQUENCE = re.compile(r"_c\d+s(\d+)_")
_PER_MILLION = (100, 30, 10)


def visits_of(split: Split) -> tuple[Split, NDArray[np.int64], NDArray[np.int64]]:
    """The tracks of the known persons of a split of Market-1501.

    Returns:
        These crops (N); person, camera and sequence of each track (T, 3); the track of each crop.
    """
    split = split.select(split.person_ids > 0)
    found = [_SEQUENCE.search(path.name) for path in split.paths]
    sequences = np.array([0 if name is None else int(name[1]) for name in found])
    visits = np.stack([split.person_ids, split.camera_ids, sequences], axis=1)
    tracks, track_of = np.unique(visits, axis=0, return_inverse=True)
    return split, tracks, track_of.reshape(-1)


@click.command()
@click.argument("networks", nargs=-1, required=True)
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
def main(networks: tuple[str, ...], data: Path) -> None:
    """Print a row for each network and score."""
    split, tracks, track_of = visits_of(read_market1501(data).gallery)
    person, camera, _ = tracks.T
    pairs = np.triu_indices(len(tracks), 1)
    is_same = person[pairs[0]] == person[pairs[1]]
    is_here = camera[pairs[0]] == camera[pairs[1]]
    click.echo(
        f"{len(tracks):,} tracks; pairs of strangers: {(~is_same & is_here).sum():,} before one "
        f"camera, {(~is_same & ~is_here).sum():,} of two; of one person: "
        f"{(is_same & is_here).sum():,} and {(is_same & ~is_here).sum():,}"
    )
    click.echo("| | score | strangers: two cameras, one camera, ratio | one person: two, one |")
    click.echo("|---|---|---|---|")
    for name in networks:
        network = open_network(name)
        crops = embed(network, network.depths[-1], split)
        pooled = np.stack([pool_track(crops[track_of == at]) for at in range(len(tracks))])
        scores = (pooled @ pooled.T)[pairs]
        across = np.sort(scores[~is_same & ~is_here])
        for rate in _PER_MILLION:
            least = across[-max(1, round(len(across) * rate / 1e6))]
            here = (scores[~is_same & is_here] >= least).mean() * 1e6
            shares = [(scores[is_same & where] >= least).mean() for where in (~is_here, is_here)]
            click.echo(
                f"| {name} | {least:.3f} | {rate}, {here:.0f} per million, {here / rate:.1f} | "
                f"{shares[0]:.1%}, {shares[1]:.1%} |"
            )


if __name__ == "__main__":
    main()
