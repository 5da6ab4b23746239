#!/usr/bin/env python3
"""Put the metrics of several results folders side by side: a table per data set and, if asked for, one per volume.

Statistics are those of join_results.py: over the slices of all volumes that have a value, n of them. A volume that the
seed slice of a data set came from is left out of all folders, so that they are compared on the same volumes. Writes
NAME.csv and NAME.tex; with --per_volume also NAME_volumes.csv, and a plot as NAME_volumes.pdf and .png.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose import cli, results
from pose.files.tables import as_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from pose.results.result_set import ResultSet

ALL = "all"
STATISTICS = ("min", "max", "avg", "std", "n")
METRICS = ("jaccard", "dice", "sam_score")
IMAGE_PREFIX = "image_"


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "-r",
        "--results_folder_path",
        type=cli.named_folder,
        nargs="+",
        required=True,
        metavar="NAME=FOLDER",
        help="folders that hold a folder of results for each volume, with the names that they have in the table",
    )
    parser.add_argument(
        "--data_sets",
        nargs="+",
        default=[],
        metavar="PREFIX",
        help="beside all volumes together, those whose names begin so, such as coronacases radiopaedia",
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        metavar="COLUMN",
        help=f"columns of raw_data (default: {' '.join(METRICS)}, as far as one of the folders has them)",
    )
    parser.add_argument("--per_volume", action="store_true", help="a table and a plot of each volume's means as well")
    cli.add_output_argument(parser, "paper_results")
    parser.add_argument("--name", default="metrics", help="what the files are called (default: %(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Write and print the tables; see ``--help``."""
    arguments = make_parser().parse_args(argv)
    cli.configure_logging()
    if Path(arguments.name).name != arguments.name:
        raise cli.UserError(f"--name: {arguments.name!r} is not the name of a file")
    from pose.figures.plots import save_plot
    from pose.files.atomic import failure_named, write_all_atomically
    from pose.results.result_set import read_result_set

    sets: dict[str, ResultSet] = {}
    for name, folder in arguments.results_folder_path:
        if name in sets:
            raise cli.UserError(f"--results_folder_path: two folders are called {name}; name one NAME=FOLDER")
        sets[name] = read_result_set(folder)
    known = {
        image: one.prompts[image] for one in sets.values() for image in one.prompts if one.prompts[image].seed_patient
    }
    seed_patients = sorted(known)
    present = [metric for metric in METRICS if any(metric in one.raw_data for one in sets.values())]
    metrics = arguments.metrics or present
    table = table_of_sets(sets, metrics, arguments.data_sets, seed_patients)
    folder, name = arguments.output_folder_path, arguments.name
    with failure_named(folder, "cannot be made a folder"):
        folder.mkdir(parents=True, exist_ok=True)
    writers = {
        folder / f"{name}.csv": partial(results.write_table, table=table),
        folder / f"{name}.tex": partial(write_latex, table=table),
    }
    volumes = table_of_volumes(sets, metrics) if arguments.per_volume else None
    if volumes is not None:
        writers[folder / f"{name}_volumes.csv"] = partial(results.write_table, table=volumes)
    write_all_atomically(writers.items())
    written = list(writers)
    if volumes is not None:
        print(as_text(volumes), end="\n\n")
        with plot_of_volumes(volumes, list(sets), metrics[0], seed_patients) as figure:
            written += save_plot(figure, folder / f"{name}_volumes")
    print(as_text(table), end="\n\n")
    if seed_patients:
        print(f"left out of the table of data sets, as seed patient: {', '.join(seed_patients)}")
    for one, missing in missing_volumes(sets).items():
        print(f"{one} has no result of {', '.join(missing)}")
    print(*written, sep="\n")
    return cli.EXIT_OK


def table_of_sets(
    sets: Mapping[str, ResultSet], metrics: Sequence[str], data_sets: Sequence[str], left_out: Sequence[str] = ()
) -> pd.DataFrame:
    """Return a row per data set, metric and result set.

    Returns:
        Columns data_set, metric, results, min, max, avg, std and n over slices, volumes, failed, and what is known of
        prompts: prompts_used and prompts_saved_percent.

    Raises:
        UserError: no result set has the metric, or no volume belongs to a data set.
    """
    import pandas as pd

    from pose.results.prompts_saved import prompts_saved

    rows = []
    for data_set in (ALL, *data_sets):
        if not any(belongs(image, data_set) for one in sets.values() for image in one.prompts):
            raise cli.UserError(f"--data_sets {data_set}: no volume's name begins so")
        for metric in metrics:
            if not any(metric in one.raw_data for one in sets.values()):
                raise cli.UserError(f"--metrics {metric}: no folder's raw_data has such a column")
            for name, one in sets.items():
                images = [image for image in one.prompts if belongs(image, data_set) and image not in left_out]
                slices = one.raw_data[one.raw_data["image"].isin(images)]
                values = slices[metric] if metric in slices else pd.Series(dtype="float64")
                saved = prompts_saved(one.prompts[image] for image in images)
                rows.append(
                    {
                        "data_set": data_set,
                        "metric": metric,
                        "results": name,
                        **results.statistics_of(values),
                        "volumes": len(images),
                        "failed": sum(belongs(image, data_set) for image in one.failures),
                        "prompts_used": saved.used,
                        "prompts_saved_percent": saved.saved_percent,
                    }
                )
    return pd.DataFrame(rows).astype({"prompts_used": "Int64", "prompts_saved_percent": "float64"})


