"""A folder of drawn pictures: written whole or not at all, and never over somebody else's files."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adln.atomic import atomic_folder
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
    with atomic_folder(root, raises=DatasetError) as folder:
        yield folder
        (folder / receipt_name).write_text(receipt, encoding="utf-8")
