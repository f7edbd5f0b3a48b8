"""At which depth people are embedded, in one word: fast, balanced or best.

The shipped networks are one network cut at two depths (Sec. III.C of the paper). Both answer in one
space, so that what one of them has stored is found by the other.
"""

from collections.abc import Sequence
from typing import Literal, get_args

from adln.embedders.shipped import DEFAULT
from adln.errors import SettingsError

Quality = Literal["fast", "balanced", "best"]
"""fast: the shallowest depth only; best: the deepest only; balanced: the deepest for those of whom
the shallowest is not sure."""
QUALITIES: tuple[Quality, ...] = get_args(Quality)

_SHIPPED: dict[Quality, tuple[str, ...]] = {
    "fast": ("res1",),
    "balanced": ("res1", "res2"),
    "best": ("res2",),
}


def files_for(files: Sequence[str], quality: Quality) -> tuple[str, ...]:
    """The network files that a quality takes.

    Args:
        files: those that were named. The default network alone stands for both that are shipped;
            any others are used as they are.
        quality: one of `QUALITIES`.
    """
    return _SHIPPED[quality] if tuple(files) == (DEFAULT,) else tuple(files)


def depths_for(depths: Sequence[int], quality: Quality, *, files: Sequence[str]) -> tuple[int, int]:
    """The depth at which every crop is embedded, and the one for crops that are still in doubt.

    Args:
        depths: that differ in their price, ascending; none deeper than wanted.
        quality: one of `QUALITIES`.
        files: the network's, for the message.

    Returns:
        Two depths, which are one unless the quality is "balanced".

    Raises:
        SettingsError: "balanced" needs two depths, and the files answer one.
    """
    if quality == "balanced" and len(depths) < 2:
        raise SettingsError(
            f'quality "balanced" needs a network of two depths or more, each in a file of its own; '
            f"{', '.join(map(str, files))} answers Res{depths[-1]} only. Leave the network out for "
            'the shipped ones, name all files of a split export, or choose "fast" or "best".'
        )
    first = depths[-1] if quality == "best" else depths[0]
    return first, depths[0] if quality == "fast" else depths[-1]
