"""Tells pictures of one person, cut out, from whole frames, photos and screenshots.

A network embeds whatever it is given. What it makes of a street with three people in it is near to
somebody, and means nothing.
"""

# A person who spreads the arms or sits is about as wide as high; a frame is wider.
_WIDEST = 1.2
# A person who stands straight is four times as high as wide, a slip of somebody five.
_NARROWEST = 1 / 6
_SMALLEST_HEIGHT_PX, _SMALLEST_WIDTH_PX = 24, 8


def why_not_a_crop(width_px: int, height_px: int, *, done: str = "not asked") -> str | None:
    """Why a picture of this size is hardly one person, cut out.

    Only the size is looked at: an upright photo of a whole room passes.

    Args:
        width_px: Of the upright picture.
        height_px: Of the same.
        done: What was done with it.

    Returns:
        A sentence for people to read; None if it may be one.
    """
    if height_px < _SMALLEST_HEIGHT_PX or width_px < _SMALLEST_WIDTH_PX:
        what = "too small to tell anybody by"
    elif width_px > _WIDEST * height_px:
        what = "wider than a person: a whole frame or a screenshot, perhaps"
    elif width_px < _NARROWEST * height_px:
        what = "narrower than a person"
    else:
        return None
    return f"{done}: the picture is {width_px} x {height_px} px, {what}; cut one person out"
