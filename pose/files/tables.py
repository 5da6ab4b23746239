"""Tables of numbers as CSV: written with every digit, read bit for bit, and every fault of a file named."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pose.cli import UserError

if TYPE_CHECKING:
    import pandas as pd

COUNT_COLUMNS = frozenset(
    (
        "slice",
        "ground_truth_voxels",
        "predicted_voxels",
        "false_positive_voxels",
        "missed_slices",
        "slices",
        "n",
        "needs_review",
        "slices_to_review",
        "next_slice",
        "warnings",
        "prompted_slices",
        "masked_slices",
        "seed_patient",
        "failed",
        "failed_volumes",
        "volumes",
    )
)


def as_text(table: pd.DataFrame) -> str:
    """Return a table for the terminal: its first column as names at the left, four digits, "-" where undefined."""
    import pandas as pd

    def cell(value: float | int) -> str:
        return "-" if pd.isna(value) else f"{value:.4f}" if isinstance(value, float) else str(value)

    return table.set_index(table.columns[0]).rename_axis(None).astype(object).map(cell).to_string()


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV: every digit, missing values as empty cells, infinite ones as ``inf``.

    Names of files may hold bytes that are no text: they are escaped.
    """
    table.to_csv(path, index=False, errors="backslashreplace")


def read_table(path: Path, columns: Iterable[str], text_columns: Iterable[str] = ()) -> pd.DataFrame:
    """Read a CSV of numbers, bit for bit what was written.

    Args:
        columns: columns that must be there.
        text_columns: columns that hold words; all others hold numbers, ``inf`` or nothing.

    Raises:
        UserError: the file cannot be read, lacks a column, or holds something that is no number.
    """
    import pandas as pd

    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *lines = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as a CSV: {error}") from None
    missing = [name for name in columns if name not in header]
    if missing:
        raise UserError(f"{path}: has no column {missing[0]!r}; its columns are {', '.join(header) or 'none'}")
    if len(set(header)) < len(header):
        raise UserError(f"{path}: two of its columns have one name; they are {', '.join(header)}")
    numbers = [number for number, line in enumerate(lines, start=2) if line]
    lines = [line for line in lines if line]
    for number, line in zip(numbers, lines, strict=True):
        if len(line) != len(header):
            raise UserError(f"{path}: line {number}: {len(line)} cells under {len(header)} columns")
    cells = dict(zip(header, zip(*lines, strict=True) if lines else [()] * len(header), strict=True))
    return pd.DataFrame(
        {
            name: np.array(column, object) if name in text_columns else _numbers(path, name, column, numbers)
            for name, column in cells.items()
        }
    )


def _numbers(path: Path, name: str, cells: Sequence[str], lines: Sequence[int]) -> np.ndarray | pd.arrays.IntegerArray:
    """Return the column ``name`` as float64, or Int64 where it holds counts, from its cells and their lines."""
    import pandas as pd

    try:
        values = np.array([float(cell) if cell else math.nan for cell in cells], dtype=np.float64)
    except ValueError:  # blanks, or the cell to name
        values = _numbers_one_by_one(path, name, cells, lines)
    if name not in COUNT_COLUMNS:
        return values
    missing = np.isnan(values)
    whole = np.where(missing, 0, values)
    if not ((np.abs(whole) <= 2**53) & (np.floor(whole) == whole)).all():
        _numbers_one_by_one(path, name, cells, lines)
    return pd.arrays.IntegerArray(whole.astype(np.int64), missing)


def _numbers_one_by_one(path: Path, name: str, cells: Sequence[str], lines: Sequence[int]) -> np.ndarray:
    values = (_number(cell, name, f"{path}: line {line}") for cell, line in zip(cells, lines, strict=True))
    return np.fromiter(values, np.float64, len(cells))


def _number(cell: str, name: str, place: str) -> float:
    try:
        value = float(cell) if cell.strip() else math.nan
    except ValueError:
        raise UserError(f"{place}: {name} {cell!r} is not a number") from None
    if name in COUNT_COLUMNS and not math.isnan(value) and not (value.is_integer() and abs(value) <= 2**53):
        raise UserError(f"{place}: {name} {cell!r} is not a whole number")
    return value
