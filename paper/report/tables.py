"""The tables of a report, as text: the page and the LaTeX file show the same ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from paper.report.data import Results, distance_edges, inside, mean_intervals, quartiles
from pose import results
from pose.results.looks_next import worst_first
from pose.results.prompts_saved import prompts_saved
from pose.scores.likely_dice import COVERED

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = "–"
NAMES = {
    "jaccard": "Jaccard",
    "dice": "Dice",
    "sam_score": "SAM score",
    "object_score": "Object score",
    "volume_jaccard": "Jaccard of the volume",
    "volume_dice": "Dice of the volume",
    "volume_hd95_mm": "HD95 of the volume (mm)",
    "volume_surface_dice_1mm": "Surface Dice at 1 mm",
    "volume_surface_dice_2mm": "Surface Dice at 2 mm",
    "false_positive_voxels": "False-positive voxels",
    "missed_slices": "Missed slices",
    "slices_to_review": "Slices to review",
    "warnings": "Warnings",
    "likely_dice": "Likely Dice",
    "likely_dice_low": "Likely Dice, least",
    "likely_dice_high": "Likely Dice, most",
    "hd95_mm": "HD95 of the slice (mm)",
    "set_image_time": "set image",
    "predict_image_time": "predict",
    "process_image_time": "set image and predict",
}
TIMES = ("set_image_time", "predict_image_time", "process_image_time")
VOLUME_COLUMNS = (
    "volume_dice",
    "volume_hd95_mm",
    "missed_slices",
    "false_positive_voxels",
    "slices_to_review",
    "warnings",
    "likely_dice",
    "likely_dice_low",
    "likely_dice_high",
)
MOST_TO_LOOK_AT = 10
# What a run says of itself that has a place elsewhere in the report, or is of no use to a reader.
NOT_SETTINGS = frozenset(
    (
        "image_file_path",
        "masks_file_path",
        "results_folder_path",
        "checkpoint_file_path",
        "prompt_file_path",
        "debug",
        "dry_run",
        "resume",
        "embeddings_cache",
        "embeddings_cache_gb",
        "save_seed_memory",
        "seed_memory",
        "method",
        "model",
        "device",
        "precision",
        "threads",
        "seed_image_file_path",
        "seed_masks_file_path",
        "seed_prompt_file_path",
        "image_size",
    )
)
FACTS = ("method", "model", "image_size", "device", "device_name", "threads", "instructions", "precision")
# Flags of one method begin so; every run records them all, and their values say nothing of another method's runs.
METHOD_OF_FLAGS = {"chain_": "chain", "growing_": "region_growing"}
MOST_VALUES = 4
# More rows of volumes make a page that browsers open slowly and nobody reads.
MOST_VOLUMES = 1000
Fact = Callable[[Mapping[str, Any]], Any]  # what a manifest says; None where it does not


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        name: its id in the page, and its label in LaTeX.
        words: how many of the first columns are words; the others are numbers.
    """

    name: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1


def number(value: float | int | None, digits: int = 4) -> str:
    """Return a number as the tables show it: whole ones as they are, a dash where it is undefined."""
    if value is None or value != value:
        return UNKNOWN
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    return ("∞" if value > 0 else "−∞") if math.isinf(value) else f"{value:,.{digits}f}".replace("-", "−")


def span(low: float, high: float, digits: int = 4) -> str:
    """Return an interval, a dash where it is undefined."""
    return UNKNOWN if low != low or high != high else f"{number(low, digits)} to {number(high, digits)}"


def metric_name(metric: str) -> str:
    """Return a column's name in words."""
    stem, label, value = metric.partition("_label_")
    known = NAMES.get(stem, stem.replace("_", " "))
    return f"{known}, label {value}" if label else known


def digits_of(metric: str) -> int:
    """Return how many digits a metric is worth."""
    return 2 if metric.endswith(("_mm", "_voxels", "_slices", "_to_review")) or metric == "object_score" else 4


def overview(sets: Sequence[Results]) -> Table:
    """What the report is about: a row per folder."""
    rows = []
    for one in sets:
        failed = len(one.result_set.failures)
        model = " / ".join(_values(one, lambda manifest: manifest.get("model") or manifest.get("method"))) or UNKNOWN
        date, time = max(one.result_set.listed[image].newest["stamp"] for image in one.told).split("_")
        counts = (len(one.images), failed, len(one.left_out), len(one.slices))
        rows.append((one.name, model, *map(number, counts), f"{date} {time.replace('-', ':')}"))
    header = ("Results", "Model or method", "Volumes", "Failed", "Left out", "Slices", "Newest run")
    return Table("overview", "Folders of results: their models, volumes and slices", header, tuple(rows), 2)


