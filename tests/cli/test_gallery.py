import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from adln.cli.gallery import gallery
from adln.cli.search import search
from adln.errors import GalleryError, ModelFileError, SettingsError
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.pipeline.roster import read_cameras
from adln.scenes.synthetic import Plan, draw_dataset

MakeModel = Callable[..., Path]
RED, GREEN, BLUE = (220, 30, 20), (30, 200, 40), (20, 40, 210)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(gallery, [str(argument) for argument in arguments])


def find(*arguments: object) -> Result:
    return CliRunner().invoke(search, [str(argument) for argument in arguments])


@pytest.fixture
def model(make_model: MakeModel) -> Path:
    return make_model()


@pytest.fixture
def folder(tmp_path: Path, model: Path) -> Path:
    """Red Rita with three pictures, green Gus with two, and a blue one of nobody."""
    people = {"rita": (RED, 3), "gus": (GREEN, 2), "blue": (BLUE, 1)}
    for name, (colour, count) in people.items():
        (tmp_path / name).mkdir()
        for number in range(count):
            shade = tuple(max(0, part - 5 * number) for part in colour)
            Image.new("RGB", (64, 128), shade).save(tmp_path / name / f"{number}.png")
    made = tmp_path / "gallery"
    common = ["--model", model, "--thumbnails", "--time", "2026-11-22T14:30"]
    for name, camera in (("rita", 1), ("gus", 2)):
        result = run("enrol", made, tmp_path / name, "--name", name, "--camera", camera, *common)
        assert result.exit_code == 0, result.output
    assert run("enrol", made, tmp_path / "blue", "--nobody", *common).exit_code == 0
    return made


def test_info_and_list_say_who_is_there(folder: Path) -> None:
    facts = json.loads(run("info", folder, "--json").output)
    assert (facts["sightings"], facts["unnamed_sightings"], facts["persons"]) == (6, 1, 2)
    assert facts["by_depth"] == {"2": 6}
    text = run("info", folder).output
    assert "6 (6 at Res2)" in text
    assert "for ever (no retention set)" in text
    lines = run("list", folder).output.splitlines()
    assert " ".join(lines[1].split()) == "1 rita 3 2026-11-22 14:30 2026-11-22 14:30 1"
    (first, *_) = json.loads(run("list", folder, "--person", "gus", "--json").output)
    assert (first["camera_id"], first["has_thumbnail"]) == (2, True)
    assert "2026-11-22 14:30" in run("list", folder, "--person", 2).output
    (unknown,) = json.loads(run("list", folder, "--person", "nobody", "--json").output)
    assert unknown["sighting_id"] == 6


def test_a_search_finds_the_person_and_draws_the_list(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "list.png"
    query = tmp_path / "rita" / "2.png"
    result = find(query, "--gallery", folder, "--model", model, "-k", 4, "--out", picture)
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()[1:]]
    assert [row[3] for row in rows] == ["rita", "rita", "rita", "gus"]
    with Image.open(io.BytesIO(picture.read_bytes())) as drawn:
        colours = {colour for _, colour in drawn.convert("RGB").getcolors(2**20) or []}
    assert any(abs(r - 210) < 12 and g < 50 and b < 40 for r, g, b in colours)
    found = json.loads(
        find(query, "--gallery", folder, "--model", model, "--not-camera", 1, "--json").stdout
    )
    assert [row["name"] for row in found["answers"]] == ["gus", "gus", None]


def test_the_picture_that_is_searched_for_is_not_written_over(folder: Path, model: Path) -> None:
    picture = drawn(folder.parent / "who.png", 33)
    before = picture.read_bytes()
    result = find(picture, "--gallery", folder, "--model", model, "--out", picture)
    assert result.exit_code == 2
    assert "would write over" in result.output
    assert picture.read_bytes() == before


