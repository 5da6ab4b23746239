"""SAM and SAM 2 on single slices: what reaches the network, with real code and random weights, and real weights if
there.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from pose.cli import UserError
from pose.prompts.prompt import Prompt, prompts_from_mask
from pose.segmenters import Prediction, SlicePredictions, segment_slices
from pose.segmenters.models import ModelSpec, choose_precision, find_model
from pose.segmenters.sam2.image import OBJECT_SCORE_WEIGHTS, Sam2Image
from pose.segmenters.sam_inputs import box_array, mask_logits, point_arrays, predict_with, tight_box
from pose.segmenters.torchvision_import import import_torchvision
from tests.networks import TINY, save_random_weights, small_sam

CPU = torch.device("cpu")


def test_points_and_boxes_become_x_before_y():
    prompt = Prompt(0, 1, ((1, 20), (3, 40)), ((5, 60),), (1, 20, 30, 44))
    coordinates, labels = point_arrays(prompt)
    assert coordinates.tolist() == [[20, 1], [40, 3], [60, 5]]
    assert labels.tolist() == [1, 1, 0]
    assert box_array(prompt).tolist() == [20, 1, 44, 30]
    assert point_arrays(Prompt(0, 1, box=(0, 0, 1, 1))) == (None, None)
    assert box_array(Prompt(0, 1, ((1, 1),))) is None


def test_tight_box_of_a_mask():
    mask = np.zeros((10, 20), dtype=bool)
    mask[2:5, 7:18] = True
    assert tight_box(mask).tolist() == [7, 2, 17, 4]


def test_mask_logits_keep_or_squash_the_aspect():
    mask = np.zeros((10, 20), dtype=bool)
    mask[:, 10:] = True
    padded = mask_logits(mask, 40, keep_aspect=True)[0]
    assert (padded[:20, 20:] == 10).all() and (padded[20:] == -10).all() and (padded[:, :20] == -10).all()
    squashed = mask_logits(mask, 40, keep_aspect=False)[0]
    assert (squashed[:, 20:] == 10).all() and (squashed[:, :20] == -10).all()


class RecordingPredictor:
    """Stands for SAM's predictor: keeps what it is asked, and answers three masks with scores."""

    def predict(self, **asked):
        self.asked = asked
        logits = np.stack([np.full((4, 6), value, dtype=np.float32) for value in (-1.0, 2.0, 3.0)])
        return logits, np.array([0.2, 0.9, 0.5]), None


def test_multimask_takes_the_best_by_score():
    predictor = RecordingPredictor()
    prediction = predict_with(predictor, Prompt(0, 1, ((1, 2),)), None, multimask_output=True)
    assert predictor.asked["multimask_output"] is True and predictor.asked["box"] is None
    assert prediction.score == 0.9 and prediction.mask.all() and (prediction.logits == 2).all()


def test_a_mask_alone_brings_its_box():
    predictor = RecordingPredictor()
    mask = np.zeros((4, 6), dtype=bool)
    mask[1:3, 2:5] = True
    predict_with(predictor, Prompt(0, 1, mask=mask), mask_logits(mask, 8, True), False)
    assert predictor.asked["box"].tolist() == [2, 1, 4, 2]
    with pytest.raises(UserError, match="object 1 on slice 3: holds no point, box or mask"):
        predict_with(predictor, Prompt(3, 1), None, False)


class CountingSegmenter:
    name, prompt_kinds = "counting", frozenset({"box"})

    def __init__(self):
        self.images = []

    def set_image(self, grey):
        self.images.append(int(grey[0, 0]))

    def predict(self, prompt, multimask_output=False):
        return Prediction(np.full((2, 2), prompt.object_id == 1), score=0.5)


def test_segment_slices_shows_the_model_only_prompted_slices_once():
    grey = [np.full((2, 2), value, dtype=np.uint8) for value in (10, 11, 12, 13)]
    segmenter = CountingSegmenter()
    prompts = [Prompt(1, 1, box=(0, 0, 1, 1)), Prompt(3, 1, box=(0, 0, 1, 1)), Prompt(3, 2, box=(0, 0, 1, 1))]
    parts = list(segment_slices(segmenter, grey, prompts, range(4)))
    assert segmenter.images == [11, 13]
    assert [sorted(part.objects) for part in parts] == [[], [1], [], [1, 2]]
    assert parts[0] == SlicePredictions(0) and parts[3].objects[1].mask.all() and not parts[3].objects[2].mask.any()
    assert parts[1].set_image_time >= 0 and parts[1].predict_image_time >= 0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_random_weights(tmp_path_factory.mktemp("weights") / TINY.checkpoint)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_sam2_image_equals_its_predictor(checkpoint):
    import_torchvision()
    from sam2.build_sam import build_sam2
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    rng = np.random.default_rng(0)
    grey = rng.integers(0, 255, (30, 50), dtype=np.uint8)
    segmenter = Sam2Image(TINY, checkpoint, CPU)
    network = build_sam2(
        TINY.config, str(checkpoint), device="cpu", hydra_overrides_extra=["++model.image_size=128", *TINY.overrides]
    )
    predictor = SAM2ImagePredictor(network)
    predictor._bb_feat_sizes = [(32, 32), (16, 16), (8, 8)]
    predictor.set_image(np.stack([grey] * 3, axis=-1))
    segmenter.set_image(grey)
    for multimask in (False, True):
        logits, scores, _ = predictor.predict(
            point_coords=np.array([[20.0, 10.0]]),
            point_labels=np.array([1]),
            box=np.array([5.0, 4.0, 40.0, 25.0]),
            multimask_output=multimask,
            return_logits=True,
        )
        found = segmenter.predict(Prompt(0, 1, ((10, 20),), (), (4, 5, 25, 40)), multimask)
        best = int(scores.argmax())
        np.testing.assert_allclose(found.logits, logits[best], atol=1e-5)
        assert found.score == pytest.approx(float(scores[best]), abs=1e-6)
        assert found.mask.shape == grey.shape and isinstance(found.object_score, float)


