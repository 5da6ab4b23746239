"""Where the workflow engine is, for the tests that run it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def find_snakemake() -> str | None:
    """Return the program named by POSE_SNAKEMAKE, that of .venv_workflow, or the one on the PATH; None without any."""
    named = os.environ.get("POSE_SNAKEMAKE")
    return shutil.which(named or ROOT / ".venv_workflow" / "bin" / "snakemake") or shutil.which("snakemake")
