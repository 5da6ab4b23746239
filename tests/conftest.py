"""Fixtures that more than one test file uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# the networks of most tests are so small that a second thread costs more than it gives; set before torch is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")

PROJECT_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real scans with their masks; the test is skipped where there is none."""
    folder = Path(os.environ.get("POSE_REAL_DATA") or PROJECT_ROOT / "../shared/data").resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not a folder (name one in POSE_REAL_DATA)")
    return folder
