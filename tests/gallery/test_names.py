import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adln.errors import GalleryError
from adln.gallery.names import (
    SALT_BYTES,
    checked_name,
    digests_to_compare,
    is_same_name,
    name_digest,
    usual_form,
)

SALT = bytes(SALT_BYTES)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Müller", "Mu\u0308ller"),
        ("ANNA", "anna"),
        ("Straße", "STRASSE"),
        ("Ａnna", "Anna"),
        ("  Anna \t Bell ", "anna bell"),
    ],
)
def test_spellings_of_one_name_have_one_digest(one: str, other: str) -> None:
    assert usual_form(one) == usual_form(other)
    assert name_digest(one, SALT) == name_digest(other, SALT)


def test_different_names_and_different_salts_have_different_digests() -> None:
    digests = {name_digest(name, salt) for name in ("Anna", "Hanna") for salt in (SALT, b"x" * 16)}
    assert len(digests) == 4


@given(st.text(max_size=20))
@settings(max_examples=50)
def test_the_usual_form_is_its_own(name: str) -> None:
    assert usual_form(usual_form(name)) == usual_form(name)


def test_all_names_of_one_salt_take_one_digest() -> None:
    assert digests_to_compare("Anna", [SALT] * 1000) == {SALT: {name_digest("Anna", SALT)}}
    # Those of earlier versions had another normal form.
    assert len(digests_to_compare("\uff21nna", [SALT])[SALT]) == 2


@pytest.mark.parametrize("name", ["", " \n", "a\x1b[31m", "a\nb", "a\ud800", "a\u2028b", "x" * 201])
def test_what_cannot_be_shown_or_typed_is_no_name(name: str) -> None:
    with pytest.raises(GalleryError):
        checked_name(name)


def test_a_name_is_kept_in_one_form() -> None:
    assert checked_name(" Mu\u0308ller ") == "Müller"


@pytest.mark.parametrize(
    "name",
    [
        *("\u202eAnna", "An\u200bna", "\u2066Anna\u2069", "\ufeffAnna"),
        # Marks of direction, joiners where nothing joins, selectors, fillers, tags, blanks.
        *("Anna\u200e", "\u200fAnna", "\u061cAnna", "An\u200cna", "\u200d\u200dAnna", "Anna\u200d"),
        *("An\u2061na", "Anna\ufe0f", "Ann\U000e0100a", "An\u034fna", "Anna\u115f", "\u3164Anna"),
        *("Anna\U000e0061", "Anna\u2800", "Anna\u180e", "\u206aAnna"),
    ],
)
def test_what_shows_nothing_is_no_part_of_a_name(name: str) -> None:
    assert checked_name(name) == "Anna"
    assert is_same_name("Anna", name)


def test_only_what_shows_nothing_is_no_name() -> None:
    with pytest.raises(GalleryError, match="at least one visible character"):
        checked_name("\u200b\u202e")


@pytest.mark.parametrize(
    "name", ["", "\u2800", "\u3164", "\u200d", "\ufe0f\u200c", "\U000e0061\u00a0"]
)
def test_a_name_is_something_that_can_be_seen(name: str) -> None:
    with pytest.raises(GalleryError, match="at least one visible character"):
        checked_name(name)


def test_unseen_letters_do_not_keep_accents_from_their_letters() -> None:
    assert checked_name("Mu\u200c\u0308ller") == "Müller"


def test_spaces_of_all_kinds_are_one() -> None:
    assert checked_name("Anna\u2003\u00a0 Bell") == "Anna Bell"
    assert is_same_name("Anna Bell", "Anna  Bell")


@pytest.mark.parametrize("name", ["👩🏽\u200d❤\ufe0f\u200d👨", "葛\U000e0100城", "क\u094d\u200dष"])
def test_what_joiners_and_selectors_show_stays(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize("name", ["علی\u200cرضا", "👩\u200d👧", "דוד"])
def test_joiners_and_letters_of_every_direction_stay(name: str) -> None:
    assert checked_name(name) == name
