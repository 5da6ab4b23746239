#!/usr/bin/env python3
"""Join the results of many volumes into one table with statistics."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pose import cli, results
from pose.atomic import reserved_stamp, timestamp, write_all_atomically
from pose.cli import UserError
from pose.joint import prompt_columns, table_of_all, table_per_volume
from pose.prompts_saved import prompts_saved
from pose.result_set import read_result_set
from pose.tables import as_text

if TYPE_CHECKING:
    import pandas as pd

PRINTED_COLUMNS = (
    "slices", "jaccard_avg", "jaccard_std", "dice_avg", "sam_score_avg", "volume_dice", "volume_hd95_mm",
    "missed_slices", "slices_to_review", "prompted_slices", "masked_slices", "seed_patient", "failed",
)  # fmt: skip


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Reads the newest run of every volume (<folder>/<image>/raw_data_*.csv and results_*.csv), writes "
        "joint_raw_data_*.csv (every slice of every volume), joint_results_*.csv (a row per volume) and results_*.csv "
        "(statistics over all slices, and over volumes for the metrics of a whole volume, with a bootstrap interval of "
        "each mean that draws volumes) into the folder, and prints the tables. Folders written by the code of the "
        "published paper are read as well."
    )
    parser.add_argument(
        "-r", "--results_folder_path", type=Path, required=True, metavar="FOLDER",
        help="folder that holds a folder of results for each volume, such as results/ or results_video/",
    )
    parser.add_argument(
        "--include_seed_patient", action="store_true",
        help="count the volume that the seed slice of a data set came from in the statistics, too; it is left out by "
        "default, because its masks show less than those of the volumes that were never prompted",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Join a folder of results; see ``--help``."""
    arguments = make_parser().parse_args(argv)
    folder = arguments.results_folder_path
    cli.configure_logging()
    joint = read_result_set(folder)
    raw_data, volume_metrics, prompts, failures = joint.raw_data, joint.volume_metrics, joint.prompts, joint.failures
    left_out = [] if arguments.include_seed_patient else [image for image, one in prompts.items() if one.seed_patient]
    counted = [image for image in prompts if image not in left_out]
    if not counted:
        only = f"{folder}: only the seed patient ({', '.join(left_out)}) has results"
        raise UserError(f"{only}, and is left out of the statistics; --include_seed_patient counts it")
    columns = prompt_columns(prompts)
    saved = prompts_saved(prompts[image] for image in counted)
    counted_slices = raw_data[raw_data["image"].isin(counted)]
    statistics = table_of_all(counted_slices, volume_metrics.loc[counted], columns.loc[counted], saved, len(failures))
    per_volume = table_per_volume(raw_data, volume_metrics, list(failures)).join(columns, on="image")
    if "seed_patient" in columns:
        raw_data = raw_data.join(columns["seed_patient"], on="image")
    tables = {"joint_raw_data": raw_data, "joint_results": per_volume, "results": statistics}
    with reserved_stamp(folder, timestamp()) as stamp:
        paths = {kind: folder / f"{kind}_{stamp}.csv" for kind in tables}
        write_all_atomically(
            (paths[kind], partial(results.write_table, table=table)) for kind, table in tables.items()
        )
    print(as_text(per_volume[["image", *(name for name in PRINTED_COLUMNS if name in per_volume)]]))
    print(f"\n{len(volume_metrics)} volumes, {len(raw_data)} slices")
    if failures:
        print(f"{len(failures)} more failed and have no scores; counted in failed_volumes:")
        for image, reason in failures.items():
            print(f"  {image}: {reason}")
    if left_out:
        print(f"left out of the statistics as seed patient: {', '.join(left_out)}")
    if sentence := saved.sentence():
        print(sentence)
    print(as_text(statistics))
    print()
    for path in paths.values():
        print(path)
    return cli.EXIT_OK


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
