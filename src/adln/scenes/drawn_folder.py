"""Writes a folder of drawn pictures atomically, and never over other files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adln.atomic import atomic_folder
from adln.errors import DatasetError


def receipt_text(plan: object) -> str:
    """A plan as text lines; the receipt marks a folder as drawn."""
    return "".join(f"{name} = {value}\n" for name, value in vars(plan).items())


@contextmanager
def drawn_folder(root: Path, receipt_name: str, receipt: str) -> Iterator[Path]:
    """A temporary folder to draw into; when complete, it replaces an earlier drawing.

    Args:
        root: folder to make.
        receipt_name: name of the file that records the plan.
        receipt: its text.

    Raises:
        DatasetError: the folder contains other files, or cannot be written.
    """
    if root.exists() and not (root / receipt_name).is_file() and any(root.iterdir()):
        raise DatasetError(
            f"{root} contains files that were not drawn by adln; they are left alone. "
            "Name a new or empty folder."
        )
    with atomic_folder(root, raises=DatasetError) as folder:
        yield folder
        (folder / receipt_name).write_text(receipt, encoding="utf-8")
