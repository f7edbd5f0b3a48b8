import pytest

from adln.matching.framing import why_not_a_crop


@pytest.mark.parametrize(
    ("width_px", "height_px", "says"),
    [
        (64, 128, None),
        (64, 64, None),
        (400, 1500, None),
        (1920, 1080, "a whole frame or a screenshot"),
        (20, 200, "narrower than a person"),
        (10, 20, "too small"),
    ],
)
def test_only_what_can_be_one_person_is_taken_for_one(
    width_px: int, height_px: int, says: str | None
) -> None:
    why = why_not_a_crop(width_px, height_px)
    assert (why is None) == (says is None)
    if says is not None:
        assert says in (why or "")
        assert f"{width_px} x {height_px} px" in (why or "")