def test_a_file_of_the_same_space_is_searched_with_and_another_is_not(
    tmp_path: Path, make_model: MakeModel
) -> None:
    shallow = make_model("shallow.onnx", depths=(1,), spaces=("a" * 16,))
    deep = make_model("deep.onnx", depths=(4,), spaces=("a" * 16,))
    other = make_model("other.onnx", depths=(4,), spaces=("b" * 16,))
    for name, colour in (("red", RED), ("green", GREEN)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (64, 128), colour).save(tmp_path / name / "0.png")
    folder = tmp_path / "gallery"
    for name, model in (("red", deep), ("green", shallow)):
        result = run("enrol", folder, tmp_path / name, "--name", name, "--model", model)
        assert result.exit_code == 0, result.output
    query = tmp_path / "red" / "0.png"
    result = find(query, "--gallery", folder, "--model", shallow)
    assert [line.split()[3] for line in result.stdout.splitlines()[1:]] == ["red", "green"]
    answers = json.loads(find(query, "--gallery", folder, "--model", shallow, "--json").stdout)
    assert [row["depth"] for row in answers["answers"]] == [4, 1]
    text = run("info", folder).output
    assert "2 (1 at Res1, 1 at Res4)" in text
    assert text.count(f"space {'a' * 16}") == 2
    models = json.loads(run("info", folder, "--json").output)["models"]
    assert [(model["depth"], model["dim"]) for model in models] == [(4, 3), (1, 3)]
    refused = find(query, "--gallery", folder, "--model", other)
    with pytest.raises(GalleryError, match="unless their files say that they share a space"):
        raise refused.exception or AssertionError(refused.output)


def test_people_are_named_merged_and_split(folder: Path) -> None:
    assert "now called Margarita" in run("name", folder, "rita", "Margarita").output
    assert "2 sightings moved to person 1" in run("merge", folder, "Margarita", "gus").output
    assert "2 sightings moved to new person 3" in run("split", folder, 4, 5, "--name", "G").output
    assert "1 sighting changed" in run("assign", folder, "G", 6).output
    assert "1 sighting changed" in run("assign", folder, "nobody", 6).output
    assert "1 sighting erased" in run("delete", folder, 6).output
    assert "0 sightings erased\nnot there: 6, 99\n" in run("delete", folder, 99, 6, 6).output
    people = json.loads(run("list", folder, "--json").output)
    assert [(one["name"], one["num_sightings"]) for one in people] == [("Margarita", 3), ("G", 2)]


@pytest.mark.parametrize("others", [["rita"], ["gus", "1"], ["id:1"]])
def test_nobody_is_merged_with_themselves(folder: Path, others: list[str]) -> None:
    result = run("merge", folder, "rita", *others)
    assert result.exit_code != 0
    assert "nobody is merged with themselves" in str(result.exception)
    assert len(json.loads(run("list", folder, "--json").output)) == 2


