"""Test whether two sets of results differ, such as those of SAM and of SAM 2 on the same images.

Rows are paired by image and slice; what only one set has is listed, and so are pairs of which a value is undefined;
neither counts. An infinite distance, of an object that was missed, counts as the worst: it ranks above all others, and
means that hold it are infinite, so that there is no t-test. Where slices or volumes that only one set has a value for
could turn the result, no winner is named. Differences are the second set's values minus the first's, as decimals of 12
digits, so that ties are ties. There are a paired t-test and Wilcoxon's signed-rank test, over slices as in the paper
and over the means of volumes, and bootstrap intervals of the mean difference that draw slices, or volumes with all
their slices. Slices of one volume are not independent: what follows is told from the tests over volumes. p-values are
corrected by Holm's method across all metrics and data sets, each level and test apart. Writes hypothesis_test.csv, .pdf
and .png, and hypothesis_test_left_out.csv.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT_ROOT))

from pose import cli, results
from pose.files.atomic import failure_named, write_all_atomically
from pose.scores import paired
from pose.scores.statistics import RESAMPLES, holm

if TYPE_CHECKING:
    import pandas as pd

    from pose.results.result_set import ResultSet

PRINTED = (
    "data_set",
    "metric",
    "level",
    "n",
    "mean_first",
    "mean_second",
    "mean_difference",
    "t_p_holm",
    "wilcoxon_p_holm",
    "cohen_dz",
    "rank_biserial",
)
# by level: the interval to draw, its colour, its mark, where it lies beside the data set's place, and what it is called
LINES = {
    "slice": (
        ("ci95", "#56B4E9", "s", -0.2, "slices, as if independent"),
        ("ci95_by_volume", "#0072B2", "D", 0.0, "slices, drawing volumes"),
    ),
    "volume": (("ci95", "#D55E00", "o", 0.2, "volumes, each counted once"),),
}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "-r",
        "--results_folder_path",
        type=cli.named_folder,
        nargs=2,
        action="append",
        required=True,
        metavar=("FIRST=FOLDER", "SECOND=FOLDER"),
        help="the two sets, each a folder that holds a folder of results for each image; again for more data sets",
    )
    parser.add_argument(
        "--data_set",
        nargs="+",
        default=[],
        metavar="NAME",
        help="names of the data sets, one for each --results_folder_path (default: 'all', or 'data set 1' ...)",
    )
    parser.add_argument(
        "--images",
        nargs="+",
        default=["*"],
        metavar="PATTERN",
        help="test the images that match each pattern apart, such as '*coronacases*' '*radiopaedia*' (default: all)",
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        default=["jaccard", "dice"],
        metavar="METRIC",
        help="columns of raw_data, or metrics of whole volumes such as volume_dice (default: jaccard dice)",
    )
    parser.add_argument(
        "--alpha", type=cli.share, default=0.05, metavar="P", help="level of significance (default: %(default)s)"
    )
    parser.add_argument(
        "--resamples",
        type=cli.positive_whole_number,
        default=RESAMPLES,
        metavar="N",
        help="draws of each bootstrap (default: %(default)s)",
    )
    cli.add_output_argument(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Test, write the tables and the plot, print what follows; see ``--help``."""
    arguments = make_parser().parse_args(argv)
    import pandas as pd

    from pose.figures.plots import new_plot, save_plot
    from pose.files.tables import as_text

    cli.configure_logging()
    rows: list[dict[str, Any]] = []
    left_out, failures = [], []
    for name, names, first, second in data_sets(arguments):
        for called, one in zip(names, (first, second), strict=True):
            failures += [
                f"{name}, {called}: {image} failed and has no scores: {why}" for image, why in one.failures.items()
            ]
        for metric in arguments.metrics:
            tested, not_counted = test_metric(first, second, metric, names, arguments.resamples)
            facts = {"data_set": name, "metric": metric, "first": names[0], "second": names[1]}
            rows += [{**facts, **row} for row in tested]
            left_out.append(not_counted.assign(data_set=name, metric=metric))
    table = corrected(pd.DataFrame(rows))
    listed = pd.concat(left_out, ignore_index=True)[["data_set", "metric", "image", "slice", "why"]]
    folder = arguments.output_folder_path
    with failure_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files = {folder / "hypothesis_test.csv": table, folder / "hypothesis_test_left_out.csv": listed}
    with new_plot(160, 40 + 14 * table["data_set"].nunique()) as figure:
        draw(figure, table)
        pictures = save_plot(figure, folder / "hypothesis_test")
    write_all_atomically((path, partial(results.write_table, table=value)) for path, value in files.items())
    print(as_text(printable(table)))
    print()
    for line in (*failures, *left_out_lines(listed)):
        print(line)
    for _, group in table.groupby(["data_set", "metric"], sort=False):
        print(sentence(group.to_dict("records"), arguments.alpha))
    print()
    for path in (*files, *pictures):
        print(path)
    return cli.EXIT_OK


