"""The results of a data set: the newest run of every volume in a folder, read back together."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pose import results
from pose.cli import UserError
from pose.prompts_saved import VolumePrompts, read_volume_prompts

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResultSet:
    """The newest runs of the volumes in a folder, in the order of their names.

    Attributes:
        folder: where they lie, a folder for each volume.
        raw_data: the rows of all raw_data tables after a column ``image``.
        volume_metrics: a row per image (the index) and a column per metric of a whole volume, nan where one lacks it.
        prompts: what is known of the prompts, by image.
        failures: why volumes have no result, by image: those whose newest run failed.
    """

    folder: Path
    raw_data: pd.DataFrame
    volume_metrics: pd.DataFrame
    prompts: dict[str, VolumePrompts]
    failures: dict[str, str]


def read_result_set(folder: Path) -> ResultSet:
    """Read the newest run of each sub-folder; folders written by the code of the published paper are read as well.

    Raises:
        UserError: there is no run, all failed, or a file is not what a run writes.
    """
    import pandas as pd

    if not folder.is_dir():
        raise UserError(f"{folder}: {'is not a folder' if folder.exists() else 'no such folder'}")
    raw_data: dict[str, pd.DataFrame] = {}
    volume_metrics: dict[str, dict[str, float]] = {}
    prompts: dict[str, VolumePrompts] = {}
    failures: dict[str, str] = {}
    for volume_folder in sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.name):
        if volume_folder.name.startswith("."):
            continue
        image = volume_folder.name
        reason = results.last_failure(volume_folder)
        if reason is not None:
            failures[image] = reason
            continue
        run = results.newest_run(volume_folder)
        if run is None:
            logger.warning("%s: holds no raw_data_*.csv, left out", volume_folder)
            continue
        raw_data[image] = _read_once_each(run.raw_data, ("slice", "jaccard", "dice"))
        prompts[image] = read_volume_prompts(run.run)
        volume_metrics[image] = {}
        if run.results is not None:
            summary = _read_once_each(run.results, ("metric", "avg"), text_columns=("metric",))
            values = zip(summary["metric"], summary["avg"], strict=True)
            volume_metrics[image] = {metric: value for metric, value in values if not results.is_slice_metric(metric)}
    if not raw_data and failures:
        image, reason = next(iter(failures.items()))
        raise UserError(f"{folder}: no volume has a result, {len(failures)} failed, such as {image}: {reason}")
    if not raw_data:
        hint = "; it is the folder of one volume: give the folder above it" if results.newest_run(folder) else ""
        raise UserError(f"{folder}: no folder in it holds a raw_data_*.csv{hint}")
    present = dict.fromkeys(name for table in raw_data.values() for name in table)
    columns = [name for name in results.ordered_columns(present) if name in present]
    joint = pd.concat(raw_data, names=["image"]).reset_index("image").reset_index(drop=True)
    names = dict.fromkeys(name for values in volume_metrics.values() for name in values)
    metrics = pd.DataFrame(list(volume_metrics.values()), list(raw_data), list(names), dtype="float64")
    return ResultSet(folder, joint[["image", *columns]], metrics, prompts, failures)


def _read_once_each(path: Path, columns: Sequence[str], text_columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table in which each value of the first of ``columns`` comes once."""
    table = results.read_table(path, columns, text_columns)
    repeated = table[columns[0]].duplicated()
    if repeated.any():
        raise UserError(f"{path}: {columns[0]} {table[columns[0]][repeated].iloc[0]} comes twice")
    return table
