"""``import pose``: scans, prompts and models in a few lines of Python, as the scripts do it; nothing heavy early."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

import pose
import process_video
from pose.scans.masks import write_mask
from pose.scans.phantom import LEFT_LUNG, RIGHT_LUNG, chest_ct
from pose.scans.volume import write_volume
from tests.cases import DarkInBox

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def chest(tmp_path_factory) -> tuple[Path, Path, pose.Prompt]:
    """A small chest CT, its lungs, and a box round the left lung on its middle slice (rows first)."""
    folder = tmp_path_factory.mktemp("chest")
    scan, labels = chest_ct((64, 64, 8), 0)
    write_volume(folder / "ct.nii.gz", scan)
    write_mask(folder / "lungs.nii.gz", labels, scan)
    lung = np.asarray(nibabel.load(folder / "lungs.nii.gz").dataobj)[:, :, 4].T == LEFT_LUNG
    rows, columns = np.flatnonzero(lung.any(1)), np.flatnonzero(lung.any(0))
    box = (int(rows[0]), int(columns[0]), int(rows[-1]), int(columns[-1]))
    return folder / "ct.nii.gz", folder / "lungs.nii.gz", pose.Prompt(slice=4, box=box)


def test_the_five_lines(chest, tmp_path):
    path, masks, prompt = chest
    scan = pose.read_scan(path)
    found = pose.segment(scan, prompt, model="lite_medsam", window="lung")
    assert found.labels.shape == scan.voxels.shape and set(np.unique(found.labels)) == {0, 1}
    assert found.scores.shape == (8,) and 0.5 < found.scores[4] <= 1
    assert set(found.to_review) <= set(range(8))
    found.write_mask(tmp_path / "lung.nii.gz")
    written = nibabel.load(tmp_path / "lung.nii.gz")
    np.testing.assert_array_equal(written.affine, nibabel.load(path).affine)
    np.testing.assert_array_equal(np.asarray(written.dataobj).swapaxes(0, 1), found.labels)
    truth = pose.read_scan(masks).voxels == LEFT_LUNG
    assert found.score(truth)["volume_dice"] > 0.8
    assert found.score(masks)["volume_dice"] < found.score(truth)["volume_dice"]
    sheet = found.show(truth, title="left lung")
    assert sheet.width > 300 and len(np.unique(np.asarray(sheet.convert("L")))) > 50


def test_a_notebook_and_the_command_line_find_the_same(chest, tmp_path):
    path, _, prompt = chest
    found = pose.segment(pose.read_scan(path), prompt, window="lung", method="region_growing")
    words = ["-i", path, "--swap_axes", "--slice", 4, "--box", *prompt.box, "-w", "--method", "region_growing"]
    assert process_video.main([*map(str, words), "-r", str(tmp_path / "r")]) == 0
    [masks] = (tmp_path / "r" / "ct").glob("masks_*.nii.gz")
    np.testing.assert_array_equal(np.asarray(nibabel.load(masks).dataobj).swapaxes(0, 1), found.labels)


def test_a_loaded_model_serves_many_scans_and_yields_slices_as_they_come(chest, monkeypatch):
    path, _, prompt = chest
    scan, built = pose.read_scan(path), []

    def build(*_):
        built.append(DarkInBox())
        return built[-1]

    monkeypatch.setattr("pose.segmenters.build_slice_segmenter", build)
    model = pose.load_model("lite_medsam", method="chain")
    whole = model.segment(scan, prompt, window=(-650, 1500))
    slices = model.slices(scan, prompt, window="lung")
    first = next(slices)
    assert first.slice == 4 and first.objects[1].mask.any()
    assert sorted([first.slice, *(found.slice for found in slices)]) == list(range(8))
    np.testing.assert_array_equal(pose.segment(scan, [prompt], model=model, window="lung").labels, whole.labels)
    assert len(built) == 1


def test_arrays_in_arrays_out(tmp_path):
    scan_volume, labels = chest_ct((64, 64, 8), 0)
    scan = pose.Scan(scan_volume.voxels, spacing_mm=(4.0, 4.0, 20.0))
    where = np.argwhere(labels[:, :, 4] == RIGHT_LUNG)
    prompt = pose.Prompt(4, box=(*where.min(0).tolist(), *where.max(0).tolist()))
    found = pose.segment(scan, prompt, method="region_growing", window="lung")
    scores = found.score(labels == RIGHT_LUNG)
    assert scores["volume_dice"] > 0.9 and scores["volume_hd95_mm"] <= 20
    found.write_mask(tmp_path / "lung.npz")
    np.testing.assert_array_equal(pose.read_scan(tmp_path / "lung.npz").voxels, found.labels)
    with pytest.raises(pose.UserError, match="lung.nii.gz: .*geometry.*unknown"):
        found.write_mask(tmp_path / "lung.nii.gz")
    assert not (tmp_path / "lung.nii.gz").exists()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"model": "liver"}, "--model liver: unknown"),
        ({"method": "sam2_memory"}, "method sam2_memory: lite_medsam has no video memory"),
        ({"method": "region_growing", "window": "spleen"}, "--window spleen: expected one of lung"),
        ({"method": "region_growing", "prompt": pose.Prompt(12, box=(1, 1, 5, 5))}, "slice 12"),
        ({"method": "region_growing", "prompt": []}, "no prompt"),
        ({"method": "region_growing", "prompt": pose.Prompt(3, absent=True)}, "no positive point, no box and no mask"),
    ],
)
def test_mistakes_are_user_errors(how, message):
    scan = pose.Scan(np.arange(12 * 12 * 12, dtype=np.int16).reshape(12, 12, 12))
    how = dict(how)
    with pytest.raises(pose.UserError, match=message):
        pose.segment(scan, how.pop("prompt", pose.Prompt(3, box=(1, 1, 5, 5))), **how)


def test_import_costs_nothing_heavy():
    code = "import sys, pose; assert pose.__version__; dir(pose); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"numpy", "torch", "nibabel", "matplotlib", "scipy"} & set(done.stdout.split())


def test_names_of_the_api():
    assert set(pose.__all__) <= set(dir(pose)) and all(getattr(pose, name) for name in pose.__all__)
    with pytest.raises(AttributeError, match="no attribute 'spleen'"):
        pose.spleen  # noqa: B018
