r"""Real people through the rules of the watch: right and wrong matches, and what is learned.

    python -m benchmarks.watching_market --data data/Market-1501-v15.09.15 \
        --learn-above -1 --learn-above 0.03 --learn-above 0.06 --learn-above 0.1

A track is what Market-1501's test set has of a person in one sequence of a camera, if at least two
crops. The tracks of 60 persons come in a random order, one after the other, to an empty gallery;
six draws are added up. --learn-above is how far above the threshold of a match a track must score
to become a template (`adln.pipeline.identity.LEARN_ABOVE`); -1 learns from every match that has a
lead.
"""

import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import click
import numpy as np
from benchmarks.same_camera import visits_of
from benchmarks.site_training import embed, open_network
from numpy.typing import NDArray

from adln.datasets.market1501 import read_market1501
from adln.embedders.embedder import OnnxEmbedder
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.calibration import Calibration, Scales, read_calibration
from adln.pipeline import identity
from adln.pipeline.evidence import EmbeddedCrop, Evidence

_MOST_CROPS = 8
_APART_S = 100.0

Tracks = list[tuple[int, int, NDArray[np.float32]]]
"""Person, camera and (N, D) embeddings of each track."""


@click.command()
@click.option("--network", "name", default="res2", show_default=True)
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--learn-above", "margins", type=float, multiple=True, default=[identity.LEARN_ABOVE])
@click.option("--people", default=60, show_default=True)
@click.option("--draws", default=6, show_default=True)
def main(name: str, data: Path, margins: tuple[float, ...], people: int, draws: int) -> None:
    """Print a row for each --learn-above."""
    network = open_network(name)
    assert isinstance(network, OnnxEmbedder)
    depth = network.depths[-1]
    shipped = read_calibration(network.model.path, model_sha256=network.model.sha256)
    scale = None if shipped is None else shipped.of(depth, flip=False)
    if scale is None:
        raise click.UsageError(f"{name} brings no thresholds")
    split, tracks, track_of = visits_of(read_market1501(data).gallery)
    crops = embed(network, depth, split)
    everything: Tracks = [
        (person, camera, crops[track_of == at][:_MOST_CROPS])
        for at, (person, camera, _) in enumerate(tracks.tolist())
        if (track_of == at).sum() > 1
    ]
    click.echo("| learned above the threshold by | tracks | identities | templates, of another | ")
    click.echo(
        "returns: right | wrong | candidate | new person |\n|---|---|---|---|---|---|---|---|"
    )
    for margin in margins:
        identity.LEARN_ABOVE = margin
        total: Counter[str] = Counter()
        for draw in range(draws):
            rng = np.random.default_rng(draw)
            persons = sorted({person for person, _, _ in everything})
            chosen = set(rng.choice(persons, people, replace=False).tolist())
            visits = [one for one in everything if one[0] in chosen]
            total += _watch([visits[at] for at in rng.permutation(len(visits))], network, scale)
        click.echo(
            f"| {margin:.2f} | {total['tracks']} | {total['identities']} for {people * draws} | "
            f"{total['templates']}, {total['foreign']} | {total['right']} | {total['wrong']} | "
            f"{total['candidate']} | {total['new']} |"
        )


def _watch(visits: Tracks, network: OnnxEmbedder, scale: Calibration) -> Counter[str]:
    depth = network.depths[-1]
    found: Counter[str] = Counter(tracks=len(visits))
    with (
        tempfile.TemporaryDirectory() as folder,
        SqliteGallery(Path(folder) / "people", create=True) as gallery,
    ):
        book = identity.IdentityBook(
            gallery, digest=network.model.sha256, dim=network.dim, scales=Scales(own={depth: scale})
        )
        answers = []
        for number, (person, camera, crops) in enumerate(visits):
            begin_s = 1e9 + number * _APART_S
            evidence = Evidence(
                camera=camera,
                track=number + 1,
                first_s=begin_s,
                last_s=begin_s + len(crops),
                crops=tuple(
                    EmbeddedCrop(
                        crop_id=number * _MOST_CROPS + at,
                        time_s=begin_s + at,
                        box_xyxy=(0.0, 0.0, 64.0, 128.0),
                        quality=0.9,
                        embeddings={depth: crop},
                    )
                    for at, crop in enumerate(crops)
                ),
                is_last=True,
            )
            (answer,) = book.decide([evidence])
            answers.append((person, answer))
        stored: dict[int, Counter[int]] = defaultdict(Counter)
        for batch in gallery.iterate():
            for one in batch:
                if one.person_id is not None and one.track_id is not None:
                    stored[one.person_id][visits[one.track_id - 1][0]] += 1
    owner = {number: count.most_common(1)[0][0] for number, count in stored.items()}
    found["identities"] = len(stored)
    found["templates"] = sum(count.total() for count in stored.values())
    right = sum(count.most_common(1)[0][1] for count in stored.values())
    found["foreign"] = found["templates"] - right
    known: set[int] = set()
    for person, answer in answers:
        is_right = answer.person_id is not None and owner.get(answer.person_id) == person
        if answer.verdict == "matched":
            found["right" if is_right and person in known else "wrong"] += 1
        elif person in known:
            found["candidate" if answer.verdict == "candidate" else "new"] += 1
        known.add(person)
    return found


if __name__ == "__main__":
    main()
