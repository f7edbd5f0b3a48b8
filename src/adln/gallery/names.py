"""Names of people: which of them are the same, and the digests that bar those of the forgotten."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable

from adln.errors import GalleryError

LONGEST_NAME = 200
"""Characters."""
SALT_BYTES = 16
# Some 10 ms a name.
_SCRYPT = {"n": 2**12, "r": 8, "p": 1}


# They show nothing: they turn the direction of what follows, also beyond the name, or hide between
# letters, so that two names look like one. Unicode's Default_Ignorable_Code_Point, soft hyphens,
# fillers and tags among them, and the blank of Braille.
_UNSEEN = dict.fromkeys(
    [
        *(0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFEFF, 0xFFA0),
        *(0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2070)),
        *(*range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B)),
        *(*range(0xE0000, 0xE0100), *range(0xE01F0, 0xE1000)),
    ]
)
# Joiners and variation selectors show something beside letters without case, marks and symbols:
# Persian, Hindi, Mongolian, Chinese and emoji need them. Elsewhere, and at the ends, they hide.
_JOINERS = re.compile("[\u180b-\u180f\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef]+")
_JOINED = frozenset(("Lo", "Mn", "Mc", "Me", "So", "Sk"))


def usual_form(name: str) -> str:
    """What two spellings of a name have in common: NFKC, case and white space put aside."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    # Folding may take letters out of the normal form.
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def is_same_name(name: str | None, other: str | None) -> bool:
    """Whether two texts are one name, however its accents are encoded; None is no name."""
    if name is None or other is None:
        return False
    return kept_form(name) == kept_form(other)


def kept_form(name: str) -> str:
    """As names are kept: NFC, nothing unseen in it, and single plain spaces between its words."""
    composed = unicodedata.normalize("NFC", name.translate(_UNSEEN))
    seen = unicodedata.normalize("NFC", _JOINERS.sub(_where_they_show, composed))
    spaced = "".join(" " if unicodedata.category(letter) == "Zs" else letter for letter in seen)
    return re.sub(" +", " ", spaced).strip()


def _where_they_show(found: re.Match[str]) -> str:
    before, after = found.string[: found.start()][-1:], found.string[found.end() :][:1]
    if not before or unicodedata.category(before) not in _JOINED:
        return ""
    shown = "".join(dict.fromkeys(found[0]))
    # Variation selectors are about the letter before, joiners about both.
    is_joined = after and unicodedata.category(after) in _JOINED
    return shown if is_joined else shown.replace("\u200c", "").replace("\u200d", "")


def name_digest(name: str, salt: bytes) -> bytes:
    """A digest of a name's usual form, slow to compute, so that names are slow to guess.

    All names of a gallery share one salt, so that one digest tells whether a name is among them.
    """
    return hashlib.scrypt(usual_form(name).encode(), salt=salt, **_SCRYPT)


def digests_to_compare(name: str, salts: Iterable[bytes], own_salt: bytes) -> dict[bytes, bytes]:
    """The digest of a name for each salt, as the digests with that salt were made.

    Args:
        name: any.
        salts: of the digests that it is to be compared with.
        own_salt: the gallery's, which all digests have today. In earlier versions each had one of
            its own, and another idea of which spellings are the same.
    """
    same = " ".join(unicodedata.normalize("NFC", name).casefold().split())
    return {
        salt: name_digest(name, salt)
        if salt == own_salt
        else hashlib.scrypt(same.encode(), salt=salt, **_SCRYPT)
        for salt in set(salts)
    }


def checked_name(name: str) -> str:
    """Make sure that a name can be stored, shown and typed.

    Returns:
        The name in NFC, without white space around it and without characters that show nothing.

    Raises:
        GalleryError: It is no text, empty, too long, or has control characters.
    """
    if not isinstance(name, str):
        raise GalleryError(f"A name is text, got {type(name).__name__}.")
    plain = kept_form(name)
    if not plain:
        raise GalleryError("A name needs at least one letter; leave it out for no name.")
    if len(plain) > LONGEST_NAME:
        raise GalleryError(
            f"A name may have up to {LONGEST_NAME} characters, this one has {len(plain):,}."
        )
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in plain):
        raise GalleryError(
            f"{plain[:40]!r} has control characters or invalid ones; a name must not."
        )
    return plain
