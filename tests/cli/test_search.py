"""`adln search`, and that it says the same as the service and the watch."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from tests.matching.made_calibration import CALIBRATION

from adln.cameras.finding import FoundPerson, PeopleFinder
from adln.cli.search import search
from adln.embedders.embedder import OnnxEmbedder
from adln.embedders.shipped import find_network
from adln.embeddings import unit_length
from adln.errors import SettingsError
from adln.gallery.records import EVERYTHING, ModelKey, Sighting, pool_track
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.calibration import (
    CalibrationFile,
    Level,
    read_calibration,
    write_calibration,
)
from adln.pipeline.evidence import EmbeddedCrop
from adln.pipeline.evidence import Evidence as TrackEvidence
from adln.pipeline.identity import IdentityBook
from adln.scenes.drawn_figure import draw_figure
from adln.scenes.drawn_people import describe_person
from adln.service import searching
from adln.service.batching import Searches
from adln.service.parts import Parts
from adln.service.people import People

MakeModel = Callable[..., Path]
Colour = tuple[int, int, int]
Embedding = NDArray[np.float32]
colours = st.tuples(*[st.sampled_from([30, 90, 140, 200, 250])] * 3)


def calibrate(model: Path) -> None:
    """Beside a model: what the angle between two colours means; stricter with more people."""
    calibration = replace(
        CALIBRATION,
        sizes=(1, 10, 1000),
        match=Level(rate=0.01, thresholds=(0.9, 0.95, 0.99)),
        candidate=Level(rate=0.1, thresholds=(0.8, 0.9, 0.95)),
        slope=20.0,
        size_slope=0.5,
        intercept=-15.0,
    )
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    content = CalibrationFile(
        model_sha256=digest,
        source_sha256="5" * 64,
        precision="fp32",
        adln_version="0.1.0",
        created_utc="2026-01-01T00:00:00Z",
        calibrations=(calibration,),
    )
    write_calibration(content, model)


def embedded(colour: Colour) -> np.ndarray:
    """What the test's network makes of a picture of one colour."""
    return unit_length(np.array(colour, np.float32))


def key(model: Path) -> ModelKey:
    return ModelKey(hashlib.sha256(model.read_bytes()).hexdigest(), 2, 3)


def look(colour: Colour, person_id: int | None, model: ModelKey) -> Sighting:
    return Sighting(
        embedding=embedded(colour), model=model, camera_id=1, time_s=1e9, person_id=person_id
    )