def test_forgetting_asks_first_proves_itself_and_lasts(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    assert run("forget", folder, "rita").exit_code == 1
    result = run("forget", folder, "rita", "--yes", "--suppress", 0.95)
    assert result.exit_code == 0, result.output
    assert "3 sightings, 3 pictures erased" in result.output
    assert "searched for again: 0 found" in result.output
    assert ": 0 found" in result.output.splitlines()[2]
    again = run("enrol", folder, tmp_path / "rita", "--name", "rita", "--model", model)
    assert isinstance(again.exception, GalleryError)
    unnamed = run("enrol", folder, tmp_path / "rita", "--nobody", "--model", model)
    assert "0 of 3 pictures stored" in unnamed.output
    assert "asked not to be enrolled again" in unnamed.output


def test_sightings_of_a_clock_that_was_ahead_are_told_and_kept(
    folder: Path, tmp_path: Path, model: Path
) -> None:
    later = ("--model", model, "--time", "2999-01-01T00:00")
    run("enrol", folder, tmp_path / "blue", "--nobody", *later)
    told = run("retention", folder, "--keep", "1m", "--apply").output
    assert "dated more than a day later than now" in told
    assert "2999-01-01" in run("list", folder, "--person", "nobody").output


def test_a_time_before_1970_is_refused(folder: Path, tmp_path: Path, model: Path) -> None:
    early = ("--nobody", "--model", model, "--time", "1970-01-01T00:00")
    result = run("enrol", folder, tmp_path / "blue", *early)
    assert isinstance(result.exception, GalleryError)
    assert "--time must be in seconds since 1970, above 0" in str(result.exception)


def test_retention_is_set_shown_and_applied(folder: Path) -> None:
    result = run("retention", folder, "--keep", "30d", "--camera", "2=12h", "--max-templates", 2)
    assert result.output.splitlines() == [
        "sightings for 30 d",
        "camera 2 for 12 h",
        "at most 2 sightings a person and depth",
    ]
    assert "sightings for 30 d" in run("retention", folder).output
    back = run("retention", folder, "--keep", "ever", "--camera", "2=ever", "--apply").output
    assert "0 too old, 1 surplus of people" in back
    assert isinstance(run("retention", folder, "--keep", "soon").exception, SettingsError)


def test_a_gallery_travels_as_parquet(folder: Path, tmp_path: Path) -> None:
    file, other = tmp_path / "all.parquet", tmp_path / "other"
    assert "6 sightings" in run("export", folder, file).output
    assert "6 of 6 sightings stored" in run("import", other, file, "--low-memory").output
    assert json.loads(run("list", other, "--json").output) == json.loads(
        run("list", folder, "--json").output
    )
    assert json.loads(run("info", other, "--json").output)["low_memory"] is True
    assert "has no retention rules" in run("import", other, file).output
    run("retention", other, "--keep", "30d")
    assert "retention rules" not in run("import", other, file).output
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    bad = run("import", other, tmp_path / "bad.parquet")
    assert isinstance(bad.exception, GalleryError)


def test_the_audit_log_is_shown_and_verified(folder: Path, model: Path, tmp_path: Path) -> None:
    find(tmp_path / "gus" / "0.png", "--gallery", folder, "--model", model)
    assert "search" in run("audit", folder).output
    check = run("audit", folder, "--verify")
    assert check.exit_code == 0
    digest = check.output.split()[-1]
    run("compact", folder)
    assert run("audit", folder, "--expect", digest).exit_code == 0
    assert run("audit", folder, "--expect", "0" * 64).exit_code == 1


def test_the_gallery_refuses_another_model(
    folder: Path, make_model: MakeModel, tmp_path: Path
) -> None:
    other = make_model("other.onnx", training_data="something else")
    result = find(tmp_path / "gus" / "0.png", "--gallery", folder, "--model", other)
    assert isinstance(result.exception, GalleryError)
    assert "different networks cannot be compared" in str(result.exception)


def drawn(path: Path, shade: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 128), (shade, 90, 250 - shade)).save(path)
    return path


def people_in(folder: Path) -> list[tuple[int, str | None, int]]:
    listed = json.loads(run("list", folder, "--json").output)
    return [(one["person_id"], one["name"], one["num_sightings"]) for one in listed]


@pytest.fixture
def numbered(tmp_path: Path, model: Path) -> Path:
    """Somebody called 2, who is number 1, and Bob, who is number 2."""
    made = tmp_path / "numbered"
    for name, shade in (("2", 10), ("Bob", 240)):
        picture = drawn(tmp_path / f"{name}.png", shade)
        assert run("enrol", made, picture, "--name", name, "--model", model).exit_code == 0
    return made


@pytest.mark.parametrize(
    "arguments",
    [
        ("forget", "2", "--yes"),
        ("forget", "Bob", "--also", "2", "--yes"),
        ("merge", "2", "Bob"),
        ("merge", "Bob", "2"),
        ("assign", "2", "1"),
        ("name", "2", "Eve"),
        ("list", "--person", "2"),
        ("retention", "--person", "2=3d"),
    ],
)
def test_a_number_that_is_also_a_name_is_refused_with_both(
    numbered: Path, arguments: tuple[str, ...]
) -> None:
    before = people_in(numbered)
    result = run(arguments[0], numbered, *arguments[1:])
    assert isinstance(result.exception, GalleryError)
    for part in ("person 1 (2)", "person 2 (Bob)", "id:2", "name:2"):
        assert part in str(result.exception)
    assert people_in(numbered) == before


