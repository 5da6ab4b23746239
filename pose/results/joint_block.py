"""What a block of volumes adds to the joint tables: its lines of joint_raw_data, and its numbers for the statistics."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pose.files.tables import COUNT_COLUMNS
from pose.results.volume_block import Block, read_block
from pose.results.volume_list import ListedVolume
from pose.scores.statistics import describe_each, unit_sums

LINE_END = os.linesep.encode("ascii")  # as pandas ends the lines of the other tables


@dataclass(frozen=True)
class Plan:
    """What is wanted of every block.

    Attributes:
        folder: where the volumes lie.
        columns: those of joint_raw_data after the image.
        metrics: the columns to describe.
        with_seed_patient: whether a last column marks the volumes that seed slices came from.
        left_out: images that do not count in the statistics of all.
    """

    folder: Path
    columns: tuple[str, ...]
    metrics: tuple[str, ...]
    with_seed_patient: bool
    left_out: frozenset[str]


@dataclass(frozen=True)
class JoinedBlock:
    """A part of the joint tables.

    Attributes:
        text: the lines of joint_raw_data.
        sizes: (volumes,) rows of each volume.
        known: the values of each metric that are there, those of volumes that count.
        described: (volumes,) statistics of each metric, by their names.
        sums: (volumes, metrics) sum of each metric.
        numbers: (volumes, metrics) how many values it has.
        volume_metrics: the metrics of each whole volume.
    """

    text: bytes
    sizes: np.ndarray
    known: dict[str, np.ndarray]
    described: dict[str, dict[str, np.ndarray]]
    sums: np.ndarray
    numbers: np.ndarray
    volume_metrics: list[dict[str, float]]


def join_block(plan: Plan, volumes: Sequence[ListedVolume]) -> JoinedBlock:
    """Read ``volumes`` and make their part of the joint tables.

    Raises:
        UserError: a file is not what a run writes.
    """
    block = read_block(plan.folder, volumes)
    volume = np.repeat(np.arange(len(volumes)), block.sizes)
    counts = np.array([one.image not in plan.left_out for one in volumes])[volume]
    missing = np.full(len(volume), np.nan)
    known, described, sums = {}, {}, []
    for metric in plan.metrics:
        values = block.columns.get(metric, missing)
        known[metric] = values[counts & ~np.isnan(values)]
        described[metric] = describe_each(values, block.sizes)
        sums.append(unit_sums(values, volume, len(volumes)))
    text = b"".join(_lines(plan, volumes, block))
    total, numbers = (np.stack(part, axis=1) for part in zip(*sums, strict=True))
    return JoinedBlock(text, block.sizes, known, described, total, numbers, block.volume_metrics)


def _lines(plan: Plan, volumes: Sequence[ListedVolume], block: Block) -> list[bytes]:
    """Return the lines of each volume as :func:`pose.files.tables.write_table` would write them."""
    start, found = 0, []
    for one, size, lines in zip(volumes, block.sizes.tolist(), block.lines, strict=True):
        if size:
            if lines is None or one.header != plan.columns:
                lines = _written(block.columns, plan.columns, slice(start, start + size))
            before, after = cell(one.image) + b",", b""
            if plan.with_seed_patient:
                mark = one.prompts.seed_patient
                after = b"," if mark is None else b",1" if mark else b",0"
            found += [before, lines[:-1].replace(b"\n", after + LINE_END + before), after, LINE_END]
        start += size
    return found


def _written(values: Mapping[str, np.ndarray], names: Sequence[str], rows: slice) -> bytes:
    """Return rows of numbers as lines of a CSV, every digit of them; a column that is not there is empty."""
    missing = np.full(rows.stop, np.nan)
    cells = []
    for name in names:
        text = (lambda value: str(int(value))) if name in COUNT_COLUMNS else repr
        cells.append([text(value) if value == value else "" for value in values.get(name, missing)[rows].tolist()])
    return "".join(f"{','.join(row)}\n" for row in zip(*cells)).encode("ascii")


def cell(text: str) -> bytes:
    """Return a word as a cell of a CSV, in quotes where it needs them."""
    line = io.StringIO()
    csv.writer(line, lineterminator=os.linesep).writerow([text])
    # a name of a file may hold bytes that are no UTF-8: escaped, as on the terminal
    return line.getvalue()[: -len(os.linesep)].encode("utf-8", "backslashreplace")
