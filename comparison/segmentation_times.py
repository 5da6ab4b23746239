"""How long a slice takes: to prepare and encode it (set image), to turn its prompts into masks (predict), and both.

Times are of three kinds, which a table never mixes: of process_image.py --repeat N, every repetition, each slice's
warm-up left out; of a process that segmented many volumes, every slice but the first, which warms the model up; and of
processes that segmented one volume each, every slice but the first of each. Manifests (run_*.json) tell them apart;
for results without, --warm_up does. Results of process_video.py do not tell which slice came first, and are taken with
--warm_up none alone. Writes segmentation_times.csv, .pdf and .png.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT_ROOT))

from pose import cli, results
from pose.files.tables import as_text
from pose.results.result_series import Series, Subset, add_series_arguments, check_subsets, read_series, write_outputs

if TYPE_CHECKING:
    import pandas as pd

NAME = "segmentation_times"
TIMES = {"set_image_time": "set image", "predict_image_time": "predict", "process_image_time": "both"}
DATA_SET, IMAGE, MIXED = "one process for the data set", "one process per image", "processes of several volumes"
REPEATED, UNKNOWN = "each slice repeated", "all slices"
PRINTED = (
    "results",
    "subset",
    "device",
    "procedure",
    "time",
    "volumes",
    "n",
    "warm_ups_left_out",
    "mean",
    "std",
    "median",
)


@dataclass(frozen=True)
class VolumeTimes:
    """The times of one volume.

    Attributes:
        counted: columns image and :data:`TIMES`, a row per time taken; warm-ups are left out.
        left_out: how many rows were left out as warm-ups.
        repeat: how often each slice was repeated and counted; None for once.
        first_of_process: whether the model had not segmented anything before; None where nobody knows.
        setting: the model, device and precision, as the manifest names them.
    """

    counted: pd.DataFrame
    left_out: int
    repeat: int | None
    first_of_process: bool | None
    setting: tuple[str, str, str]


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_series_arguments(parser)
    parser.add_argument(
        "--warm_up",
        choices=("recorded", "data_set", "image", "none"),
        default="recorded",
        help="which slices warmed the model up: as the manifests say (default); the first of the first volume of each "
        "folder, in the order of names, where one process did them all; the first of each volume, where each had its "
        "own; or none",
    )
    parser.add_argument(
        "--log_scale", action="store_true", help="draw times on a logarithmic scale, to show a CPU beside a GPU"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Write the table and the plot; see ``--help``."""
    arguments = make_parser().parse_args(argv)
    cli.configure_logging()
    series = read_series(arguments.results_folder_path)
    check_subsets(arguments.subsets, series)
    rows: list[dict[str, Any]] = []
    for one in series:
        times = read_times(one, arguments.warm_up)
        for part in arguments.subsets:
            rows += rows_of(one, part, times, arguments.warm_up)
    table = table_of(rows)
    plot = partial(draw, rows, arguments.log_scale)
    written = write_outputs(arguments.output_folder_path, {NAME: table}, {NAME: plot})
    print(as_text(table[list(PRINTED)]))
    print("seconds a slice; warm-ups are left out of all figures")
    print(*written, sep="\n")
    return cli.EXIT_OK


def read_times(series: Series, warm_up: str) -> dict[str, VolumeTimes]:
    """Read the times of each image.

    Args:
        series: the results.
        warm_up: "recorded", "data_set", "image" or "none", see ``--help``; repetitions have theirs in any case.

    Raises:
        UserError: no slice has times, or it is not recorded where the warm-up is.
    """
    raw_data = series.raw_data
    folders = ", ".join(str(one.folder) for one in series.sets)
    if missing := [name for name in TIMES if name not in raw_data or raw_data[name].isna().all()]:
        raise cli.UserError(f"{folders}: no slice has a {missing[0]}: these results have no times")
    timed = raw_data.dropna(subset=list(TIMES))
    first_images = {
        next((image for image in one.volume_metrics.index if image in set(timed["image"])), None) for one in series.sets
    }
    found: dict[str, VolumeTimes] = {}
    for image, run in series.run_files().items():
        record = {} if run.run is None else results.read_manifest(run.run)
        setting = tuple(str(record.get(name) or "-") for name in ("model", "device", "precision"))
        timing = record.get("timing") or {}
        if not isinstance(timing, dict):
            raise cli.UserError(f"{run.run}: timing must be an object, got {timing!r:.60}")
        if run.times is not None:
            table = results.read_table(run.times, results.TIMES_COLUMNS)
            counted = table[table["repetition"] > 0]
            repeat = int(table["repetition"].max())
            first_of_process = None
        else:
            table = timed[timed["image"] == image]
            first_of_process = timing.get("first_of_process")
            if "method" in record and warm_up != "none":
                problem = "of process_video.py, which slice came first is not told; say --warm_up none"
                raise cli.UserError(f"{run.run}: {problem}")
            if warm_up == "recorded" and not isinstance(first_of_process, bool):
                raise cli.UserError(
                    f"{run.run or run.raw_data}: it is not recorded which slice warmed the model up; say --warm_up "
                    "data_set (one process did all volumes), image (each volume had its own) or none"
                )
            if warm_up != "recorded":
                first_of_process = {"data_set": image in first_images, "image": True, "none": None}[warm_up]
            counted, repeat = (table.iloc[1:] if first_of_process else table), None
        times = counted[list(TIMES)].assign(image=image)
        found[image] = VolumeTimes(times, len(table) - len(counted), repeat, first_of_process, setting)
    return found


