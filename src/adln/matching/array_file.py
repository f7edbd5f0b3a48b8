"""Serialises arrays with metadata as .npz, with a content id."""

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
    """16 hexadecimal digits that identify the content, the same on every machine."""
    digest = hashlib.sha256(_text(words).encode())
    for name, array in arrays.items():
        kind = "<i8" if array.dtype.kind == "i" else "<f4"
        digest.update(f"{name}{array.shape}".encode() + array.astype(kind).tobytes())
    return digest.hexdigest()[:16]


def pack(words: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Serialise metadata, which includes the format, and arrays."""
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
    """Parse the output of `pack`.

    Args:
        make: called with metadata and arrays as keywords.
        content: content of the file.
        names: names of the arrays in the order of packing; some may be missing.
        format_: the expected format.
        kind: what the file should be, with an article, for messages.
        name: name of the file, for messages.

    Raises:
        SettingsError: it is damaged or of another version.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as parts:
            words: dict[str, Any] = json.loads(str(parts["about"]))
            if words.get("format") != format_:
                raise SettingsError(
                    f"{name}: its format is {words.get('format')!r}, this version of adln reads "
                    f"{format_!r}. Fit it again."
                )
            arrays = {one: parts[one] for one in names if one in parts.files}
            expected = str(parts["id"])
    except SettingsError:
        raise
    except Exception as error:
        # On damaged files, numpy, zipfile and json raise errors of many kinds.
        raise SettingsError(f"{name}: not {kind}, or damaged ({error}); fit again.") from error
    if content_id(words, arrays) != expected:
        raise SettingsError(f"{name}: damaged, its content does not match its id; fit again.")
    try:
        return make(**words, **arrays)
    except TypeError as error:
        raise SettingsError(f"{name}: not {kind}, or damaged ({error}); fit again.") from error


def _text(words: Mapping[str, Any]) -> str:
    return json.dumps(words, sort_keys=True)
