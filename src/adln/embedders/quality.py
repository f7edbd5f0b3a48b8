"""The depth at which people are embedded: "fast", "balanced" or "best".

The shipped networks are one network cut at two depths (Sec. III.C of the paper) in one space, so
that people stored by one are found by the other.
"""

from collections.abc import Sequence
from typing import Literal, get_args

from adln.embedders.shipped import DEFAULT
from adln.errors import SettingsError

Quality = Literal["fast", "balanced", "best"]
"""fast: the shallowest depth only; best: the deepest only; balanced: the deepest for crops about
which the shallowest is uncertain."""
QUALITIES: tuple[Quality, ...] = get_args(Quality)

_SHIPPED: dict[Quality, tuple[str, ...]] = {
    "fast": ("res1",),
    "balanced": ("res1", "res2"),
    "best": ("res2",),
}


def files_for(files: Sequence[str], quality: Quality) -> tuple[str, ...]:
    """The network files used for a quality; the default network stands for both shipped ones."""
    return _SHIPPED[quality] if tuple(files) == (DEFAULT,) else tuple(files)


def depths_for(depths: Sequence[int], quality: Quality, *, files: Sequence[str]) -> tuple[int, int]:
    """The depth at which every crop is embedded, and the depth for uncertain crops.

    They are equal unless the quality is "balanced". `depths` differ in cost, ascending, and none is
    deeper than wanted; messages name the `files`.

    Raises:
        SettingsError: "balanced" needs two depths, but the files have only one.
    """
    if quality == "balanced" and len(depths) < 2:
        raise SettingsError(
            f'quality "balanced" needs a network of two or more depths, each in its own file; '
            f"{', '.join(map(str, files))} gives Res{depths[-1]} only. Leave the network out for "
            'the shipped ones, name all files of a split export, or choose "fast" or "best".'
        )
    first = depths[-1] if quality == "best" else depths[0]
    return first, depths[0] if quality == "fast" else depths[-1]
