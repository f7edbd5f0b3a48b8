"""Addresses of cameras as they may be shown: without user names, passwords and tokens.

Everything that is said of a source, in logs, in errors and to those who look at the page, goes
through these two functions. They would rather hide too much: cameras are told their passwords
before the host, in the query, or in the path (``/user=admin_password=1234_channel=1``), and
people write them there without any escaping, ``@`` and ``/`` included.
"""

import re
from pathlib import Path

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^\s'\"<>]+")
_SECRET = re.compile(
    r"(?:user|usr|login|pass|pwd|pw|token|key|auth|secret|session|sid|sig|cred)\w*(?:=|%3d)",
    re.IGNORECASE,
)
_HIDDEN = "***"


def public_name(source: str | Path) -> str:
    """A source as it may be shown.

    Args:
        source: path, address, or name of a USB camera.

    Returns:
        Text that can be printed, without what belongs to the camera's owner alone: whatever
        stands before the last "@", the query, and the path from the first name of a secret on.
    """
    # Names of files need not be UTF-8; what is shown has to be.
    text = str(source).encode("utf-8", "replace").decode()
    scheme, mark, rest = text.partition("://")
    if not mark:
        return text
    owner, at, place = rest.rpartition("@")
    if "?" in owner or _SECRET.search(owner):
        # Nobody can tell whether this "@" ends a password or stands in one.
        return f"{scheme}://{_HIDDEN}"
    shown = re.split(r"[?#]", place, maxsplit=1)[0]
    secret = _SECRET.search(shown)
    if secret is not None:
        shown = shown[: secret.start()]
    return f"{scheme}://{_HIDDEN + '@' if at else ''}{shown}{_HIDDEN if shown != place else ''}"


def public_text(text: str, *sources: str | Path) -> str:
    """A text about sources as it may be shown: with their public names in place of addresses.

    Args:
        text: such as an error of a library.
        sources: that it is about, whose addresses may have been written with spaces.
    """
    for source in sources:
        text = text.replace(str(source), public_name(source))
    return _ADDRESS.sub(lambda found: public_name(found[0]), text)
