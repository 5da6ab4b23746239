"""Golden numbers: what region growing and LiteMedSAM make of one phantom, so that no change of theirs goes unseen."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import process_image
import process_video
from pose import cli
from pose.scans.masks import write_mask
from pose.scans.phantom import chest_ct
from pose.scans.volume import write_volume
from pose.segmenters import models
from tests.test_process_image import only

SHAPE, SEED = (128, 128, 7), 0
HOUNSFIELD_SUM, LUNG_VOXELS = -76130565, 13677
LITE_MEDSAM = ["--model", "lite_medsam", "--device", "cpu", "--precision"]
# as it was before views from the side, to the digit
PLAIN_CHAIN = ["--method", "chain", "--side_views", "off"]
# Sums of floating numbers depend on the order in which they are added, and that on the instructions of the CPU and the
# number of threads. Made to do with AVX2 or with SSE alone, or with two threads, a CPU with AVX-512 gave these counts
# to the voxel and one voxel of the phantom one HU away; a CPU of another maker may move a contour by a few pixels. A
# carried object follows its contours, so that much more than this is a change of the method.
HOUNSFIELD_TOLERANCE = 20
TOLERANCES = {  # of Dice and Jaccard (absolute), and of voxels (as a share of them)
    "exact": (1e-12, 0.0),
    "fp32": (0.002, 0.003),
    "bf16": (0.005, 0.01),  # its products keep 8 bits
}
# method: script, arguments, tolerance, Dice and Jaccard of the volume, voxels found on each slice
GOLDEN = {
    "region_growing": (
        process_video,
        ["--method", "region_growing"],
        "exact",
        0.9907444668008047,
        0.981658692185008,
        [32, 1218, 4125, 3711, 3178, 1394, 0],
    ),
    "lite_medsam_slices_fp32": (
        process_image,
        [*LITE_MEDSAM, "fp32"],
        "fp32",
        0.8560748994339824,
        0.748366216468538,
        [0, 2650, 3873, 3508, 3056, 1327, 0],
    ),
    "lite_medsam_chain_fp32": (
        process_video,
        [*LITE_MEDSAM, "fp32", *PLAIN_CHAIN],
        "fp32",
        0.9602128063841916,
        0.9234705065419194,
        [0, 810, 3972, 3556, 2959, 1341, 0],
    ),
    "lite_medsam_slices_bf16": (
        process_image,
        [*LITE_MEDSAM, "bf16"],
        "bf16",
        0.8572445710217159,
        0.7501557632398754,
        [0, 2647, 3870, 3513, 3055, 1328, 0],
    ),
    "lite_medsam_chain_bf16": (
        process_video,
        [*LITE_MEDSAM, "bf16", *PLAIN_CHAIN],
        "bf16",
        0.9609265236377444,
        0.924791697120304,
        [0, 831, 3971, 3556, 2961, 1339, 0],
    ),
}
SLOW = {name for name in GOLDEN if name not in ("region_growing", "lite_medsam_chain_fp32")}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    """A folder with the scan and its lung masks; a slice is encoded once for both ways of LiteMedSAM."""
    folder = tmp_path_factory.mktemp("golden")
    volume, labels = chest_ct(SHAPE, SEED)
    write_volume(folder / "p.nii.gz", volume)
    write_mask(folder / "p_mask.nii.gz", labels, volume)
    return folder


def test_the_phantom(phantom):
    volume, labels = chest_ct(SHAPE, SEED)
    assert int((labels > 0).sum()) == LUNG_VOXELS
    assert volume.voxels.sum(dtype=int) == pytest.approx(HOUNSFIELD_SUM, abs=HOUNSFIELD_TOLERANCE)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in GOLDEN]
)
def test_what_a_method_makes_of_the_phantom(phantom, tmp_path, name):
    script, arguments, tolerance, dice, jaccard, voxels = GOLDEN[name]
    if tolerance == "bf16" and models.choose_precision("auto", models.choose_device("cpu")) != "bf16":
        pytest.skip("this CPU does not compute in bfloat16")
    command = ["-i", phantom / "p.nii.gz", "-m", phantom / "p_mask.nii.gz", "--swap_axes", "-w", "-b"]
    command += ["--objects", "per_label", *arguments, "-r", tmp_path]
    command += ["--embeddings_cache", phantom / "embeddings"] if "lite_medsam" in arguments else []
    assert cli.run_main(script.main, [str(word) for word in command]) == 0
    found = pd.read_csv(only(tmp_path / "p", "raw_data_*.csv"))["predicted_voxels"].tolist()
    of_volume = pd.read_csv(only(tmp_path / "p", "results_*.csv")).set_index("metric")["avg"]
    overlap, share = TOLERANCES[tolerance]
    assert sum(found) == pytest.approx(sum(voxels), rel=share, abs=0)
    assert found == pytest.approx(voxels, rel=2 * share, abs=0)
    assert of_volume["volume_dice"] == pytest.approx(dice, abs=overlap)
    assert of_volume["volume_jaccard"] == pytest.approx(jaccard, abs=overlap)
