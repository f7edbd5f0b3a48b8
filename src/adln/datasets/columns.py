"""Reads person, camera, track and time of the pictures in a feature file.

For calibration on the user's own cameras, which have tracks.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.atomic import require_regular, suffix_of
from adln.datasets.listing import table_rows
from adln.datasets.pictures import PATH_COLUMNS
from adln.errors import DatasetError
from adln.features import pyarrow_modules

COLUMNS = ("person", "camera", "track", "time_s")


def read_columns(
    features_path: Path, paths: tuple[str, ...], table: Path | None
) -> dict[str, NDArray[Any]]:
    """Find the columns in the feature file itself, or in a table of the same N pictures.

    A .npz or .parquet of `adln embed` may have columns added by other programs. A table is a CSV
    with a column "path" and columns from `COLUMNS`; paths as given to `adln embed`, or relative to
    the table. Returns name -> (N,) values, times as float64 and the others as text; only the
    columns found.

    Raises:
        DatasetError: a file cannot be read, a picture is missing in the table or listed twice, or a
            time is not a number.
    """
    if table is not None:
        columns = _from_table(table, paths)
    elif suffix_of(features_path) == ".parquet":
        columns = _from_parquet(features_path)
    else:
        with features_path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            columns = {name: content[name] for name in COLUMNS if name in content}
    source = table or features_path
    for name, values in columns.items():
        if values.shape != (len(paths),):
            raise DatasetError(
                f"{source}: the column {name} has shape {values.shape}, expected a value for each "
                f"of the {len(paths):,} pictures."
            )
    if "time_s" in columns:
        try:
            columns["time_s"] = columns["time_s"].astype(np.float64)
        except ValueError as error:
            raise DatasetError(f"{source}: a time_s is not a number of seconds: {error}.") from None
    return {
        name: values if name == "time_s" else values.astype(np.str_)
        for name, values in columns.items()
    }


def _from_parquet(path: Path) -> dict[str, NDArray[Any]]:
    _, parquet = pyarrow_modules(DatasetError)
    with path.open("rb") as file:
        table = parquet.read_table(file)
    return {
        name: np.array(table[name].to_pylist()) for name in COLUMNS if name in table.schema.names
    }


def _from_table(table: Path, paths: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    require_regular(table, raises=DatasetError, expected="a table of pictures")
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{table}: the table cannot be read ({error}).") from error
    heads, rows = table_rows(table, text, known=(*PATH_COLUMNS, *COLUMNS))
    path_column = next((head for head in heads if head.lower() in PATH_COLUMNS), None)
    if path_column is None:
        raise DatasetError(f"{table}: expected a column named path, found {heads}.")
    by_path: dict[str, dict[str, str]] = {}
    for _, row in rows:
        for name in (row[path_column], str(table.parent / row[path_column])):
            if by_path.setdefault(name, row) is not row:
                raise DatasetError(f"{table}: the picture {name} is listed twice.")
    missing = [path for path in paths if path not in by_path]
    if missing:
        raise DatasetError(
            f"{table}: {len(missing):,} of {len(paths):,} pictures of the feature file are not "
            f"listed, such as {missing[0]}."
        )
    return {
        name: np.array([by_path[path][name] for path in paths]) for name in COLUMNS if name in heads
    }