def summary(sets: Sequence[Results]) -> Table:
    """Statistics of each metric: over the slices of all volumes, then over volumes."""
    rows = []
    for metric in _in_any(_slice_metrics(one.slices) for one in sets):
        rows += [
            (one.name, metric, "slices", one.slices[metric], one.volume_of_slice)
            for one in sets
            if metric in one.slices
        ]
    for metric in _in_any(one.volume_metrics.drop(columns=results.NUMBER_OF_SLICE, errors="ignore") for one in sets):
        for one in sets:
            if metric in one.volume_metrics:
                values = one.volume_metrics[metric].astype("float64")
                rows.append((one.name, metric, "volumes", values, np.arange(len(values))))
    rows = [row for row in rows if row[3].notna().any()]
    intervals = mean_intervals([row[3:] for row in rows])
    cells = [_summary_row(*row[:4], *ends) for row, ends in zip(rows, intervals, strict=True)]
    header = ("Metric", "Results", "Over", "n", "Mean", "95 % interval", "Median", "Quartiles", "Least", "Most")
    caption = "Scores: means with 95 % intervals by a bootstrap over volumes"
    return Table("summary", caption, header, tuple(cells), 3)


def _summary_row(name: str, metric: str, over: str, values: pd.Series, low: float, high: float) -> tuple[str, ...]:
    digits = digits_of(metric)
    facts, (first, median, third) = results.statistics_of(values), quartiles(values)
    interval = span(low, high, digits)
    return (
        metric_name(metric),
        name,
        over,
        number(int(facts["n"])),
        number(facts["avg"], digits),
        interval,
        number(median, digits),
        span(first, third, digits),
        number(facts["min"], digits),
        number(facts["max"], digits),
    )


def _slice_metrics(slices: pd.DataFrame) -> list[str]:
    return [metric for metric in results.summarised_columns(slices) if metric not in TIMES]


def _in_any(groups: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group))


def per_volume(sets: Sequence[Results]) -> Table:
    """A row per volume: its slices, mean Jaccard and Dice over them, and what is known of it as a whole.

    Of a folder with more than :data:`MOST_VOLUMES` only those with the least mean Dice have a row, worst first.
    """
    shown = [name for name in VOLUME_COLUMNS if any(name in one.volume_metrics for one in sets)]
    rows = []
    for one in sets:
        everything = replace(one, left_out=())
        jaccard, dice = everything.by_volume("jaccard"), everything.by_volume("dice")
        sizes = np.bincount(everything.volume_of_slice, minlength=len(everything.images))
        metrics = {
            name: one.result_set.volume_metrics[name].to_numpy()
            for name in shown
            if name in one.result_set.volume_metrics
        }
        left_out = set(one.left_out)
        for place in volumes_shown(dice["avg"]):
            image = everything.images[place]
            whole = [_of_volume(name, metrics[name][place] if name in metrics else None) for name in shown]
            scores = (jaccard["avg"][place], dice["avg"][place], dice["min"][place])
            mark = " (seed, left out of the statistics)" if image in left_out else ""
            rows.append((image + mark, one.name, number(sizes[place]), *map(number, scores), *whole))
    header = ("Volume", "Results", "Slices", "Mean Jaccard", "Mean Dice", "Least Dice", *map(metric_name, shown))
    return Table("volumes", "Volume by volume", header, tuple(rows), 2)


def look_next(sets: Sequence[Results]) -> Table:
    """The volumes of each folder that are likely to be worst, and the slice of each to look at and to prompt; no rows
    where nothing speaks against any.
    """
    rows = []
    for one in sets:
        everything = replace(one, left_out=())
        metrics = one.result_set.volume_metrics
        sizes = np.bincount(everything.volume_of_slice, minlength=len(everything.images))
        volumes = metrics.reindex(everything.images).reset_index(names="image").assign(slices=sizes)
        for volume in worst_first(volumes).head(MOST_TO_LOOK_AT).to_dict("records"):
            likely, low, high = (volume.get(f"likely_dice{end}", math.nan) for end in ("", "_low", "_high"))
            counts = [_of_volume(name, volume.get(name)) for name in (results.NUMBER_OF_SLICE, "slices_to_review")]
            rows.append((volume["image"], one.name, counts[0], number(likely, 2), span(low, high, 2), counts[1]))
    header = ("Volume", "Results", "Slice", "Likely Dice", f"{COVERED:.0%} lie within", "Slices to review")
    return Table("next", "Volumes to look at next, the one that is likely to be worst first", header, tuple(rows), 2)


