"""Which embeddings may lie in one gallery, and which of them may be compared.

- Embeddings of one space are compared with each other, whatever network and depth made them.
- A gallery holds one family of networks: those that have a file or a space in common with one that
  is there. So all depths of a network fit, also if each has a space of its own; these are then kept
  apart, and a search only ever looks at its own space.
- Everything else is refused.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace

from adln.errors import GalleryError
from adln.gallery.records import ModelKey


def admit(known: Iterable[ModelKey], new: Sequence[ModelKey], *, place: str) -> list[ModelKey]:
    """Make sure that networks may be in one gallery.

    Args:
        known: those that are there, each exit once; if there are none, the first of `new` begins
            the family.
        new: those that are to be added or searched with.
        place: what messages call the gallery.

    Returns:
        `new`, each with its space if that is known from anywhere.

    Raises:
        GalleryError: one of them belongs to another family, or says another space of an exit than
            was said before.
    """
    known = list(known)
    family = known or list(new[:1])
    told = {model.exit: model.space for model in (*known, *new) if model.space}
    for model in (*known, *new):
        if model.space and model.space != told[model.exit]:
            raise GalleryError(
                f"{place}: depth {model.depth} of network {model.digest[:12]} is said to lie in "
                f"two spaces, {model.space} and {told[model.exit]}. The network's file tells "
                "which is right."
            )
    named = [replace(model, space=told.get(model.exit, "")) for model in new]
    members = [replace(model, space=told.get(model.exit, "")) for model in family]
    rest = [model for model in named if model not in members]
    # A newcomer may be kin of another newcomer only.
    while kin := [model for model in rest if any(_are_kin(model, one) for one in members)]:
        members += kin
        rest = [model for model in rest if model not in kin]
    if rest:
        more = f" and {len(family) - 1} more" if len(family) > 1 else ""
        raise GalleryError(
            f"{place}: this gallery holds embeddings of {family[0]}{more}, these are of {rest[0]}. "
            "Embeddings of different networks cannot be compared, unless their files say that they "
            "share a space. Use the gallery's network, or copy the gallery to a new place with its "
            "pictures embedded by this one: `adln gallery renew`."
        )
    return named


def group_by_space(models: Iterable[ModelKey]) -> list[list[ModelKey]]:
    """Networks in groups that share a space each, in the order in which they come."""
    groups: list[list[ModelKey]] = []
    for model in models:
        mine = next((group for group in groups if group[0].shares_space(model)), None)
        if mine is None:
            groups.append([model])
        elif model not in mine:
            mine.append(model)
    return groups


def template_kind(model: ModelKey) -> Hashable:
    """What a limit on templates counts together: embeddings of one space and one depth."""
    return model.space or model.digest, model.depth


def _are_kin(one: ModelKey, other: ModelKey) -> bool:
    return one.dim == other.dim and (one.digest == other.digest or one.shares_space(other))
