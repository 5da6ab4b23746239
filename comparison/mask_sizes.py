"""Tell how large the masks are on the slices of each volume, and how a metric depends on it.

Sizes come from results (ground truth and prediction of each slice), in voxels, and in square millimetres where the
manifest of a run knows the spacing, or from mask files. Slices without a mask do not count. Spearman's rank
correlation and the quartiles of the metric in each tenth of the sizes tell whether small masks are segmented worse.
Writes mask_sizes.csv, .pdf and .png, and with results mask_sizes_metric.csv.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT_ROOT))

from pose import cli, results
from pose.files.atomic import failure_named, write_all_atomically
from pose.scores.statistics import describe, quartiles

if TYPE_CHECKING:
    import pandas as pd

TENTHS = 10
MOST_NAMED = 60  # volumes with a box each; of more, each data set has one
FROM_FILES = "mask files"
STATISTICS = ("n", "min", "q1", "median", "q3", "max", "avg", "std")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "-r",
        "--results_folder_path",
        type=cli.named_folder,
        nargs="+",
        default=[],
        metavar="NAME=FOLDER",
        help="folders that hold a folder of results for each volume, one for each data set",
    )
    parser.add_argument(
        "-m",
        "--masks_file_path",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="mask files: .nii, .nii.gz, or working data (.npz, .npy)",
    )
    parser.add_argument(
        "--labels",
        type=cli.whole_number,
        nargs="+",
        metavar="LABEL",
        help="labels of the mask files that count as the object (default: all)",
    )
    parser.add_argument("--metric", default="dice", metavar="METRIC", help="column of raw_data (default: %(default)s)")
    cli.add_output_argument(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write the tables and the plot, print them; see ``--help``."""
    arguments = make_parser().parse_args(argv)
    import pandas as pd

    from pose.figures.plots import new_plot, save_plot
    from pose.files.tables import as_text

    cli.configure_logging()
    names = [name for name, _ in arguments.results_folder_path] + [FROM_FILES] * bool(arguments.masks_file_path)
    if not names:
        raise cli.UserError("give --results_folder_path, --masks_file_path, or both")
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        raise cli.UserError(f"--results_folder_path: two sets are called {twice}; give NAME=FOLDER")
    parts = [slices_of_results(name, folder, arguments.metric) for name, folder in arguments.results_folder_path]
    if arguments.masks_file_path:
        parts.append(slices_of_files(arguments.masks_file_path, arguments.labels))
    slices = pd.concat(parts, ignore_index=True)
    if not (slices["voxels"] > 0).any():
        raise cli.UserError(f"{', '.join(names)}: no slice has a mask")
    files = {"mask_sizes.csv": size_table(slices)}
    if arguments.results_folder_path:
        files["mask_sizes_metric.csv"] = metric_table(slices, arguments.metric)
    folder = arguments.output_folder_path
    with failure_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    images = slices[["data_set", "image"]].drop_duplicates()
    with new_plot(160, max(70, 25 + 5 * len(images) if len(images) <= MOST_NAMED else 0)) as figure:
        draw(figure, slices, arguments.metric)
        pictures = save_plot(figure, folder / "mask_sizes")
    write_all_atomically((folder / name, partial(results.write_table, table=table)) for name, table in files.items())
    for table in files.values():
        print(as_text(table))
        print()
    for path in (*(folder / name for name in files), *pictures):
        print(path)
    return cli.EXIT_OK


def slices_of_results(name: str, folder: Path, metric: str) -> pd.DataFrame:
    """Return a row for each slice and mask: data_set, image, slice, mask, voxels, mm2 and value, the slice's metric.

    Raises:
        UserError: the results do not tell voxels, or lack the metric.
    """
    import pandas as pd

    from pose.results.result_set import read_result_set

    raw_data = read_result_set(folder).raw_data
    if metric not in raw_data or metric == "image":
        raise cli.UserError(f"{folder}: has no metric {metric}; its columns are {', '.join(raw_data.columns[2:])}")
    masks = {"ground truth": "ground_truth_voxels", "prediction": "predicted_voxels"}
    masks = {mask: column for mask, column in masks.items() if column in raw_data and raw_data[column].notna().any()}
    if not masks:
        raise cli.UserError(
            f"{folder}: its raw_data has no ground_truth_voxels and no predicted_voxels (published results have none); "
            "give the mask files with --masks_file_path"
        )
    area = raw_data["image"].map({image: pixel_area(folder / image) for image in raw_data["image"].unique()})
    value = raw_data[metric].astype("float64")
    parts = [
        raw_data[["image", "slice"]].assign(
            data_set=name,
            mask=mask,
            voxels=raw_data[column],
            mm2=raw_data[column].astype("float64") * area,
            value=value,
        )
        for mask, column in masks.items()
    ]
    return pd.concat(parts, ignore_index=True)