def data_sets(arguments: argparse.Namespace) -> Iterator[tuple[str, tuple[str, str], ResultSet, ResultSet]]:
    """Yield each data set: what it is called, what its two sets are called, and the sets, of the matching images alone.

    Raises:
        UserError: names are missing, or no image of a set matches a pattern.
    """
    pairs, called = arguments.results_folder_path, arguments.data_set
    if called and len(called) != len(pairs):
        raise cli.UserError(f"--data_set: {len(called)} names for {len(pairs)} times --results_folder_path")
    called = called or (["all"] if len(pairs) == 1 else [f"data set {number}" for number in range(1, len(pairs) + 1)])
    if len(set(called)) < len(called) or len(set(arguments.images)) < len(arguments.images):
        raise cli.UserError("--data_set, --images: each name and each pattern may be given once")
    from pose.results.result_set import read_result_set

    for name, ((first_name, first_folder), (second_name, second_folder)) in zip(called, pairs, strict=True):
        if first_name == second_name:
            raise cli.UserError(
                f"--results_folder_path: both {first_folder} and {second_folder} are called {first_name}; "
                "name them, such as SAM=FOLDER"
            )
        sets = read_result_set(first_folder), read_result_set(second_folder)
        for pattern in arguments.images:
            label = pattern if set("*?[") & set(pattern.strip("*")) else pattern.strip("*_-") or "all"
            whole = name if pattern == "*" else label if len(pairs) == 1 else f"{name}, {label}"
            yield whole, (first_name, second_name), *(only_matching(one, pattern) for one in sets)


def only_matching(one: ResultSet, pattern: str) -> ResultSet:
    """Return the part of a set whose images match a shell pattern.

    Raises:
        UserError: none does.
    """
    from dataclasses import replace

    images = [image for image in one.volume_metrics.index if fnmatchcase(image, pattern)]
    if not images:
        there = one.volume_metrics.index[0]
        raise cli.UserError(f"--images {pattern}: matches no image of {one.folder}, which has such as {there}")
    return replace(
        one,
        raw_data=one.raw_data[one.raw_data["image"].isin(images)],
        volume_metrics=one.volume_metrics.loc[images],
        failures={image: why for image, why in one.failures.items() if fnmatchcase(image, pattern)},
    )