@pytest.mark.parametrize(("text", "left"), [("id:2", [(1, "2", 1)]), ("name:2", [(2, "Bob", 1)])])
def test_numbers_and_names_can_be_told_apart(
    numbered: Path, text: str, left: list[tuple[int, str, int]]
) -> None:
    assert run("forget", numbered, text, "--yes").exit_code == 0
    assert people_in(numbered) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("id:2", [(1, "id:2", 1)]),
        ("name:id:2", [(2, "Bob", 1)]),
        ("name:1", None),
        ("id:id:2", None),
    ],
)
def test_a_name_cannot_stand_for_a_number(
    numbered: Path, text: str, left: list[tuple[int, str, int]] | None
) -> None:
    assert run("name", numbered, "id:1", "id:2").exit_code == 0
    before = people_in(numbered)
    done = run("forget", numbered, text, "--yes")
    assert done.exit_code == (0 if left else 1)
    assert people_in(numbered) == (left or before)


def test_names_are_found_however_their_letters_are_composed(numbered: Path) -> None:
    run("name", numbered, "Bob", "Zoë")
    assert run("list", numbered, "--person", "Zoe\u0308").exit_code == 0


def test_who_looks_alike_is_shown_before_somebody_is_forgotten(folder: Path) -> None:
    lost = run("split", folder, "3", "--name", "a piece of rita")
    assert lost.exit_code == 0
    assert run("assign", folder, "nobody", "2").exit_code == 0
    asked = run("forget", folder, "rita")
    assert "looks alike: 1.00, person 3 (a piece of rita), 1 sighting" in asked.output
    assert "--also id:3" in asked.output
    assert "1 unassigned sighting (2)" in asked.output
    assert asked.exit_code == 1
    done = run("forget", folder, "rita", "--also", "id:3", "--yes")
    assert done.exit_code == 0, done.output
    assert [name for _, name, _ in people_in(folder)] == ["gus"]