def pixel_area(folder: Path) -> float:
    """Return the area of a pixel of the newest run in ``folder`` in mm2; nan where its manifest does not know."""
    run = results.newest_run(folder)
    if run is None or run.run is None:
        return math.nan
    image = results.read_manifest(run.run).get("image")
    spacing = image.get("spacing_mm") if isinstance(image, dict) else None
    if spacing is None:
        return math.nan
    if not isinstance(spacing, list) or len(spacing) < 2 or not all(isinstance(one, (int, float)) for one in spacing):
        raise cli.UserError(f"{run.run}: image.spacing_mm must be a list of distances, got {spacing!r:.60}")
    return float(spacing[0] * spacing[1])


def slices_of_files(paths: Sequence[Path], labels: Sequence[int] | None) -> pd.DataFrame:
    """Return the rows of :func:`slices_of_results` for mask files, without a metric.

    Raises:
        UserError: a file cannot be read, or two have the same name.
    """
    import pandas as pd

    from pose.scans.volume import read_volume, stem_of

    parts: dict[str, pd.DataFrame] = {}
    for path in paths:
        volume = read_volume(path)
        slices = np.moveaxis(volume.voxels, 2, 0)
        counts = [np.count_nonzero(part if labels is None else np.isin(part, labels)) for part in slices]
        area = math.nan if volume.spacing_mm is None else float(volume.spacing_mm[0] * volume.spacing_mm[1])
        if stem_of(path) in parts:
            raise cli.UserError(f"{path}: has the same name as another of --masks_file_path")
        table = pd.DataFrame({"slice": pd.array(range(len(counts)), "Int64"), "voxels": pd.array(counts, "Int64")})
        mm2 = table["voxels"].astype("float64") * area
        parts[stem_of(path)] = table.assign(
            data_set=FROM_FILES, image=stem_of(path), mask="ground truth", mm2=mm2, value=math.nan
        )
    return pd.concat(parts.values(), ignore_index=True)


def size_table(slices: pd.DataFrame) -> pd.DataFrame:
    """Return statistics of the sizes that are not 0: a row for each volume and mask, and for each data set and mask."""
    import pandas as pd

    rows = []
    for (data_set, mask), part in slices[slices["voxels"] > 0].groupby(["data_set", "mask"], sort=False):
        for image, group in (*part.groupby("image", sort=False), ("all", part)):
            row = {"image": image, "data_set": data_set, "mask": mask}
            for unit in ("voxels", "mm2"):
                found = describe(group[unit].to_numpy(dtype=np.float64))
                names = STATISTICS if unit == "voxels" else STATISTICS[1:]
                row.update({(name if name == "n" else f"{unit}_{name}"): found[name] for name in names})
            rows.append(row)
    table = pd.DataFrame(rows)
    return table.drop(columns=[name for name in table if name.startswith("mm2_") and table[name].isna().all()])