def test_checkpoint_without_object_score_gives_none(tmp_path):
    path = save_random_weights(tmp_path / "without.pt", without=OBJECT_SCORE_WEIGHTS)
    logits = []
    for seed in range(2):
        torch.manual_seed(seed)  # what the checkpoint lacks must have no say in the mask
        segmenter = Sam2Image(TINY, path, CPU)
        segmenter.set_image(np.zeros((20, 20), dtype=np.uint8))
        prediction = segmenter.predict(Prompt(0, 1, ((10, 10),)))
        assert prediction.object_score is None and 0 <= prediction.score <= 1
        logits.append(prediction.logits)
    np.testing.assert_array_equal(*logits)


def test_checkpoint_of_another_model_is_refused(tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"model": {"layer.weight": torch.ones(3)}}, path)
    with pytest.raises(UserError, match=r"other\.pt: the checkpoint is of another model"):
        Sam2Image(TINY, path, CPU)


def test_sam_equals_its_predictor(tmp_path, monkeypatch):
    """segment-anything with a small image encoder of random weights; fp32 equal to its predictor, bf16 close to it."""
    network = small_sam()
    from segment_anything import SamPredictor, sam_model_registry

    from pose.segmenters.sam import Sam

    monkeypatch.setitem(sam_model_registry, "small", small_sam)
    torch.save(network.state_dict(), tmp_path / "random.pth")
    spec = ModelSpec("small", "sam", "small", "random.pth", 256)
    grey = np.random.default_rng(0).integers(0, 255, (30, 50), dtype=np.uint8)
    predictor = SamPredictor(network)
    predictor.set_image(np.stack([grey] * 3, axis=-1))
    logits, scores, _ = predictor.predict(
        point_coords=np.array([[20.0, 10.0]]),
        point_labels=np.array([1]),
        box=np.array([5.0, 4.0, 40.0, 25.0]),
        multimask_output=False,
        return_logits=True,
    )
    for precision, tolerance in (("fp32", 1e-4), ("bf16", 0.1 * np.abs(logits).max())):
        segmenter = Sam(spec, tmp_path / "random.pth", CPU, precision)
        segmenter.set_image(grey)
        found = segmenter.predict(Prompt(0, 1, ((10, 20),), (), (4, 5, 25, 40)))
        np.testing.assert_allclose(found.logits, logits[0], atol=tolerance)
        assert found.score == pytest.approx(float(scores[0]), abs=0.02)


@pytest.fixture(scope="module")
def real_sam2_tiny(real_data) -> Path:
    """Real SAM 2 tiny weights without a memory, beside the real data or named in POSE_SAM2_TINY."""
    path = Path(os.environ.get("POSE_SAM2_TINY") or real_data.parent / "weights" / "sam2_hiera_tiny_image_only_fp16.pt")
    if not path.is_file():
        pytest.skip(f"no real SAM 2 weights: {path} is not a file (name one in POSE_SAM2_TINY)")
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("index", "union", "per_label"), [(122, 0.978, 0.985), (98, 0.942, 0.948)])
def test_real_sam2_tiny_reaches_its_reference(real_data, real_sam2_tiny, index, union, per_label):
    """Jaccard on two slices of coronacases_001 with the paper's prompt (points and box), within 0.01."""
    folder = real_data / "ct_slices"
    voxels = np.load(folder / f"coronacases_001_image_slice_{index}.npy").T
    truth = np.load(folder / f"coronacases_001_masks_slice_{index}.npy").T
    grey = np.ascontiguousarray(
        np.round(np.clip((voxels.astype(np.float32) + 1400) / 1500, 0, 1) * 255).astype(np.uint8)
    )
    # as users have it: bfloat16 without such products in the processor takes minutes
    segmenter = Sam2Image(find_model("tiny"), real_sam2_tiny, CPU, choose_precision("auto", CPU))
    segmenter.set_image(grey)
    for objects, expected in (("union", union), ("per_label", per_label)):
        prompts = prompts_from_mask(truth, 0, objects=objects, use_bounding_box=True)
        found = np.any([segmenter.predict(prompt).mask for prompt in prompts], axis=0)
        jaccard = (found & (truth > 0)).sum() / (found | (truth > 0)).sum()
        assert jaccard >= expected - 0.01, (objects, jaccard)
