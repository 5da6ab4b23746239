"""Compare sets of results, such as SAM and SAM 2, by box plots of each metric, for all images and for each data set.

Nothing is dropped: a slice of the object on which nothing was found has a score of 0, stays in its box and is counted
below it; an infinite distance is counted below it, too, as no box can hold it; so are volumes that failed and have no
score. A slice with neither ground truth nor prediction has no score, and its number is in the table. Writes
comparison_boxplot.csv (the statistics of every box), comparison_boxplot_outliers.csv (image, slice and value of what
lies beyond the whiskers) and comparison_boxplot.pdf and .png.
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
from pose.results.result_series import Series, Subset, add_series_arguments, check_subsets, read_series, write_outputs

if TYPE_CHECKING:
    import pandas as pd

NAME = "comparison_boxplot"
METRICS = ("jaccard", "dice")
LABELS = {
    "jaccard": "Jaccard index",
    "dice": "Dice coefficient",
    "sam_score": "SAM score",
    "hd95_mm": "95 % Hausdorff, mm",
    "volume_jaccard": "Jaccard of volume",
    "volume_dice": "Dice of volume",
    "volume_hd95_mm": "95 % Hausdorff of volume, mm",
}
ROW_MM, MARGIN_MM = 62.0, 12.0
PRINTED = (
    "metric",
    "subset",
    "results",
    "volumes",
    "failed_volumes",
    "n",
    "zero",
    "infinite",
    "q1",
    "median",
    "q3",
    "mean",
)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_series_arguments(parser)
    parser.add_argument(
        "--metrics",
        nargs="+",
        default=METRICS,
        metavar="METRIC",
        help="columns of raw_data (a value per slice), or metrics of a whole volume such as volume_dice "
        f"(default: {' '.join(METRICS)})",
    )
    parser.add_argument(
        "--name", default=NAME, metavar="NAME", help="what the names of the files begin with (default: %(default)s)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Write tables and the plot; see ``--help``."""
    arguments = make_parser().parse_args(argv)
    cli.configure_logging()
    series = read_series(arguments.results_folder_path)
    check_subsets(arguments.subsets, series)
    boxes = [
        make_box(one, part, metric) for metric in arguments.metrics for part in arguments.subsets for one in series
    ]
    table, outliers = tables_of(boxes)
    plot = partial(draw, boxes, len(arguments.metrics), len(arguments.subsets))
    name = arguments.name
    written = write_outputs(arguments.output_folder_path, {name: table, f"{name}_outliers": outliers}, {name: plot})
    print(as_text(table[list(PRINTED)]))
    for one in series:
        for image, reason in one.failures.items():
            print(f"failed in {one.name}: {image}: {reason}")
    print(*written, sep="\n")
    return cli.EXIT_OK


def values_of(series: Series, metric: str) -> pd.DataFrame:
    """Return columns image, slice and value: a row per slice, or per volume (without a slice) for its metrics.

    Raises:
        UserError: the results have no such metric.
    """
    import pandas as pd

    raw_data, volumes = series.raw_data, series.volume_metrics
    if metric in raw_data and metric not in ("image", "slice"):
        values = raw_data[["image", "slice"]].assign(value=raw_data[metric].astype("float64"))
    elif metric in volumes:
        values = pd.DataFrame(
            {
                "image": list(volumes.index),
                "slice": pd.array([None] * len(volumes), dtype="Int64"),
                "value": volumes[metric].to_numpy(dtype=np.float64),
            }
        )
    else:
        known = [name for name in (*raw_data, *volumes) if name not in ("image", "slice")]
        folders = ", ".join(str(one.folder) for one in series.sets)
        raise cli.UserError(f"--metrics {metric}: not in {folders}; there are {', '.join(known)}")
    return values


