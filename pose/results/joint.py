"""The tables of many volumes together: a row per volume, and statistics over all slices and volumes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pose.files.atomic import temporary_beside
from pose.results import files
from pose.results.in_order import InOrder
from pose.results.joint_block import LINE_END, JoinedBlock, Plan, cell, join_block
from pose.results.prompts_saved import VolumePrompts, prompts_saved
from pose.results.result_set import metrics_table
from pose.results.volume_block import blocks_of
from pose.results.volume_list import Listing
from pose.scores.statistics import describe, describe_known, unit_sums

if TYPE_CHECKING:
    import pandas as pd

STATISTICS = ("min", "max", "avg", "std")
FURTHER_STATISTICS = ("n", "q1", "median", "q3")
TIMES = ("set_image_time", "predict_image_time")
# Summarised where they have a value; the other metrics have a row in any case.
_IF_KNOWN = ("object_score", *TIMES)


@dataclass(frozen=True)
class Joint:
    """What the joint tables are made from, once joint_raw_data is written.

    Attributes:
        images: the volumes that have a result.
        counted: (images,) which of them count in the statistics of all.
        failures: why the others have none, by image.
        prompts: what is known of the prompts, by image.
        sizes: (images,) the rows of each in joint_raw_data.
        described: (images,) statistics of each metric of slices, by their names.
        overall: the statistics of each of these metrics over the slices of all volumes that count.
        sums: (images,) sum of each of these metrics, and how many values it has.
        volume_metrics: a row per image (the index) and a column per metric of a whole volume.
    """

    images: list[str]
    counted: np.ndarray
    failures: dict[str, str]
    prompts: dict[str, VolumePrompts]
    sizes: np.ndarray
    described: dict[str, dict[str, np.ndarray]]
    overall: dict[str, dict[str, float | int]]
    sums: dict[str, tuple[np.ndarray, np.ndarray]]
    volume_metrics: pd.DataFrame


def write_joint_raw_data(path: Path, listing: Listing, left_out: Iterable[str], workers: InOrder) -> Joint:
    """Read all volumes of ``listing`` and write their rows to ``path`` as they come; only numbers on them are kept.

    Args:
        left_out: images that do not count in the statistics of all.

    Raises:
        UserError: a file is not what a run writes.
    """
    from tqdm import tqdm

    left_out, columns = frozenset(left_out), listing.columns
    marked = any(one.prompts.seeds for one in listing.volumes)
    plan = Plan(listing.folder, tuple(columns), tuple(_slice_metrics(columns)), marked, left_out)
    blocks: list[JoinedBlock] = []
    with ExitStack() as stack:
        spool = _Spool(stack, path, plan.metrics)
        file = stack.enter_context(path.open("wb"))
        progress = stack.enter_context(tqdm(total=len(listing.volumes), unit="volume", delay=5, mininterval=1))
        header = ["image", *columns, *(["seed_patient"] if marked else [])]
        file.write(b",".join(map(cell, header)) + LINE_END)
        for block in workers.map(partial(join_block, plan), blocks_of(listing.volumes)):
            file.write(block.text)
            blocks.append(spool.took(block))
            progress.update(len(block.sizes))
        overall = spool.described(workers)
    images = [one.image for one in listing.volumes]
    return Joint(
        images,
        np.array([image not in left_out for image in images]),
        listing.failures,
        listing.prompts,
        np.concatenate([block.sizes for block in blocks]),
        {metric: _together([block.described[metric] for block in blocks]) for metric in plan.metrics},
        overall,
        {metric: tuple(map(np.concatenate, zip(*(block.sums[metric] for block in blocks)))) for metric in plan.metrics},
        metrics_table(images, [values for block in blocks for values in block.volume_metrics]),
    )


def _slice_metrics(columns: Sequence[str]) -> list[str]:
    """Return which columns of raw_data the tables may summarise: those of each run, then times."""
    scores = [name for name in files.SUMMARISED_COLUMNS if name in columns]
    return [*scores, *filter(files.is_label_column, columns), *(name for name in TIMES if name in columns)]


def _together(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


class _Spool:
    """All values of each metric, in files that lie beside another one for as long as they are needed."""

    def __init__(self, stack: ExitStack, beside: Path, metrics: Sequence[str]):
        self._paths, self._files = {}, {}
        for number, metric in enumerate(metrics):
            path = stack.enter_context(temporary_beside(beside.with_name(f"{number}-{beside.name}")))
            self._paths[metric], self._files[metric] = path, stack.enter_context(path.open("wb"))

    def took(self, block: JoinedBlock) -> JoinedBlock:
        """Write the values of a block; return it without them and without its text."""
        for metric, values in block.known.items():
            self._files[metric].write(values.tobytes())
        return replace(block, text=b"", known={})

    def described(self, workers: InOrder) -> dict[str, dict[str, float | int]]:
        """Return the statistics of all values of each metric."""
        for file in self._files.values():
            file.flush()
        return dict(zip(self._paths, workers.map(_described, self._paths.values()), strict=True))


def _described(path: Path) -> dict[str, float | int]:
    return describe_known(np.fromfile(path))


def table_per_volume(joint: Joint) -> pd.DataFrame:
    """Return a row per image: its slices, the statistics of each metric over them, the metrics of the volume, prompts.

    The published statistics of all metrics come first, then the further ones. Where volumes failed, each has a row
    too, empty but for its name and a 1 in the column ``failed``.
    """
    import pandas as pd

    metrics = _known_metrics({metric: found["n"].sum() for metric, found in joint.described.items()})
    table: dict[str, object] = {"image": joint.images, "slices": joint.sizes}
    for names in (STATISTICS, FURTHER_STATISTICS):
        table.update({f"{metric}_{name}": joint.described[metric][name] for metric in metrics for name in names})
    table.update({name: joint.volume_metrics[name].to_numpy() for name in joint.volume_metrics})
    volumes = pd.DataFrame(table)
    if joint.failures:
        failed = pd.DataFrame({"image": list(joint.failures), "failed": 1})
        volumes = pd.concat([volumes.assign(failed=0), failed])
    volumes = volumes.sort_values("image", ignore_index=True)
    counts = [name for name in volumes if name in files.COUNT_COLUMNS or name.endswith("_n")]
    return volumes.astype(dict.fromkeys(counts, "Int64")).join(prompt_columns(joint.prompts), on="image")


def _known_metrics(values: Mapping[str, int]) -> list[str]:
    """Return the metrics to show, of which there are so many values."""
    return [metric for metric, number in values.items() if number or metric not in _IF_KNOWN]


def interval_sums(joint: Joint) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return what the intervals of :func:`table_of_all` are drawn from: (volumes, metrics) sums and counts.

    Of metrics of slices, of metrics of volumes, and of what is known of prompts.
    """
    slices = [tuple(values[joint.counted] for values in joint.sums[metric]) for metric in _overall_metrics(joint)]
    return [_stacked(slices), *(_stacked([_of_each(column) for column in _values(table).T]) for table in _whole(joint))]