def procedure_of(volumes: Sequence[VolumeTimes], warm_up: str) -> str:
    """Return in words how the times of a group of volumes were taken."""
    if volumes[0].repeat is not None:
        return f"{REPEATED} {volumes[0].repeat} times"
    if warm_up == "none":
        return UNKNOWN
    first = sum(bool(one.first_of_process) for one in volumes)
    return IMAGE if first == len(volumes) else DATA_SET if first <= 1 else MIXED


def rows_of(series: Series, subset: Subset, times: dict[str, VolumeTimes], warm_up: str) -> list[dict[str, Any]]:
    """Return a row for each time of a subset, and for each setting in it: names, counts, statistics and the values."""
    from pose.figures.box_plots import box_statistics

    groups: dict[tuple, list[VolumeTimes]] = {}
    for image, one in times.items():
        if subset.holds(image):
            groups.setdefault((*one.setting, one.repeat), []).append(one)
    rows = []
    for (model, device, precision, repeat), volumes in groups.items():
        for column, name in TIMES.items():
            values = np.concatenate([one.counted[column].to_numpy(dtype=np.float64) for one in volumes])
            if not np.isfinite(values).all():
                folders = ", ".join(str(one.folder) for one in series.sets)
                raise cli.UserError(f"{folders}: a {column} is missing or not finite")
            rows.append(
                {
                    "results": series.name,
                    "subset": subset.name,
                    "model": model,
                    "device": device,
                    "precision": precision,
                    "procedure": procedure_of(volumes, warm_up),
                    "repeat": repeat,
                    "time": name,
                    "volumes": len(volumes),
                    "warm_ups_left_out": sum(one.left_out for one in volumes),
                    **box_statistics(values),
                }
            )
    return rows


def table_of(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Return the statistics as a table; of outliers only their number."""
    import pandas as pd

    table = pd.DataFrame(
        {name: len(value) if name == "outliers" else value for name, value in row.items()} for row in rows
    )
    return table.astype({"repeat": "Int64"})


def labels_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return what is written below the boxes of one time: their names as far as they differ, and how many values."""
    labels = []
    several = len({row["subset"] for row in rows}) > 1
    for row in rows:
        alike = [other for other in rows if (other["results"], other["subset"]) == (row["results"], row["subset"])]
        differ = [name for name in ("model", "device", "precision", "repeat") if len({one[name] for one in alike}) > 1]
        told = [f"repeat {row[name] or '-'}" if name == "repeat" else row[name] for name in differ]
        labels.append("\n".join([row["results"], *([row["subset"]] if several else []), *told, f"n {row['n']}"]))
    return labels


def draw(rows: Sequence[dict[str, Any]], log_scale: bool, path: Path) -> list[Path]:
    """Draw a panel for each time of a slice, in each a box per set of results, subset and setting."""
    from pose.figures.box_plots import draw_boxes
    from pose.figures.plots import SERIES, add_caption, new_plot, save_plot

    names = list(dict.fromkeys(row["results"] for row in rows))
    shown = [name for name in TIMES.values() if name != "both"]
    boxes = len(rows) // len(TIMES)
    with new_plot(max(120.0, min(240.0, 24.0 + 2 * 18.0 * boxes)), 82.0) as figure:
        for axes, name in zip(figure.subplots(1, len(shown)), shown):
            here = [row for row in rows if row["time"] == name]
            colours = [SERIES[names.index(row["results"]) % len(SERIES)] for row in here]
            draw_boxes(axes, here, labels_of(here), colours)
            axes.tick_params(axis="x", labelsize=7)
            axes.grid(axis="y", color="#dddddd", linewidth=0.6)
            axes.set_axisbelow(True)
            axes.set_title(name, fontsize=9)
            axes.set_ylabel("seconds a slice")
            if log_scale:
                axes.set_yscale("log")
            else:
                axes.set_ylim(bottom=0)
        add_caption(figure, "line: median, diamond: mean; warm-ups left out")
        return save_plot(figure, path)


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
