"""`adln search`: who is this? The most similar sightings of a gallery, as a list and a picture."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import click

from adln.api.networks import Network
from adln.cameras.finding import PeopleFinder
from adln.cli import options
from adln.cli.gallery_words import actor, period, when
from adln.cli.progress import mention, print_json, save_picture
from adln.crops import cut, picture_size, read_crop, read_image
from adln.embedders.quality import Quality, depths_for, files_for
from adln.gallery.records import NO_PERSON, Filter, SearchResult, pool_track
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.calibration import Scales
from adln.matching.framing import why_not_a_crop
from adln.matching.identification import Identification, identify, not_asked
from adln.reports.answer_picture import draw_answers

_BAR_LETTERS = 20


@click.command()
@options.path_argument("pictures", nargs=-1, required=True)
@options.path("--gallery", "folder", required=True, help="Folder of the gallery.")
@options.network(help="The network that the gallery was made with, or one of its space.")
@options.shown("-k", "top_k", type=click.IntRange(1), default=10, help="Answers.")
@options.quality
@options.depth
@click.option("--camera", "cameras", type=int, multiple=True, help="Only this camera; repeatable.")
@click.option("--not-camera", "not_cameras", type=int, multiple=True, help="Not this camera.")
@click.option("--from", "from_time", help="Only from then on: 2026-11-22T14:30 (UTC).")
@click.option("--until", "until_time", help="Only before then.")
@options.flag(
    "--find-people",
    help="PICTURES are whole photos or frames: find the people in them and search for each.",
)
@options.path("--detector", help="For --find-people; see `adln watch`.")
@options.path("--out", help="Write a ranked-list picture (PNG).")
@options.flag("--low-memory", help="Read as little into memory as possible.")
@options.as_json
def search(
    pictures: tuple[Path, ...],
    folder: Path,
    network: Path,
    top_k: int,
    quality: Quality | None,
    depth: int | None,
    cameras: tuple[int, ...],
    not_cameras: tuple[int, ...],
    from_time: str | None,
    until_time: str | None,
    find_people: bool,
    detector: Path | None,
    out: Path | None,
    low_memory: bool,
    as_json: bool,
) -> None:
    """Find who PICTURES show among the sightings of a gallery.

    Each is a picture of one person, cut out. Everybody in the gallery is compared to say who it is;
    -k is only how many sightings are listed. Several pictures are treated as one track of one
    person and pooled into one query. With --find-people each may show any number of people, and
    each of them is searched for.
    """
    where = replace(
        period(from_time, until_time),
        cameras=frozenset(cameras) if cameras else None,
        not_cameras=frozenset(not_cameras),
    )
    if depth is not None and quality is not None:
        raise click.UsageError("--quality chooses the depth; leave one of the two out.")
    looks = [Network(file, depth=depth) for file in files_for([str(network)], quality or "best")]
    depths_for([look.depth for look in looks], quality or "best", files=[str(network)])
    # A score between two depths is judged by both.
    scales = reduce(Scales.joined, (look.scales for look in looks))
    if out is not None and out.resolve() in {path.resolve() for path in pictures}:
        raise click.UsageError(f"--out would write over {out}, which is searched for.")
    if find_people and out is not None:
        raise click.UsageError("--out draws the list of one person; leave it or --find-people out.")
    with SqliteGallery(
        folder, low_memory=low_memory, actor=actor(), audit_searches=True
    ) as gallery:
        question = _Question(gallery, looks, scales, where, top_k)
        if find_people:
            _tell_each(question, pictures, detector, as_json=as_json)
            return
        reasons = {path: why_not_a_crop(*picture_size(path)) for path in pictures}
        no_crop = next((f"{path.name}: {why}" for path, why in reasons.items() if why), None)
        answer, result, depth_asked = question.ask(pictures, no_crop=no_crop)
        names = gallery.names(_people_of(result))
        called = {look.key.depth: look.key.depth_name for look in looks}
        records = gallery.get(result.sighting_ids.tolist())
    if as_json:
        content = {**_answer_as_json(answer), "answers": _as_json(result, names)}
        print_json(content)
    else:
        click.echo(_as_text(result, names, called))
        click.echo(_answer_as_text(answer), err=answer.verdict is None)
    if out is not None and len(result) > 0:
        title = (
            f"{pictures[0].name}: most similar of {folder.resolve().name}, {called[depth_asked]}"
        )
        picture = draw_answers(read_crop(pictures[0]), result, records, names, title=title)
        save_picture(picture, out)
        without = len(result) - sum(record.thumbnail is not None for record in records)
        note = f" ({without} without a stored picture)" if without else ""
        mention(f"ranked list: {out}{note}")


@dataclass(frozen=True)
class _Question:
    """Who is it, at which depths, by whom of the gallery."""

    gallery: SqliteGallery
    looks: Sequence[Network]
    scales: Scales
    where: Filter
    top_k: int

    def ask(
        self, pictures: Sequence[Any], *, no_crop: str | None = None
    ) -> tuple[Identification, SearchResult, int]:
        """Ask for the person of all these pictures: the answer, the list, and the depth of both."""
        for look in self.looks:
            query = pool_track(look.embed(pictures))
            if no_crop is not None:
                answer = not_asked(no_crop)
                break
            answer = identify(
                self.gallery, query, model=look.key, scales=self.scales, where=self.where
            )
            if answer.verdict == "matched":
                break
        (result,) = self.gallery.search(query, model=look.key, k=self.top_k, where=self.where)
        return answer, result, look.depth


def _tell_each(
    question: _Question, pictures: Sequence[Path], detector: Path | None, *, as_json: bool
) -> None:
    """Find the people in whole pictures and say who each of them is, from left to right."""
    finder = PeopleFinder(detector)
    rows: list[dict[str, Any]] = []
    for path in pictures:
        image = read_image(path)
        people = sorted(finder.find(image), key=lambda one: one.box_xyxy[0])
        if not people and not as_json:
            click.echo(f"{path.name}: nobody was found in it")
        for number, person in enumerate(people, 1):
            answer, result, _ = question.ask([cut(image, person.box_xyxy)])
            if as_json:
                box = [round(side, 1) for side in person.box_xyxy]
                row = {"picture": str(path), "box_xyxy": box, **_answer_as_json(answer)}
                names = question.gallery.names(_people_of(result))
                rows.append({**row, "answers": _as_json(result, names)})
                continue
            left, top, right, bottom = map(round, person.box_xyxy)
            click.echo(
                f"{path.name}, {number} of {len(people)}, ({left}, {top}) to ({right}, {bottom}): "
                f"{_answer_as_text(answer)}"
            )
    if as_json:
        print_json(rows)


def _answer_as_json(answer: Identification) -> dict[str, Any]:
    person = answer.person
    return {
        "verdict": answer.verdict,
        "probability": answer.probability,
        "person_id": None if person is None else person.person_id,
        "name": None if person is None else person.name,
        "score": answer.score,
        "threshold": answer.threshold,
        "runners_up": [
            {"person_id": one.person_id, "name": one.name, "score": one.score}
            for one in answer.runners_up
        ],
        "gallery_size": answer.gallery_size,
        "reason": answer.reason,
    }


def _answer_as_text(answer: Identification) -> str:
    if answer.verdict is None:
        return answer.reason
    who = "" if answer.person is None else f"{answer.person.called}, "
    chance = "" if answer.probability is None else f"probability {answer.probability:.2f}"
    said = f"{answer.verdict}: {who}{chance}".removesuffix(": ").removesuffix(", ")
    return f"{said} ({answer.reason})"


def _people_of(result: SearchResult) -> list[int]:
    return sorted(set(result.person_ids.tolist()) - {NO_PERSON})


def _as_json(result: SearchResult, names: dict[int, str | None]) -> list[dict[str, Any]]:
    return [
        {
            "rank": rank + 1,
            "similarity": round(float(result.similarity[rank]), 6),
            "sighting_id": int(result.sighting_ids[rank]),
            "person_id": None if person < 0 else person,
            "name": names.get(person),
            "camera_id": int(result.camera_ids[rank]),
            "time_s": float(result.time_s[rank]),
            "depth": int(result.depths[rank]),
        }
        for rank, person in enumerate(result.person_ids.tolist())
    ]


def _as_text(result: SearchResult, names: dict[int, str | None], depths: dict[int, str]) -> str:
    if len(result) == 0:
        return "Nothing in the gallery passes the filter."
    people = [
        "unassigned" if person < 0 else names.get(person) or f"person {person}"
        for person in result.person_ids.tolist()
    ]
    width = max(6, *map(len, people))
    lines = [
        click.style(
            f"{'rank':>4}  {'cosine':>6}  {'':<{_BAR_LETTERS}}  {'person':<{width}}  "
            f"{'camera':>6}  {'seen (UTC)':<16}  depth  sighting",
            bold=True,
        )
    ]
    for rank, person in enumerate(people):
        similarity = float(result.similarity[rank])
        depth = depths.get(int(result.depths[rank]), f"Res{result.depths[rank]}")
        bar = "█" * round(max(similarity, 0) * _BAR_LETTERS)
        lines.append(
            f"{rank + 1:>4}  {similarity:>6.3f}  {bar:<{_BAR_LETTERS}}  {person:<{width}}  "
            f"{result.camera_ids[rank]:>6}  {when(float(result.time_s[rank])):<16}  "
            f"{depth}   {result.sighting_ids[rank]}"
        )
    return "\n".join(lines)
