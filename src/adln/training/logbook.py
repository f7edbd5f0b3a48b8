"""Log of a run: one row per epoch, as CSV and as TensorBoard curves."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from adln.atomic import atomic_write
from adln.errors import TrainingError

FILE_NAME = "log.csv"


class Logbook:
    """Writes the log of a run; a resumed run continues it.

    Rows from `first_epoch` on are dropped, because they will be written again. With several
    processes only the first one is `enabled` to write.

    Raises:
        TrainingError: the log of a resumed run is not as it was written.
    """

    def __init__(self, folder: Path, *, first_epoch: int, enabled: bool = True) -> None:
        self._path = folder / FILE_NAME
        self._enabled = enabled
        self._rows = [row for row in self._read() if int(row["epoch"]) < first_epoch]
        self._curves: SummaryWriter | None = None
        if enabled:
            self._curves = SummaryWriter(str(folder / "tensorboard"), purge_step=first_epoch)

    def __enter__(self) -> "Logbook":
        return self

    def __exit__(self, *_: object) -> None:
        if self._curves is not None:
            self._curves.close()

    def add(self, epoch: int, values: Mapping[str, float]) -> None:
        """Add the row of an epoch, counted from 1; with the same columns in every epoch."""
        if not self._enabled:
            return
        self._rows.append({"epoch": str(epoch), **{k: f"{v:.6g}" for k, v in values.items()}})
        text = io.StringIO(newline="")
        columns = dict.fromkeys(name for row in self._rows[::-1] for name in row)
        writer = csv.DictWriter(text, fieldnames=list(columns))
        writer.writeheader()
        writer.writerows(self._rows)
        with atomic_write(self._path, raises=TrainingError) as file:
            file.write(text.getvalue().encode())
        if self._curves is not None:
            for name, value in values.items():
                self._curves.add_scalar(name, value, epoch)

    def _read(self) -> list[dict[str, str]]:
        if not self._path.is_file():
            return []
        try:
            with self._path.open(newline="", encoding="utf-8-sig") as file:
                rows = list(csv.DictReader(file))
            if all(None not in row and row["epoch"].isdecimal() for row in rows):
                return rows
        except (KeyError, UnicodeDecodeError, csv.Error):
            pass
        raise TrainingError(
            f"{self._path}: another program has changed this log, so that it cannot be continued. "
            "Move it elsewhere, and the same command resumes the run."
        )
