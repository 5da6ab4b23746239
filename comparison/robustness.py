"""How far the volume Dice moves where a scan or its box changes, and its object does not.

Takes the list of comparison/accuracy_census.py, and its methods. The changes:

    padding       what lies outside a round field of view is -3024 in Hounsfield units, 0 in others; 5 pixels round the
                  object are left as they are
    bright        a square rod of the brightest value, 5 % of the frame wide, in the darkest corner, on all slices
    crop          the frame loses 10 % of its rows and columns, half at each side, up to 2 pixels from the object
    frame         the frame gains 10 % of its rows and columns of air (0 where the unit is another)
    shift_N       the box lies N pixels further down and to the left

No case should lose 0.1. The exit code is 0 whatever is found.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT_ROOT))

from comparison import accuracy_census
from comparison.accuracy_census import Listed, Method, Task, read_list, read_task
from pose import cli
from pose.scores import metrics

if TYPE_CHECKING:
    import pandas as pd

PADDING_HU, AIR_HU = -3024, -1000
LEFT_ROUND_OBJECT = 5  # pixels
ROD_SHARE = 0.05  # of the frame's longer side
FRAME_SHARE = 0.05  # of rows and columns, at each side
CROP_MARGIN = 2  # pixels
MOST_LOST = 0.1


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = accuracy_census.make_parser(__doc__)
    parser.add_argument("--changes", nargs="+", choices=list(CHANGES), default=list(CHANGES), help="default: all")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table as Markdown, and write it as robustness.csv."""
    from pose.files.tables import write_table

    arguments = make_parser().parse_args(argv)
    listed, methods = read_list(arguments)
    table = moves(listed, methods, arguments.changes)
    arguments.output_folder_path.mkdir(parents=True, exist_ok=True)
    path = arguments.output_folder_path / "robustness.csv"
    write_table(path, table)
    print(as_markdown(table, arguments.changes))
    print(f"\n{worst_of(table, arguments.changes)}\n{path}")
    return cli.EXIT_OK


def moves(listed: Sequence[Listed], methods: Sequence[Method], changes: Sequence[str]) -> pd.DataFrame:
    """Return a row for each object and method: its volume Dice, and what each change adds to it.

    A change that an object leaves no room for is nan.
    """
    import pandas as pd

    models = {method.name: method.load() for method in methods}
    rows = []
    for one in listed:
        task = read_task(one)
        for method in methods:

            def dice_of(task: Task, model: accuracy_census.Model = models[method.name]) -> float:
                return metrics.dice(task.truth, model.segment(task.scan, task.box, window=task.window).labels > 0)

            row: dict[str, str | float] = {"name": one.name, "method": method.name, "volume_dice": dice_of(task)}
            for change in changes:
                changed = CHANGES[change](task)
                row[change] = float("nan") if changed is None else dice_of(changed) - row["volume_dice"]
            rows.append(row)
            done = f"{len(rows)} of {len(listed) * len(methods)}"
            print(f"{done}: {one.name}, {method.name}: Dice {row['volume_dice']:.3f}", file=sys.stderr)
    return pd.DataFrame(rows)


def padded(task: Task) -> Task:
    """Return a task with padding outside the ellipse that fills its frame."""
    from scipy import ndimage

    rows, columns = task.truth.shape[:2]
    row, column = np.ogrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    outside = row**2 + column**2 > 1
    outside &= ~ndimage.binary_dilation(task.truth.any(axis=2), iterations=LEFT_ROUND_OBJECT)
    value = PADDING_HU if is_hounsfield(task) else 0
    return with_voxels(task, np.where(outside[:, :, None], value, task.scan.voxels).astype(signed_type(task)))


def with_rod(task: Task) -> Task | None:
    """Return a task with a bright rod in the darkest corner that the object leaves free; None where it leaves none."""
    rows, columns = task.truth.shape[:2]
    side = max(2, round(ROD_SHARE * max(rows, columns)))
    corners = [
        (slice(top, top + side), slice(left, left + side))
        for top in (1, rows - side - 1)
        for left in (1, columns - side - 1)
    ]
    free = [corner for corner in corners if not task.truth[corner].any()]
    if not free:
        return None
    voxels = task.scan.voxels.copy()
    voxels[min(free, key=lambda corner: float(np.nanmean(voxels[corner])))] = np.nanmax(voxels)
    return with_voxels(task, voxels)


