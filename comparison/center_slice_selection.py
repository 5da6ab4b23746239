"""Where is the best slice to prompt? A metric against the place of the slice in its object, and that of chosen slices.

Takes results with a prompt on every slice, such as those of process_image.py. The place of a slice is 0 for the first
slice that holds the object and 1 for the last. For each volume the best slice is compared with those that
process_video.py prompts: the centre, the middle one of the masked slices (the later of two), and the largest, with most
ground-truth voxels (unknown where results do not count them, as the published ones). Volumes with fewer than three
masked slices, such as X-rays, have no places, and are left out and counted. Writes center_slice_selection.csv (by
place), center_slice_selection_volumes.csv (a row per volume), center_slice_selection.pdf and .png.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT_ROOT))

from pose import cli
from pose.files.tables import as_text
from pose.results.result_series import Series, add_series_arguments, read_series, write_outputs

if TYPE_CHECKING:
    import pandas as pd

NAME = "center_slice_selection"
METRICS = ("jaccard", "dice", "sam_score")
LABELS = {"jaccard": "Jaccard index", "dice": "Dice coefficient", "sam_score": "SAM score"}
LEAST_MASKED_SLICES = 3
CHOICES = ("best", "centre", "largest")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_series_arguments(parser, subsets=False)
    parser.add_argument("--metric", choices=METRICS, default="dice", help="what is compared (default: %(default)s)")
    parser.add_argument(
        "--bins",
        type=cli.positive_whole_number,
        default=20,
        metavar="N",
        help="parts into which the way from the first to the last slice is divided (default: %(default)s)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Write the tables and the plot; see ``--help``."""
    arguments = make_parser().parse_args(argv)
    cli.configure_logging()
    import pandas as pd

    placed, volumes = [], []
    for one in read_series(arguments.results_folder_path):
        slices, left_out = placed_slices(one, arguments.metric)
        if left_out:
            print(f"{one.name}: volumes left out with fewer than {LEAST_MASKED_SLICES} masked slices: {len(left_out)}")
        placed.append(slices.assign(results=one.name))
        volumes.append(choices_of_volumes(slices).assign(results=one.name))
    slices, choices = pd.concat(placed, ignore_index=True), pd.concat(volumes, ignore_index=True)
    curve = curve_of(slices, arguments.bins)
    choices = choices[["results", *(name for name in choices if name != "results")]]
    written = write_outputs(
        arguments.output_folder_path,
        {NAME: curve, f"{NAME}_volumes": choices},
        {NAME: partial(draw, curve, choices, arguments.metric)},
    )
    print(as_text(choices))
    for name, group in choices.groupby("results", sort=False):
        print(f"{name}: {summary_of(group, arguments.metric)}")
    print(*written, sep="\n")
    return cli.EXIT_OK


def placed_slices(series: Series, metric: str) -> tuple[pd.DataFrame, list[str]]:
    """Return the masked slices of a series with their places, and the images left out for having too few.

    A slice is masked where it has ground-truth voxels; of results that do not count them, where it has a Dice score. A
    masked slice without a value of the metric does not count.

    Returns:
        Columns image, slice, voxels (of ground truth, nan where unknown), place from 0 to 1, and value.

    Raises:
        UserError: no slice has a value of the metric, or no volume has enough slices.
    """
    import pandas as pd

    raw_data = series.raw_data
    folders = ", ".join(str(one.folder) for one in series.sets)
    if metric not in raw_data or raw_data[metric].isna().all():
        raise cli.UserError(f"{folders}: no slice has a {metric}")
    counted = raw_data.get("ground_truth_voxels", pd.Series(pd.NA, index=raw_data.index, dtype="Int64"))
    voxels = counted.astype("Float64").astype("float64")  # through a type that knows what is missing
    masked = (voxels > 0) | (voxels.isna() & raw_data["dice"].notna())
    table = pd.DataFrame(
        {
            "image": raw_data["image"],
            "slice": raw_data["slice"].astype("int64"),
            "voxels": voxels,
            "value": raw_data[metric],
        }
    )[masked]
    by_image = table.groupby("image")["slice"]
    enough = by_image.transform("size") >= LEAST_MASKED_SLICES
    first, last = by_image.transform("min"), by_image.transform("max")
    table = table.assign(place=(table["slice"] - first) / (last - first).where(enough, 1))
    placed = table[enough & table["value"].notna()]
    if placed.empty:
        raise cli.UserError(f"{folders}: no volume has {LEAST_MASKED_SLICES} masked slices with a {metric}")
    kept = set(placed["image"])
    return placed.reset_index(drop=True), [image for image in series.images if image not in kept]


