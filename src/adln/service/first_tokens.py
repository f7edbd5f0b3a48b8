"""Writes the first tokens of a service without a terminal to a file for its owner only."""

import os
from collections.abc import Mapping
from pathlib import Path

from adln.errors import ServiceError
from adln.service.state import Role

FILE_NAME = "first-tokens.txt"


def write_tokens(folder: Path, tokens: Mapping[Role, str]) -> None:
    """Write tokens to a file, created so that only its owner can ever read it.

    Raises:
        ServiceError: the file cannot be created, or exists already (and is not changed).
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
            f"{path}: cannot write the first tokens ({error}). `adln tokens add` makes new ones."
        ) from error
