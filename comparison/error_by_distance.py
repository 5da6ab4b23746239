"""How far does one prompt reach? Dice against the distance in mm from the prompted slice, per volume and for all.

The prompted slices are those of sam_prompts_*.json, the distance between slices that of run_*.json; for results without
them, as the published ones, --prompted_slice and --slice_spacing_mm tell them. A slice belongs to the prompted slice
that is nearest to it, whichever object that was prompted for. Every slice that has a score counts: one on which the
object was missed with 0, and so does one beyond the object on which something is predicted (false_positive_slices in
the tables). Volumes that have no distance are left out and counted: those without ground truth, with a prompt on every
slice, or whose masks came from a seed slice of another volume. Intervals are bootstrap ones that draw whole volumes, as
slices of one are not independent.

Writes error_by_distance.csv (bins of the distance), error_by_distance_signed.csv (with its sign: positive towards
higher slice numbers), error_by_distance_volumes.csv (bins of each volume), and plots of the first two as .pdf and .png.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT_ROOT))

from pose import cli, results
from pose.files.tables import as_text
from pose.results.result_series import Series, add_series_arguments, read_series, write_outputs
from pose.scores.statistics import mean_interval

if TYPE_CHECKING:
    import pandas as pd

NAME = "error_by_distance"
LABELS = {"dice": "Dice coefficient", "jaccard": "Jaccard index"}
SEEDED = "its masks came from a seed slice of another volume"
ALL_PROMPTED = "every slice with a score was prompted"
NO_SCORES, NO_OBJECT = "no slice has a score", "no slice holds the object, to take --prompted_slice from"


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_series_arguments(parser, subsets=False)
    parser.add_argument("--metric", choices=tuple(LABELS), default="dice", help="the score (default: %(default)s)")
    parser.add_argument(
        "--bin_mm", type=cli.positive_number, default=10.0, metavar="MM", help="width of a bin (default: %(default)g)"
    )
    parser.add_argument(
        "--slice_spacing_mm",
        type=cli.positive_number,
        metavar="MM",
        help="distance between slices of volumes whose results do not tell it",
    )
    parser.add_argument(
        "--prompted_slice",
        type=cli.prompt_slice,
        metavar="SLICE",
        help="prompted slice of volumes whose results do not tell it: centre, largest, or an index",
    )
    parser.add_argument(
        "--reach_score",
        type=cli.share,
        default=0.9,
        metavar="SCORE",
        help="a prompt reaches as far as the median score of every bin is at least this (default: %(default)s)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Write the tables and the plots; see ``--help``."""
    arguments = make_parser().parse_args(argv)
    cli.configure_logging()
    import pandas as pd

    parts = []
    for one in read_series(arguments.results_folder_path):
        slices, left_out = distances_of_series(
            one, arguments.metric, arguments.slice_spacing_mm, arguments.prompted_slice
        )
        for reason in sorted(set(left_out.values())):
            images = [image for image, why in left_out.items() if why == reason]
            print(f"{one.name}: {len(images)} of {len(one.images)} volumes left out, {reason}: {', '.join(images)}")
        parts.append(slices.assign(results=one.name))
    slices = pd.concat(parts, ignore_index=True)
    absolute = slices.assign(distance_mm=slices["distance_mm"].abs())
    pooled, signed = (binned(table, arguments.bin_mm, ["results"]) for table in (absolute, slices))
    per_volume = binned(absolute, arguments.bin_mm, ["results", "image"])
    signed_per_volume = binned(slices, arguments.bin_mm, ["results", "image"])
    written = write_outputs(
        arguments.output_folder_path,
        {NAME: pooled, f"{NAME}_signed": signed, f"{NAME}_volumes": per_volume},
        {
            NAME: partial(draw, pooled, per_volume, arguments.metric),
            f"{NAME}_signed": partial(draw, signed, signed_per_volume, arguments.metric),
        },
    )
    print(as_text(pooled))
    for name, group in pooled.groupby("results", sort=False):
        print(f"{name}: {reach_of(group, arguments.metric, arguments.reach_score)}")
    print(*written, sep="\n")
    return cli.EXIT_OK


