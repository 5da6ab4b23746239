"""Calibrate the likely Dice of a run, and tell what it is worth: how it ranks runs, and how often its interval holds.

    comparison/likely_dice.py --gather comparison/accuracy_census.yaml comparison/likely_dice.yaml

segments each object of these lists from a true box on three slices (its largest, and those a quarter and three quarters
of the way through it), by auto and by the chain, and writes what each run says of itself beside its true Dice to
comparison/likely_dice_runs.csv; runs that stand there are not made again. Without --gather the table is read as it is.

From the table it prints the calibration that pose/scores/likely_dice.py holds, and a table of how well it does: each
run is judged by a calibration of the other scans alone. Rank correlation is Spearman's, with the true Dice.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT_ROOT))

from comparison import accuracy_census
from pose import cli
from pose.scores.likely_dice import COVERED, Calibration, Signs, fitted

if TYPE_CHECKING:
    import pandas as pd

METHODS = ("auto", "chain")
WAYS_THROUGH = (0.25, 0.75)
LEAST_SCANS = 3
COLUMNS = ("scan", "name", "slice", "method", "mean_score", "side_agreement", "region_grown", "growth", "dice")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gather", nargs="+", type=Path, default=[], metavar="LIST.yaml", help="make the missing runs")
    parser.add_argument(
        "--runs_file_path", type=Path, default=PROJECT_ROOT / "comparison/likely_dice_runs.csv", metavar="RUNS.csv"
    )
    parser.add_argument("--data_folder_path", type=Path, default=os.environ.get("POSE_REAL_DATA"), metavar="FOLDER")
    parser.add_argument("--embeddings_cache", type=Path, metavar="FOLDER", help="keep encoded slices there")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Gather the missing runs, and print what all of them teach."""
    arguments = make_parser().parse_args(argv)
    for path in arguments.gather:
        gather(path, arguments)
    table = read_runs(cli.existing_file(arguments.runs_file_path))
    if (scans := table["scan"].nunique()) < LEAST_SCANS:
        text = f"{arguments.runs_file_path}: runs of {scans} scan(s); it takes three to judge each by the others"
        raise cli.UserError(text)
    print(calibration_of(table))
    print()
    print(worth(table))
    return cli.EXIT_OK


def gather(path: Path, arguments: argparse.Namespace) -> None:
    """Make the runs of a list that the table lacks, and add each as it is done.

    Raises:
        UserError: as :func:`comparison.accuracy_census.read_list`.
    """
    import pandas as pd

    from pose.files.tables import write_table
    from pose.scores import metrics

    listing = accuracy_census.make_parser().parse_args([str(path)])
    listing.data_folder_path, listing.methods = arguments.data_folder_path, list(METHODS)
    listing.embeddings_cache = arguments.embeddings_cache
    listed, methods = accuracy_census.read_list(listing)
    runs = arguments.runs_file_path
    rows = read_runs(runs).to_dict("records") if runs.is_file() else []
    made = {(row["name"], row["slice"], row["method"]) for row in rows}
    models = {method.name: method.load() for method in methods}
    for one in listed:
        largest = accuracy_census.read_task(one)
        held = np.flatnonzero(largest.truth.any(axis=(0, 1)))
        further = [int(held[round(way * (len(held) - 1))]) for way in WAYS_THROUGH]
        for slice_index in dict.fromkeys([largest.box.slice, *further]):
            task = accuracy_census.read_task(replace(one, prompt_slice=slice_index))
            for name, model in models.items():
                if (one.name, slice_index, name) in made:
                    continue
                found = model.segment(task.scan, task.box, window=task.window)
                signs = found.signs(1)
                if signs is None:
                    print(f"{one.name}, slice {slice_index}, {name}: nothing was found", file=sys.stderr)
                    continue
                dice = metrics.dice(task.truth, found.labels > 0)
                said = signs.mean_score, signs.side_agreement, int(signs.region_grown), signs.growth
                values = one.image.name, one.name, slice_index, name, *said, dice
                rows.append(dict(zip(COLUMNS, values, strict=True)))
                write_table(runs, pd.DataFrame(rows, columns=COLUMNS))
                print(f"{one.name}, slice {slice_index}, {name}: Dice {dice:.3f}", file=sys.stderr)


def read_runs(path: Path) -> pd.DataFrame:
    """Return the table of runs.

    Raises:
        UserError: it is none.
    """
    from pose.files.tables import read_table

    return read_table(path, COLUMNS, text_columns=("scan", "name", "method"))


def signs_of(table: pd.DataFrame) -> list[Signs]:
    """Return what each run says of itself."""
    return [
        Signs(
            row.mean_score,
            None if np.isnan(row.side_agreement) else row.side_agreement,
            bool(row.region_grown),
            row.growth,
        )
        for row in table.itertuples()
    ]


def calibration_of(table: pd.DataFrame) -> Calibration:
    """Return what all runs teach, in as many digits as count."""
    names = table["scan"].tolist(), table["name"].tolist()
    found = fitted(signs_of(table), table["dice"].tolist(), *names)
    return Calibration(tuple(round(weight, 3) for weight in found.weights), round(found.reach, 3))


def judged_by_others(table: pd.DataFrame) -> pd.DataFrame:
    """Return the likely Dice of each run and its ends, by the runs of all other scans: likely, low, high."""
    import pandas as pd

    parts = []
    for scan in table["scan"].unique():
        calibration = calibration_of(table[table["scan"] != scan])
        own = table[table["scan"] == scan]
        found = [calibration.estimate(signs) for signs in signs_of(own)]
        rows = [(one.dice, one.low, one.high) for one in found]
        parts.append(pd.DataFrame(rows, columns=["likely", "low", "high"], index=own.index))
    return pd.concat(parts).loc[table.index]


def worth(table: pd.DataFrame) -> str:
    """Return how good the likely Dice is, as a table in Markdown, by method and for all runs."""
    from scipy.stats import spearmanr

    judged = judged_by_others(table)
    head = f"| runs | number | rank correlation | mean error | within the interval (aim {COVERED:.0%}) | mean width |"
    lines = [head, "|---|---|---|---|---|---|"]
    for name in [*table["method"].unique(), "all"]:
        rows = table["method"].isin([name]) if name != "all" else table["method"].notna()
        truth, found = table["dice"][rows], judged[rows]
        inside = (found["low"] <= truth) & (truth <= found["high"])
        cells = [name, str(len(truth)), f"{spearmanr(found['likely'], truth)[0]:.2f}"]
        cells += [f"{(found['likely'] - truth).abs().mean():.3f}", f"{inside.mean():.0%}"]
        cells += [f"{(found['high'] - found['low']).mean():.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
