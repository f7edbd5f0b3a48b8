import json
import re
from pathlib import Path

import pytest

from adln.cameras.names import camera_name, file_name, is_camera_name, require_camera_number
from adln.errors import SettingsError

SENSIBLE = ["door", "Front door", "Tür", "門 1", "a.b-c_d", "Gate: north", "O'Neil's", "x" * 64]
IMPOSSIBLE = ["", " ", "a/b", "a\\b", "a+", "#", "line\nbreak", "bell\x07", "x" * 65, "\u202eabc"]


@pytest.mark.parametrize("name", SENSIBLE)
def test_sensible_names_are_taken_as_they_are(name: str) -> None:
    assert camera_name(name) == name


@pytest.mark.parametrize("name", [name for name in IMPOSSIBLE if "\n" not in name])
def test_names_that_would_change_a_topic_or_a_path_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="cannot be called"):
        camera_name(name)


def test_names_that_look_the_same_are_the_same() -> None:
    assert camera_name(" Tu\u0308r   2 ") == "Tür 2"


@pytest.mark.parametrize("number", [-1, 2**31, 2**63])
def test_numbers_that_no_gallery_can_keep_are_refused(number: int) -> None:
    with pytest.raises(SettingsError, match="number must be"):
        require_camera_number("door", number)


def test_a_name_gives_a_name_of_a_file_on_any_system() -> None:
    assert file_name("Tür 2") == "Tür 2"
    assert file_name("Gate: north?") == "Gate_ north_"
    assert file_name("..") == "camera"


def test_the_published_schema_takes_the_same_names() -> None:
    path = Path(__file__).parents[2] / "docs" / "sighting.schema.json"
    pattern = json.loads(path.read_text())["properties"]["camera_name"]["pattern"]
    assert all(re.search(pattern, name) for name in SENSIBLE)
    assert not any(re.search(pattern, name) for name in ("", "a/b", "a\\b", "a+", "#", "x" * 65))
    assert all(is_camera_name(name) for name in SENSIBLE)
