"""The results of a data set: the newest run of every volume in a folder, read back together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pose.files.tables import COUNT_COLUMNS
from pose.results import files
from pose.results.in_order import processes
from pose.results.prompts_saved import VolumePrompts
from pose.results.volume_block import Block, read_block
from pose.results.volume_list import ListedVolume, list_volumes, pieces_of, processes_for, volume_folders

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ResultSet:
    """The newest runs of the volumes in a folder, in the order of their names.

    Attributes:
        folder: where they lie, a folder for each volume.
        raw_data: the rows of all raw_data tables after a column ``image``.
        volume_metrics: a row per image (the index) and a column per metric of a whole volume, nan where one lacks it.
        prompts: what is known of the prompts, by image.
        failures: why volumes have no result, by image: those whose newest run failed.
        listed: what the folder of each image holds.
    """

    folder: Path
    raw_data: pd.DataFrame
    volume_metrics: pd.DataFrame
    prompts: dict[str, VolumePrompts]
    failures: dict[str, str]
    listed: dict[str, files.FolderRuns] = field(default_factory=dict)

    def run_files(self, image: str) -> files.RunFiles:
        """Return the files of the newest run of an image.

        Raises:
            KeyError: the image has none.
        """
        found = self.listed[image].files(self.folder / image)
        if found is None:
            raise KeyError(image)
        return found


def read_result_set(folder: Path) -> ResultSet:
    """Read the newest run of each sub-folder; folders written by the code of the published paper are read as well.

    Raises:
        UserError: there is no run, all failed, or a file is not what a run writes.
    """
    names = volume_folders(folder)
    with processes(processes_for(names)) as in_order:
        listing = list_volumes(folder, names, in_order)
        blocks = list(in_order(partial(_read_numbers, folder), pieces_of(listing.volumes)))
    images = [one.image for one in listing.volumes]
    metrics = metrics_table(images, [values for block in blocks for values in block.volume_metrics])
    listed = {one.image: one.listed for one in listing.volumes}
    raw_data = _joined(listing.columns, images, blocks)
    return ResultSet(folder, raw_data, metrics, listing.prompts, listing.failures, listed)


def _read_numbers(folder: Path, volumes: Sequence[ListedVolume]) -> Block:
    """Read a block without its text, which would only take memory."""
    return replace(read_block(folder, volumes), lines=[])


def metrics_table(images: Sequence[str], volume_metrics: Sequence[dict[str, float]]) -> pd.DataFrame:
    """Return the metrics of whole volumes, a row per image (the index), nan where one lacks a metric."""
    import pandas as pd

    names = dict.fromkeys(chain.from_iterable(volume_metrics))
    return pd.DataFrame(list(volume_metrics), list(images), list(names), dtype="float64")


def _joined(columns: Sequence[str], images: Sequence[str], blocks: list[Block]) -> pd.DataFrame:
    """Return the rows of all blocks with a column ``image`` before ``columns``; the blocks lose theirs on the way."""
    import pandas as pd

    sizes = np.concatenate([block.sizes for block in blocks])
    parts: dict[str, Any] = {"image": pd.Series(np.repeat(np.array(images, object), sizes), dtype=object)}
    for name in columns:
        missing = [np.full(block.sizes.sum(), np.nan) for block in blocks]
        values = np.concatenate([block.columns.pop(name, none) for block, none in zip(blocks, missing, strict=True)])
        parts[name] = pd.array(values, dtype="Int64") if name in COUNT_COLUMNS else values
    return pd.DataFrame(parts, copy=False)
