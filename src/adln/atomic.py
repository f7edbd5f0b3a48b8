"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from adln.errors import AdlnError


@contextmanager
def atomic_write(
    path: Path, *, raises: type[AdlnError], instead: str = "choose another folder"
) -> Iterator[BinaryIO]:
    """Write a file; whoever looks at the path finds the old file or the whole new one.

    Args:
        path: of the file.
        raises: what is raised if the disk refuses.
        instead: what else than free space would help, for the message.

    Yields:
        Where the content goes.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            # The bytes reach the disk before the name does.
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise raises(
            f"{path}: cannot be written ({error.strerror or error}). Free some space or "
            f"{instead}; what was there before is untouched."
        ) from error
