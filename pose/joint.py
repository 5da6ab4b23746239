"""The tables of many volumes together: a row per volume, and statistics over all slices and volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pose import results
from pose.prompts_saved import PromptsSaved, VolumePrompts
from pose.statistics import RESAMPLES, describe, mean_intervals

if TYPE_CHECKING:
    import pandas as pd

STATISTICS = ("min", "max", "avg", "std")
FURTHER_STATISTICS = ("n", "q1", "median", "q3")
TIMES = ("set_image_time", "predict_image_time")


def joint_metrics(raw_data: pd.DataFrame) -> list[str]:
    """Return which columns of ``raw_data`` the tables summarise: those of each run, then times where there are any."""
    times = [name for name in TIMES if name in raw_data and raw_data[name].notna().any()]
    return [*results.summarised_columns(raw_data), *times]


def table_per_volume(raw_data: pd.DataFrame, volume_metrics: pd.DataFrame, failed: Sequence[str] = ()) -> pd.DataFrame:
    """Return a row per image: its slices, the statistics of each metric over them, and the metrics of the volume.

    The published statistics of all metrics come first, then the further ones. Where volumes ``failed``, each has a row
    too, empty but for its name and a 1 in the column ``failed``.
    """
    import pandas as pd

    metrics = joint_metrics(raw_data)
    values = {metric: raw_data[metric].to_numpy(dtype=np.float64) for metric in metrics}
    places = raw_data.groupby("image", sort=False).indices
    rows = []
    for image in volume_metrics.index:
        where = places.get(image, np.empty(0, np.intp))
        found = {metric: describe(values[metric][where]) for metric in metrics}
        row = {"image": image, "slices": len(where)}
        for names in (STATISTICS, FURTHER_STATISTICS):
            row.update({f"{metric}_{name}": found[metric][name] for metric in metrics for name in names})
        rows.append({**row, **volume_metrics.loc[image], **({"failed": 0} if failed else {})})
    rows += [{"image": image, "failed": 1} for image in failed]
    table = pd.DataFrame(rows).sort_values("image", ignore_index=True)
    counts = [name for name in table if name in results.COUNT_COLUMNS or name.endswith("_n")]
    return table.astype(dict.fromkeys(counts, "Int64"))


def table_of_all(
    raw_data: pd.DataFrame, volume_metrics: pd.DataFrame, columns: pd.DataFrame, saved: PromptsSaved, failed: int = 0,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Return statistics over the slices of all volumes, then over volumes for the metrics of a whole volume.

    Where runs have manifests, so that something is known of prompts (``columns`` of :func:`prompt_columns`), rows on
    what ``failed`` and on prompts come last: statistics over volumes, and one value each for all volumes together.

    Returns:
        Columns metric, min, max, avg, std (of the sample), n, then q1, median, q3, ci95_low and ci95_high (bootstrap
        interval of avg that draws volumes, with all their slices), and the volumes that these rest on.
    """
    import pandas as pd

    per_volume = np.arange(len(volume_metrics))
    rows = _rows(raw_data[joint_metrics(raw_data)], raw_data["image"].to_numpy(), resamples)
    rows += _rows(volume_metrics, per_volume, resamples)
    known = "prompted_slices" in columns
    if known or failed:
        rows.append(_single("failed_volumes", failed))
    if known:
        rows += _rows(columns[["masked_slices", "prompted_slices"]], per_volume, resamples)
        rows.append(_single("prompts_used", saved.used))
        rows.append(_single("prompts_saved_percent", saved.saved_percent))
    order = ["metric", *STATISTICS, *FURTHER_STATISTICS, "ci95_low", "ci95_high", "volumes"]
    return pd.DataFrame(rows, columns=order).astype({"n": "Int64", "volumes": "Int64"})


def _rows(table: pd.DataFrame, units: np.ndarray, resamples: int) -> list[dict[str, object]]:
    """Return a row of statistics for each column of ``table``, whose intervals draw ``units``."""
    values = table.to_numpy(dtype=np.float64, na_value=np.nan)
    intervals = mean_intervals(values, units, resamples)
    return [
        {"metric": name, **describe(column), "ci95_low": low, "ci95_high": high, "volumes": volumes}
        for name, column, (low, high, volumes) in zip(table, values.T, intervals, strict=True)
    ]


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
