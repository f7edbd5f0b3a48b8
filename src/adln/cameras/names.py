"""Valid names and numbers of cameras.

A name appears in sightings, MQTT topics, file names and metric labels. It may be in any language;
characters with a meaning in topics or paths are refused.
"""

import re
import unicodedata

from adln.errors import SettingsError

LARGEST_NUMBER = 2**31 - 1
"""Galleries store camera numbers in 32 bits."""

NAME_PATTERN = r"[^/\\+#\x00-\x1f\x7f]{1,64}"
_NAME = re.compile(NAME_PATTERN)


def tidy_name(name: str) -> str:
    """A name in the form that is compared and stored: Unicode-normalised, with single spaces."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def is_camera_name(name: str) -> bool:
    """Whether a name is valid: 1 to 64 printable characters, without slashes, + and #."""
    return _NAME.fullmatch(name) is not None and name.isprintable() and bool(name.strip())


def camera_name(name: str) -> str:
    """A valid name in its tidy form.

    Raises:
        SettingsError: the name is invalid.
    """
    tidy = tidy_name(name)
    if not is_camera_name(tidy):
        raise SettingsError(
            f"a camera cannot be called {name!r}: a name has 1 to 64 printable characters and "
            "none of / \\ + #, because it is part of MQTT topics and file names."
        )
    return tidy


def require_camera_number(name: str, number: int) -> None:
    """Refuse a number that a gallery cannot store.

    Raises:
        SettingsError: the number is not within 0 to 2,147,483,647.
    """
    if not 0 <= number <= LARGEST_NUMBER:
        raise SettingsError(
            f"camera {name!r}: its number must be 0 to {LARGEST_NUMBER:,}, got {number}."
        )


def file_name(name: str) -> str:
    """A camera's name as part of a file name on any system."""
    return re.sub(r'[<>:"|?*/\\]', "_", name).strip(". ") or "camera"
