"""The tables of many volumes together: a row per volume, and statistics over all slices and volumes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import compress
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import numpy as np

from pose.files.tables import COUNT_COLUMNS
from pose.results import files
from pose.results.in_order import Map
from pose.results.joint_block import LINE_END, JoinedBlock, Plan, cell, join_block
from pose.results.prompts_saved import VolumePrompts, prompts_saved
from pose.results.result_set import metrics_table
from pose.results.volume_list import Listing, pieces_of
from pose.scores.statistics import describe, describe_known, intervals_of_sums

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
        sums: (images, metrics) sum of each of these metrics.
        numbers: (images, metrics) how many values it has.
        volume_metrics: a row per image (the index) and a column per metric of a whole volume.
        settings: the number of the settings of each image; empty where all are the same.
    """

    images: list[str]
    counted: np.ndarray
    failures: dict[str, str]
    prompts: dict[str, VolumePrompts]
    sizes: np.ndarray
    described: dict[str, dict[str, np.ndarray]]
    overall: dict[str, dict[str, float | int]]
    sums: np.ndarray
    numbers: np.ndarray
    volume_metrics: pd.DataFrame
    settings: dict[str, int | None] = field(default_factory=dict)


def write_joint_raw_data(path: Path, listing: Listing, left_out: Iterable[str], in_order: Map) -> Joint:
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
        # The values of each metric lie on the disk: of 100,000 volumes, they take more memory than all else.
        spools = {metric: stack.enter_context(TemporaryFile(dir=path.parent)) for metric in plan.metrics}
        file = stack.enter_context(path.open("wb"))
        progress = stack.enter_context(tqdm(total=len(listing.volumes), unit="volume", delay=5, mininterval=1))
        header = ["image", *columns, *(["seed_patient"] if marked else [])]
        file.write(b",".join(map(cell, header)) + LINE_END)
        for block in in_order(partial(join_block, plan), pieces_of(listing.volumes)):
            file.write(block.text)
            for metric, values in block.known.items():
                spools[metric].write(values.tobytes())
            blocks.append(replace(block, text=b"", known={}))
            progress.update(len(block.sizes))
        overall = {}
        for metric, spool in spools.items():
            spool.seek(0)
            overall[metric] = describe_known(np.fromfile(spool))
    images, described = [one.image for one in listing.volumes], [block.described for block in blocks]
    return Joint(
        images,
        np.array([image not in left_out for image in images]),
        listing.failures,
        listing.prompts,
        np.concatenate([block.sizes for block in blocks]),
        {
            metric: {name: np.concatenate([part[metric][name] for part in described]) for name in first}
            for metric, first in described[0].items()
        },
        overall,
        np.concatenate([block.sums for block in blocks]),
        np.concatenate([block.numbers for block in blocks]),
        metrics_table(images, [values for block in blocks for values in block.volume_metrics]),
        listing.settings,
    )


def _slice_metrics(columns: Sequence[str]) -> list[str]:
    """Return which columns of raw_data the tables may summarise: those of each run, then times."""
    scores = [name for name in files.SUMMARISED_COLUMNS if name in columns]
    return [*scores, *filter(files.is_label_column, columns), *(name for name in TIMES if name in columns)]


def table_per_volume(joint: Joint) -> pd.DataFrame:
    """Return a row per image: its slices, the statistics of each metric over them, the metrics of the volume, prompts.

    The published statistics of all metrics come first, then the further ones. Where volumes failed, each has a row
    too, empty but for its name and a 1 in the column ``failed``. Where runs were made with different settings, the
    column ``settings`` numbers these.
    """
    import pandas as pd

    metrics = _known_metrics({metric: found["n"].sum() for metric, found in joint.described.items()})
    table: dict[str, object] = {"image": joint.images, "slices": joint.sizes}
    for names in (STATISTICS, FURTHER_STATISTICS):
        table.update({f"{metric}_{name}": joint.described[metric][name] for metric in metrics for name in names})
    table.update({name: joint.volume_metrics[name].to_numpy() for name in joint.volume_metrics.columns})
    if joint.settings:
        table["settings"] = pd.array([joint.settings[image] for image in joint.images], dtype="Int64")
    volumes = pd.DataFrame(table)
    if joint.failures:
        failed = pd.DataFrame({"image": list(joint.failures), "failed": 1})
        volumes = pd.concat([volumes.assign(failed=0), failed])
    volumes = volumes.sort_values("image", ignore_index=True)
    counts = [name for name in volumes.columns if name in (*COUNT_COLUMNS, "settings") or name.endswith("_n")]
    return volumes.astype(dict.fromkeys(counts, "Int64")).join(prompt_columns(joint.prompts), on="image")


def _known_metrics(values: Mapping[str, float]) -> list[str]:
    """Return the metrics to show, of which there are so many values."""
    return [metric for metric, number in values.items() if number or metric not in _IF_KNOWN]


def table_of_all(joint: Joint) -> pd.DataFrame:
    """Return statistics over the slices of all volumes that count, then over volumes for the metrics of a whole volume.

    Where runs have manifests, so that something is known of prompts, rows on what failed and on prompts come last:
    statistics over volumes, and one value each for all volumes together.

    Returns:
        Columns metric, min, max, avg, std (of the sample), n, then q1, median, q3, ci95_low and ci95_high (bootstrap
        interval of avg that draws volumes, with all their slices), and the volumes that these rest on.
    """
    import pandas as pd
    from threadpoolctl import threadpool_limits

    metrics = _known_metrics({metric: found["n"] for metric, found in joint.overall.items()})
    shown = [list(joint.overall).index(metric) for metric in metrics]
    prompts = prompt_columns(joint.prompts)[joint.counted]
    known = "prompted_slices" in prompts
    volumes, prompts = (
        joint.volume_metrics[joint.counted].drop(columns=files.NUMBER_OF_SLICE, errors="ignore"),
        prompts[["masked_slices", "prompted_slices"] if known else []],
    )
    whole = [table.to_numpy(dtype=np.float64, na_value=np.nan) for table in (volumes, prompts)]
    sums = [
        (joint.sums[joint.counted][:, shown], joint.numbers[joint.counted][:, shown]),
        *((np.nan_to_num(values, posinf=np.inf, neginf=-np.inf), ~np.isnan(values) * 1.0) for values in whole),
    ]
    with threadpool_limits(1, "blas"):  # the last bit of a product of matrices depends on the number of threads
        over_slices, over_volumes, over_prompts = intervals_of_sums(sums)
    rows = list(_rows(metrics, [joint.overall[metric] for metric in metrics], over_slices))
    rows += _rows(volumes.columns, map(describe, whole[0].T), over_volumes)
    if known or joint.failures:
        rows.append(_single("failed_volumes", len(joint.failures)))
    if known:
        saved = prompts_saved(compress(joint.prompts.values(), joint.counted))
        rows += _rows(prompts.columns, map(describe, whole[1].T), over_prompts)
        rows.append(_single("prompts_used", saved.used))
        rows.append(_single("prompts_saved_percent", saved.saved_percent))
    order = ["metric", *STATISTICS, *FURTHER_STATISTICS, "ci95_low", "ci95_high", "volumes"]
    return pd.DataFrame(rows, columns=order).astype({"n": "Int64", "volumes": "Int64"})


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