def cropped(task: Task) -> Task:
    """Return a task whose frame is smaller."""
    kept = []
    for axis in (0, 1):
        length = task.truth.shape[axis]
        held = np.flatnonzero(task.truth.any(axis=(1 - axis, 2)))
        first = max(0, min(round(FRAME_SHARE * length), held[0] - CROP_MARGIN))
        stop = min(length, max(length - round(FRAME_SHARE * length), held[-1] + 1 + CROP_MARGIN))
        kept.append(slice(int(first), int(stop)))
    inside = tuple(kept)
    return moved(with_voxels(task, task.scan.voxels[inside], task.truth[inside]), -kept[0].start, -kept[1].start)


def framed(task: Task) -> Task:
    """Return a task whose frame is larger."""
    rows, columns = (round(FRAME_SHARE * length) for length in task.truth.shape[:2])
    widths = (rows, rows), (columns, columns), (0, 0)
    air = AIR_HU if is_hounsfield(task) else 0
    voxels = np.pad(task.scan.voxels, widths, constant_values=air)
    return moved(with_voxels(task, voxels, np.pad(task.truth, widths)), rows, columns)


def shifted(task: Task, pixels: int) -> Task:
    """Return a task whose box lies further down and to the left, as far as the frame goes."""
    return moved(task, pixels, -pixels)


CHANGES: dict[str, Callable[[Task], Task | None]] = {
    "padding": padded,
    "bright": with_rod,
    "crop": cropped,
    "frame": framed,
    **{f"shift_{pixels}": partial(shifted, pixels=pixels) for pixels in (1, 2, 3)},
}


def is_hounsfield(task: Task) -> bool:
    """Tell whether the scan holds Hounsfield units, as far as its values tell."""
    from pose.scans.intensity import likely_unit

    return bool(likely_unit(task.scan).is_hounsfield)


def signed_type(task: Task) -> np.dtype:
    """Return the dtype of the scan, or a wider one that holds the padding."""
    return np.result_type(task.scan.voxels.dtype, np.int16)


def with_voxels(task: Task, voxels: np.ndarray, truth: np.ndarray | None = None) -> Task:
    """Return a task with other voxels, which have no place in space."""
    from pose.scans.volume import Volume

    scan = Volume(voxels, spacing_mm=task.scan.spacing_mm, path=task.scan.path)
    return replace(task, scan=scan, truth=task.truth if truth is None else truth)


def moved(task: Task, down: int, right: int) -> Task:
    """Return a task whose box is moved, and kept within the frame."""
    rows, columns = task.truth.shape[:2]
    top, left, bottom, last = task.box.box
    down, right = (
        max(-first, min(by, length - 1 - end))
        for by, first, end, length in ((down, top, bottom, rows), (right, left, last, columns))
    )
    return replace(task, box=replace(task.box, box=(top + down, left + right, bottom + down, last + right)))


def as_markdown(table: pd.DataFrame, changes: Sequence[str]) -> str:
    """Return the table as Markdown."""
    head = ["object", "method", "volume Dice", *changes]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in table.to_dict("records"):
        by_change = ["" if np.isnan(row[change]) else f"{row[change]:+.3f}" for change in changes]
        lines.append("| " + " | ".join([row["name"], row["method"], f"{row['volume_dice']:.3f}", *by_change]) + " |")
    return "\n".join(lines)


def worst_of(table: pd.DataFrame, changes: Sequence[str]) -> str:
    """Return in a sentence how many changes lose too much, and which loses most."""
    lost = -table[list(changes)].to_numpy(float)
    known = int(np.isfinite(lost).sum())
    if not known:
        return "no object has room for the changes"
    row, column = np.unravel_index(np.nanargmax(lost), lost.shape)
    case = f"{table['name'].iloc[row]}, {table['method'].iloc[row]}, {changes[column]}"
    return (
        f"{int((lost >= MOST_LOST).sum())} of {known} lose {MOST_LOST} or more; most: {lost[row, column]:.3f} ({case})"
    )


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
