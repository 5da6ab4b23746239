#!/usr/bin/env python3
"""Join the results of many volumes into one table with statistics."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from itertools import compress, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pose import cli, results
from pose.cli import UserError
from pose.files.atomic import reserved_stamp, timestamp, write_all_atomically
from pose.files.tables import as_text
from pose.results.in_order import Map, processes
from pose.results.joint import Joint, table_of_all, table_per_volume, write_joint_raw_data
from pose.results.looks_next import next_look, worst_first
from pose.results.prompts_saved import prompts_saved
from pose.results.volume_list import Listing, list_volumes, processes_for, volume_folders

if TYPE_CHECKING:
    import pandas as pd

PRINTED_COLUMNS = (
    "slices",
    "jaccard_avg",
    "jaccard_std",
    "dice_avg",
    "sam_score_avg",
    "volume_dice",
    "volume_hd95_mm",
    "missed_slices",
    "slices_to_review",
    "likely_dice",
    "prompted_slices",
    "masked_slices",
    "seed_patient",
    "failed",
    "settings",
)
# So many rows of volumes, and of failures, help somebody at a terminal.
MOST_PRINTED = 200
MOST_TO_LOOK_AT = 5


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Reads the newest whole run of every volume (<folder>/<image>/raw_data_*.csv and results_*.csv), "
        "writes joint_raw_data_*.csv (every slice of every volume), joint_results_*.csv (a row per volume) and "
        "results_*.csv (statistics over all slices, and over volumes for the metrics of a whole volume, with a "
        "bootstrap interval of each mean that draws volumes) into the folder, and prints the tables. A run of one "
        "slice does not count beside a whole one. Folders written by the code of the published paper are read as well."
    )
    parser.add_argument(
        "-r",
        "--results_folder_path",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="folder that holds a folder of results for each volume, such as results/ or results_video/",
    )
    parser.add_argument(
        "--include_seed_patient",
        action="store_true",
        help="count the volume that the seed slice of a data set came from in the statistics, too; it is left out by "
        "default, because its masks show less than those of the volumes that were never prompted",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Join a folder of results; see ``--help``."""
    arguments = make_parser().parse_args(argv)
    folder = arguments.results_folder_path
    cli.configure_logging()
    names = volume_folders(folder)
    with processes(processes_for(names)) as in_order:
        listing = list_volumes(folder, names, in_order)
        prompts = listing.prompts
        left_out = [] if arguments.include_seed_patient else [name for name, one in prompts.items() if one.seed_patient]
        if len(left_out) == len(prompts):
            only = f"{folder}: only the seed patient ({', '.join(left_out)}) has results"
            raise UserError(f"{only}, and is left out of the statistics; --include_seed_patient counts it")
        with reserved_stamp(folder, timestamp()) as stamp:
            paths = {kind: folder / f"{kind}_{stamp}.csv" for kind in ("joint_raw_data", "joint_results", "results")}
            joint, per_volume, statistics = write_tables(paths, listing, left_out, in_order)
    print(shown(per_volume, paths["joint_results"]))
    print(f"\n{len(joint.images)} volumes, {joint.sizes.sum()} slices")
    if joint.failures:
        print(f"{len(joint.failures)} more failed and have no scores; counted in failed_volumes:")
        for image, reason in islice(joint.failures.items(), MOST_PRINTED):
            print(f"  {image}: {reason}")
        if len(joint.failures) > MOST_PRINTED:
            print(f"  and {len(joint.failures) - MOST_PRINTED} more, with a 1 under failed in {paths['joint_results']}")
    if left_out:
        print(f"left out of the statistics as seed patient: {', '.join(left_out)}")
    if sentence := prompts_saved(prompts[image] for image in compress(joint.images, joint.counted)).sentence():
        print(sentence)
    print(as_text(statistics))
    for line in looks_next(per_volume):
        print(line)
    print()
    for path in paths.values():
        print(path)
    return cli.EXIT_OK


def write_tables(
    paths: Mapping[str, Path], listing: Listing, left_out: Sequence[str], in_order: Map
) -> tuple[Joint, pd.DataFrame, pd.DataFrame]:
    """Write the three tables, or none; return what they are made from, joint_results and the statistics of all.

    Raises:
        UserError: a file is not what a run writes, or none can be written.
    """
    made: dict[str, Any] = {}

    def write_raw_data(path: Path) -> None:
        made["joint"] = write_joint_raw_data(path, listing, left_out, in_order)

    def write_per_volume(path: Path) -> None:
        made["per_volume"] = table_per_volume(made["joint"])
        results.write_table(path, made["per_volume"])

    def write_statistics(path: Path) -> None:
        made["statistics"] = table_of_all(made["joint"])
        results.write_table(path, made["statistics"])

    write_all_atomically(
        [
            (paths["joint_raw_data"], write_raw_data),
            (paths["joint_results"], write_per_volume),
            (paths["results"], write_statistics),
        ]
    )
    return made["joint"], made["per_volume"], made["statistics"]


def shown(per_volume: pd.DataFrame, path: Path) -> str:
    """Return the table of volumes for the terminal: its first rows, and where the others are."""
    columns = ["image", *(name for name in PRINTED_COLUMNS if name in per_volume)]
    text = as_text(per_volume[columns].head(MOST_PRINTED))
    more = len(per_volume) - MOST_PRINTED
    return f"{text}\nand {more} more rows in {path}" if more > 0 else text


def looks_next(per_volume: pd.DataFrame) -> list[str]:
    """Return in words which volumes to look at next: those that are likely to be worst, or have most to review."""
    found = worst_first(per_volume).head(MOST_TO_LOOK_AT)
    return ["look next at:", *(f"  {one}" for one in map(next_look, found.to_dict("records")))] if len(found) else []


def command() -> int:
    """Run the script as a command, its mistakes as one line; returns its exit code."""
    return cli.run_main(main)


if __name__ == "__main__":
    sys.exit(command())
