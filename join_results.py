#!/usr/bin/env python3
"""Join the results of many volumes into one table with statistics."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pose import cli, results
from pose.atomic import reserved_stamp, timestamp, write_all_atomically
from pose.cli import UserError
from pose.prompts_saved import PromptsSaved, VolumePrompts, prompts_saved
from pose.result_set import read_result_set

if TYPE_CHECKING:
    import pandas as pd

STATISTICS = ("min", "max", "avg", "std")
PRINTED_COLUMNS = (
    "slices", "jaccard_avg", "jaccard_std", "dice_avg", "sam_score_avg", "volume_dice", "volume_hd95_mm",
    "missed_slices", "slices_to_review", "prompted_slices", "masked_slices", "seed_patient", "failed",
)  # fmt: skip


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Reads the newest run of every volume (<folder>/<image>/raw_data_*.csv and results_*.csv), writes "
        "joint_raw_data_*.csv (every slice of every volume), joint_results_*.csv (a row per volume) and results_*.csv "
        "(statistics over all slices, and over volumes for the metrics of a whole volume) into the folder, and prints "
        "the tables. Folders written by the code of the published paper are read as well."
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


def table_per_volume(raw_data: pd.DataFrame, volume_metrics: pd.DataFrame, failed: Sequence[str] = ()) -> pd.DataFrame:
    """Return a row per image: its slices, the statistics of each metric over them, and the metrics of the volume.

    Where volumes ``failed``, each has a row too, empty but for its name and a 1 in the column ``failed``.
    """
    import pandas as pd

    rows = []
    for image in volume_metrics.index:
        slices = raw_data[raw_data["image"] == image]
        row = {"image": image, "slices": len(slices)}
        for metric in results.summarised_columns(raw_data):
            values = results.statistics(slices[metric])
            row.update({f"{metric}_{statistic}": values[statistic] for statistic in STATISTICS})
        rows.append({**row, **volume_metrics.loc[image], **({"failed": 0} if failed else {})})
    rows += [{"image": image, "failed": 1} for image in failed]
    table = pd.DataFrame(rows).sort_values("image", ignore_index=True)
    return table.astype({name: "Int64" for name in table if name in results.COUNT_COLUMNS})


def table_of_all(
    raw_data: pd.DataFrame, volume_metrics: pd.DataFrame, columns: pd.DataFrame, saved: PromptsSaved, failed: int = 0
) -> pd.DataFrame:
    """Return statistics over the slices of all volumes, then over volumes for the metrics of a whole volume.

    Where runs have manifests, so that something is known of prompts (``columns`` of :func:`prompt_columns`), rows on
    what ``failed`` and on prompts come last: statistics over volumes, and one value each for all volumes together.
    """
    import pandas as pd

    over_volumes = dict(volume_metrics.items())
    if "prompted_slices" in columns or failed:
        over_volumes["failed_volumes"] = pd.Series([failed], dtype="float64")
    if "prompted_slices" in columns:
        over_volumes.update(masked_slices=columns["masked_slices"], prompted_slices=columns["prompted_slices"])
        over_volumes["prompts_used"] = pd.Series([saved.used], dtype="float64")
        over_volumes["prompts_saved_percent"] = pd.Series([saved.saved_percent], dtype="float64")
    rows = [{"metric": name, **results.statistics(values)} for name, values in over_volumes.items()]
    return pd.concat([results.summarise(raw_data), pd.DataFrame(rows)], ignore_index=True)


def prompt_columns(prompts: Mapping[str, VolumePrompts]) -> pd.DataFrame:
    """Return what is known of prompts, a row per image (the index): prompted_slices, masked_slices and seed_patient.

    The columns are those of which something is known: the first two where a run has a manifest that names them,
    ``seed_patient`` (0 or 1, missing where there is no manifest) where one of the runs had a seed.
    """
    import pandas as pd

    table = pd.DataFrame(index=list(prompts))
    if any(one.prompted_slices is not None for one in prompts.values()):
        for name in ("prompted_slices", "masked_slices"):
            table[name] = pd.array([getattr(one, name) for one in prompts.values()], dtype="Int64")
    if any(one.seeds for one in prompts.values()):
        marks = pd.array([one.seed_patient for one in prompts.values()], dtype="boolean")
        table["seed_patient"] = marks.astype("Int64")
    return table


def as_text(table: pd.DataFrame) -> str:
    """Return a table for the terminal: its first column as names at the left, four digits, "-" where undefined."""
    import pandas as pd

    def cell(value: float | int) -> str:
        return "-" if pd.isna(value) else f"{value:.4f}" if isinstance(value, float) else str(value)

    return table.set_index(table.columns[0]).rename_axis(None).astype(object).map(cell).to_string()


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
