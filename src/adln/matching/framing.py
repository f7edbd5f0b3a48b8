"""Distinguishes crops of one person from whole frames, photos and screenshots.

A network embeds any picture. The embedding of a street with three people is close to someone's, but
meaningless.
"""

# A person who sits or spreads their arms is about as wide as tall; a frame is wider.
_WIDEST = 1.2
# A person standing upright is four times as tall as wide, a partly visible one five times.
_NARROWEST = 1 / 6
_SMALLEST_HEIGHT_PX, _SMALLEST_WIDTH_PX = 24, 8


def why_not_a_crop(width_px: int, height_px: int, *, done: str = "not asked") -> str | None:
    """Why a picture of this size is not a crop of one person.

    Only the size is checked: an upright photo of a whole room passes.

    Args:
        width_px: Width of the upright picture.
        height_px: Height of the upright picture.
        done: What was done with it, for the message.

    Returns:
        A message; None if it may be a crop.
    """
    if height_px < _SMALLEST_HEIGHT_PX or width_px < _SMALLEST_WIDTH_PX:
        what = "too small to recognise anyone"
    elif width_px > _WIDEST * height_px:
        what = "wider than a person, perhaps a whole frame or a screenshot"
    elif width_px < _NARROWEST * height_px:
        what = "narrower than a person"
    else:
        return None
    return f"{done}: the picture is {width_px} x {height_px} px, {what}; crop it to one person"