def by_command(picture: Path, folder: Path, model: Path, k: int) -> dict[str, Any]:
    arguments = [str(picture), "--gallery", str(folder), "--model", str(model), "-k", str(k)]
    result = CliRunner().invoke(search, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return cast("dict[str, Any]", json.loads(result.stdout))


def by_service(query: Embedding, gallery: SqliteGallery, model: Path, k: int) -> dict[str, Any]:
    content = read_calibration(model, model_sha256=key(model).digest)
    assert content is not None
    parts = SimpleNamespace(
        gallery=gallery,
        searches=Searches(gallery),
        people=People(gallery),
        network=SimpleNamespace(model=key(model), scales=content.scales(flip=False)),
        scale=None,
        camera_name=str,
    )
    answer = searching.search(
        cast("Parts", parts),
        query,
        model=key(model),
        k=k,
        least_similarity=-1.0,
        where=EVERYTHING,
    )
    said = answer.model_dump()
    if answer.verdict == "unknown":
        assert not {one.verdict for one in answer.found if one.sighting.person_id} - {"unknown"}
    return said


def by_watch(query: Embedding, gallery: SqliteGallery, model: Path) -> dict[str, Any]:
    content = read_calibration(model, model_sha256=key(model).digest)
    assert content is not None
    book = IdentityBook(gallery, digest=key(model).digest, dim=3, scales=content.scales(flip=False))
    crop = EmbeddedCrop(
        crop_id=1,
        time_s=2e9,
        box_xyxy=(0.0, 0.0, 9.0, 9.0),
        quality=0.8,
        embeddings={2: query},
    )
    # Too short to be enrolled if it is nobody.
    seen = TrackEvidence(camera=9, track=1, first_s=2e9, last_s=2e9, crops=(crop,))
    (answer,) = book.decide([seen])
    why = answer.why
    return {
        "verdict": answer.verdict,
        "person_id": answer.person_id,
        "score": why.score,
        "threshold": why.threshold,
    }


@given(
    people=st.lists(
        st.tuples(st.booleans(), st.lists(colours, min_size=1, max_size=3)), max_size=6
    ),
    nobody=st.lists(colours, max_size=25),
    asked=colours,
    k=st.sampled_from([1, 2, 20]),
)
@settings(
    deadline=None,
    max_examples=20,
    # To find a smaller example takes minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_command_service_and_watch_say_the_same_for_every_k(
    make_model: MakeModel,
    people: list[tuple[bool, list[Colour]]],
    nobody: list[Colour],
    asked: Colour,
    k: int,
) -> None:
    model = make_model()
    calibrate(model)
    with TemporaryDirectory() as place:
        folder, picture = Path(place) / "gallery", Path(place) / "asked.png"
        Image.new("RGB", (64, 128), asked).save(picture)
        query = pool_track(OnnxEmbedder(model).embed_picture(picture)[2][np.newaxis])
        with SqliteGallery(folder, create=True) as gallery:
            gallery.add([look(colour, None, key(model)) for colour in [*nobody, (1, 2, 3)]])
            for at, (has_name, looks) in enumerate(people):
                person = gallery.enrol(f"P{at}" if has_name else None)
                gallery.add([look(colour, person, key(model)) for colour in looks])
            said = by_command(picture, folder, model, k)
            served = by_service(query, gallery, model, k)
            gallery.add([look(asked, None, key(model))] * 30)
            assert by_command(picture, folder, model, k) | {"answers": 0} == said | {"answers": 0}
            again = by_service(query, gallery, model, 1)
            watched = by_watch(query, gallery, model)
    for answer in (served, again):
        for one in answer["runners_up"]:
            del one["picture_id"]  # the service alone shows pictures
    for name in ("verdict", "person_id", "name", "score", "threshold", "probability", "runners_up"):
        assert served[name] == again[name] == said[name], name
    for name in ("verdict", "person_id", "score", "threshold"):
        assert watched[name] == pytest.approx(said[name], abs=2e-6), name


def test_a_whole_frame_is_not_taken_for_a_person(tmp_path: Path, make_model: MakeModel) -> None:
    model = make_model()
    calibrate(model)
    with SqliteGallery(tmp_path / "gallery", create=True) as gallery:
        gallery.add([look((200, 30, 30), gallery.enrol("Bruno"), key(model))])
    frame = tmp_path / "frame.png"
    Image.new("RGB", (640, 360), (200, 30, 30)).save(frame)
    said = by_command(frame, tmp_path / "gallery", model, 5)
    assert (said["verdict"], said["person_id"]) == ("unknown", None)
    assert said["reason"].startswith("frame.png: not asked: the picture is 640 x 360 px")
    assert len(said["answers"]) == 1
    arguments = [str(frame), "--gallery", str(tmp_path / "gallery"), "--model", str(model)]
    assert "unknown (frame.png: not asked" in CliRunner().invoke(search, arguments).stdout


def test_the_answer_is_one_line_with_its_reason(tmp_path: Path, make_model: MakeModel) -> None:
    model = make_model()
    calibrate(model)
    with SqliteGallery(tmp_path / "gallery", create=True) as gallery:
        gallery.add([look((200, 30, 30), gallery.enrol("Bruno"), key(model))])
    picture = tmp_path / "crop.png"
    Image.new("RGB", (64, 128), (200, 30, 30)).save(picture)
    arguments = [str(picture), "--gallery", str(tmp_path / "gallery"), "--model", str(model)]
    *_, line = CliRunner().invoke(search, arguments).stdout.splitlines()
    assert line == (
        "matched: Bruno, probability 0.94 (Bruno 1.00 reaches 0.97; nobody else was compared)"
    )


def drawn_picture(number: int, sample: int, folder: Path) -> Path:
    """Somebody drawn, from one of several sides."""
    person = describe_person(7, number)
    blank = np.full((256, 128, 3), 150, np.uint8)
    figure = draw_figure(person, height_px=220, heading_deg=90.0 * sample, phase=1.0)
    crop = figure.lay_over(blank, ground_xy=(64, 245))
    path = folder / f"{number}-{sample}.png"
    Image.fromarray(crop).save(path)
    return path


def test_quality_chooses_among_the_shipped_networks(tmp_path: Path) -> None:
    shipped = OnnxEmbedder(find_network("res2"))
    model = ModelKey(shipped.model.sha256, 2, shipped.dim, shipped.manifest.space_of(2))
    pictures = [drawn_picture(number, 0, tmp_path) for number in range(3)]
    with SqliteGallery(tmp_path / "gallery", create=True) as gallery:
        for number, picture in enumerate(pictures):
            sighting = Sighting(
                embedding=shipped.embed_picture(picture)[2],
                model=model,
                camera_id=1,
                time_s=1e9 + number,
            )
            ids = gallery.add([sighting])
            gallery.split([one for one in ids if one is not None])

    def asked(*arguments: str) -> dict[str, Any]:
        line = [str(pictures[0]), "--gallery", str(tmp_path / "gallery"), "--json", *arguments]
        result = CliRunner().invoke(search, line)
        assert result.exit_code == 0, result.output
        return cast("dict[str, Any]", json.loads(result.stdout))

    best, fast, balanced = (asked("--quality", one) for one in ("best", "fast", "balanced"))
    assert best == asked()
    assert best["score"] == pytest.approx(1.0, abs=1e-3)
    assert fast["score"] < 0.999
    assert fast["person_id"] in (None, 1)
    # Where the first look finds no match, the answer is that of the second.
    assert balanced == (fast if fast["verdict"] == "matched" else best)
    assert balanced["verdict"] == "matched"


def test_quality_says_what_it_cannot_be_combined_with(
    tmp_path: Path, make_model: MakeModel
) -> None:
    picture = drawn_picture(1, 0, tmp_path)
    line = [str(picture), "--gallery", str(tmp_path / "gallery"), "--quality", "balanced"]
    both = CliRunner().invoke(search, [*line, "--depth", "2"])
    assert both.exit_code == 2
    assert "--quality chooses the depth" in both.output
    one = CliRunner().invoke(search, [*line, "--network", str(make_model())])
    assert isinstance(one.exception, SettingsError)
    assert "gives Res2 only" in str(one.exception)


class TwoPeople(PeopleFinder):
    """Finds a red and a blue person where they stand in the test's photo."""

    def __init__(self, detector: object = None) -> None:
        del detector

    def find(self, image: NDArray[np.uint8]) -> list[FoundPerson]:
        if not image.any():
            return []
        return [FoundPerson((60, 10, 80, 50), 0.9), FoundPerson((10, 10, 30, 50), 0.8)]


def test_each_person_of_a_whole_photo_is_searched_for(
    tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    calibrate(model)
    monkeypatch.setattr("adln.cli.search.PeopleFinder", TwoPeople)
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[10:50, 10:30], pixels[10:50, 60:80] = (250, 10, 10), (10, 10, 250)
    photo, empty = tmp_path / "photo.png", tmp_path / "empty.png"
    Image.fromarray(pixels).save(photo)
    Image.fromarray(np.zeros_like(pixels)).save(empty)
    with SqliteGallery(tmp_path / "gallery", create=True) as gallery:
        for name, colour in (("Rosa", (250, 10, 10)), ("Bleu", (10, 10, 250))):
            gallery.add([look(colour, gallery.enrol(name), key(model))])
    options = ["--gallery", str(tmp_path / "gallery"), "--model", str(model), "--find-people"]
    result = CliRunner().invoke(search, [str(photo), str(empty), *options])
    assert result.exit_code == 0, result.output
    left, right, nobody = result.stdout.splitlines()
    assert left.startswith("photo.png, 1 of 2, (10, 10) to (30, 50): matched: Rosa")
    assert right.startswith("photo.png, 2 of 2, (60, 10) to (80, 50): matched: Bleu")
    assert nobody == "empty.png: nobody was found in it"
    rows = json.loads(CliRunner().invoke(search, [str(photo), *options, "--json"]).stdout)
    assert [(row["box_xyxy"][0], row["name"]) for row in rows] == [(10.0, "Rosa"), (60.0, "Bleu")]
    assert rows[0]["answers"][0]["name"] == "Rosa"
    refused = CliRunner().invoke(search, [str(photo), *options, "--out", "list.png"])
    assert refused.exit_code == 2