def metric_table(slices: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return how the metric depends on the size of the ground truth, or of the prediction where there is none.

    Returns:
        For each data set a row "all", with Spearman's rank correlation of metric and size, and one for each tenth of
        the slices by size: voxels_from, voxels_to, n, and q1, median and q3 of the metric.
    """
    import pandas as pd
    from scipy import stats

    rows = []
    for data_set, part in with_value(slices).groupby("data_set", sort=False):
        part = part.sort_values("voxels", kind="stable")
        varies = part["voxels"].nunique() > 1 and part["value"].nunique() > 1
        rho = float(stats.spearmanr(part["voxels"].astype("float64"), part["value"]).statistic) if varies else math.nan
        places = [place for place in np.array_split(np.arange(len(part)), TENTHS) if len(place)]
        for number, place in enumerate([np.arange(len(part)), *places]):
            group = part.iloc[place]
            rows.append(
                {
                    "tenth": str(number) if number else "all",
                    "data_set": data_set,
                    "metric": metric,
                    "voxels_from": int(group["voxels"].iloc[0]),
                    "voxels_to": int(group["voxels"].iloc[-1]),
                    "n": len(group),
                    **quartiles(group["value"].to_numpy()),
                    "spearman": math.nan if number else rho,
                }
            )
    columns = ["tenth", "data_set", "metric", "voxels_from", "voxels_to", "n", "q1", "median", "q3", "spearman"]
    return pd.DataFrame(rows, columns=columns)


def with_value(slices: pd.DataFrame) -> pd.DataFrame:
    """Return the slices that have both a size and a metric: one row each, of the ground truth where a set has it."""
    known = slices[(slices["voxels"] > 0) & slices["value"].notna()]
    has_truth = known["data_set"].isin(known.loc[known["mask"] == "ground truth", "data_set"])
    return known[(known["mask"] == "ground truth") | ~has_truth]


def draw(figure: Any, slices: pd.DataFrame, metric: str) -> None:
    """Draw the sizes in each volume as boxes and, where there is a metric, the metric of each slice over its size."""
    from matplotlib.ticker import EngFormatter

    from pose.figures.names import shown_name
    from pose.figures.plots import SERIES

    masked = slices[slices["voxels"] > 0]
    has_truth = masked["data_set"].isin(masked.loc[masked["mask"] == "ground truth", "data_set"])
    masked = masked[(masked["mask"] == "ground truth") | ~has_truth]
    unit, label = ("voxels", "voxels on a slice") if masked["mm2"].isna().any() else ("mm2", "mm² on a slice")
    colours = {name: SERIES[number % len(SERIES)] for number, name in enumerate(slices["data_set"].unique())}
    scored = with_value(slices)
    boxes, *rest = np.atleast_1d(figure.subplots(1, 1 if scored.empty else 2))
    groups = list(masked.groupby(["data_set", "image"], sort=False))
    if len(groups) > MOST_NAMED:
        groups = [((name, name), group) for name, group in masked.groupby("data_set", sort=False)]
    drawn = boxes.boxplot(
        [group[unit].to_numpy(dtype=np.float64) for _, group in groups],
        orientation="horizontal",
        widths=0.6,
        patch_artist=True,
        flierprops={"marker": ".", "markersize": 2},
        medianprops={"color": "black"},
    )
    for ((data_set, _), _), box in zip(groups, drawn["boxes"], strict=True):
        box.set(facecolor=colours[data_set], alpha=0.75)
    boxes.set_yticks(range(1, len(groups) + 1), [shown_name(image) for (_, image), _ in groups])
    boxes.invert_yaxis()
    boxes.xaxis.set_major_formatter(EngFormatter(sep=""))
    boxes.locator_params(axis="x", nbins=5)
    boxes.set_xlabel(label)
    for axes in rest:
        for data_set, part in scored.groupby("data_set", sort=False):
            sizes = part[unit].to_numpy(dtype=np.float64)
            axes.scatter(sizes, part["value"], s=5, color=colours[data_set], alpha=0.35, linewidths=0)
            values = part["value"].to_numpy()
            tenths = [place for place in np.array_split(np.argsort(sizes, kind="stable"), TENTHS) if len(place)]
            middle = [(np.median(sizes[place]), np.median(values[place])) for place in tenths]
            axes.plot(
                *zip(*middle, strict=True),
                "o-",
                color=colours[data_set],
                markersize=4,
                label=shown_name(data_set),
                markeredgecolor="black",
                markeredgewidth=0.5,
            )
        axes.set_xscale("log")
        axes.set_xlabel(label)
        axes.set_ylabel(shown_name(f"{metric}; line: median of each tenth"))
    if len(colours) > 1:
        from matplotlib.patches import Patch

        handles = [Patch(facecolor=colour, label=shown_name(name)) for name, colour in colours.items()]
        figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
