"""Tell how well the review flag finds bad slices: its precision and recall against the ground truth, as Markdown.

A slice is bad where its Dice is below a limit. Of the slices marked for review, precision is the share that is bad; of
the bad slices, recall is the share that is marked. A slice with neither ground truth nor prediction is not bad; looking
at it is in vain. Bad slices of which the model gave no estimate are counted as not marked, and told apart.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

PROJECT_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT_ROOT))

from pose import cli, results

if TYPE_CHECKING:
    import pandas as pd

LIMITS = (0.5, 0.7, 0.75, 0.8, 0.82, 0.85, 0.9, 0.95)
HEADER = (
    "| slices | marked | slices in all | marked for review | bad | both | bad, no estimate | precision | recall |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Counts:
    """Slices of one volume or of several: all, marked for review, bad, both of these, and bad without an estimate."""

    slices: int = 0
    marked: int = 0
    bad: int = 0
    both: int = 0
    bad_unknown: int = 0

    def __add__(self, other: Counts) -> Counts:
        names = self.__dataclass_fields__
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in names})

    def row(self, name: str, how: str) -> str:
        """Return the line of the table; a share of nothing is "-"."""
        precision, recall = (f"{self.both / whole:.2f}" if whole else "-" for whole in (self.marked, self.bad))
        numbers = self.slices, self.marked, self.bad, self.both, self.bad_unknown
        return "| " + " | ".join([name, how, *map(str, numbers), precision, recall]) + " |"


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "-r",
        "--results_folder_path",
        type=Path,
        nargs="+",
        required=True,
        metavar="FOLDER",
        help="folders that hold a folder of results for each volume; the newest run of each is read",
    )
    parser.add_argument(
        "--bad_below",
        type=cli.share,
        default=0.8,
        metavar="DICE",
        help="Dice below which a slice is bad (default: 0.8)",
    )
    parser.add_argument(
        "--review_below",
        type=cli.share,
        nargs="+",
        default=LIMITS,
        metavar="SCORE",
        help="limits of the score to compare, beside the flag as it was written "
        f"(default: {' '.join(str(limit) for limit in LIMITS)})",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; see ``--help``."""
    arguments = make_parser().parse_args(argv)
    tables = read_tables(arguments.results_folder_path)
    bad_below = arguments.bad_below
    print(HEADER)
    as_written = {name: count(table, bad_below) for name, table in tables.items()}
    for name, counts in as_written.items():
        print(counts.row(name, "as written"))
    print(sum(as_written.values(), Counts()).row("all", "as written"))
    for limit in arguments.review_below:
        pooled = sum((count(table, bad_below, limit) for table in tables.values()), Counts())
        print(pooled.row("all", f"below {limit:g}"))
    return cli.EXIT_OK


def read_tables(folders: Sequence[Path]) -> dict[str, pd.DataFrame]:
    """Return the raw_data of the newest run of every volume in ``folders``, by folder and volume.

    Raises:
        UserError: a folder is not there or holds no run, or a run has no review flag or no Dice.
    """
    from pose.results.volume_list import volume_folders

    tables: dict[str, pd.DataFrame] = {}
    for folder in folders:
        runs = {name: results.newest_run(folder / name) for name in volume_folders(folder)}
        runs = {name: run for name, run in runs.items() if run is not None}
        if not runs:
            raise cli.UserError(f"{folder}: no folder in it holds a raw_data_*.csv")
        for name, run in runs.items():
            table = results.read_table(run.raw_data, ("slice", "dice", "needs_review", "review_score"))
            if table["dice"].isna().all():
                raise cli.UserError(f"{run.raw_data}: no slice has a Dice, so that nothing is known to be bad")
            tables[f"{folder.name}/{name}"] = table
    return tables


def count(table: pd.DataFrame, bad_below: float, review_below: float | None = None) -> Counts:
    """Count the slices of one volume.

    Args:
        table: its raw_data.
        bad_below: Dice below which a slice is bad.
        review_below: score below which it counts as marked; None takes the flag as it was written.
    """
    marked = table["needs_review"].eq(1).fillna(False) if review_below is None else table["review_score"] < review_below
    bad = table["dice"] < bad_below
    unknown = table["needs_review"].isna() & ~marked
    return Counts(len(table), *(int(which.sum()) for which in (marked, bad, marked & bad, bad & unknown)))


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
