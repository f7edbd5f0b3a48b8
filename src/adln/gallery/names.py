"""Names of people: comparison, validation, and digests that bar names of forgotten people."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable

from adln.errors import GalleryError

LONGEST_NAME = 200
"""In characters."""
SALT_BYTES = 16
# About 10 ms per name.
_SCRYPT = {"n": 2**12, "r": 8, "p": 1}


# Invisible characters: they change the direction of the following text, even beyond the name, or
# hide between letters, so that two names look the same. Unicode's Default_Ignorable_Code_Point,
# which includes soft hyphens, fillers and tags, and the blank of Braille.
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
    """A name in NFKC, case-folded, with normalised white space: equal for equivalent spellings."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    # Case folding may leave the normal form.
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def is_same_name(name: object, other: object) -> bool:
    """Whether both are one name, whatever the encoding of accents; only a text is a name."""
    if not isinstance(name, str) or not isinstance(other, str):
        return False
    return kept_form(name) == kept_form(other)


def kept_form(name: str) -> str:
    """A name as it is stored: NFC, without invisible characters, with single plain spaces."""
    composed = unicodedata.normalize("NFC", name.translate(_UNSEEN))
    seen = unicodedata.normalize("NFC", _JOINERS.sub(_where_they_show, composed))
    spaced = "".join(" " if unicodedata.category(letter) == "Zs" else letter for letter in seen)
    return re.sub(" +", " ", spaced).strip()


def _where_they_show(found: re.Match[str]) -> str:
    before, after = found.string[: found.start()][-1:], found.string[found.end() :][:1]
    if not before or unicodedata.category(before) not in _JOINED:
        return ""
    shown = "".join(dict.fromkeys(found[0]))
    # A variation selector affects the letter before it, a joiner those on both sides.
    is_joined = after and unicodedata.category(after) in _JOINED
    return shown if is_joined else shown.replace("\u200c", "").replace("\u200d", "")


def name_digest(name: str, salt: bytes) -> bytes:
    """A digest of a name's usual form, slow to compute, so that names are slow to guess.

    All names of a gallery share one salt, so a single digest shows whether a name is among them.
    """
    return _digest(usual_form(name), salt)


def digests_to_compare(name: str, salts: Iterable[bytes]) -> dict[bytes, frozenset[bytes]]:
    """The digests of a name for each salt, as digests with that salt may have been computed.

    In earlier versions, each digest had its own salt and a different normalisation, which differs
    for few names.

    Args:
        name: any name.
        salts: salts of the digests to compare with.
    """
    earlier = " ".join(unicodedata.normalize("NFC", name).casefold().split())
    forms = {usual_form(name), earlier}
    return {salt: frozenset(_digest(form, salt) for form in forms) for salt in set(salts)}


def _digest(form: str, salt: bytes) -> bytes:
    return hashlib.scrypt(form.encode(), salt=salt, **_SCRYPT)


def checked_name(name: str) -> str:
    """Check that a name can be stored, shown and typed.

    Returns:
        The name in NFC, without surrounding white space and invisible characters.

    Raises:
        GalleryError: It is not text, empty, too long, or has control characters.
    """
    if not isinstance(name, str):
        raise GalleryError(f"A name must be text, got {type(name).__name__}.")
    plain = kept_form(name)
    if not plain:
        raise GalleryError("A name needs at least one visible character; omit it for no name.")
    if len(plain) > LONGEST_NAME:
        raise GalleryError(
            f"A name can have up to {LONGEST_NAME} characters, this one has {len(plain):,}."
        )
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in plain):
        raise GalleryError(
            f"{plain[:40]!r} has control or invalid characters, which a name must not have."
        )
    return plain
