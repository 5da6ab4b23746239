"""Results of runs with known numbers, for the tests of what reads results folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pose import results

STAMP = "2025-01-01_00-00-00"


def write_run(
    folder: Path,
    dice: Sequence[float | None],
    *,
    columns: Mapping[str, Sequence[Any]] | None = None,
    prompted: Sequence[int] = (),
    spacing_mm: Sequence[float] | None = None,
    **more: Any,
) -> dict[str, Path]:
    """Write the run of a volume whose slices have these Dice scores, and the Jaccard indices that belong to them.

    Args:
        columns: further columns of raw_data, a value per slice.
        prompted: the slices that sam_prompts_*.json names.
        spacing_mm: what the manifest says of the image.
        more: passed on to :func:`pose.results.write_results`; ``manifest`` is added to what is said here.
    """
    rows = [
        {"slice": index, "dice": value, "jaccard": None if value is None else value / (2 - value)}
        for index, value in enumerate(dice)
    ]
    for name, values in (columns or {}).items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    manifest = {"status": "done", "image": {"spacing_mm": spacing_mm}, **more.pop("manifest", {})}
    prompts = {"prompts": [{"slice": index, "object_id": 1} for index in prompted]}
    return results.write_results(folder, rows=rows, prompts_json=prompts, manifest=manifest, **{"stamp": STAMP, **more})


def write_published_run(folder: Path, jaccard: Sequence[float | None], stamp: str = STAMP) -> Path:
    """Write raw_data of a volume as the published code does, without a manifest, and nothing else."""
    folder.mkdir(parents=True)
    path = folder / f"raw_data_{stamp}.csv"
    lines = [
        f"{index},," if value is None else f"{index},{value!r},{2 * value / (1 + value)!r}"
        for index, value in enumerate(jaccard)
    ]
    path.write_text("\n".join(["slice,jaccard,dice", *lines]) + "\n", encoding="utf-8")
    return path
