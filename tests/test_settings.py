"""Settings are read strictly: what is wrong is named, with its file and key."""

from dataclasses import FrozenInstanceError
from math import inf
from pathlib import Path

import pytest

from adln.errors import SettingsError
from adln.settings import from_mapping, read_settings, require_between, settings
from adln.training.recipe import Recipe


@settings
class Inner:
    size: int = 1
    pair: tuple[float, float] = (0.0, 1.0)


@settings
class Outer:
    inner: Inner = Inner()
    several: tuple[Inner, ...] = ()
    name: str = "a"
    files: tuple[str, ...] = ()


@settings
class First:
    low: float = 0.0
    high: float = 0.0

    def __post_init__(self) -> None:
        require_between(self, (0, 1, ["low"]), (0, inf, ["high"]))


@settings
class Second:
    less: float = 0.0

    def __post_init__(self) -> None:
        require_between(self, (0, 1, ["less"]))


@settings
class Both:
    first: First = First()
    second: Second = Second()


def test_a_file_changes_only_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('name = "b"\n[inner]\npair = [1, 2.5]\n')
    assert read_settings(Outer, path) == Outer(name="b", inner=Inner(pair=(1.0, 2.5)))


def test_a_file_that_begins_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('name = "b"\n', encoding="utf-8-sig")
    assert read_settings(Outer, path).name == "b"


def test_overrides_come_last(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[inner]\nsize = 2\n")
    read = read_settings(Outer, path, ["inner.size=3", 'name="c"'])
    assert read == Outer(name="c", inner=Inner(size=3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[inner]\nsizee = 2\n", r"a.toml: inner.sizee: unknown key.*inner.size"),
        ("[inner]\nsizee = 2\n", r"inner.sizee: unknown key; nearest is inner.size\.$"),
        ("sise = 2\n", r"a.toml: sise: unknown key; nearest is inner.size\.$"),
        ("[[several]]\npiar = 2\n", r"several.0.piar: unknown key; nearest is several.0.pair"),
        ("[[several]]\nwhere = 2\n", r"where: unknown key; known here are size, pair\.$"),
        ("when = 2\n", r"when: unknown key; known here are inner, several, name, files\.$"),
        ('[inner]\nsize = "2"\n', r"a.toml: inner.size: .*integer"),
        ("[inner]\nsize = 2.5\n", r"a.toml: inner.size: .*integer"),
        ("[inner]\npair = [1]\n", r"a.toml: inner.pair"),
        ("name = \n", r"a.toml is not a readable TOML file"),
        ("name = " + "[" * 100_000, r"a.toml is not a readable TOML file: nested too deeply"),
        ("a." * 20_000 + "b = 1", r"a.toml: "),
        ("when = 2024-01-01\n", r"a.toml: when: unknown key"),
        ("[inner]\nsize = 2024-01-01\n", r"a.toml: inner.size: .*integer"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=message):
        read_settings(Outer, path)


def test_all_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[first]\nlow = -1\nhigh = -2.5\n[second]\nless = 7.0\n")
    with pytest.raises(SettingsError) as caught:
        read_settings(Both, path)
    assert str(caught.value) == (
        f"{path}: low must be 0 to 1, got -1; high must be 0 or more, got -2.5 (First); "
        "less must be 0 to 1, got 7 (Second)."
    )
    with pytest.raises(SettingsError, match=r"^less must be 0 to 1, got 3 \(Second\)\.$"):
        Second(less=3.0)


@pytest.mark.parametrize("written", ["2026-05-01T12:00:00+02:00", "2026-05-01", "07:30:00"])
def test_dates_and_times_need_no_quotes(tmp_path: Path, written: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(f"name = {written}\n")
    assert read_settings(Outer, path).name == written


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no such settings file: .*none.toml"):
        read_settings(Outer, tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("name=/data/yolox nano.onnx", "/data/yolox nano.onnx"),
        ('name="quoted"', "quoted"),
        ("name=C:\\\\x", "C:\\\\x"),
        ("name=2026-05-01", "2026-05-01"),
        ("name=17", "17"),
        ("name=", ""),
        ("name=a=b # c", "a=b # c"),
    ],
)
def test_a_text_needs_no_quotes_in_an_override(text: str, name: str) -> None:
    assert read_settings(Outer, None, [text]).name == name


def test_one_text_stands_for_a_list_of_one() -> None:
    assert read_settings(Outer, None, ["files=res1"]).files == ("res1",)
    assert read_settings(Outer, None, ['files=["a", "b"]']).files == ("a", "b")


@pytest.mark.parametrize(
    "text", ["size", "inner.size=", "inner.size=abc", "inner.size=" + "[" * 9_999]
)
def test_a_malformed_override_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match="Write it as in TOML"):
        read_settings(Outer, None, [text])


def test_settings_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Inner().size = 2  # type: ignore[misc]


def test_the_recipe_s_defaults_are_the_paper_s() -> None:
    recipe = from_mapping(Recipe, {}, source="nothing")
    assert recipe == Recipe()
    assert (recipe.schedule.epochs, recipe.schedule.milestones) == (160, (40, 80, 120))
    assert (recipe.batch.height_px, recipe.batch.width_px) == (256, 128)
    assert recipe.batch.persons * recipe.batch.crops == 80
    assert recipe.weight_decay == 5e-4
    assert recipe.objective.label_smoothing == 0.1


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "recipes").rglob("*.toml")))
def test_every_recipe_in_the_project_can_be_read(path: Path) -> None:
    assert isinstance(read_settings(Recipe, path), Recipe)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batch.persons=1", "at least 2"),
        ("batch.height_px=100", "multiples of 16"),
        ("schedule.epochs=0", "at least 1"),
        ("objective.triplet=-1.0", "triplet must be"),
        ('precision="fp8"', "precision"),
    ],
)
def test_impossible_recipes_are_refused(override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_settings(Recipe, None, [override])


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_numbers_must_be_finite(value: str) -> None:
    with pytest.raises(SettingsError, match=r"schedule.base_lr: .*finite number"):
        read_settings(Recipe, None, [f"schedule.base_lr={value}"])


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('name = "b"\n', encoding="utf-8-sig")
    assert read_settings(Outer, path).name == "b"