def belongs(image: str, data_set: str) -> bool:
    """Tell whether a volume is of a data set, by its name; working data is called image_NAME."""
    return data_set == ALL or image.removeprefix(IMAGE_PREFIX).startswith(data_set)


def table_of_volumes(sets: Mapping[str, ResultSet], metrics: Sequence[str]) -> pd.DataFrame:
    """Return a row per volume: its mean of each metric, and its volume_dice where known, in a column per result set."""
    import pandas as pd

    columns = {}
    for metric in metrics:
        for name, one in sets.items():
            if metric in one.raw_data:
                columns[f"{metric} {name}"] = one.raw_data.groupby("image")[metric].mean()
    for name, one in sets.items():
        if "volume_dice" in one.volume_metrics:
            columns[f"volume_dice {name}"] = one.volume_metrics["volume_dice"]
    return pd.DataFrame(columns).sort_index().rename_axis("image").reset_index()


def missing_volumes(sets: Mapping[str, ResultSet]) -> dict[str, list[str]]:
    """Return, by result set, the volumes that another one has and it lacks."""
    every = sorted({image for one in sets.values() for image in one.prompts})
    lacking = {name: [image for image in every if image not in one.prompts] for name, one in sets.items()}
    return {name: images for name, images in lacking.items() if images}


@contextmanager
def plot_of_volumes(
    volumes: pd.DataFrame, names: Sequence[str], metric: str, marked: Sequence[str] = ()
) -> Iterator[Figure]:
    """Yield a plot of the means of :func:`table_of_volumes`: a line for each volume, those ``marked`` with a star."""
    from pose.figures.names import shown_name
    from pose.figures.plots import SERIES, new_plot

    with new_plot(160.0, 34.0 + 5.0 * len(volumes)) as figure:
        axes = figure.add_subplot()
        for index, name in enumerate(names):
            if f"{metric} {name}" in volumes:
                look = {"color": SERIES[index % len(SERIES)], "marker": "os^Dv"[index % 5], "markersize": 4}
                heights = [row + 0.14 * (index - (len(names) - 1) / 2) for row in range(len(volumes))]
                axes.plot(volumes[f"{metric} {name}"], heights, linestyle="none", label=shown_name(name), **look)
        labels = [image.removeprefix(IMAGE_PREFIX) + (" *" if image in marked else "") for image in volumes["image"]]
        axes.set_yticks(range(len(volumes)), map(shown_name, labels))
        axes.set(xlabel=f"mean {metric} of the volume's slices" + (" (*: seed patient)" if marked else ""))
        axes.set_ylim(len(volumes) - 0.5, -0.5)
        axes.grid(color="#DDDDDD", linewidth=0.8)
        axes.set_axisbelow(True)
        figure.legend(loc="outside upper center", ncols=min(len(names), 4), frameon=False)
        yield figure


def write_latex(path: Path, table: pd.DataFrame) -> None:
    """Write a table for LaTeX, in the rules of the package booktabs: a block of rows per data set and metric."""
    from paper.report.latex import escape

    lines = [r"\begin{tabular}{lll" + "r" * len(STATISTICS) + "}", r"\toprule"]
    lines += [" & ".join(["Data set", "Metric", "Results", *STATISTICS]) + r" \\"]
    block = None
    for row in table.to_dict("records"):
        if (row["data_set"], row["metric"]) != block:
            lines.append(r"\midrule")
        head = ("", "") if (row["data_set"], row["metric"]) == block else (row["data_set"], row["metric"])
        block = (row["data_set"], row["metric"])
        cells = [escape(text) for text in (*head, row["results"])]
        lines.append(" & ".join([*cells, *(latex_number(row[name]) for name in STATISTICS)]) + r" \\")
    path.write_text("\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n", encoding="utf-8")


def latex_number(value: float | int) -> str:
    """Return a count as it is, another number with four digits, "--" where it is undefined."""
    return str(value) if isinstance(value, int) else "--" if math.isnan(value) else f"{value:.4f}"


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