def volumes_shown(mean_dice: np.ndarray) -> list[int]:
    """Return the numbers of the volumes to show: all as they are, or the worst of many, those without a Dice last."""
    if len(mean_dice) <= MOST_VOLUMES:
        return list(range(len(mean_dice)))
    return np.argsort(mean_dice, kind="stable")[:MOST_VOLUMES].tolist()


def left_away(sets: Sequence[Results]) -> tuple[str, ...]:
    """Return a sentence for each folder that has more volumes than rows in :func:`per_volume`."""
    return tuple(
        f"Of the {len(one.told):,} volumes of {one.name}, these are the {MOST_VOLUMES:,} with the least mean Dice, "
        "worst first; joint_results_*.csv, which join_results.py writes, has all of them."
        for one in sets
        if len(one.told) > MOST_VOLUMES
    )


def _of_volume(metric: str, value: Any) -> str:
    if value is not None and value == value and metric in results.COUNT_COLUMNS:
        return number(int(value))
    return number(value, digits_of(metric))


def by_distance(sets: Sequence[Results]) -> Table:
    """Dice in bins of the distance from the nearest prompted slice; no rows where no distance is known."""
    tables = {one.name: one.distances for one in sets}
    edges = distance_edges(max((table["distance_mm"].max() for table in tables.values() if len(table)), default=0.0))
    groups = [
        (name, edge, group)
        for name, table in tables.items()
        for edge, group in table.groupby(np.searchsorted(edges, table["distance_mm"] - 1e-9))
    ]
    intervals = mean_intervals([(group["dice"], group["volume"]) for _, _, group in groups])
    rows = []
    for (name, edge, group), ends in zip(groups, intervals, strict=True):
        upper = edges[edge]
        where = "prompted slice" if not upper else f"{edges[edge - 1]:g} to {upper:g}"
        values, (first, median, third) = group["dice"], quartiles(group["dice"])
        counts = number(len(group)), number(group["volume"].nunique())
        rows.append((where, name, *counts, number(values.mean()), span(*ends), number(median), span(first, third)))
    header = ("Distance (mm)", "Results", "Slices", "Volumes", "Mean Dice", "95 % interval", "Median", "Quartiles")
    caption = "Dice by the distance in millimetres from the nearest prompted slice (each bin with its upper end)"
    return Table("distance", caption, header, tuple(rows), 2)


def times(sets: Sequence[Results]) -> Table:
    """Seconds per slice, and per volume from reading to results; no rows where no time was recorded."""
    rows = []
    for one in sets:
        for metric in TIMES:
            if metric in one.slices and one.slices[metric].notna().any():
                rows.append(_times_row(one.name, f"{metric_name(metric)}, a slice", one.slices[metric]))
        totals = _total_seconds(one)
        if len(totals):
            rows.append(_times_row(one.name, "a volume, in all", totals))
    header = ("Results", "What", "n", "Mean", "Median", "Quartiles", "Least", "Most", "Sum")
    return Table("times", "Times in seconds", header, tuple(rows), 2)


def _times_row(name: str, what: str, values: pd.Series) -> tuple[str, ...]:
    facts, (first, median, third) = results.statistics_of(values), quartiles(values)
    mean, median, least, most = (number(value) for value in (facts["avg"], median, facts["min"], facts["max"]))
    n, total = number(int(facts["n"])), number(float(values.sum()), 1)
    return name, what, n, mean, median, span(first, third), least, most, total


def _total_seconds(one: Results) -> pd.Series:
    import pandas as pd

    found = [one.told[image].total_seconds for image in one.images]
    return pd.Series([value for value in found if value is not None], dtype="float64")


def saved(sets: Sequence[Results]) -> Table:
    """How many prompts were given, and how many a prompt on every slice of the object would have taken."""
    rows = []
    for one in sets:
        total = prompts_saved(one.result_set.prompts[image] for image in one.images)
        saved_percent = number(total.saved_percent, 2)
        rows.append((one.name, number(total.volumes), number(total.used), number(total.masked_slices), saved_percent))
    header = ("Results", "Volumes", "Prompts given", "Slices with the object", "Saved (%)")
    return Table("prompts", "Prompts saved against a prompt on every slice of the object", header, tuple(rows))


