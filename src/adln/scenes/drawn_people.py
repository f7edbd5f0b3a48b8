"""Describes drawn persons (Sec. III.A): body, hair, clothes and bags, generated from a seed.

Wardrobes are intentionally small: many persons have a dark top and blue jeans, so that colour alone
does not solve the task.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]
"""Red, green, blue, each 0..255."""

SKIN: tuple[Colour, ...] = (
    (246, 214, 189),
    (236, 192, 160),
    (219, 168, 130),
    (188, 132, 94),
    (148, 98, 68),
    (108, 70, 50),
    (80, 54, 42),
)

HAIR: dict[str, Colour] = {
    "black": (36, 31, 34),
    "dark brown": (66, 45, 36),
    "brown": (108, 71, 46),
    "auburn": (146, 74, 42),
    "blond": (216, 176, 106),
    "grey": (160, 158, 158),
    "white": (226, 222, 216),
}

CLOTH: dict[str, Colour] = {
    "black": (42, 42, 48),
    "charcoal": (72, 75, 83),
    "grey": (150, 153, 158),
    "white": (238, 236, 230),
    "cream": (226, 210, 180),
    "beige": (196, 172, 136),
    "brown": (118, 82, 58),
    "navy": (44, 56, 92),
    "denim": (78, 108, 152),
    "light denim": (134, 162, 194),
    "sky": (136, 184, 216),
    "red": (190, 58, 56),
    "wine": (122, 44, 60),
    "pink": (226, 158, 164),
    "orange": (222, 128, 62),
    "mustard": (214, 166, 62),
    "olive": (110, 112, 70),
    "green": (64, 124, 92),
    "teal": (52, 122, 130),
    "lilac": (164, 146, 196),
}

_TOP_COLOURS = {
    "black": 5.0,
    "charcoal": 3.0,
    "navy": 4.0,
    "grey": 3.0,
    "white": 3.5,
    "cream": 1.0,
    "beige": 1.0,
    "denim": 1.2,
    "olive": 1.2,
    "red": 1.0,
    "wine": 0.7,
    "mustard": 0.6,
    "green": 0.7,
    "teal": 0.7,
    "pink": 0.6,
    "sky": 0.8,
    "orange": 0.4,
    "lilac": 0.4,
}
_BOTTOM_COLOURS = {
    "denim": 5.0,
    "navy": 2.5,
    "black": 4.0,
    "charcoal": 2.0,
    "light denim": 1.5,
    "beige": 1.6,
    "grey": 1.0,
    "olive": 0.8,
    "brown": 0.6,
    "white": 0.5,
}
_ACCENT_COLOURS = {
    "white": 4.0,
    "red": 1.2,
    "mustard": 1.2,
    "sky": 1.2,
    "black": 1.5,
    "orange": 0.8,
    "teal": 0.8,
    "pink": 0.8,
    "cream": 1.0,
    "navy": 1.0,
}
_BAG_COLOURS = {
    "black": 3.0,
    "brown": 1.6,
    "navy": 1.2,
    "red": 1.0,
    "olive": 0.8,
    "mustard": 0.8,
    "grey": 1.0,
    "teal": 0.7,
    "cream": 0.6,
}
_TOPS = {
    "t-shirt": 3.0,
    "vest top": 0.6,
    "shirt": 1.8,
    "sweater": 2.0,
    "hoodie": 2.0,
    "open jacket": 2.4,
    "zipped jacket": 1.4,
    "quilted jacket": 1.0,
    "long coat": 1.3,
    "dress": 1.2,
}
_PATTERNS = {
    "plain": 3.0,
    "hoops": 2.0,
    "pinstripe": 1.0,
    "checks": 1.2,
    "yoke": 1.4,
    "chest band": 1.4,
    "emblem": 1.8,
    "big emblem": 1.0,
    "back print": 1.2,
    "raglan": 1.3,
    "dots": 0.9,
    "sash": 0.6,
}
_BOTTOMS = {
    "slim trousers": 3.0,
    "straight trousers": 2.5,
    "wide trousers": 1.2,
    "turned-up jeans": 1.4,
    "side-stripe trousers": 1.0,
    "shorts": 1.8,
    "short skirt": 1.0,
    "long skirt": 0.9,
}
_HAIR_STYLES = {
    "bald": 0.7,
    "buzz cut": 1.0,
    "short": 2.6,
    "side parting": 1.6,
    "bob": 1.5,
    "long": 1.8,
    "ponytail": 1.4,
    "bun": 1.0,
    "afro": 0.8,
}
_HEADWEAR = {"none": 7.0, "cap": 1.2, "beanie": 1.0, "sun hat": 0.5, "headscarf": 0.5}
_BAGS = {
    "none": 3.2,
    "backpack": 2.6,
    "messenger bag": 1.5,
    "handbag": 1.4,
    "tote": 1.0,
    "suitcase": 0.7,
}
_SHOES = {"trainers": 3.0, "plain shoes": 2.0, "boots": 1.4}


@dataclass(frozen=True, kw_only=True)
class DrawnPerson:
    """The properties of a person that are equal under all cameras.

    Attributes:
        build: Factor on all widths, about 0.85 (slight) to 1.25 (stout).
        leg_ratio: Height of the hip joint over stature.
        beard: Whether there is a full one.
        glasses: Whether dark ones are worn.
        top: The cut of the upper garment, for example "open jacket"; likewise `bottom`.
        accent: The second colour of its pattern, or the shirt under an open jacket.
        hoops: How many hoops or checks there are from shoulder to hem.
        sleeves: 0 (none), 0.5 (short) or 1 (long).
        bag_side: -1 (the person's right) or +1 (left).
        stride: Factor on the length of the steps.
    """

    person_id: int
    height_m: float
    build: float
    shoulders: float
    hips: float
    leg_ratio: float
    head_size: float
    skin: Colour
    hair_style: str
    hair: Colour
    beard: bool
    glasses: bool
    headwear: str
    headwear_colour: Colour
    top: str
    top_colour: Colour
    accent: Colour
    pattern: str
    hoops: int
    sleeves: float
    bottom: str
    bottom_colour: Colour
    shoes: str
    shoe_colour: Colour
    bag: str
    bag_colour: Colour
    bag_side: int
    scarf: Colour | None
    stride: float


def person_generator(seed: int, *key: int) -> np.random.Generator:
    """The random generator for one purpose, for example stream, person, camera, index.

    The same seed (from 0) and key give the same numbers, whatever else was drawn before.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, *key))))


