"""Which models may be in one gallery, and which of them are compared."""

from dataclasses import replace
from pathlib import Path

import pytest

from adln.embedders.named import remember_opened
from adln.embedders.session import open_session
from adln.errors import GalleryError
from adln.gallery.records import ModelKey
from adln.gallery.spaces import admit, group_by_space, template_kind

RES2 = ModelKey("a" * 64, 2, 32, "space-one")
RES4 = ModelKey("b" * 64, 4, 32, "space-one")
ALONE = ModelKey("c" * 64, 2, 32)


def test_one_space_is_compared_whatever_file_and_depth() -> None:
    assert RES2.shares_space(RES4)
    assert not RES2.shares_space(replace(RES4, space="space-two"))
    assert not RES2.shares_space(replace(RES4, dim=16))


def test_an_unknown_space_is_that_of_the_file_at_its_depth() -> None:
    assert ALONE.shares_space(ALONE)
    assert not ALONE.shares_space(replace(ALONE, depth=3))
    assert not ALONE.shares_space(replace(ALONE, digest="d" * 64))
    assert replace(ALONE, space="space-two").shares_space(ALONE)


def test_a_family_has_a_file_or_a_space_in_common() -> None:
    shallow = replace(RES4, depth=1, space="space-three")
    assert admit([RES2], [RES4], place="here") == [RES4]
    assert admit([RES4], [shallow], place="here") == [shallow]
    with pytest.raises(GalleryError, match=r"here: .*these are of network b+ at Res1"):
        admit([RES2], [shallow], place="here")


def test_kin_of_a_newcomer_comes_in_with_it_in_any_order() -> None:
    shallow = replace(RES4, depth=1, space="space-three")
    for new in ([shallow, RES4], [RES4, shallow]):
        assert admit([RES2], new, place="here") == new
    assert admit([], [shallow, RES4], place="here") == [shallow, RES4]
    with pytest.raises(GalleryError, match="cannot be compared"):
        admit([], [ALONE, RES4], place="here")


def test_what_is_known_of_a_space_is_told() -> None:
    unnamed = replace(RES2, space="")
    assert admit([RES2], [unnamed], place="here") == [RES2]
    assert admit([unnamed], [RES2, RES4], place="here") == [RES2, RES4]
    with pytest.raises(GalleryError, match="two spaces"):
        admit([RES2], [replace(RES2, space="space-two")], place="here")


def test_groups_and_limits_follow_spaces() -> None:
    assert group_by_space([RES2, ALONE, RES4, RES2]) == [[RES2, RES4], [ALONE]]
    assert template_kind(RES2) != template_kind(RES4)
    assert template_kind(RES2) == template_kind(replace(RES4, depth=2))
    assert template_kind(ALONE) != template_kind(replace(ALONE, digest="d" * 64))


def test_a_space_with_an_endless_name_is_refused() -> None:
    with pytest.raises(GalleryError, match="at most 64"):
        replace(RES2, space="s" * 65)


def test_networks_that_differ_are_called_by_name() -> None:
    known = open_session("res2").sha256
    remember_opened("e" * 64, Path("folder/mine.onnx"))
    expected = r"of res2 \(network .*these are of mine \(network e.*\(--network res2\)"
    with pytest.raises(GalleryError, match=expected):
        admit([ModelKey(known, 2, 32)], [ModelKey("e" * 64, 2, 32)], place="here")