def make_box(series: Series, subset: Subset, metric: str) -> dict[str, Any]:
    """Return one box: its names, counts and statistics, and a table of its outliers.

    Returns:
        "metric", "subset", "results"; "volumes" and "failed_volumes"; "undefined" (values missing), "zero" and
        "infinite" values; what :func:`pose.figures.box_plots.box_statistics` tells of the finite ones; and
        "outlier_rows".
    """
    from pose.figures.box_plots import box_statistics

    values = values_of(series, metric)
    values = values[[subset.holds(image) for image in values["image"]]]
    known = values[values["value"].notna()]
    finite = known[np.isfinite(known["value"])]
    box = box_statistics(finite["value"].to_numpy())
    beyond = finite[(finite["value"] < box["whisker_low"]) | (finite["value"] > box["whisker_high"])]
    names = {"metric": metric, "subset": subset.name, "results": series.name}
    return {
        **names,
        "volumes": values["image"].nunique(),
        "failed_volumes": sum(map(subset.holds, series.failures)),
        "undefined": len(values) - len(known),
        "zero": int((finite["value"] == 0).sum()),
        "infinite": len(known) - len(finite),
        **box,
        "outlier_rows": beyond.assign(**names),
    }


def tables_of(boxes: Sequence[dict[str, Any]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the statistics, a row per box, and the outliers of all boxes, a row each."""
    import pandas as pd

    rows = [
        {name: len(value) if name == "outliers" else value for name, value in box.items() if name != "outlier_rows"}
        for box in boxes
    ]
    outliers = [box["outlier_rows"] for box in boxes if len(box["outlier_rows"])]
    columns = ["metric", "subset", "results", "image", "slice", "value"]
    empty = pd.DataFrame(columns=columns)
    return pd.DataFrame(rows), pd.concat(outliers)[columns].reset_index(drop=True) if outliers else empty


def draw(boxes: Sequence[dict[str, Any]], metrics: int, subsets: int, path: Path) -> list[Path]:
    """Draw a row of panels per metric and a column per subset, in each a box per set of results."""
    from pose.figures.box_plots import draw_boxes
    from pose.figures.names import shown_name
    from pose.figures.plots import SERIES, add_caption, new_plot, save_plot

    names = list(dict.fromkeys(box["results"] for box in boxes))
    width = max(80.0, min(240.0, MARGIN_MM + subsets * max(46.0, 17.0 * len(names))))
    with new_plot(width, MARGIN_MM + ROW_MM * metrics) as figure:
        panels = figure.subplots(metrics, subsets, sharey="row", squeeze=False)
        for index, axes in enumerate(panels.flat):
            here = boxes[index * len(names) : (index + 1) * len(names)]
            metric, counted = here[0]["metric"], "inf" if here[0]["metric"].endswith("_mm") else "zero"
            score = not metric.endswith(("_mm", "_voxels", "_time"))
            colours = [SERIES[place % len(SERIES)] for place in range(len(names))]
            draw_boxes(axes, here, [label_of(box, counted) for box in here], colours, 0.0 if score else None)
            axes.tick_params(axis="x", labelsize=7)
            axes.grid(axis="y", color="#dddddd", linewidth=0.6)
            axes.set_axisbelow(True)
            if index < subsets:
                axes.set_title(shown_name(here[0]["subset"]), fontsize=9)
            if index % subsets == 0:
                axes.set_ylabel(shown_name(LABELS.get(metric, metric)))
        add_caption(figure, "line: median, diamond: mean, cross: score of 0, inf: infinite distance")
        return save_plot(figure, path)


def label_of(box: dict[str, Any], counted: str) -> str:
    """Return what is written below a box: its name, how many values it holds, and how many failed."""
    bad = box["infinite"] if counted == "inf" else box["zero"]
    lines = [box["results"], f"n {box['n'] + box['infinite']}", f"{bad} {counted}"]
    return "\n".join([*lines, f"{box['failed_volumes']} failed"] if box["failed_volumes"] else lines)


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
