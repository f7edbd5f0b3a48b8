"""`adln frigate` against a Frigate that answers as its public API documents."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.pipeline.fake_frigate import FakeFrigate

from adln.cli.main import adln
from adln.errors import SettingsError
from adln.gallery.sqlite_gallery import SqliteGallery

RED = (200, 30, 30)


@pytest.fixture
def fake() -> Iterator[FakeFrigate]:
    running = FakeFrigate()
    yield running
    running.close()
    assert not running.faults


def run(fake: FakeFrigate, gallery: Path, model: Path, *more: str) -> Result:
    arguments = ["frigate", fake.url, "--gallery", str(gallery), "--network", str(model)]
    limits = ["--per-second", "1000", "--match", "0.95", "--history", "36500d", "--once"]
    return CliRunner().invoke(adln, [*arguments, *limits, *more], catch_exceptions=False)


def test_a_person_who_was_named_in_the_gallery_is_named_in_frigate(
    fake: FakeFrigate, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    model, gallery = make_model(), tmp_path / "gallery"
    fake.somebody(RED, 1_700_000_000.5)
    result = run(fake, gallery, model)
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"unknown": 1}
    with SqliteGallery(gallery) as opened:
        ((record,),) = opened.iterate()
        assert record.thumbnail is None
        opened.split([record.sighting_id], "Anna")
    event = fake.somebody(RED, 1_700_000_100.5)
    result = run(fake, gallery, model, "--write")
    assert json.loads(result.stdout) == {"matched": 1, "written": 1, "done before": 1}
    assert fake.events[event].sub_label == "Anna"
    assert "Anna" not in result.stderr


def test_a_password_that_is_not_set_is_said_so(
    fake: FakeFrigate, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    with pytest.raises(SettingsError, match="FRIGATE_PASSWORD is not set"):
        run(fake, tmp_path, make_model(), "--user", "ann", "--password-env", "FRIGATE_PASSWORD")


def test_once_without_a_history_would_do_nothing_and_is_refused(
    fake: FakeFrigate, tmp_path: Path
) -> None:
    gallery = tmp_path / "gallery"
    result = CliRunner().invoke(adln, ["frigate", fake.url, "--gallery", str(gallery), "--once"])
    assert result.exit_code == 2
    assert "--history 30d" in result.output
    assert not gallery.exists()
    assert not fake.asked
