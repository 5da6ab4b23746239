"""Fixtures that more than one test file uses."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# a busy machine may take any time for an example; what is found on one machine is found on all
settings.register_profile("repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", settings.get_profile("repeatable"), derandomize=False)
settings.load_profile("repeatable")

# the networks of most tests are so small that a second thread costs more than it gives; set before torch is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")
# hundreds of processes import the project: where Python is told to keep no bytecode, each would compile it again
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

PROJECT_ROOT = Path(__file__).resolve().parent.parent
# of the whole suite, most seconds first: begun last, one of them would keep a single worker busy when all else is done
LONGEST_FILES = [
    "scripts/test_workflow.py",
    "scripts/test_workflow_slurm.py",
    "test_readme.py",
    "test_determinism.py",
    "segmenters/sam2/test_memory.py",
    "comparison/test_robustness.py",
    "comparison/benchmarks/test_large_volume.py",
    "comparison/benchmarks/test_workflow.py",
    "test_bad_inputs.py",
    "test_kill_and_resume.py",
    "scripts/test_slurm_cluster.py",
    "test_fuzz_readers.py",
    "scripts/test_dataset_scripts.py",
    "scores/test_metrics_independent.py",
    "scans/test_intensity.py",
    "page/test_session.py",
    "page/test_browser.py",
    "paper/test_paper_scripts.py",
    "segmenters/test_lite_medsam.py",
    "segmenters/test_embeddings.py",
    "scripts/test_quickstart.py",
    "test_golden.py",
    "test_process_image.py",
    "test_process_video.py",
    "figures/test_overlays.py",
    "scripts/test_notebook.py",
    "scripts/test_setup_scripts.py",
]


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than cores: the tests of Slurm mostly wait."""
    from pose.cores import cores

    return cores() + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first; the others, and the tests of a file, stay in their order."""
    places = {PROJECT_ROOT / "tests" / name: place for place, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real scans with their masks; the test is skipped where there is none."""
    folder = Path(os.environ.get("POSE_REAL_DATA") or PROJECT_ROOT / "../shared/data").resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not a folder (name one in POSE_REAL_DATA)")
    return folder


@pytest.fixture(scope="session")
def few_slices(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of ct_lung_small as in ``real_data``, of which every fourth slice is left: 20 for a network to encode."""
    import nibabel

    folder = tmp_path_factory.mktemp("few_slices")
    (folder / "ct_lung_small").mkdir()
    for name in ("ct64.nii.gz", "ct64_lungs.nii.gz"):
        whole = nibabel.load(real_data / "ct_lung_small" / name)
        nibabel.save(whole.slicer[:, :, 2::4], folder / "ct_lung_small" / name)
    return folder
