"""What a report is made from: result sets with their manifests, and statistics over them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pose import results
from pose.cli import UserError
from pose.results.result_set import ResultSet, read_result_set
from pose.scores import statistics

if TYPE_CHECKING:
    import pandas as pd

MOST_BINS = 12


# What tells where files of one volume lay, and is of no use beside those of 100,000 others.
FILE_ARGUMENTS = frozenset(
    (
        "image_file_path",
        "masks_file_path",
        "results_folder_path",
        "checkpoint_file_path",
        "prompt_file_path",
        "seed_image_file_path",
        "seed_masks_file_path",
        "seed_prompt_file_path",
        "seed_memory",
        "save_seed_memory",
    )
)
SAID = (
    "method",
    "model",
    "image_size",
    "device",
    "device_name",
    "threads",
    "instructions",
    "precision",
    "git_commit",
    "platform",
    "versions",
)


@dataclass(frozen=True)
class Told:
    """What the files of a run tell, beside its tables.

    Attributes:
        said: how it was made, as its manifest says: one object for all volumes that say the same.
        spacing_mm: millimetres between slices; None where unknown.
        total_seconds: from reading to results; None where unknown.
        prompted: the slices that were prompted.
    """

    said: Mapping[str, Any]
    spacing_mm: float | None
    total_seconds: float | None
    prompted: list[int]


@dataclass(frozen=True)
class Results:
    """One folder of results under the name that the report gives it.

    Attributes:
        result_set: the newest runs of its volumes.
        told: what each of these runs tells of itself, by image.
        left_out: images that do not count in statistics: a seed slice of a data set came from them.
    """

    name: str
    result_set: ResultSet
    told: dict[str, Told]
    left_out: tuple[str, ...] = ()

    @cached_property
    def images(self) -> list[str]:
        """The volumes that count."""
        left_out = set(self.left_out)
        return [image for image in self.told if image not in left_out]

    @cached_property
    def slices(self) -> pd.DataFrame:
        """The rows of raw_data of the volumes that count."""
        raw_data = self.result_set.raw_data
        return raw_data[raw_data["image"].isin(self.images)] if self.left_out else raw_data

    @cached_property
    def volume_of_slice(self) -> np.ndarray:
        """(slices,) the number in ``images`` of the volume that each row of ``slices`` is of."""
        import pandas as pd

        return pd.Index(self.images).get_indexer(self.slices["image"])

    def by_volume(self, column: str) -> dict[str, np.ndarray]:
        """Return (images,) statistics of a column of ``slices`` over those of each volume, by their names."""
        values = self.slices[column].to_numpy(dtype=np.float64, na_value=np.nan)
        return statistics.describe_each(values, np.bincount(self.volume_of_slice, minlength=len(self.images)))

    @property
    def volume_metrics(self) -> pd.DataFrame:
        """The metrics of whole volumes, of those that count."""
        return self.result_set.volume_metrics.loc[self.images]

    @cached_property
    def distances(self) -> pd.DataFrame:
        """The Dice of each row of ``slices`` that has one, and ``distance_mm`` from the nearest prompted slice.

        The columns are image, slice, dice, distance_mm, and ``volume``, the number of the image in ``images``. A volume
        of which the prompted slices or the distance between slices are not known is not in it.
        """
        volume, slices = self.volume_of_slice, self.slices["slice"].to_numpy(dtype=np.int64)
        distance = np.full(len(slices), math.nan)
        ends = np.searchsorted(volume, np.arange(len(self.images) + 1))
        for image, start, stop in zip(self.images, ends[:-1].tolist(), ends[1:].tolist(), strict=True):
            told = self.told[image]
            if told.prompted and told.spacing_mm is not None and stop > start:
                apart = np.abs(slices[start:stop, None] - np.array(told.prompted)).min(axis=1)
                distance[start:stop] = apart * told.spacing_mm
        rows = ~np.isnan(distance) & self.slices["dice"].notna().to_numpy()
        found = self.slices.loc[rows, ["image", "slice", "dice"]]
        return found.assign(distance_mm=distance[rows], volume=volume[rows])

    @cached_property
    def said(self) -> list[tuple[Mapping[str, Any], int]]:
        """What runs of volumes that count say of how they were made, and how many say it, in the order of volumes."""
        counts = Counter(id(self.told[image].said) for image in self.images)
        return [(one, counts[id(one)]) for one in self.all_said if id(one) in counts]

    @cached_property
    def all_said(self) -> list[Mapping[str, Any]]:
        """The same of all runs, without the counts."""
        return list({id(one.said): one.said for one in self.told.values()}.values())


def read_results(name: str, folder: Path, include_seed_patient: bool = False) -> Results:
    """Read a folder of results, ours or of the published layout.

    Raises:
        UserError: as for :func:`pose.results.result_set.read_result_set`, or no volume but the seed patient's has a
            result.
    """
    from tqdm import tqdm

    result_set = read_result_set(folder)
    known: dict[str, Mapping[str, Any]] = {}
    images = tqdm(result_set.prompts, desc="manifests", unit="volume", delay=5, mininterval=1)
    told = {image: read_told(result_set.run_files(image), known) for image in images}
    seeds = [image for image, one in result_set.prompts.items() if one.seed_patient and not include_seed_patient]
    if len(seeds) == len(told):
        only = f"{folder}: only the seed patient ({', '.join(seeds)}) has results"
        raise UserError(f"{only}, and is left out of the statistics; --include_seed_patient counts it")
    return Results(name, result_set, told, tuple(seeds))


def read_told(run: results.RunFiles, known: dict[str, Mapping[str, Any]]) -> Told:
    """Read what a run tells of itself; nothing where it has no manifest, as in published folders.

    Args:
        known: what runs said before, by its JSON; what this one says is added.

    Raises:
        UserError: the manifest or the prompts are not what a run writes.
    """
    manifest = results.read_manifest(run.run) if run.run else {}
    said = {name: manifest[name] for name in SAID if name in manifest}
    arguments = manifest.get("arguments")
    if isinstance(arguments, Mapping):
        said["arguments"] = {name: value for name, value in arguments.items() if name not in FILE_ARGUMENTS}
    for keys in (("checkpoint", "sha256"), ("made_from", "code", "pose")):
        value = inside(manifest, *keys)
        for key in reversed(keys[1:]):
            value = {key: value}
        said[keys[0]] = value
    seconds = manifest.get("total_seconds")
    seconds = seconds if isinstance(seconds, (int, float)) else None
    said = known.setdefault(json.dumps(said), said)
    return Told(said, slice_spacing(manifest), seconds, prompted_slices(run.sam_prompts))


def inside(record: Any, *keys: str) -> Any:
    """Return what lies in a record under keys, one below the other; None where there is no such thing."""
    for key in keys:
        record = record.get(key) if isinstance(record, Mapping) else None
    return record


def mean_intervals(
    columns: Sequence[tuple[np.ndarray | pd.Series, np.ndarray | pd.Series]],
) -> list[tuple[float, float]]:
    """Return the 95 % interval of the mean of each column, by a bootstrap that draws whole volumes.

    Args:
        columns: the values of each, one for each slice (or volume), of which missing ones do not count; and which
            volume each value belongs to.

    Returns:
        Their ends; nan where fewer than two volumes have a value.
    """
    tables = []
    for values, volumes in columns:
        names, unit = np.unique(np.asarray(volumes), return_inverse=True)
        sums = statistics.unit_sums(np.asarray(values, dtype=np.float64), unit, len(names))
        tables.append(tuple(part[:, None] for part in sums))
    return [(low, high) for [(low, high, _)] in statistics.intervals_of_sums(tables)]


def mean_interval(values: pd.Series, volumes: pd.Series) -> tuple[float, float]:
    """Return :func:`mean_intervals` of one column."""
    return mean_intervals([(values, volumes)])[0]


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
