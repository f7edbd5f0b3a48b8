"""What cameras may be called, and which numbers they may have.

A name stands in sightings, MQTT topics, names of files and labels of metrics. All of these take
text in any language, so people may call a camera "Front door" or "Tür"; what would change the
meaning of a topic or a path is refused.
"""

import re
import unicodedata

from adln.errors import SettingsError

LARGEST_NUMBER = 2**31 - 1
"""Galleries keep the number of a camera in 32 bits."""

NAME_PATTERN = r"[^/\\+#\x00-\x1f\x7f]{1,64}"
_NAME = re.compile(NAME_PATTERN)


def tidy_name(name: str) -> str:
    """A name as it is compared and stored: one form of each letter, single spaces, none outside."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def is_camera_name(name: str) -> bool:
    """Whether a camera may be called so: 1 to 64 printable characters, no slashes, + and #."""
    return _NAME.fullmatch(name) is not None and name.isprintable() and bool(name.strip())


def camera_name(name: str) -> str:
    """A name in its tidy form.

    Raises:
        SettingsError: no camera may be called so.
    """
    tidy = tidy_name(name)
    if not is_camera_name(tidy):
        raise SettingsError(
            f"a camera cannot be called {name!r}: a name has 1 to 64 printable characters and "
            "none of / \\ + #, because it is part of MQTT topics and file names."
        )
    return tidy


def require_camera_number(name: str, number: int) -> None:
    """Refuse a number that a gallery cannot keep.

    Raises:
        SettingsError: it is not within 0 to 2,147,483,647.
    """
    if not 0 <= number <= LARGEST_NUMBER:
        raise SettingsError(
            f"camera {name!r}: its number must be 0 to {LARGEST_NUMBER:,}, got {number}."
        )


def file_name(name: str) -> str:
    """The name of a camera as part of a file name on any system."""
    return re.sub(r'[<>:"|?*/\\]', "_", name).strip(". ") or "camera"
