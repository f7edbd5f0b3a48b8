"""A folder of drawn pictures: written whole or not at all, and never over somebody else's files."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adln.errors import DatasetError


def receipt_text(values: Mapping[str, Any]) -> str:
    """A plan as the lines of a receipt, which tell a drawing from other files."""
    return "".join(f"{name} = {value}\n" for name, value in values.items())


@contextmanager
def drawn_folder(root: Path, receipt_name: str, receipt: str) -> Iterator[Path]:
    """Draw into a folder beside; only a whole drawing gets the name, in place of an earlier one.

    Args:
        root: folder to make.
        receipt_name: of the file that says what was drawn.
        receipt: its text.

    Yields:
        The folder to draw into.

    Raises:
        DatasetError: the folder holds something that was not drawn, or cannot be written.
    """
    if root.exists() and not (root / receipt_name).is_file() and any(root.iterdir()):
        raise DatasetError(
            f"{root} holds files that were not drawn by adln; they are left alone. "
            "Give a new or empty folder."
        )
    partial = root.with_name(f".{root.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        (partial / receipt_name).write_text(receipt, encoding="utf-8")
        if root.exists():
            shutil.rmtree(root)
        partial.rename(root)
    except OSError as error:
        raise DatasetError(
            f"{root} cannot be written: {error}. Free some space or choose another folder."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
