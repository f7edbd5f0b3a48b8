"""Rules for which embeddings one gallery may contain, and which may be compared.

- Embeddings of one space are compared with each other, whichever network and depth made them.
- A gallery contains one family of networks: each shares a file or a space with another one. So all
  depths of a network are allowed, even if each has its own space; these are kept apart, and a
  search covers only its own space.
- All others are refused.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace

from adln.embedders.named import name_of_network
from adln.errors import GalleryError
from adln.gallery.records import ModelKey


def admit(known: Iterable[ModelKey], new: Sequence[ModelKey], *, place: str) -> list[ModelKey]:
    """Check that networks may be in one gallery.

    Args:
        known: networks of the gallery, each exit once; if there are none, the first of `new` starts
            the family.
        new: networks to add or search with.
        place: name of the gallery, for messages.

    Returns:
        `new`, each with its space if known.

    Raises:
        GalleryError: one of them belongs to another family, or has a different space than known for
            its exit.
    """
    known = list(known)
    family = known or list(new[:1])
    spaces = {model.exit: model.space for model in (*known, *new) if model.space}
    for model in (*known, *new):
        if model.space and model.space != spaces[model.exit]:
            raise GalleryError(
                f"{place}: depth {model.depth} of network {model.digest[:12]} was given two "
                f"spaces, {model.space} and {spaces[model.exit]}. Use the one in the network's "
                "manifest."
            )
    named = [replace(model, space=spaces.get(model.exit, "")) for model in new]
    members = [replace(model, space=spaces.get(model.exit, "")) for model in family]
    rest = [model for model in named if model not in members]
    # A new network may be related to another new one only.
    while kin := [model for model in rest if any(_are_kin(model, one) for one in members)]:
        members += kin
        rest = [model for model in rest if model not in kin]
    if rest:
        known_as = name_of_network(family[0].digest) or "FILE"
        more = f" and {len(family) - 1} more" if len(family) > 1 else ""
        raise GalleryError(
            f"{place}: this gallery has embeddings of {_told(family[0])}{more}, these are of "
            f"{_told(rest[0])}. "
            "Embeddings of different networks cannot be compared, unless their files say that they "
            f"share a space. Use the gallery's network (--network {known_as}), or copy the gallery "
            "with its pictures embedded by this one: `adln gallery renew`."
        )
    return named


def group_by_space(models: Iterable[ModelKey]) -> list[list[ModelKey]]:
    """Networks grouped by space, in order of appearance."""
    groups: list[list[ModelKey]] = []
    for model in models:
        mine = next((group for group in groups if group[0].shares_space(model)), None)
        if mine is None:
            groups.append([model])
        elif model not in mine:
            mine.append(model)
    return groups


def template_kind(model: ModelKey) -> Hashable:
    """Key by which a limit on templates counts: space and depth."""
    return model.space or model.digest, model.depth


def _told(model: ModelKey) -> str:
    name = name_of_network(model.digest)
    return str(model) if name is None else f"{name} ({model})"


def _are_kin(one: ModelKey, other: ModelKey) -> bool:
    return one.dim == other.dim and (one.digest == other.digest or one.shares_space(other))
