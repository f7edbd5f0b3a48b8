"""`adln search`: who is this? The most similar sightings of a gallery, as a list and a picture."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adln.cli.options import NetworkOption
from adln.runtime.shipped import DEFAULT

if TYPE_CHECKING:
    from adln.gallery.records import SearchResult

_BAR_LETTERS = 20


@click.command()
@click.argument("pictures", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--gallery",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of the gallery.",
)
@click.option(
    "--network",
    "model_path",
    cls=NetworkOption,
    default=DEFAULT,
    show_default=True,
    type=click.Path(path_type=Path),
    help="The network that the gallery was made with, or one of its space.",
)
@click.option("-k", "top_k", type=click.IntRange(1), default=10, show_default=True, help="Answers.")
@click.option("--depth", type=click.IntRange(1, 4), help="The deepest of the file if left out.")
@click.option("--camera", "cameras", type=int, multiple=True, help="Only this camera; repeatable.")
@click.option("--not-camera", "not_cameras", type=int, multiple=True, help="Not this camera.")
@click.option("--from", "from_time", help="Only from then on: 2026-11-22T14:30 (UTC).")
@click.option("--until", "until_time", help="Only before then.")
@click.option("--out", type=click.Path(path_type=Path), help="Write a ranked-list picture (PNG).")
@click.option("--low-memory", is_flag=True, help="Read as little into memory as possible.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
def search(
    pictures: tuple[Path, ...],
    folder: Path,
    model_path: Path,
    top_k: int,
    depth: int | None,
    cameras: tuple[int, ...],
    not_cameras: tuple[int, ...],
    from_time: str | None,
    until_time: str | None,
    out: Path | None,
    low_memory: bool,
    as_json: bool,
) -> None:
    """Find who PICTURES show among the sightings of a gallery.

    Several pictures are taken as one track of one person and pooled into one query.
    """
    import numpy as np

    from adln.calibration import read_calibration
    from adln.cli.gallery import actor, moment
    from adln.crops import read_crop
    from adln.errors import SettingsError
    from adln.gallery.answer_picture import draw_answers
    from adln.gallery.records import NO_PERSON, Filter, ModelKey, pool_track
    from adln.gallery.sqlite_gallery import SqliteGallery
    from adln.runtime.embedder import OnnxEmbedder

    where = Filter(
        cameras=frozenset(cameras) if cameras else None,
        not_cameras=frozenset(not_cameras),
        from_s=None if from_time is None else moment(from_time),
        until_s=None if until_time is None else moment(until_time),
    )
    embedder = OnnxEmbedder(model_path)
    chosen = embedder.depths[-1] if depth is None else depth
    if chosen not in embedder.depths:
        raise SettingsError(
            f"{model_path} has no depth {chosen}; it has: {', '.join(map(str, embedder.depths))}."
        )
    query = pool_track(np.stack([embedder.embed_picture(picture)[chosen] for picture in pictures]))
    model = ModelKey(
        embedder.model.sha256, chosen, embedder.dim, embedder.manifest.space_of(chosen)
    )
    decision, who = None, ""
    calibrated = read_calibration(embedder.model.path, model_sha256=embedder.model.sha256)
    scales = None if calibrated is None else calibrated.scales(flip=False)
    with SqliteGallery(
        folder, low_memory=low_memory, actor=actor(), audit_searches=True
    ) as gallery:
        (result,) = gallery.search(query, model=model, k=top_k, where=where)
        people = gallery.persons()
        names = {person.person_id: person.name for person in people}
        enrolled = [person.person_id for person in people if person.num_sightings > 0]
        known = replace(where, not_persons=frozenset({NO_PERSON}))
        (best,) = gallery.search(query, model=model, k=1, where=known)
        # A score belongs to the depths of both embeddings.
        stored_depth = int(best.depths[0]) if len(best) else chosen
        scale = None if scales is None else scales.between(chosen, stored_depth)
        if scale is not None:
            score = float(best.similarity[0]) if len(best) else None
            # People whom the filter leaves out are counted, too, which errs on the strict side.
            decision = scale.decide(score, len(enrolled))
            who = _person(int(best.person_ids[0]), names) if len(best) else "nobody enrolled"
        records = gallery.get(result.sighting_ids.tolist())
    if as_json:
        content: dict[str, Any] = {"answers": _as_json(result, names)}
        if decision is not None:
            content |= vars(decision)
        click.echo(json.dumps(content, indent=2))
    else:
        click.echo(_as_text(result, names))
        if decision is not None:
            nearest = "nearest is " if decision.verdict == "unknown" else ""
            click.echo(
                f"{decision.verdict}: {nearest}{who}, probability {decision.probability:.2f}"
            )
    if out is not None and len(result) > 0:
        title = f"{pictures[0].name}: most similar of {folder.resolve().name}, Res{chosen}"
        picture = draw_answers(read_crop(pictures[0]), result, records, names, title=title)
        try:
            picture.save(out)
        except (OSError, ValueError) as error:
            raise SettingsError(f"{out}: the picture cannot be written ({error}).") from error
        without = len(result) - sum(record.thumbnail is not None for record in records)
        note = f" ({without} without a stored picture)" if without else ""
        click.echo(f"ranked list: {out}{note}", err=True)


def _as_json(result: "SearchResult", names: dict[int, str | None]) -> list[dict[str, Any]]:
    rows = []
    for rank in range(len(result)):
        person = int(result.person_ids[rank])
        rows.append(
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
        )
    return rows


def _as_text(result: "SearchResult", names: dict[int, str | None]) -> str:
    if len(result) == 0:
        return "Nothing in the gallery passes the filter."
    people = [_person(int(person), names) for person in result.person_ids]
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
        bar = "█" * round(max(similarity, 0) * _BAR_LETTERS)
        when = datetime.fromtimestamp(float(result.time_s[rank]), UTC).strftime("%Y-%m-%d %H:%M")
        lines.append(
            f"{rank + 1:>4}  {similarity:>6.3f}  {bar:<{_BAR_LETTERS}}  {person:<{width}}  "
            f"{result.camera_ids[rank]:>6}  {when:<16}  Res{result.depths[rank]}   "
            f"{result.sighting_ids[rank]}"
        )
    return "\n".join(lines)


def _person(person_id: int, names: dict[int, str | None]) -> str:
    if person_id < 0:
        return "nobody yet"
    return names.get(person_id) or f"person {person_id}"