def failures(sets: Sequence[Results]) -> Table:
    """The volumes without a result, up to :data:`MOST_VOLUMES` of a folder; no rows where none failed."""
    rows = [
        (image, one.name, reason)
        for one in sets
        for image, reason in islice(one.result_set.failures.items(), MOST_VOLUMES)
    ]
    more = [
        (f"and {number(more)} more", one.name, "")
        for one in sets
        if (more := len(one.result_set.failures) - MOST_VOLUMES) > 0
    ]
    return Table("failures", "Volumes that failed", ("Volume", "Results", "Reason"), (*rows, *more), 3)


def settings(sets: Sequence[Results]) -> Table:
    """How the runs were made: model, machine, and the flags that were given a value."""
    rows = [(name.replace("_", " "), lambda manifest, name=name: manifest.get(name)) for name in FACTS]
    rows.append(("weights (SHA-256)", lambda manifest: inside(manifest, "checkpoint", "sha256")))
    flags = _in_any(inside(manifest, "arguments") or {} for one in sets for manifest in one.all_said)
    rows += [
        (f"--{name}", lambda manifest, name=name: _flag(name, manifest)) for name in flags if name not in NOT_SETTINGS
    ]
    return _facts_table("settings", "Settings of the runs", "Setting", sets, rows)


def versions(sets: Sequence[Results]) -> Table:
    """What the runs were made with: commit, code, platform, Python and packages; the report itself is a column."""
    packages = _in_any(inside(manifest, "versions") or {} for one in sets for manifest in one.all_said)
    rows = [
        ("commit", lambda manifest: manifest.get("git_commit")),
        ("code (SHA-256)", lambda manifest: inside(manifest, "made_from", "code", "pose")),
        ("platform", lambda manifest: manifest.get("platform")),
    ]
    own = results.environment_manifest()
    packages = _in_any((packages, own["versions"]))
    rows += [(name, lambda manifest, name=name: inside(manifest, "versions", name)) for name in packages]
    table = _facts_table("versions", "Versions", "What", sets, rows, keep_all=True)
    column = [UNKNOWN if (value := get(own)) is None else str(value) for _, get in rows]
    cells = tuple((*row, cell) for row, cell in zip(table.rows, column, strict=True))
    return Table(table.name, table.caption, (*table.header, "This report"), cells, len(cells[0]))


def _facts_table(
    name: str,
    caption: str,
    first: str,
    sets: Sequence[Results],
    rows: Sequence[tuple[str, Fact]],
    keep_all: bool = False,
) -> Table:
    cells = [(label, *(_joined(one, get) for one in sets)) for label, get in rows]
    kept = [row for row in cells if keep_all or any(cell != UNKNOWN for cell in row[1:])]
    return Table(name, caption, (first, *(one.name for one in sets)), tuple(kept), 1 + len(sets))


def _flag(name: str, manifest: Mapping[str, Any]) -> str | None:
    """Return the value of a flag; None where it was not given, as far as can be told, or is another method's."""
    value, method = inside(manifest, "arguments", name), manifest.get("method")
    if any(name.startswith(prefix) and method not in (owner, None) for prefix, owner in METHOD_OF_FLAGS.items()):
        return None
    if value is None or value is False or value == []:
        return None
    return "given" if value is True else " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _values(one: Results, get: Fact) -> Counter[str]:
    found: Counter[str] = Counter()
    for manifest, volumes in one.said:
        if (value := get(manifest)) is not None:
            found[str(value)] += volumes
    return found


def _joined(one: Results, get: Fact) -> str:
    """Return what the runs of a folder say; where they differ, each value with the number of volumes that say it."""
    found = _values(one, get)
    unsaid = len(one.images) - sum(found.values())
    if not found:
        return UNKNOWN
    if len(found) == 1 and not unsaid:
        return next(iter(found))
    parts = [f"{value} ({count})" for value, count in found.most_common(MOST_VALUES)]
    parts += [f"{len(found) - MOST_VALUES} more values"] if len(found) > MOST_VALUES else []
    return "; ".join(parts + ([f"not given ({unsaid})"] if unsaid else []))
