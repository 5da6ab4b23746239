"""The tables of many volumes read together: well-formed files at once, any other by :func:`pose.results.read_table`.

What the quick way does not know (quotes, blank lines, a missing cell, a word where a number belongs) is left to the
careful reader, file by file: it reads what can be read, and names the line of what cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np

from pose import results
from pose.cli import UserError
from pose.decimal_cells import numbers, split_cells
from pose.in_order import pieces_of
from pose.tables import COUNT_COLUMNS
from pose.volume_list import SLICE_COLUMNS, ListedVolume, plain_header, read_start

# A block of volumes is cut at so many bytes of raw_data: its arrays fit the cache of a core.
BYTES_AT_ONCE = 4 << 20
_SUMMARY_BYTES = 16_384
_is_slice_metric = cache(results.is_slice_metric)


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
        lines: for each volume the text of its rows, where it is the one that these numbers would be written as again.
        volume_metrics: the metrics of each whole volume.
    """

    sizes: np.ndarray
    columns: dict[str, np.ndarray]
    lines: list[bytes | None]
    volume_metrics: list[dict[str, float]]


@dataclass(frozen=True)
class _File:
    """A table: the number of its volume, its columns (empty where they need a closer look), and the lines below."""

    number: int
    path: Path
    header: tuple[str, ...]
    body: bytes


@dataclass(frozen=True)
class _Part:
    """Tables of one header: (rows,) numbers for each column, or words; and which tables are written as Python does."""

    files: Sequence[_File]
    sizes: np.ndarray
    columns: dict[str, np.ndarray]
    as_written: np.ndarray


def blocks_of(volumes: Sequence[ListedVolume]) -> Iterator[Sequence[ListedVolume]]:
    """Cut volumes into blocks for :func:`read_block`."""
    return pieces_of(volumes, lambda one: one.size, BYTES_AT_ONCE)


def read_block(folder: Path, volumes: Sequence[ListedVolume]) -> Block:
    """Read raw_data and results of the newest run of each of ``volumes``, which lie in ``folder``.

    Raises:
        UserError: a file is not what a run writes.
    """
    raw_data = [
        _open(number, folder / one.image / one.listed.newest["raw_data"], one.size + 1, one.plain)
        for number, one in enumerate(volumes)
    ]
    parts = list(_read_parts(raw_data, _RAW_DATA))
    sizes = np.zeros(len(volumes), np.int64)
    lines: list[bytes | None] = [None] * len(volumes)
    for part in parts:
        for file, size, as_written in zip(part.files, part.sizes, part.as_written, strict=True):
            sizes[file.number] = size
            lines[file.number] = file.body if as_written else None
    return Block(sizes, _columns_of(parts, sizes), lines, _volume_metrics(folder, volumes))


def _open(number: int, path: Path, most: int, plain: bool = True) -> _File:
    """Read a file of about ``most`` bytes; one without a plain header, or that cannot be read, has no header here."""
    content = b""
    if plain:
        with suppress(OSError):
            content, size = read_start(path, most)
            if len(content) < size:
                content = path.read_bytes()
    end = content.find(b"\n") + 1
    header = plain_header(content[:end])
    return _File(number, path, header or (), content[end:] if header else b"")


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
    header = files[0].header
    cells = split_cells(b"".join(file.body for file in files), len(header))
    if cells is None:
        return None
    sizes = np.array([file.body.count(b"\n") for file in files])
    columns: dict[str, np.ndarray] = {}
    wrong = np.zeros(cells.starts.shape[1], bool)
    for place, name in enumerate(header):
        if name in kind.words:
            columns[name] = np.array([cells.text_of(place, row) for row in range(len(wrong))], object)
            continue
        try:
            columns[name], as_written = numbers(cells, place, name in COUNT_COLUMNS)
        except ValueError:
            return None
        wrong |= ~as_written
    table = np.repeat(np.arange(len(files)), sizes)
    if not _each_once(columns[kind.columns[0]], table):
        return None
    return _Part(files, sizes, columns, np.bincount(table[wrong], minlength=len(files)) == 0)


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
    table = results.read_table(file.path, kind.columns, kind.words)
    repeated = table[key].duplicated()
    if repeated.any():
        raise UserError(f"{file.path}: {key} {table[key][repeated].iloc[0]} comes twice")
    columns = {
        name: table[name].to_numpy(object)
        if name in kind.words
        else table[name].to_numpy(np.float64, na_value=np.nan)
        for name in table
    }
    return _Part([file], np.array([len(table)]), columns, np.array([False]))


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
