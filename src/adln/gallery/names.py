"""Names of people: which of them are the same, and the digests that bar those of the forgotten."""

import hashlib
import unicodedata
from collections.abc import Iterable

from adln.errors import GalleryError

LONGEST_NAME = 200
"""Characters."""
SALT_BYTES = 16
# Some 10 ms a name.
_SCRYPT = {"n": 2**12, "r": 8, "p": 1}


# They show nothing themselves: they turn the direction of what follows, also beyond the name, or
# hide between letters, so that two names look like one. Joiners stay: Persian, Hindi and emoji
# need them.
_UNSEEN = dict.fromkeys(
    [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x00AD, 0x200B, 0x2060, 0xFEFF]
)


def usual_form(name: str) -> str:
    """What two spellings of a name have in common: NFKC, case and white space put aside."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    # Folding may take letters out of the normal form.
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def is_same_name(name: str | None, other: str | None) -> bool:
    """Whether two texts are one name, however its accents are encoded; None is no name."""
    if name is None or other is None:
        return False
    return _plain(name) == _plain(other)


def _plain(name: str) -> str:
    """As names are kept: NFC, and neither unseen characters nor white space around it."""
    return unicodedata.normalize("NFC", name.translate(_UNSEEN)).strip()


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
    plain = _plain(name)
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
