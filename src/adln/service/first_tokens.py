"""The first tokens of a service that nobody watches start: in a file, for its owner only."""

import os
from collections.abc import Mapping
from pathlib import Path

from adln.errors import ServiceError
from adln.service.state import Role

FILE_NAME = "first-tokens.txt"


def write_tokens(folder: Path, tokens: Mapping[Role, str]) -> None:
    """Write tokens into a file that nobody else can read, from its first moment on.

    Raises:
        ServiceError: the file cannot be made; or there is one already, which is left as it is.
    """
    path = folder / FILE_NAME
    text = "".join(f"{role:<9}{token}\n" for role, token in tokens.items())
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(file, "w", encoding="ascii") as stream:  # noqa: PTH123
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise ServiceError(
            f"{path}: the first tokens cannot be written ({error}). `adln tokens add` makes others."
        ) from error