def test_metric(
    first: ResultSet, second: ResultSet, metric: str, names: tuple[str, str], resamples: int
) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """Test one metric of one data set.

    Returns:
        A row for the level "slice" (not for a metric of whole volumes) and one for "volume", and a table of what was
        left out: image, slice (missing for whole volumes) and why.

    Raises:
        UserError: a set lacks the metric, or nothing pairs.
    """
    import pandas as pd

    of_slices = metric in first.raw_data and metric in second.raw_data
    for one in (first, second):
        if not of_slices and metric not in one.volume_metrics:
            known = [name for name in (*one.raw_data, *one.volume_metrics) if name not in ("image", "slice")]
            raise cli.UserError(f"{one.folder}: has no metric {metric}; it has {', '.join(known)}")
    key = ["image", "slice"] if of_slices else ["image"]
    tables = (
        one.raw_data if of_slices else one.volume_metrics.rename_axis("image").reset_index() for one in (first, second)
    )
    pairs = paired.pair_up(*tables, key, metric, names)
    usable, not_usable = pairs.usable(), pairs.not_usable(names)
    unpaired = pairs.unpaired.rename(columns={"only_in": "why"})
    left_out = pd.concat([unpaired.assign(why="only in " + unpaired["why"]), not_usable], ignore_index=True)
    if not of_slices:
        left_out["slice"] = pd.array([None] * len(left_out), dtype="Int64")
    failed_one = len(set(first.failures) & set(second.volume_metrics.index))
    failed_one += len(set(second.failures) & set(first.volume_metrics.index))
    counts = {
        "unpaired_first": int((pairs.unpaired["only_in"] == names[0]).sum()),
        "unpaired_second": int((pairs.unpaired["only_in"] == names[1]).sum()),
        "undefined_both": int((not_usable["why"] == "undefined in both").sum()),
        "undefined_one": int((not_usable["why"] != "undefined in both").sum()),
        "failed_one": failed_one,
        "infinite": int(np.isinf(usable[["first", "second"]]).any(axis=1).sum()),
        "infinite_first": int(np.isinf(usable["first"]).sum()),
        "infinite_second": int(np.isinf(usable["second"]).sum()),
    }
    bound = 1.0 if any(name in metric for name in ("dice", "jaccard")) else np.inf
    levels = {"slice": usable, "volume": paired.volume_means(usable)} if of_slices else {"volume": usable}
    rows = []
    for level, table in levels.items():
        each = paired.difference_intervals(table, np.arange(len(table)), resamples)
        whole = paired.difference_intervals(table, table["image"].to_numpy(), resamples) if level == "slice" else each
        found = paired.paired_test(*(table[name].to_numpy(dtype=np.float64) for name in ("first", "second")))
        worst = found["wilcoxon_p"]
        if level == "volume" and not np.isnan(worst) and counts["undefined_one"] + failed_one:
            worst = paired.worst_case(pairs, failed_one, found["rank_biserial"], bound)
        rows.append(
            {
                "level": level,
                "volumes": table["image"].nunique(),
                **found,
                "wilcoxon_p_worst": worst,
                "ci95_low": each[0],
                "ci95_high": each[1],
                "ci95_by_volume_low": whole[0],
                "ci95_by_volume_high": whole[1],
                **counts,
            }
        )
    return rows, left_out


