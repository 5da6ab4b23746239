"""The tables of many volumes read together: plain ones at once, others by :func:`pose.results.read_table`.

What the quick way does not know (quotes, blank lines, a missing cell, a word where a number belongs, two headers) is
left to the careful reader, file by file: it reads what can be read, and names the line of what cannot.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np

from pose.cli import UserError
from pose.files.tables import COUNT_COLUMNS
from pose.results import files
from pose.results.volume_list import SLICE_COLUMNS, ListedVolume

_is_slice_metric = cache(files.is_slice_metric)


@dataclass(frozen=True)
class Block:
    """The newest runs of some volumes.

    Attributes:
        sizes: (volumes,) how many rows raw_data has.
        columns: (rows,) float64 for each column, the rows of all volumes after each other, nan where missing.
        lines: for each volume the text of its rows, where a run of this project wrote it: written again, its numbers
            would be the same text; None for others.
        volume_metrics: the metrics of each whole volume.
    """

    sizes: np.ndarray
    columns: dict[str, np.ndarray]
    lines: list[bytes | None]
    volume_metrics: list[dict[str, float]]


@dataclass(frozen=True)
class _Tables:
    """Tables, the rows of all after each other: (rows,) float64 of each column, or words, and the text where plain."""

    sizes: np.ndarray
    columns: dict[str, np.ndarray]
    lines: Sequence[bytes | None]


def read_block(folder: Path, volumes: Sequence[ListedVolume]) -> Block:
    """Read raw_data and results of the newest run of each of ``volumes``, which lie in ``folder``.

    Raises:
        UserError: a file is not what a run writes.
    """
    runs = [(folder / one.image, one.listed.newest or {}) for one in volumes]
    raw_data = _read([place / run["raw_data"] for place, run in runs], SLICE_COLUMNS)
    lines = [text if "run" in run else None for text, (_, run) in zip(raw_data.lines, runs, strict=True)]
    metrics: list[dict[str, float]] = [{} for _ in volumes]
    summarised = [number for number, (_, run) in enumerate(runs) if "results" in run]
    if summarised:
        paths = [runs[number][0] / runs[number][1]["results"] for number in summarised]
        table = _read(paths, ("metric", "avg"), words=("metric",))
        cells = (np.repeat(summarised, table.sizes), table.columns["metric"], table.columns["avg"])
        for number, name, value in zip(*(column.tolist() for column in cells), strict=True):
            if not _is_slice_metric(name):
                metrics[number][name] = value
    return Block(raw_data.sizes, raw_data.columns, lines, metrics)


def _read(paths: Sequence[Path], columns: Sequence[str], words: Sequence[str] = ()) -> _Tables:
    """Read tables that must have ``columns``, of which the first holds each value once; all but ``words`` are numbers.

    Raises:
        UserError: a file is not what a run writes.
    """
    import pandas as pd

    tables = _read_together(paths, columns, words) or _read_each(paths, columns, words)
    key = columns[0]
    keys = pd.DataFrame({"table": np.repeat(np.arange(len(paths)), tables.sizes), key: tables.columns[key]})
    for number, value in keys[keys.duplicated()].itertuples(index=False):
        raise UserError(f"{paths[number]}: {key} {str(value).removesuffix('.0')} comes twice")
    return tables


def _read_together(paths: Sequence[Path], columns: Sequence[str], words: Sequence[str]) -> _Tables | None:
    """Read tables at once; None where one of them needs a closer look."""
    import pandas as pd

    try:
        headers, _, bodies = zip(*(path.read_bytes().partition(b"\n") for path in paths), strict=True)
        header, body = headers[0].decode("ascii").split(","), b"".join(bodies)
        if (
            len(set(headers)) > 1
            or not all(name in header for name in columns)
            or any(sign in text for sign in (b'"', b"\r") for text in (headers[0], body))
            or not all(text.endswith(b"\n") for text in bodies if text)
            or {line.count(b",") for line in body.splitlines()} != {len(header) - 1}
        ):
            return None
        numbers = [name for name in header if name not in words]
        # round_trip: the number that the digits stand for, to the last bit
        table = pd.read_csv(
            io.BytesIO(body),
            header=None,
            names=header,
            index_col=False,
            encoding="ascii",
            float_precision="round_trip",
            dtype={name: np.float64 if name in numbers else object for name in header},
            keep_default_na=False,
            na_values=dict.fromkeys(numbers, ""),
        )
    except (OSError, ValueError):
        return None
    counts = table[[name for name in numbers if name in COUNT_COLUMNS]].to_numpy()
    if ((np.floor(counts) != counts) & ~np.isnan(counts) | (np.abs(counts) > 2**53)).any():
        return None
    sizes = np.array([text.count(b"\n") for text in bodies])
    return _Tables(sizes, {name: table[name].to_numpy() for name in header}, bodies)


def _read_each(paths: Sequence[Path], columns: Sequence[str], words: Sequence[str]) -> _Tables:
    """Read tables one by one.

    Raises:
        UserError: one is not what a run writes.
    """
    tables = [files.read_table(path, columns, words) for path in paths]
    found: dict[str, np.ndarray] = {}
    for name in dict.fromkeys(chain.from_iterable(table.columns for table in tables)):
        kind = object if name in words else np.float64
        parts = [table.get(name, np.full(len(table), np.nan)) for table in tables]
        found[name] = np.concatenate([np.asarray(part, kind) for part in parts])
    return _Tables(np.array([len(table) for table in tables]), found, [None] * len(tables))