def _overall_metrics(joint: Joint) -> list[str]:
    return _known_metrics({metric: found["n"] for metric, found in joint.overall.items()})


def _whole(joint: Joint) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the metrics of whole volumes, and what is known of their prompts, of volumes that count."""
    prompts = prompt_columns(joint.prompts)[joint.counted]
    names = ["masked_slices", "prompted_slices"] if "prompted_slices" in prompts else []
    return joint.volume_metrics[joint.counted], prompts[names]


def _values(table: pd.DataFrame) -> np.ndarray:
    return table.to_numpy(dtype=np.float64, na_value=np.nan)


def table_of_all(joint: Joint, intervals: Sequence[Sequence[tuple[float, float, int]]]) -> pd.DataFrame:
    """Return statistics over the slices of all volumes that count, then over volumes for the metrics of a whole volume.

    Where runs have manifests, so that something is known of prompts, rows on what failed and on prompts come last:
    statistics over volumes, and one value each for all volumes together.

    Args:
        intervals: :func:`pose.scores.statistics.intervals_of_sums` of :func:`interval_sums`.

    Returns:
        Columns metric, min, max, avg, std (of the sample), n, then q1, median, q3, ci95_low and ci95_high (bootstrap
        interval of avg that draws volumes, with all their slices), and the volumes that these rest on.
    """
    import pandas as pd

    metrics, (volumes, prompts) = _overall_metrics(joint), _whole(joint)
    over_slices, over_volumes, over_prompts = intervals
    rows = list(_rows(metrics, [joint.overall[metric] for metric in metrics], over_slices))
    rows += _rows(volumes, map(describe, _values(volumes).T), over_volumes)
    known = len(prompts.columns) > 0
    if known or joint.failures:
        rows.append(_single("failed_volumes", len(joint.failures)))
    if known:
        saved = prompts_saved(compress(joint.prompts.values(), joint.counted))
        rows += _rows(prompts, map(describe, _values(prompts).T), over_prompts)
        rows.append(_single("prompts_used", saved.used))
        rows.append(_single("prompts_saved_percent", saved.saved_percent))
    order = ["metric", *STATISTICS, *FURTHER_STATISTICS, "ci95_low", "ci95_high", "volumes"]
    return pd.DataFrame(rows, columns=order).astype({"n": "Int64", "volumes": "Int64"})


def _of_each(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums and counts of volumes that have one value each, or none."""
    return unit_sums(values, np.arange(len(values)), len(values))


def _stacked(columns: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return (units, columns) sums and counts of the sums and counts of each column."""
    if not columns:
        return np.empty((0, 0)), np.empty((0, 0))
    sums, counts = (np.stack(part, axis=1) for part in zip(*columns, strict=True))
    return sums, counts


def _rows(
    names: Iterable[str], described: Iterable[dict[str, float | int]], intervals: Iterable[tuple[float, float, int]]
) -> Iterator[dict[str, object]]:
    """Yield a row for each metric: its statistics, and the interval of its mean."""
    for name, found, (low, high, volumes) in zip(names, described, intervals, strict=True):
        yield {"metric": name, **found, "ci95_low": low, "ci95_high": high, "volumes": volumes}


def _single(name: str, value: float | None) -> dict[str, object]:
    return {"metric": name, **describe(np.array([value], dtype=np.float64))}


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