def distances_of_series(
    series: Series, metric: str = "dice", slice_spacing_mm: float | None = None, prompted_slice: str | int | None = None
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the slices that have a score, with their distance from the prompt, and why images are left out.

    Args:
        series: the results.
        metric: the column of raw_data that holds the score.
        slice_spacing_mm: distance between slices where the results do not tell it.
        prompted_slice: "centre", "largest" or an index where the results do not tell it.

    Returns:
        Columns image, slice, distance_mm (positive towards higher slice numbers), value, and false_positive (True where
        nothing is true on the slice; False where that is unknown).

    Raises:
        UserError: something is not told and not given, or no volume is left.
    """
    import pandas as pd

    raw_data = series.raw_data
    parts: list[pd.DataFrame] = []
    left_out: dict[str, str] = {}
    for image, run in series.run_files().items():
        volume = raw_data[raw_data["image"] == image].sort_values("slice", ignore_index=True)
        volume = volume[volume[metric].notna()]
        record = {} if run.run is None else results.read_manifest(run.run)
        if record.get("seed") is not None:
            left_out[image] = SEEDED
            continue
        if volume.empty:
            left_out[image] = NO_SCORES
            continue
        prompted = prompted_slices_of(run, volume, prompted_slice)
        if not prompted or volume["slice"].isin(prompted).all():
            left_out[image] = ALL_PROMPTED if prompted else NO_OBJECT
            continue
        spacing_mm = slice_spacing_of(run, record, slice_spacing_mm)
        slice_indices = volume["slice"].to_numpy(dtype=np.int64)
        truth = volume.get("ground_truth_voxels", pd.Series(pd.NA, index=volume.index, dtype="Int64"))
        parts.append(
            pd.DataFrame(
                {
                    "image": image,
                    "slice": slice_indices,
                    "distance_mm": signed_distances(slice_indices, prompted, spacing_mm),
                    "value": volume[metric].to_numpy(dtype=np.float64),
                    "false_positive": truth.eq(0).fillna(False).to_numpy(dtype=bool),
                }
            )
        )
    if not parts:
        folders = ", ".join(str(one.folder) for one in series.sets)
        image, reason = next(iter(left_out.items()))
        raise cli.UserError(f"{folders}: no volume has a distance from its prompt; {image}: {reason}")
    return pd.concat(parts, ignore_index=True), left_out


def prompted_slices_of(run: results.RunFiles, volume: pd.DataFrame, otherwise: str | int | None) -> list[int]:
    """Return the prompted slices of a run, or of one that does not tell them what ``otherwise`` says, if it is there.

    Args:
        run: its files.
        volume: the rows of raw_data that have a score, in the order of slices.
        otherwise: "centre", "largest" or an index; None if the user gave none.

    Raises:
        UserError: they are neither told nor given, or the slice asked for is not there.
    """
    if run.sam_prompts is not None:
        prompts = results.read_manifest(run.sam_prompts).get("prompts")
        slices = [one.get("slice") if isinstance(one, dict) else None for one in prompts or ()]
        if not slices or not all(type(one) is int and one >= 0 for one in slices):
            problem = f"prompts must be a list with the 'slice' of each, got {prompts!r:.60}"
            raise cli.UserError(f"{run.sam_prompts}: {problem}")
        return sorted(set(slices))
    if otherwise is None:
        problem = "no sam_prompts_*.json tells the prompted slice; say --prompted_slice centre"
        raise cli.UserError(f"{run.raw_data}: {problem}")
    if isinstance(otherwise, int):
        if otherwise not in set(volume["slice"]):
            raise cli.UserError(f"{run.raw_data}: slice {otherwise} (--prompted_slice) has no score")
        return [otherwise]
    voxels = volume.get("ground_truth_voxels")
    masked = volume if voxels is None or voxels.isna().any() else volume[voxels > 0]
    if otherwise == "largest":
        if voxels is None or voxels.isna().any():
            raise cli.UserError(f"{run.raw_data}: has no ground_truth_voxels to tell --prompted_slice largest by")
        return [int(volume.loc[voxels.idxmax(), "slice"])]
    return [int(masked["slice"].iloc[len(masked) // 2])] if len(masked) else []


def slice_spacing_of(run: results.RunFiles, record: dict, otherwise: float | None) -> float:
    """Return the distance between slices in mm, from the manifest ``record`` of a run or else as given.

    Raises:
        UserError: it is neither told nor given, or the manifest has something else in its place.
    """
    image = record.get("image")
    spacing = image.get("spacing_mm") if isinstance(image, dict) else None
    if spacing is None:
        if otherwise is None:
            place = run.run or run.raw_data
            raise cli.UserError(f"{place}: the distance between slices is not told; say --slice_spacing_mm MM")
        return otherwise
    if not (isinstance(spacing, list) and len(spacing) == 3 and type(spacing[2]) in (int, float) and spacing[2] > 0):
        raise cli.UserError(f"{run.run}: image.spacing_mm must be three numbers above 0, got {spacing!r:.60}")
    return float(spacing[2])


def signed_distances(slices: np.ndarray, prompted: Sequence[int], spacing_mm: float) -> np.ndarray:
    """Return the way in mm from the nearest of the ``prompted`` slices to each of (n,) slices; of two the
    lower one's.
    """
    away = slices[:, None] - np.sort(np.asarray(prompted))[None, :]
    nearest = np.abs(away).argmin(axis=1)
    return away[np.arange(len(slices)), nearest] * spacing_mm


def binned(slices: pd.DataFrame, bin_mm: float, by: Sequence[str]) -> pd.DataFrame:
    """Return statistics of the scores by distance, for each group of the columns ``by``.

    The prompted slice has a bin of its own; the others hold their far end, such as above 0 to 10 mm.

    Returns:
        Those columns, from_mm, to_mm, slices, volumes, false_positive_slices, q1, median, q3, mean and, for groups that
        hold volumes, mean_low and mean_high: the 95 % bootstrap interval of the mean, drawing volumes; nan for fewer
        than two.
    """
    import pandas as pd

    distance = slices["distance_mm"]
    # a hair less, so that 3 slices of 0.1 mm end in the bin of 0.3 mm
    number = (np.sign(distance) * np.ceil(distance.abs() / bin_mm - 1e-9)).astype("int64")
    rows = []
    for key, group in slices.assign(bin=number).groupby([*by, "bin"], sort=False):
        place, values = key[-1], group["value"]
        ends = sorted((place - np.sign(place), place))
        row = {
            **dict(zip(by, key)),
            "bin": place,
            "from_mm": ends[0] * bin_mm,
            "to_mm": ends[1] * bin_mm,
            "slices": len(group),
            "volumes": group["image"].nunique(),
            "false_positive_slices": int(group["false_positive"].sum()),
            **dict(zip(("q1", "median", "q3"), values.quantile([0.25, 0.5, 0.75]))),
            "mean": values.mean(),
        }
        if "image" not in by:
            row["mean_low"], row["mean_high"] = mean_interval(values.to_numpy(), group["image"].to_numpy())
        rows.append(row)
    order = {key: index for index, key in enumerate(slices.groupby(list(by), sort=False).groups)}
    rows.sort(key=lambda row: (order[tuple(row[name] for name in by) if len(by) > 1 else row[by[0]]], row["bin"]))
    return pd.DataFrame(rows).drop(columns="bin")


def reach_of(bins: pd.DataFrame, metric: str, score: float) -> str:
    """Return in a sentence how far the median score is at least ``score`` in every bin."""
    below = np.flatnonzero(bins["median"] < score)
    if not len(below):
        return f"the median {metric} is at least {score:g} in every bin, up to {bins['to_mm'].max():g} mm"
    if below[0] == 0:
        return f"the median {metric} is less than {score:g} in the bin nearest to the prompt already"
    reach = bins["to_mm"].iloc[below[0] - 1]
    near = f"the median {metric} is at least {score:g} up to {reach:g} mm from the prompted slice"
    return f"{near}, and less in the next bin"


def draw(bins: pd.DataFrame, per_volume: pd.DataFrame, metric: str, path: Path) -> list[Path]:
    """Draw the scores by distance, with each volume as a thin line, and below them how many volumes a bin holds."""
    from pose.figures.names import shown_name
    from pose.figures.plots import SERIES, add_caption, new_plot, save_plot

    with new_plot(160.0, 110.0) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        for index, name in enumerate(bins["results"].unique()):
            colour = SERIES[index % len(SERIES)]
            for _, volume in per_volume[per_volume["results"] == name].groupby("image"):
                above.plot(_middles(volume), volume["median"], color=colour, linewidth=0.5, alpha=0.35, zorder=1)
            rows = bins[bins["results"] == name]
            middle = _middles(rows)
            above.fill_between(middle, rows["q1"], rows["q3"], color=colour, alpha=0.18, linewidth=0, zorder=2)
            above.plot(middle, rows["median"], color=colour, linewidth=1.8, label=shown_name(name), zorder=4)
            ends = np.array([rows["mean"] - rows["mean_low"], rows["mean_high"] - rows["mean"]]).clip(min=0)
            style = {"fmt": "D", "markersize": 3, "markerfacecolor": "white", "elinewidth": 0.9, "capsize": 2}
            above.errorbar(middle, rows["mean"], ends, color=colour, zorder=3, **style)
            below.step(middle, rows["volumes"], where="mid", color=colour, linewidth=1.2)
        above.set_ylabel(LABELS[metric])
        above.legend(frameon=False, fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
        above.set_ylim(top=1.02)
        below.set_ylabel("volumes")
        below.set_ylim(bottom=0)
        below.yaxis.get_major_locator().set_params(integer=True)
        for axes in (above, below):
            axes.grid(color="#dddddd", linewidth=0.6)
            axes.set_axisbelow(True)
        signed = bins["from_mm"].min() < 0
        side = " (positive: towards higher slice numbers)" if signed else ""
        below.set_xlabel(f"distance from the prompted slice, mm{side}")
        add_caption(
            figure,
            "thick: median and quartiles of slices; thin: medians of volumes; "
            "diamonds: mean, 95 % interval over volumes",
        )
        return save_plot(figure, path)


def _middles(bins: pd.DataFrame) -> np.ndarray:
    return ((bins["from_mm"] + bins["to_mm"]) / 2).to_numpy()


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
