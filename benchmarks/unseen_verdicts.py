r"""What "matched" and "candidate" mean on people of another campus, also with own thresholds.

    python -m benchmarks.unseen_verdicts --data data/CUHK/CUHK01 res2 res1

Half of the persons of CUHK01 are a site whose tracks nobody has named: what a person has under a
camera is a track, and each camera has seen them in four crowds, so that any two of a crowd are two
persons. Of the other half some are enrolled by their crops under the first camera; everybody is
asked for by their track under the second one, by `identify`, as the service and the watch do.
Thresholds are those that the network brings, and those of `adln calibrate NETWORK --gallery` on the
tracks of the site.
"""

import tempfile
from collections import Counter
from pathlib import Path

import click
import numpy as np
from benchmarks.site_training import embed, halves, open_network
from numpy.typing import NDArray

from adln.datasets.cuhk import read_cuhk01
from adln.embedders.embedder import OnnxEmbedder
from adln.evaluation.calibrating import calibrate, track_material
from adln.gallery.records import ModelKey, Sighting, pool_track
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.calibration import Scales, read_calibration
from adln.matching.identification import LEAST_GALLERY, identify

Crops = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Embeddings (N, D) and persons (N,)."""
_CROWDS = 4


@click.command()
@click.argument("networks", nargs=-1, required=True)
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--enrolled", default="10,100", show_default=True)
@click.option(
    "--least-gallery",
    default=LEAST_GALLERY,
    show_default=True,
    help="Scores are judged as among at least so many people.",
)
@click.option("--draws", default=10, show_default=True, help="Of the people who are enrolled.")
def main(
    networks: tuple[str, ...], data: Path, enrolled: str, least_gallery: int, draws: int
) -> None:
    """Print a row for each network, number of people enrolled, and kind of thresholds."""
    dataset = read_cuhk01(data)
    click.echo("| | enrolled | thresholds | strangers: matched, candidate or better | ", nl=False)
    click.echo("enrolled: matched, candidate or better, matched with another |")
    click.echo("|---|---|---|---|---|")
    for name in networks:
        network = open_network(name)
        assert isinstance(network, OnnxEmbedder)
        depth = network.depths[-1]
        own: list[Crops] = []
        site: list[Crops] = []
        for split in (dataset.query, dataset.gallery):
            for part, place in zip(halves(split), (site, own), strict=True):
                place.append((embed(network, depth, part), part.person_ids))
        model = ModelKey(network.model.sha256, depth, own[0][0].shape[1])
        shipped = read_calibration(network.model.path, model_sha256=network.model.sha256)
        if shipped is None:
            raise click.UsageError(f"{name} brings no thresholds")
        for said, scales in (
            ("brought along", shipped.scales(flip=False)),
            ("of the site", _site_scales(site, depth)),
        ):
            for count in map(int, enrolled.split(",")):
                known, strangers = _ask(own, model, scales, count, least_gallery, draws)
                click.echo(
                    f"| {name} | {count} | {said} | {_share(strangers, 'matched')}, "
                    f"{_share(strangers, 'matched', 'candidate')} | {_share(known, 'matched')}, "
                    f"{_share(known, 'matched', 'candidate')}, {_share(known, 'another')} |"
                )


def _site_scales(site: list[Crops], depth: int) -> Scales:
    """What `adln calibrate` fits to the tracks of the site."""
    embeddings = np.concatenate([crops for crops, _ in site])
    persons = np.concatenate([whose for _, whose in site])
    cameras = np.repeat(np.arange(len(site)), [len(whose) for _, whose in site])
    ranks = np.unique(persons, return_inverse=True)[1].reshape(-1)
    crowds = 100.0 * (_CROWDS * ranks // (ranks.max() + 1))
    times = crowds + np.concatenate([_number_within(whose) * 2.0 for _, whose in site])
    material = track_material(embeddings, cameras, persons, times)
    return Scales(otherwise=calibrate(material, depth=depth, flip=False, data="tracks of the site"))


def _number_within(persons: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) how many of a person came before."""
    seen: Counter[int] = Counter()
    numbers = []
    for person in persons.tolist():
        numbers.append(seen[person])
        seen[person] += 1
    return np.array(numbers, dtype=np.int64)


def _ask(
    own: list[Crops], model: ModelKey, scales: Scales, count: int, least_gallery: int, draws: int
) -> tuple[Counter[str], Counter[str]]:
    """Verdicts on people who are enrolled, and on strangers."""
    (first, first_persons), (second, second_persons) = own
    persons = np.unique(second_persons)
    known: Counter[str] = Counter()
    strangers: Counter[str] = Counter()
    for draw in range(draws):
        chosen = np.random.default_rng(draw).permutation(persons)[:count].tolist()
        with (
            tempfile.TemporaryDirectory() as folder,
            SqliteGallery(Path(folder) / "people", create=True) as gallery,
        ):
            numbers = {gallery.enrol(f"person {person}"): person for person in chosen}
            for number, person in numbers.items():
                crops = first[first_persons == person]
                gallery.add(
                    [
                        Sighting(
                            embedding=one, model=model, camera_id=1, time_s=0.0, person_id=number
                        )
                        for one in crops
                    ]
                )
            for person in persons.tolist():
                query = pool_track(second[second_persons == person])
                answer = identify(
                    gallery, query, model=model, scales=scales, least_gallery=least_gallery
                )
                found = None if answer.person is None else numbers[answer.person.person_id]
                tally = known if person in chosen else strangers
                verdict = str(answer.verdict)
                if person in chosen and verdict == "matched" and found != person:
                    verdict = "another"
                elif person in chosen and verdict == "candidate" and found != person:
                    verdict = "candidate for another"
                tally[verdict] += 1
    return known, strangers


def _share(tally: Counter[str], *verdicts: str) -> str:
    return f"{100 * sum(tally[one] for one in verdicts) / tally.total():.1f} %"


if __name__ == "__main__":
    main()