def test_where_no_person_can_be_made_no_picture_is_left(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = json.loads(run("info", folder, "--json").output)["sightings"]

    def full(*_: object) -> int:
        raise GalleryError("the disk is full. Nothing was changed.")

    monkeypatch.setattr("adln.gallery.sqlite_gallery.SqliteGallery.split", full)
    picture = drawn(tmp_path / "eve.png", 77)
    result = run("enrol", folder, picture, "--name", "Eve", "--model", model)
    assert isinstance(result.exception, GalleryError)
    assert json.loads(run("info", folder, "--json").output)["sightings"] == before


def test_enrolling_nothing_usable_fails_and_leaves_nobody(tmp_path: Path, model: Path) -> None:
    broken, made = tmp_path / "broken.png", tmp_path / "made"
    broken.write_text("no picture")
    result = run("enrol", made, broken, "--name", "Anna", "--model", model)
    assert result.exit_code == 1
    assert people_in(made) == []
    # The next one who is called so is the first.
    good = drawn(tmp_path / "good.png", 40)
    assert run("enrol", made, broken, good, "--name", "Anna", "--model", model).exit_code == 0
    assert people_in(made) == [(1, "Anna", 1)]


def test_a_whole_frame_is_not_stored_as_a_person(tmp_path: Path, model: Path) -> None:
    made = tmp_path / "made"
    frame, good = tmp_path / "frame.png", drawn(tmp_path / "good.png", 40)
    Image.new("RGB", (640, 360), (90, 120, 60)).save(frame)
    result = run("enrol", made, frame, good, "--name", "Anna", "--model", model)
    assert result.exit_code == 0
    assert "frame.png: not stored: the picture is 640 x 360 px, wider than a person" in (
        result.output
    )
    assert people_in(made) == [(1, "Anna", 1)]


def test_folders_of_several_people_are_asked_about(tmp_path: Path, model: Path) -> None:
    staff, made = tmp_path / "staff", tmp_path / "made"
    for at, name in enumerate(("ann", "bob")):
        drawn(staff / name / "1.png", 20 + 200 * at)
    result = run("enrol", made, staff, "--model", model)
    assert isinstance(result.exception, SettingsError)
    assert "ann, bob" in str(result.exception)
    assert not made.exists()
    assert run("enrol", made, staff, "--each-folder", "--model", model).exit_code == 0
    assert people_in(made) == [(1, "ann", 1), (2, "bob", 1)]
    assert run("enrol", made, staff, "--name", "Cid", "--model", model).exit_code == 0
    assert people_in(made)[2] == (3, "Cid", 2)


def test_an_export_belongs_to_its_owner(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "all.parquet"
    assert run("export", folder, file).exit_code == 0
    assert file.stat().st_mode & 0o777 == 0o600


def test_another_network_takes_a_gallery_over_by_its_pictures(
    folder: Path, make_model: MakeModel, tmp_path: Path
) -> None:
    other = make_model("other.onnx", licence="another")
    query = tmp_path / "rita" / "2.png"
    foreign = find(query, "--gallery", folder, "--model", other)
    assert isinstance(foreign.exception, GalleryError)
    result = run("renew", folder, tmp_path / "new", "--network", other)
    assert result.exit_code == 0, result.output
    assert "2 persons; 6 sightings embedded by other.onnx" in result.stdout
    assert "left out" not in result.stdout
    found = find(query, "--gallery", tmp_path / "new", "--model", other, "-k", 1)
    assert found.exit_code == 0, found.output
    assert "rita" in found.stdout
    assert json.loads(run("info", folder, "--json").output)["sightings"] == 6
    again = run("renew", folder, tmp_path / "new", "--network", other)
    assert isinstance(again.exception, GalleryError)
    assert "must be empty" in str(again.exception)


def test_enrolling_names_what_it_leaves_out(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "rita" / "more"
    inside.mkdir(parents=True)
    Image.new("RGB", (64, 128), RED).save(tmp_path / "rita" / "0.png")
    (tmp_path / "rita" / "link").symlink_to(tmp_path)
    real = os.scandir

    def scan(path: str) -> object:
        if Path(path) == inside:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scan)
    result = run("enrol", tmp_path / "g", tmp_path / "rita", "--name", "Rita", "--model", model)
    assert result.exit_code == 0, result.output
    assert "1 of 1 pictures stored" in result.stdout
    assert "more: the folder cannot be read (Permission denied)." in result.stderr
    assert "links to folders are not followed" in result.stderr


def test_an_enrolment_that_is_repeated_stores_what_is_missing(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (64, 128), (90, 90, 20)).save(tmp_path / "rita" / "new.png")
    same = ["--name", "rita", "--model", model, "--camera"]
    result = run("enrol", folder, tmp_path / "rita", *same, 1)
    assert result.exit_code == 0
    assert "1 of 4 pictures stored, person 1 (rita)" in result.output
    assert "3 are in the gallery already" in result.output
    again = run("enrol", folder, tmp_path / "rita", *same, 1)
    assert again.exit_code == 0
    assert "0 of 4 pictures stored, person 1 (rita)" in again.output
    # Another camera sees people differently, and says so in every answer.
    assert "4 of 4 pictures stored" in run("enrol", folder, tmp_path / "rita", *same, 2).output


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("command", ["renew", "move"])
def test_a_copy_has_its_name_only_when_it_is_whole_and_knows_the_cameras(
    folder: Path,
    make_model: MakeModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    is_there: bool,
) -> None:
    (folder / "cameras.json").write_text('{"runs": 3, "cameras": {"door": 1, "yard": 2}}')
    new = tmp_path / "copies" / "new"
    if is_there:
        new.mkdir(parents=True)
    arguments = [command, folder, new]
    if command == "renew":
        arguments += ["--network", make_model("other.onnx", licence="another")]

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("adln.gallery.moving._build_bridges", interrupted)
        assert run(*arguments).exit_code != 0
    assert list(new.parent.rglob("*")) == ([new] if is_there else [])
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert read_cameras(new) == {"door": 1, "yard": 2}
    assert is_there or new.stat().st_mode & 0o777 == 0o700
    assert json.loads(run("info", new, "--json").output)["sightings"] == 6


def test_the_log_of_a_database_that_is_gone_is_not_taken_for_that_of_the_copy(
    folder: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    with SqliteGallery(new, create=True) as gone:
        gone.enrol("Ann")
        log = (new / "gallery.db-wal").read_bytes()
    assert log
    (new / "gallery.db").unlink()
    (new / "gallery.db-wal").write_bytes(log)
    result = run("move", folder, new)
    assert result.exit_code == 0, result.output
    with SqliteGallery(new) as copy:
        assert {person.name for person in copy.persons()} == {"rita", "gus"}


def test_without_pictures_a_foreign_network_finds_nobody_to_take_over(
    folder: Path, make_model: MakeModel, model: Path, tmp_path: Path
) -> None:
    other = make_model("other.onnx", licence="another")
    bare = tmp_path / "bare"
    assert run("enrol", bare, tmp_path / "gus", "--name", "gus", "--model", model).exit_code == 0
    result = run("renew", bare, tmp_path / "new", "--network", other)
    assert result.exit_code == 0, result.output
    assert (
        "0 sightings embedded by other.onnx, 2 without a usable picture left out" in result.stdout
    )
    assert "no sighting is left of 1 people (1): enrol them with a picture" in result.stderr
    missing = run("renew", folder, tmp_path / "new2", "--network", other, "--depth", 4)
    assert isinstance(missing.exception, ModelFileError)
    enrolled = run(
        "enrol", tmp_path / "g", tmp_path / "gus", "--name", "a", "--model", other, "--depth", 4
    )
    assert type(enrolled.exception) is type(missing.exception)
    assert str(enrolled.exception) == str(missing.exception)


def test_a_renewed_gallery_knows_people_as_if_they_had_been_enrolled_anew(tmp_path: Path) -> None:
    plan = Plan(num_train_persons=2, num_test_persons=6, num_cameras=2, crops_per_camera=2)
    drawn = draw_dataset(tmp_path / "drawn", plan)
    names = [str(path) for path in drawn.gallery.paths[:20]]
    old, new = tmp_path / "old", tmp_path / "new"
    asked = run("enrol", old, *names, "--nobody", "--network", "res1", "--thumbnails")
    assert asked.exit_code == 0, asked.output
    assert run("renew", old, new, "--network", "res1").exit_code == 0
    with SqliteGallery(old) as before, SqliteGallery(new) as after:
        pairs = [
            (one.embedding, other.embedding)
            for one, other in zip(before.newest(limit=20), after.newest(limit=20), strict=True)
        ]
    cosines = [float(one @ other) for one, other in pairs]
    assert len(cosines) == 20
    assert min(cosines) > 0.98


def test_pictures_are_known_again_beside_others(tmp_path: Path) -> None:
    plan = Plan(num_train_persons=2, num_test_persons=2, num_cameras=2, crops_per_camera=2)
    pictures = [str(path) for path in draw_dataset(tmp_path / "drawn", plan).gallery.paths[:4]]
    made = tmp_path / "made"
    asked = ("--name", "Ann", "--network", "res1")
    assert run("enrol", made, pictures[0], *asked).exit_code == 0
    again = run("enrol", made, *pictures, *asked)
    assert again.exit_code == 0, again.output
    with SqliteGallery(made) as opened:
        assert opened.count() == 4


def test_a_gallery_that_another_program_made_meanwhile_is_left_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = tmp_path / "new"

    def meanwhile(*_: object) -> None:
        with SqliteGallery(new, create=True) as other:
            other.enrol("Ann")

    monkeypatch.setattr("adln.gallery.moving._build_bridges", meanwhile)
    result = run("move", folder, new)
    assert isinstance(result.exception, GalleryError)
    with SqliteGallery(new) as other:
        assert [person.name for person in other.persons()] == ["Ann"]


def test_a_copy_into_a_folder_that_is_there_knows_the_cameras(folder: Path, tmp_path: Path) -> None:
    (folder / "cameras.json").write_text('{"runs": 3, "cameras": {"door": 1, "yard": 2}}')
    real, new = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    new.symlink_to(real)
    result = run("move", folder, new)
    assert result.exit_code == 0, result.output
    assert read_cameras(real) == {"door": 1, "yard": 2}
