"""What a report is made from: result sets with their manifests, and statistics over them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pose import results, statistics
from pose.cli import UserError
from pose.result_set import ResultSet, read_result_set

if TYPE_CHECKING:
    import pandas as pd

MOST_BINS = 12


@dataclass(frozen=True)
class Results:
    """One folder of results under the name that the report gives it.

    Attributes:
        result_set: the newest runs of its volumes.
        runs: the files of each of these runs, by image.
        manifests: what each run says of itself, by image; empty where it says nothing, as in published folders.
        left_out: images that do not count in statistics: a seed slice of a data set came from them.
    """

    name: str
    result_set: ResultSet
    runs: dict[str, results.RunFiles]
    manifests: dict[str, dict[str, Any]]
    left_out: tuple[str, ...] = ()

    @property
    def images(self) -> list[str]:
        """The volumes that count."""
        return [image for image in self.runs if image not in self.left_out]

    @cached_property
    def slices(self) -> pd.DataFrame:
        """The rows of raw_data of the volumes that count."""
        raw_data = self.result_set.raw_data
        return raw_data[raw_data["image"].isin(self.images)]

    @property
    def volume_metrics(self) -> pd.DataFrame:
        """The metrics of whole volumes, of those that count."""
        return self.result_set.volume_metrics.loc[self.images]

    @cached_property
    def distances(self) -> pd.DataFrame:
        """The rows of ``slices`` that have a Dice, with a column ``distance_mm``: from the nearest prompted slice.

        A volume of which the prompted slices or the distance between slices are not known is not in it.
        """
        import pandas as pd

        tables = [self.slices.head(0).assign(distance_mm=np.empty(0))]
        for image, table in self.slices.groupby("image", sort=False):
            prompted, spacing = prompted_slices(self.runs[image].sam_prompts), slice_spacing(self.manifests[image])
            if prompted and spacing is not None:
                table = table[table["dice"].notna()]
                apart = np.abs(table["slice"].to_numpy(dtype=np.int64)[:, None] - np.array(prompted)).min(axis=1)
                tables.append(table.assign(distance_mm=apart * spacing))
        return pd.concat(tables[1:] or tables)


def read_results(name: str, folder: Path, include_seed_patient: bool = False) -> Results:
    """Read a folder of results, ours or of the published layout.

    Raises:
        UserError: as for :func:`pose.result_set.read_result_set`, or no volume but the seed patient's has a result.
    """
    result_set = read_result_set(folder)
    runs = {image: results.newest_run(folder / image) for image in result_set.prompts}
    manifests = {image: results.read_manifest(run.run) if run.run else {} for image, run in runs.items()}
    seeds = [image for image, one in result_set.prompts.items() if one.seed_patient and not include_seed_patient]
    if len(seeds) == len(runs):
        only = f"{folder}: only the seed patient ({', '.join(seeds)}) has results"
        raise UserError(f"{only}, and is left out of the statistics; --include_seed_patient counts it")
    return Results(name, result_set, runs, manifests, tuple(seeds))


def mean_interval(values: pd.Series, volumes: pd.Series) -> tuple[float, float]:
    """Return the 95 % interval of the mean of ``values``, by a bootstrap that draws whole volumes.

    Args:
        values: one for each slice (or volume); missing ones do not count.
        volumes: which volume each belongs to, in the same order.

    Returns:
        Its ends; nan where fewer than two volumes have a value.
    """
    return statistics.mean_interval(values.to_numpy(dtype=np.float64, na_value=np.nan), volumes)


def quartiles(values: pd.Series) -> tuple[float, float, float]:
    """Return the first quartile, the median and the third quartile of the values that are there; nan without any."""
    found = statistics.quartiles(values.dropna().to_numpy(dtype=np.float64))
    return found["q1"], found["median"], found["q3"]


def prompted_slices(path: Path | None) -> list[int]:
    """Return the slices that sam_prompts_*.json prompts; none where there is no such file, or no prompt on the volume.

    Raises:
        UserError: the file is not what a run writes.
    """
    entries = [] if path is None else results.read_manifest(path).get("prompts", [])
    whole = isinstance(entries, list) and all(type(_slice_of(entry)) is int for entry in entries)
    if not whole:
        raise UserError(f"{path}: prompts must be a list of objects with a slice, got {entries!r:.60}")
    return sorted({entry["slice"] for entry in entries})


def _slice_of(entry: Any) -> Any:
    return entry.get("slice") if isinstance(entry, Mapping) else None


def slice_spacing(manifest: Mapping[str, Any]) -> float | None:
    """Return the millimetres between slices; None where the manifest does not say."""
    image = manifest.get("image")
    spacing = image.get("spacing_mm") if isinstance(image, Mapping) else None
    if isinstance(spacing, Sequence) and len(spacing) == 3 and isinstance(spacing[2], (int, float)) and spacing[2] > 0:
        return float(spacing[2])
    return None


def distance_edges(largest: float) -> list[float]:
    """Return the upper ends of bins of distances in mm: 0, the prompted slices themselves, then steps of 1, 2 or 5."""
    if not largest > 0:
        return [0.0]
    exponent = math.floor(math.log10(largest / MOST_BINS))
    steps = (factor * 10.0**power for power in (exponent, exponent + 1) for factor in (1, 2, 5))
    step = next(step for step in steps if largest / step <= MOST_BINS)
    return [step * number for number in range(math.ceil(largest / step - 1e-9) + 1)]