def corrected(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with p-values after Holm's correction beside the plain ones; each level and test is a family."""
    for name in ("t_p", "wilcoxon_p", "wilcoxon_p_worst"):
        table.insert(table.columns.get_loc(name) + 1, f"{name}_holm", np.nan)
        for level in table["level"].unique():
            family = table["level"] == level
            table.loc[family, f"{name}_holm"] = holm(table.loc[family, name])
    return table


def printable(table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns for the terminal, p-values as they are usually written."""
    shown = table[list(PRINTED)].copy()
    for name in ("t_p_holm", "wilcoxon_p_holm"):
        shown[name] = [p_text(value) for value in shown[name]]
    return shown


def p_text(p: float) -> str:
    """Return a p-value in words: three decimals, "< 0.001", or "-" where there is none."""
    return "-" if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def left_out_lines(listed: pd.DataFrame) -> Iterator[str]:
    """Yield a line for each data set, metric and reason: how many rows were left out."""
    for (data_set, metric, why), group in listed.groupby(["data_set", "metric", "why"], sort=False):
        slices = "slices" if group["slice"].notna().any() else "volumes"
        yield f"{data_set}, {metric}: left out {len(group)} {slices}, {why}"


def sentence(rows: Sequence[dict[str, Any]], alpha: float) -> str:
    """Say what follows from the tests of one metric of one data set."""
    volume, widest = rows[-1], rows[0]
    first, second, volumes = volume["first"], volume["second"], volume["volumes"]
    start = f"{volume['data_set']}, {volume['metric']}:"
    if widest["n"] == 0:
        return f"{start} no pair has two values, so that nothing can be said."
    if widest["identical"] == widest["n"]:
        return f"{start} {first} and {second} do not differ on any of {widest['n']} pairs."
    what = f"slices of {volumes} volumes" if widest["level"] == "slice" else "volumes"
    over = f"over {widest['n']} {what}"
    t, wilcoxon, worst = (volume[f"{name}_holm"] for name in ("t_p", "wilcoxon_p", "wilcoxon_p_worst"))
    of_ranks = f"Wilcoxon p {_equals(wilcoxon)} ({volume['wilcoxon_method']})"
    significant = [wilcoxon < alpha] if widest["infinite"] else [t < alpha, wilcoxon < alpha]
    doubtful = all(significant) and not worst < alpha
    difference, low, high = (widest[name] for name in ("mean_difference", "ci95_by_volume_low", "ci95_by_volume_high"))
    if widest["infinite"]:
        counts = f"{first} has {widest['infinite_first']}, {second} {widest['infinite_second']}"
        start = f"{start} infinite distances count as the worst: {counts} {over}"
    elif doubtful:
        start = f"{start} {second} - {first} is {difference:.4f} on average {over} for which both have a value"
    else:
        higher = "higher" if difference >= 0 else "lower"
        start = f"{start} {second} is {higher} than {first} by {abs(difference):.4f} on average {over}"
    if volumes < 2:
        return f"{start}; they are of one volume, so that nothing follows for others."
    if widest["infinite"]:
        values, start = f"{of_ranks}, after Holm", f"{start}."
    else:
        start += f" (95 % interval of {second} - {first}, drawing volumes: {low:.4f} to {high:.4f})."
        values = f"t-test p {_equals(t)}, {of_ranks}, after Holm"
    if doubtful:
        verdict = f"No winner is named: {_left_out_of(widest)} could turn it ({values}; {_equals(worst)} if they did)"
    elif all(significant) and widest["infinite"]:
        higher = "higher" if volume["rank_biserial"] > 0 else "lower"
        verdict = f"Over volumes {second} is {higher} than {first}, significant by ranks at {alpha:g} ({values})"
    elif all(significant):
        verdict = f"Over volumes the difference is significant at {alpha:g} ({values})"
    elif any(significant):
        verdict = f"Over volumes the two tests disagree at {alpha:g}: no firm conclusion ({values})"
    else:
        verdict = f"Over volumes the difference is not significant at {alpha:g}: it may be chance ({values})"
    least = min(1.0, 2.0 ** (1 - volume["n"] + volume["identical"]))
    if least >= alpha:
        verdict += f"; with so few volumes Wilcoxon's p cannot be below {least:.3f}"
    if widest["level"] == "slice" and widest["n"] > volumes and not widest["infinite"]:
        verdict += f". Taken for independent, slices would give a t-test p {_equals(widest['t_p_holm'])}"
    return f"{start} {verdict}."


def _left_out_of(row: dict[str, Any]) -> str:
    """Say what counts for nothing, because one of the two sets alone has a value."""
    kinds = (("undefined_one", row["level"], "that one of them has no value for"), ("failed_one", "volume", "that one"))
    told = [(row[name], kind, why) for name, kind, why in kinds if row[name]]
    parts = [f"{number} {kind}{'s' if number > 1 else ''} {why}" for number, kind, why in told]
    return " and ".join(parts) + (" failed on" if row["failed_one"] else "")


def _equals(p: float) -> str:
    text = p_text(p)
    return text if text.startswith("<") else f"= {text}"


def draw(figure: Any, table: pd.DataFrame) -> None:
    """Draw the mean differences with their intervals: axes for each metric, on which each data set has its lines."""
    from pose.figures.names import shown_name
    from pose.figures.plots import add_caption

    metrics, names = (list(dict.fromkeys(table[column])) for column in ("metric", "data_set"))
    pair = table[["first", "second"]].drop_duplicates()
    what = f"{pair['second'].iloc[0]} - {pair['first'].iloc[0]}" if len(pair) == 1 else "second - first"
    handles = {}
    for axes, metric in zip(np.atleast_1d(figure.subplots(1, len(metrics), sharey=True)), metrics, strict=True):
        for row in table[table["metric"] == metric].to_dict("records"):
            for of, colour, marker, shift, label in LINES[row["level"]]:
                place = names.index(row["data_set"]) + shift
                if not np.isfinite(row["mean_difference"]):
                    continue
                axes.plot([row[f"{of}_low"], row[f"{of}_high"]], [place, place], color=colour, linewidth=1.6)
                (mark,) = axes.plot(row["mean_difference"], place, marker, color=colour, markersize=5)
                handles.setdefault(label, mark)
            if not np.isfinite(row["mean_difference"]) and row["level"] == "volume":
                place = names.index(row["data_set"])
                axes.text(0.5, place, "not finite: see the table", transform=axes.get_yaxis_transform(), ha="center")
        axes.axvline(0, color="#444444", linewidth=0.8, linestyle=":")
        axes.locator_params(axis="x", nbins=4 if len(metrics) < 3 else 2)
        axes.set_title(shown_name(metric), fontsize="medium")
        axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), map(shown_name, names))
    add_caption(figure, f"mean difference, {what}, with 95 % bootstrap interval", size=9.0)
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside upper center",
        ncols=3,
        frameon=False,
        fontsize="small",
        columnspacing=1.2,
        handletextpad=0.2,
    )


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
