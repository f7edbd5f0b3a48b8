"""Arrays and some words about them as the bytes of an .npz file, and what names them."""

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from adln.errors import SettingsError

T = TypeVar("T")


def content_id(words: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """16 hexadecimal digits that name exactly this content, on every machine."""
    digest = hashlib.sha256(_text(words).encode())
    for name, array in arrays.items():
        kind = "<i8" if array.dtype.kind == "i" else "<f4"
        digest.update(f"{name}{array.shape}".encode() + array.astype(kind).tobytes())
    return digest.hexdigest()[:16]


def pack(words: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The content of the file; `words` hold its format."""
    file = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    about, digest = np.array(_text(words)), np.array(content_id(words, arrays))
    np.savez(file, about=about, id=digest, **named)
    return file.getvalue()


def unpack(
    make: Callable[..., T],
    content: bytes,
    names: Sequence[str],
    *,
    format_: str,
    kind: str,
    name: str,
) -> T:
    """Read what `pack` gave.

    Args:
        make: takes the words and the arrays by name.
        content: of the file.
        names: of the arrays, in the order in which they were packed; some may be missing.
        format_: that is expected.
        kind: what it should be, in words with an article, for messages.
        name: what messages call this file.

    Raises:
        SettingsError: the content is damaged, or of another version.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as parts:
            words: dict[str, Any] = json.loads(str(parts["about"]))
            if words.get("format") != format_:
                raise SettingsError(
                    f"{name}: its format is {words.get('format')!r}, this version of adln reads "
                    f"{format_!r}. Fit it anew."
                )
            arrays = {one: parts[one] for one in names if one in parts.files}
            expected = str(parts["id"])
    except SettingsError:
        raise
    except Exception as error:
        # numpy, zip and JSON answer damaged files with whatever their parsing runs into.
        raise SettingsError(f"{name}: not {kind}, or damaged ({error}); fit anew.") from error
    if content_id(words, arrays) != expected:
        raise SettingsError(f"{name}: damaged, its content is not what was written; fit anew.")
    try:
        return make(**words, **arrays)
    except TypeError as error:
        raise SettingsError(f"{name}: not {kind}, or damaged ({error}); fit anew.") from error


def _text(words: Mapping[str, Any]) -> str:
    return json.dumps(words, sort_keys=True)
