"""The tables of many volumes read together: well-formed files at once, any other by :func:`pose.results.read_table`.

What the quick way does not know (quotes, blank lines, a missing cell, a word where a number belongs) is left to the
careful reader, file by file: it reads what can be read, and names the line of what cannot.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np

from pose.cli import UserError
from pose.files.tables import COUNT_COLUMNS
from pose.results import files
from pose.results.in_order import pieces_of
from pose.results.volume_list import SLICE_COLUMNS, ListedVolume, plain_header, read_start

# A block of volumes is cut at so many bytes of raw_data: its arrays fit the cache of a core.
BYTES_AT_ONCE = 4 << 20
_SUMMARY_BYTES = 16_384
_is_slice_metric = cache(files.is_slice_metric)


@dataclass(frozen=True)
class _Kind:
    """A kind of table: columns that it must have, of which the first holds each value once, and which hold words."""

    columns: tuple[str, ...]
    words: tuple[str, ...] = ()


_RAW_DATA, _SUMMARY = _Kind(SLICE_COLUMNS), _Kind(("metric", "avg"), words=("metric",))


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
class _File:
    """A table: the number of its volume, its columns (empty where they need a closer look), and the lines below.

    ``ours`` tells whether this project wrote it, as a manifest beside it says.
    """

    number: int
    path: Path
    header: tuple[str, ...]
    body: bytes
    ours: bool = False


@dataclass(frozen=True)
class _Part:
    """Tables of one header: (rows,) numbers for each column, or words; and whether their text can be passed on."""

    files: Sequence[_File]
    sizes: np.ndarray
    columns: dict[str, np.ndarray]
    plain: bool


def blocks_of(volumes: Sequence[ListedVolume]) -> Iterator[Sequence[ListedVolume]]:
    """Cut volumes into blocks for :func:`read_block`."""
    return pieces_of(volumes, lambda one: one.size, BYTES_AT_ONCE)


def read_block(folder: Path, volumes: Sequence[ListedVolume]) -> Block:
    """Read raw_data and results of the newest run of each of ``volumes``, which lie in ``folder``.

    Raises:
        UserError: a file is not what a run writes.
    """
    raw_data = [
        _open(
            number,
            folder / one.image / one.listed.newest["raw_data"],
            one.size + 1,
            one.plain,
            "run" in one.listed.newest,
        )
        for number, one in enumerate(volumes)
    ]
    parts = list(_read_parts(raw_data, _RAW_DATA))
    sizes = np.zeros(len(volumes), np.int64)
    lines: list[bytes | None] = [None] * len(volumes)
    for part in parts:
        for file, size in zip(part.files, part.sizes, strict=True):
            sizes[file.number] = size
            lines[file.number] = file.body if part.plain and file.ours else None
    return Block(sizes, _columns_of(parts, sizes), lines, _volume_metrics(folder, volumes))


def _open(number: int, path: Path, most: int, plain: bool = True, ours: bool = False) -> _File:
    """Read a file of about ``most`` bytes; one without a plain header, or that cannot be read, has no header here."""
    content = b""
    if plain:
        with suppress(OSError):
            content, size = read_start(path, most)
            if len(content) < size:
                content = path.read_bytes()
    end = content.find(b"\n") + 1
    header = plain_header(content[:end])
    return _File(number, path, header or (), content[end:] if header else b"", ours)


def _read_parts(files: Sequence[_File], kind: _Kind) -> Iterator[_Part]:
    """Read tables, those of one header together."""
    alike: dict[tuple[str, ...], list[_File]] = {}
    for file in files:
        known = all(name in file.header for name in kind.columns) and (not file.body or file.body.endswith(b"\n"))
        alike.setdefault(file.header if known else (), []).append(file)
    for header, group in alike.items():
        if header:
            yield from _read_alike(group, kind)
        else:
            yield from (_read_carefully(file, kind) for file in group)


def _read_alike(files: Sequence[_File], kind: _Kind) -> Iterator[_Part]:
    """Read tables of one header at once; where that fails, their halves, down to the one that is to blame."""
    part = _read_together(files, kind)
    if part is not None:
        yield part
    elif len(files) == 1:
        yield _read_carefully(files[0], kind)
    else:
        yield from _read_alike(files[: len(files) // 2], kind)
        yield from _read_alike(files[len(files) // 2 :], kind)


def _read_together(files: Sequence[_File], kind: _Kind) -> _Part | None:
    import pandas as pd

    header, body = files[0].header, b"".join(file.body for file in files)
    if not _is_regular(body, len(header)):
        return None
    numbers = [name for name in header if name not in kind.words]
    try:
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
    except ValueError:
        return None
    columns = {name: table[name].to_numpy() for name in header}
    if not all(_are_counts(columns[name]) for name in numbers if name in COUNT_COLUMNS):
        return None
    sizes = np.array([file.body.count(b"\n") for file in files])
    if not _each_once(columns[kind.columns[0]], np.repeat(np.arange(len(files)), sizes)):
        return None
    return _Part(files, sizes, columns, plain=True)


def _is_regular(body: bytes, columns: int) -> bool:
    """Tell whether a text is lines of so many cells each, in ASCII, without quotes and blank lines."""
    if b'"' in body or b"\r" in body or not body.isascii():
        return False
    text = np.frombuffer(body, np.uint8)
    line_ends = text[(text == ord(",")) | (text == ord("\n"))] == ord("\n")
    if len(line_ends) % columns or (columns == 1 and b"\n\n" in body):
        return False
    lines = line_ends.reshape(-1, columns)
    return bool(lines[:, -1].all() and not lines[:, :-1].any())


def _are_counts(values: np.ndarray) -> bool:
    known = values[~np.isnan(values)]
    return bool(((np.floor(known) == known) & (np.abs(known) <= 2**53)).all())


def _each_once(keys: np.ndarray, table: np.ndarray) -> bool:
    """Tell whether no key comes twice in a table; only numbers that ascend, and words, are known to."""
    if keys.dtype == object:
        return len(set(zip(table.tolist(), keys.tolist(), strict=True))) == len(keys)
    return bool(((keys[1:] > keys[:-1]) | (table[1:] != table[:-1])).all()) and not np.isnan(keys).any()


def _read_carefully(file: _File, kind: _Kind) -> _Part:
    """Read a table on its own.

    Raises:
        UserError: it is not what a run writes.
    """
    key = kind.columns[0]
    table = files.read_table(file.path, kind.columns, kind.words)
    repeated = table[key].duplicated()
    if repeated.any():
        raise UserError(f"{file.path}: {key} {table[key][repeated].iloc[0]} comes twice")
    columns = {
        name: table[name].to_numpy(object) if name in kind.words else table[name].to_numpy(np.float64, na_value=np.nan)
        for name in table
    }
    return _Part([file], np.array([len(table)]), columns, plain=False)


def _columns_of(parts: Sequence[_Part], sizes: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns of all parts, the rows in the order of the volumes, of ``sizes`` rows each."""
    if len(parts) == 1:
        return parts[0].columns
    names = dict.fromkeys(chain.from_iterable(part.columns for part in parts))
    columns = {name: np.full(sizes.sum(), np.nan) for name in names}
    starts = np.cumsum(sizes) - sizes
    for part in parts:
        rows = np.concatenate([starts[file.number] + np.arange(sizes[file.number]) for file in part.files])
        for name, values in part.columns.items():
            columns[name][rows] = values
    return columns


def _volume_metrics(folder: Path, volumes: Sequence[ListedVolume]) -> list[dict[str, float]]:
    """Return what results_*.csv says of each volume as a whole; nothing where there is no such file."""
    files = [
        _open(number, folder / one.image / one.listed.newest["results"], _SUMMARY_BYTES)
        for number, one in enumerate(volumes)
        if "results" in one.listed.newest
    ]
    found: list[dict[str, float]] = [{} for _ in volumes]
    for part in _read_parts(files, _SUMMARY):
        names, values = part.columns["metric"].tolist(), part.columns["avg"].tolist()
        start = 0
        for file, size in zip(part.files, part.sizes.tolist(), strict=True):
            pairs = zip(names[start : start + size], values[start : start + size], strict=True)
            found[file.number] = {name: value for name, value in pairs if not _is_slice_metric(name)}
            start += size
    return found