def describe_person(seed: int, person_id: int) -> DrawnPerson:
    """Generate a person, who depends only on the seed and the id, both from 0."""
    rng = person_generator(seed, 1, person_id)
    tan = int(rng.integers(len(SKIN)))
    dark = tan >= 4
    hair_name = _pick(
        rng,
        {"black": 4.0, "dark brown": 1.5, "grey": 0.5, "white": 0.3}
        if dark
        else {
            "black": 1.6,
            "dark brown": 2.2,
            "brown": 2.0,
            "auburn": 1.0,
            "blond": 1.6,
            "grey": 0.9,
            "white": 0.5,
        },
    )
    hair_style = _pick(rng, _HAIR_STYLES if dark else {**_HAIR_STYLES, "afro": 0.3})
    top = _pick(rng, _TOPS)
    top_name = _pick(rng, _TOP_COLOURS)
    accent_name = _pick(rng, {k: w for k, w in _ACCENT_COLOURS.items() if _apart(k, top_name)})
    bottom_name = _pick(rng, {k: w for k, w in _BOTTOM_COLOURS.items() if k != top_name})
    headwear = _pick(rng, _HEADWEAR)
    long_sleeves = {"shirt": 0.75, "sweater": 1.0, "hoodie": 1.0, "t-shirt": 0.1, "dress": 0.4}
    sleeves = 1.0 if rng.random() < long_sleeves.get(top, 1.0) else 0.5
    if top == "vest top":
        sleeves = 0.0
    with_scarf = rng.random() < (0.25 if sleeves == 1.0 else 0.03)
    scarf = _pick(rng, _ACCENT_COLOURS)
    return DrawnPerson(
        person_id=person_id,
        height_m=float(np.clip(rng.normal(1.71, 0.09), 1.5, 1.95)),
        build=float(np.clip(rng.normal(1.0, 0.11), 0.84, 1.28)),
        shoulders=float(rng.uniform(0.92, 1.1)),
        hips=float(rng.uniform(0.92, 1.12)),
        leg_ratio=float(rng.uniform(0.475, 0.525)),
        head_size=float(rng.uniform(1.06, 1.18)),
        skin=_vary(rng, SKIN[tan], 6),
        hair_style=hair_style,
        hair=_vary(rng, HAIR[hair_name], 6),
        beard=bool(rng.random() < 0.3 and hair_style in {"bald", "buzz cut", "short", "afro"}),
        glasses=bool(rng.random() < 0.16),
        headwear=headwear,
        headwear_colour=_vary(rng, CLOTH[_pick(rng, {**_BAG_COLOURS, "white": 1.0})], 8),
        top=top,
        top_colour=_vary(rng, CLOTH[top_name], 8),
        accent=_vary(rng, CLOTH[accent_name], 8),
        pattern=_pick(rng, _PATTERNS),
        hoops=int(rng.choice((3, 4, 6, 8))),
        sleeves=sleeves,
        bottom=_pick(rng, _BOTTOMS),
        bottom_colour=_vary(rng, CLOTH[bottom_name], 8),
        shoes=_pick(rng, _SHOES),
        shoe_colour=_vary(
            rng,
            CLOTH[_pick(rng, {"white": 3.0, "black": 3.0, "brown": 2.0, "grey": 1.0, "red": 0.6})],
            6,
        ),
        bag=_pick(rng, _BAGS),
        bag_colour=_vary(rng, CLOTH[_pick(rng, _BAG_COLOURS)], 8),
        bag_side=int(rng.choice((-1, 1))),
        scarf=CLOTH[scarf] if with_scarf else None,
        stride=float(rng.uniform(0.8, 1.1)),
    )


def _pick(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    """Draw a name with probability proportional to its weight."""
    total = sum(weights.values())
    left = float(rng.random()) * total
    for name, weight in weights.items():
        left -= weight
        if left < 0:
            return name
    return name


def _vary(rng: np.random.Generator, colour: Colour, amount: int) -> Colour:
    """Shift a colour slightly, so that two black jackets differ."""
    red, green, blue = (
        int(min(max(value + shift, 20), 250))
        for value, shift in zip(
            colour, rng.integers(-amount, amount, 3, endpoint=True), strict=True
        )
    )
    return red, green, blue


def _apart(name: str, other: str) -> bool:
    """Whether a pattern of one cloth colour is visible on the other."""
    difference = np.subtract(CLOTH[name], CLOTH[other])
    return bool(np.abs(difference).sum() > 140)
