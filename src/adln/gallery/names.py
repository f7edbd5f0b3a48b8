"""Names of people: comparison, validation, and digests that bar names of forgotten people."""

import hashlib
import unicodedata
from collections.abc import Iterable

from adln.errors import GalleryError

LONGEST_NAME = 200
"""In characters."""
SALT_BYTES = 16
# About 10 ms per name.
_SCRYPT = {"n": 2**12, "r": 8, "p": 1}


# Invisible characters: they change the direction of the following text, even beyond the name, or
# hide between letters, so that two names look the same. Joiners are kept: Persian, Hindi and emoji
# need them.
_UNSEEN = dict.fromkeys(
    [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x00AD, 0x200B, 0x2060, 0xFEFF]
)


def usual_form(name: str) -> str:
    """A name in NFKC, case-folded, with normalised white space: equal for equivalent spellings."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    # Case folding may leave the normal form.
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def is_same_name(name: str | None, other: str | None) -> bool:
    """Whether two texts are the same name, whatever the encoding of accents; None is no name."""
    if name is None or other is None:
        return False
    return _plain(name) == _plain(other)


def _plain(name: str) -> str:
    """A name as it is stored: NFC, without invisible characters and surrounding white space."""
    return unicodedata.normalize("NFC", name.translate(_UNSEEN)).strip()


def name_digest(name: str, salt: bytes) -> bytes:
    """A digest of a name's usual form, slow to compute, so that names are slow to guess.

    All names of a gallery share one salt, so a single digest shows whether a name is among them.
    """
    return hashlib.scrypt(usual_form(name).encode(), salt=salt, **_SCRYPT)


def digests_to_compare(name: str, salts: Iterable[bytes], own_salt: bytes) -> dict[bytes, bytes]:
    """The digest of a name for each salt, computed as the digests with that salt were.

    Args:
        name: any name.
        salts: salts of the digests to compare with.
        own_salt: the gallery's salt, used by all current digests. In earlier versions, each digest
            had its own salt and a different normalisation.
    """
    same = " ".join(unicodedata.normalize("NFC", name).casefold().split())
    return {
        salt: name_digest(name, salt)
        if salt == own_salt
        else hashlib.scrypt(same.encode(), salt=salt, **_SCRYPT)
        for salt in set(salts)
    }


def checked_name(name: str) -> str:
    """Check that a name can be stored, shown and typed.

    Returns:
        The name in NFC, without surrounding white space and invisible characters.

    Raises:
        GalleryError: It is not text, empty, too long, or has control characters.
    """
    if not isinstance(name, str):
        raise GalleryError(f"A name must be text, got {type(name).__name__}.")
    plain = _plain(name)
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
