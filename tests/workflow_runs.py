"""Runs of scripts/Snakefile, over scans made for it, and how their results compare with those of other ways."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import yaml

from pose.scans.phantom import chest_ct
from tests import warm_python
from tests.miniature import nifti_bytes

ROOT = Path(__file__).resolve().parent.parent
WINDOWS = {"coronacases_*": "lung", "*": "none"}
GROWING = {
    "images": "data/{name}/ct.nii.gz",
    "masks": "data/{name}/lungs.nii.gz",
    "output_folder": "out",
    "swap_axes": True,
    "method": "region_growing",
    "window": "lung",
    "flags": "--use_bounding_box --objects per_label",
}
_TIMES = re.compile(r"(set_image|predict_image|process_image)_time.*")


def find_snakemake() -> str | None:
    """Return the Snakemake to test with: of the variable POSE_SNAKEMAKE, of scripts/setup_workflow.sh, or on
    the PATH.
    """
    own = ROOT / ".venv_workflow" / "bin" / "snakemake"
    return os.environ.get("POSE_SNAKEMAKE") or (str(own) if own.is_file() else shutil.which("snakemake"))


def write_chests(folder: Path, names: list[str], shape: tuple[int, int, int] = (40, 44, 6)) -> None:
    """Write a chest CT and its lungs for each name, alike for the same place in the list: data/NAME/ct.nii.gz,
    lungs.nii.gz.
    """
    for seed, name in enumerate(names):
        volume, labels = chest_ct(shape, seed)
        (folder / "data" / name).mkdir(parents=True)
        for kind, voxels in (("ct", volume.voxels), ("lungs", labels.astype(np.uint8))):
            (folder / "data" / name / f"{kind}.nii.gz").write_bytes(nifti_bytes(voxels.swapaxes(0, 1), volume.affine))


def workflow_command(
    folder: Path, settings: Mapping[str, Any], *arguments: object, profile: str = "local"
) -> list[str]:
    """Write ``settings`` as dataset.yaml into ``folder``, and return the command that runs the workflow by it."""
    (folder / "dataset.yaml").write_text(yaml.safe_dump(dict(settings), sort_keys=False), encoding="utf-8")
    files = ["--snakefile", str(ROOT / "scripts/Snakefile"), "--configfile", "dataset.yaml"]
    return [str(find_snakemake()), *files, "--profile", str(ROOT / "scripts/profiles" / profile), *map(str, arguments)]


def workflow_environment(killed: bool = False) -> dict[str, str]:
    """Return the variables for a workflow whose jobs run by this Python, or by a warm one where nothing is killed."""
    return {**os.environ, "POSE_PYTHON": sys.executable if killed else str(warm_python.environment() / "bin/python")}


def run_workflow(folder: Path, settings: Mapping[str, Any], *arguments: object, code: int = 0) -> str:
    """Run the workflow in ``folder`` on two cores; return all it said, after a look at its exit code."""
    command = workflow_command(folder, settings, "--cores", 2, *arguments)
    done = subprocess.run(
        command,
        cwd=folder,
        env=workflow_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def newest(folder: Path, pattern: str) -> Path:
    """Return the last file by name."""
    return max(folder.glob(pattern))


def tables_of(results: Path, prefix: str = "") -> dict[str, pd.DataFrame]:
    """Return the newest joined tables by kind, times aside; ``prefix`` is taken from the names of images."""
    tables = {}
    for kind in ("joint_raw_data", "joint_results", "results"):
        table = pd.read_csv(newest(results, f"{kind}_*.csv"))
        table = table[[name for name in table if not _TIMES.fullmatch(name)]]
        if "image" in table:
            table["image"] = table["image"].str.removeprefix(prefix)
        if "metric" in table:
            table = table[~table["metric"].str.fullmatch(_TIMES.pattern)].reset_index(drop=True)
        tables[kind] = table
    return tables


def masks_of(results: Path, prefix: str = "") -> dict[str, np.ndarray]:
    """Return the predicted masks of the newest run of each volume, by name."""
    folders = (folder for folder in sorted(results.iterdir()) if folder.is_dir())
    return {
        folder.name.removeprefix(prefix): np.asanyarray(nibabel.load(newest(folder, "masks_*.nii.gz")).dataobj)
        for folder in folders
    }


def runs_of(results: Path) -> dict[str, int]:
    """Return how many runs each volume has, finished ones."""
    return {
        folder.name: len(list(folder.glob("run_*.json"))) for folder in sorted(results.iterdir()) if folder.is_dir()
    }


def assert_same_results(found: Path, expected: Path, prefix: str = "") -> None:
    """Check that two results folders hold the same tables, times aside, and the same masks; ``prefix`` is that of
    ``expected``.
    """
    tables, wanted = tables_of(found), tables_of(expected, prefix)
    for kind, table in wanted.items():
        pd.testing.assert_frame_equal(tables[kind], table, check_exact=True)
    masks, wanted_masks = masks_of(found), masks_of(expected, prefix)
    assert sorted(masks) == sorted(wanted_masks)
    for name, mask in wanted_masks.items():
        np.testing.assert_array_equal(masks[name], mask, err_msg=name)


def listed(folder: Path) -> dict[str, int]:
    """Return the batch of each volume, as volumes.csv in ``folder`` holds it."""
    with (folder / "volumes.csv").open(newline="") as file:
        return {row["name"]: int(row["batch"]) for row in csv.DictReader(file)}


def failed_in(folder: Path) -> dict[str, str]:
    """Return why volumes failed, by name, from the files that say that batches are done."""
    records = (json.loads(path.read_text()) for path in sorted((folder / "batches").glob("process_*.done")))
    return {name: reason for record in records for name, reason in record["failed"].items()}