def choices_of_volumes(slices: pd.DataFrame) -> pd.DataFrame:
    """Return a row per image: its masked slices, and slice, place and value of the best, the centre and the largest.

    Args:
        slices: what :func:`placed_slices` returns. Of equal values the slice nearest to the middle is the best.
    """
    import pandas as pd

    rows = []
    for image, volume in slices.groupby("image", sort=False):
        volume = volume.sort_values("slice", ignore_index=True)
        off_middle = (volume["place"] - 0.5).abs()
        ranked = volume.assign(off_middle=off_middle).sort_values(["value", "off_middle"], ascending=[False, True])
        best = ranked.index[0]
        chosen: dict[str, int | None] = {"best": best, "centre": len(volume) // 2, "largest": None}
        if volume["voxels"].notna().all():
            chosen["largest"] = int(volume["voxels"].idxmax())
        row: dict[str, Any] = {"image": image, "masked_slices": len(volume)}
        for how, index in chosen.items():
            found = (None,) * 3 if index is None else volume.loc[index, ["slice", "place", "value"]]
            row.update(zip((f"{how}_slice", f"{how}_place", f"{how}_value"), found))
        rows.append(row)
    table = pd.DataFrame(rows)
    kinds = {"slice": "Int64", "place": "float64", "value": "float64"}
    return table.astype({f"{how}_{what}": kind for how in CHOICES for what, kind in kinds.items()})


def curve_of(slices: pd.DataFrame, bins: int) -> pd.DataFrame:
    """Return the metric by place: a row per series and bin, with the slices and volumes in it, median, quartiles, mean.

    Bins are equally wide, hold their lower edge, and the last one its upper edge as well.
    """
    number = np.minimum((slices["place"] * bins).astype("int64"), bins - 1)
    groups = slices.groupby(["results", number.rename("bin")], sort=True)
    values = groups["value"]
    table = values.quantile([0.25, 0.5, 0.75]).unstack().set_axis(["q1", "median", "q3"], axis="columns")
    table.insert(0, "slices", values.size())
    table.insert(1, "volumes", groups["image"].nunique())
    table["mean"] = values.mean()
    table = table.reset_index()
    table.insert(1, "place_from", table["bin"] / bins)
    table.insert(2, "place_to", (table["bin"] + 1) / bins)
    order = {name: index for index, name in enumerate(slices["results"].unique())}
    table = table.drop(columns="bin")
    return table.sort_values("results", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def summary_of(choices: pd.DataFrame, metric: str) -> str:
    """Return in a sentence where the best slices of volumes are, and what prompting another slice costs."""
    best, places = choices["best_value"], choices["best_place"]
    q1, median, q3 = places.quantile([0.25, 0.5, 0.75])
    text = (
        f"the best slices of {len(choices)} volumes are at {median:.2f} of the way (quartiles {q1:.2f} to {q3:.2f}); "
        f"mean {metric} {best.mean():.4f} there, {choices['centre_value'].mean():.4f} on the centre slice"
    )
    if choices["largest_value"].isna().any():
        return f"{text}; the largest is not known of {choices['largest_value'].isna().sum()}"
    return f"{text}, {choices['largest_value'].mean():.4f} on the largest"


def draw(curve: pd.DataFrame, choices: pd.DataFrame, metric: str, path: Path) -> list[Path]:
    """Draw the median and the quartiles by place; below it where the best and the largest slice of each volume are."""
    from pose.figures.names import shown_name
    from pose.figures.plots import SERIES, add_caption, new_plot, save_plot

    names = list(curve["results"].unique())
    with new_plot(160.0, 90.0 + 9.0 * len(names)) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[70, 8 + 12 * len(names)])
        for index, name in enumerate(names):
            colour = SERIES[index % len(SERIES)]
            rows, volumes = curve[curve["results"] == name], choices[choices["results"] == name]
            middle = (rows["place_from"] + rows["place_to"]) / 2
            label = shown_name(f"{name}, {len(volumes)} volumes")
            above.plot(middle, rows["median"], color=colour, linewidth=1.6, label=label)
            above.fill_between(middle, rows["q1"], rows["q3"], color=colour, alpha=0.2, linewidth=0)
            for how, marker, aside in (("best", "o", -0.15), ("largest", "^", 0.15)):
                here = volumes[f"{how}_place"].dropna()
                style = {"color": colour, "markersize": 4.5, "alpha": 0.75, "markeredgewidth": 0}
                below.plot(here, np.full(len(here), index + aside), marker, **style)
        above.set_ylabel(LABELS[metric])
        above.legend(frameon=False, fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(len(names), 3))
        above.grid(color="#dddddd", linewidth=0.6)
        below.grid(axis="x", color="#dddddd", linewidth=0.6)
        for axes in (above, below):
            axes.axvline(0.5, color="#666666", linewidth=0.8, linestyle=":")
            axes.set_axisbelow(True)
        below.set_yticks(range(len(names)), map(shown_name, names), fontsize=7)
        below.set_ylim(len(names) - 0.5, -0.5)
        below.tick_params(axis="y", length=0)
        below.set_xlim(-0.02, 1.02)
        below.set_xlabel("place of the slice: 0 first, 1 last that holds the object")
        add_caption(
            figure, "above: median and quartiles; below: best (circle) and largest (triangle) slice of each volume"
        )
        return save_plot(figure, path)


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
