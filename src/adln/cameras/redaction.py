"""Removes user names, passwords and tokens from camera addresses before they are shown.

Every text about a source, in logs, errors and on the page, passes through these two functions. They
prefer to hide too much: passwords are placed before the host, in the query, or in the path
(``/user=admin_password=1234_channel=1``), often unescaped, with ``@`` and ``/`` in them.
"""

import re
from pathlib import Path

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^\s'\"<>]+")
_SECRET = re.compile(
    r"(?:user|usr|login|pass|pwd|pw|token|key|auth|secret|session|sid|sig|cred)\w*(?:=|%3d)",
    re.IGNORECASE,
)
_HIDDEN = "***"
# A device chooses part of an error's text: it must not move a terminal's cursor, colour what
# follows, or turn its direction.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def public_name(source: str | Path) -> str:
    """A source (path, address, or name of a USB camera) in a form that may be shown.

    Without what precedes the last "@", the query, and the path from the first secret's name on.
    """
    # File names may not be UTF-8; the shown text must be.
    text = str(source).encode("utf-8", "replace").decode()
    scheme, mark, rest = text.partition("://")
    if not mark:
        return text
    owner, at, place = rest.rpartition("@")
    if "?" in owner or _SECRET.search(owner):
        # This "@" may end a password or be part of one.
        return f"{scheme}://{_HIDDEN}"
    shown = re.split(r"[?#]", place, maxsplit=1)[0]
    secret = _SECRET.search(shown)
    if secret is not None:
        shown = shown[: secret.start()]
    return f"{scheme}://{_HIDDEN + '@' if at else ''}{shown}{_HIDDEN if shown != place else ''}"


def public_text(text: str, *sources: str | Path) -> str:
    """A text in a form that may be shown: addresses are replaced by their public names.

    Control characters, except line breaks and tabs, are escaped. The text may contain the sources
    literally, such as addresses with spaces.
    """
    for source in sources:
        text = text.replace(str(source), public_name(source))
    text = _ADDRESS.sub(lambda found: public_name(found[0]), text)
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)
