"""The join of a folder of results in the plainest way: every table read by itself, and all of them in one table.

What join_results.py does in blocks and on all cores must equal this to the byte.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from pose import results
from pose.results.joint import FURTHER_STATISTICS, STATISTICS, TIMES, prompt_columns
from pose.results.prompts_saved import prompts_saved, read_volume_prompts
from pose.scores.statistics import describe, mean_intervals


def read(folder):
    """Return raw_data, volume metrics, prompts and failures as a ResultSet holds them."""
    raw_data, metrics, prompts, failures = {}, {}, {}, {}
    for place in sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.name):
        image, reason, run = place.name, results.last_failure(place), results.newest_run(place)
        if reason is not None:
            failures[image] = reason
            continue
        raw_data[image] = results.read_table(run.raw_data, ("slice", "jaccard", "dice"))
        prompts[image] = read_volume_prompts(run.run)
        metrics[image] = {}
        if run.results is not None:
            summary = results.read_table(run.results, ("metric", "avg"), text_columns=("metric",))
            values = zip(summary["metric"], summary["avg"], strict=True)
            metrics[image] = {metric: value for metric, value in values if not results.is_slice_metric(metric)}
    present = dict.fromkeys(name for table in raw_data.values() for name in table)
    columns = [name for name in results.ordered_columns(present) if name in present]
    joint = pd.concat(raw_data, names=["image"]).reset_index("image").reset_index(drop=True)
    names = dict.fromkeys(name for values in metrics.values() for name in values)
    table = pd.DataFrame(list(metrics.values()), list(raw_data), list(names), dtype="float64")
    return joint[["image", *columns]], table, prompts, failures


def joint_metrics(raw_data):
    times = [name for name in TIMES if name in raw_data and raw_data[name].notna().any()]
    return [*results.summarised_columns(raw_data), *times]


def table_per_volume(raw_data, volume_metrics, failed):
    metrics = joint_metrics(raw_data)
    rows = []
    for image in volume_metrics.index:
        here = raw_data[raw_data["image"] == image]
        found = {metric: describe(here[metric].to_numpy(dtype=np.float64)) for metric in metrics}
        row = {"image": image, "slices": len(here)}
        for names in (STATISTICS, FURTHER_STATISTICS):
            row.update({f"{metric}_{name}": found[metric][name] for metric in metrics for name in names})
        rows.append({**row, **volume_metrics.loc[image], **({"failed": 0} if failed else {})})
    rows += [{"image": image, "failed": 1} for image in failed]
    table = pd.DataFrame(rows).sort_values("image", ignore_index=True)
    counts = [name for name in table if name in results.COUNT_COLUMNS or name.endswith("_n")]
    return table.astype(dict.fromkeys(counts, "Int64"))


def rows_of(table, units):
    values = table.to_numpy(dtype=np.float64, na_value=np.nan)
    return [
        {"metric": name, **describe(column), "ci95_low": low, "ci95_high": high, "volumes": volumes}
        for name, column, (low, high, volumes) in zip(table, values.T, mean_intervals(values, units), strict=True)
    ]


def single(name, value):
    return {"metric": name, **describe(np.array([value], dtype=np.float64))}


def table_of_all(raw_data, volume_metrics, columns, saved, failed):
    per_volume = np.arange(len(volume_metrics))
    rows = rows_of(raw_data[joint_metrics(raw_data)], raw_data["image"].to_numpy())
    rows += rows_of(volume_metrics, per_volume)
    known = "prompted_slices" in columns
    if known or failed:
        rows.append(single("failed_volumes", failed))
    if known:
        rows += rows_of(columns[["masked_slices", "prompted_slices"]], per_volume)
        rows += [single("prompts_used", saved.used), single("prompts_saved_percent", saved.saved_percent)]
    order = ["metric", *STATISTICS, *FURTHER_STATISTICS, "ci95_low", "ci95_high", "volumes"]
    return pd.DataFrame(rows, columns=order).astype({"n": "Int64", "volumes": "Int64"})


def join(folder: Path, include_seed_patient: bool) -> dict[str, pd.DataFrame]:
    """Return the three tables."""
    raw_data, volume_metrics, prompts, failures = read(folder)
    counted = [image for image, one in prompts.items() if include_seed_patient or not one.seed_patient]
    columns, saved = prompt_columns(prompts), prompts_saved(prompts[image] for image in counted)
    slices = raw_data[raw_data["image"].isin(counted)]
    statistics = table_of_all(slices, volume_metrics.loc[counted], columns.loc[counted], saved, len(failures))
    per_volume = table_per_volume(raw_data, volume_metrics, list(failures)).join(columns, on="image")
    if "seed_patient" in columns:
        raw_data = raw_data.join(columns["seed_patient"], on="image")
    return {"joint_raw_data": raw_data, "joint_results": per_volume, "results": statistics}
