"""SAM 2's memory: the halves of a volume, and masks equal to those of sam2's own video predictor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pose.cli import UserError
from pose.prompt import Prompt
from pose.segmenters.sam2_image import MEMORY_WEIGHTS
from pose.segmenters.sam2_memory import Frames, Sam2Memory, halves
from tests.networks import TINY, random_network, save_random_weights

ROWS, COLUMNS, SLICES = 40, 60, 9


class ArraySlices:
    """Slices of an array in memory, counting how often each is asked for."""

    def __init__(self, voxels: np.ndarray):
        self.voxels, self.shape, self.asked = voxels, voxels.shape, []

    def __len__(self) -> int:
        return self.shape[2]

    def __getitem__(self, index: int) -> np.ndarray:
        self.asked.append(index)
        return np.ascontiguousarray(self.voxels[:, :, index])


@pytest.fixture()
def grey() -> ArraySlices:
    return ArraySlices(np.random.default_rng(0).integers(0, 255, (ROWS, COLUMNS, SLICES), dtype=np.uint8))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_random_weights(tmp_path_factory.mktemp("weights") / TINY.checkpoint)


@pytest.fixture(scope="module")
def segmenters(checkpoint) -> dict[str, Sam2Memory]:
    return {precision: Sam2Memory(TINY, checkpoint, torch.device("cpu"), precision) for precision in ("fp32", "bf16")}


@pytest.fixture(scope="module")
def segmenter(segmenters) -> Sam2Memory:
    return segmenters["fp32"]


@pytest.fixture(scope="module")
def upstream():
    """sam2's video predictor with the same weights (the same seed)."""
    return random_network(video=True)


@torch.inference_mode()
def upstream_logits(
    network, grey, slices, prompts, monkeypatch, precision="fp32"
) -> dict[tuple[int, int], np.ndarray]:
    """Run sam2's predictor over one half as a video of its own; returns logits by (object id, slice)."""
    images = torch.stack([Frames(grey, slices, TINY.image_size)[index] for index in range(len(slices))])
    monkeypatch.setattr("sam2.sam2_video_predictor.load_video_frames", lambda **_: (images, ROWS, COLUMNS))
    logits = {}
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        state = network.init_state("frames")
        for prompt in prompts:
            frame = slices.index(prompt.slice)
            if prompt.mask is not None:
                network.add_new_mask(state, frame, prompt.object_id, prompt.mask)
                continue
            points = [(column, row) for row, column in prompt.positive_points + prompt.negative_points]
            labels = [1] * len(prompt.positive_points) + [0] * len(prompt.negative_points)
            box = None if prompt.box is None else np.array(prompt.box, dtype=np.float32)[[1, 0, 3, 2]]
            network.add_new_points_or_box(
                state, frame, prompt.object_id, points=np.array(points, dtype=np.float32) if points else None,
                labels=np.array(labels) if points else None, box=box,
            )
        for frame, object_ids, masks in network.propagate_in_video(state, start_frame_idx=0):
            for object_id, mask in zip(object_ids, masks):
                logits[object_id, slices[frame]] = mask[0].float().numpy()
    return logits


DISC = np.hypot(*np.mgrid[-20:20, -30:30]) < 9
PROMPTS = {
    "points at the centre": [Prompt(4, 1, ((20, 30), (25, 33)), ((5, 5),))],
    "box": [Prompt(4, 1, (), (), (10, 15, 30, 45))],
    "points and box on the first slice": [Prompt(0, 1, ((20, 30),), ((5, 5),), (10, 15, 30, 45))],
    "points and box on the last slice": [Prompt(SLICES - 1, 1, ((20, 30),), (), (10, 15, 30, 45))],
    "mask": [Prompt(4, 1, mask=DISC)],
    "two objects": [Prompt(4, 1, ((20, 30),), ((5, 5),)), Prompt(4, 7, (), (), (2, 2, 12, 20))],
}


@pytest.mark.filterwarnings("ignore:cannot import name '_C':UserWarning")
@pytest.mark.filterwarnings("ignore:.*Skipping the post-processing step:UserWarning")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS.keys())
def test_logits_equal_those_of_sam2_run_half_by_half(segmenters, upstream, grey, prompts, precision, monkeypatch):
    start = prompts[0].slice
    expected = {}
    for slices in ([*range(start, SLICES)], [*range(start, -1, -1)]):
        if len(slices) > 1:
            expected.update(upstream_logits(upstream, grey, slices, prompts, monkeypatch, precision))
    found = {
        (object_id, part.slice): prediction.logits
        for part in segmenters[precision].segment(grey, prompts)
        for object_id, prediction in part.objects.items()
    }
    assert found.keys() == expected.keys()
    assert max(np.abs(found[key] - expected[key]).max() for key in found) <= 1e-4
    assert max(np.abs(logits).max() for logits in expected.values()) > 1e-2


def test_every_slice_comes_once_and_prompted_slices_are_encoded_once(segmenter, grey):
    prompts = [Prompt(3, 1, ((20, 30),)), Prompt(6, 2, (), (), (10, 15, 30, 45)), Prompt(1, 2, mask=DISC)]
    parts = list(segmenter.segment(grey, prompts))
    assert [part.slice for part in parts] == [3, 4, 5, 6, 7, 8, 2, 1, 0]
    assert all(sorted(part.objects) == [1, 2] for part in parts)
    assert sorted(grey.asked) == list(range(SLICES))
    by_slice = {part.slice: part.objects for part in parts}
    np.testing.assert_array_equal(by_slice[1][2].mask[18:23, 28:33], True)
    assert by_slice[1][2].score is None
    assert all(0 <= part.objects[1].score <= 1 for part in parts)
    assert all(isinstance(part.objects[1].object_score, float) for part in parts)


def test_memories_out_of_reach_are_dropped(segmenter, monkeypatch):
    grey = ArraySlices(np.zeros((16, 16, 40), dtype=np.uint8))
    held = []
    original = Sam2Memory._predict_frame

    def count(self, state, frame, scores):
        held.append(len(state["output_dict_per_obj"][0]["non_cond_frame_outputs"]))
        return original(self, state, frame, scores)

    monkeypatch.setattr(Sam2Memory, "_predict_frame", count)
    assert len(list(segmenter.segment(grey, [Prompt(0, 1, ((8, 8),))]))) == 40
    assert max(held) == 16


@pytest.mark.parametrize(
    ("prompted", "expected"),
    [
        ([2], [([2, 3, 4], 0), ([2, 1, 0], 1)]),
        ([0], [([0, 1, 2, 3, 4], 0), ([0], 1)]),
        ([4], [([4], 0), ([4, 3, 2, 1, 0], 1)]),
        ([1, 2, 4], [([1, 2, 3, 4], 1), ([4, 2, 1, 0], 2)]),
    ],
)
def test_halves(prompted, expected):
    assert halves(prompted, 5) == expected


def test_checkpoint_without_memory_is_refused(tmp_path):
    path = save_random_weights(tmp_path / "image_only.pt", without=MEMORY_WEIGHTS)
    with pytest.raises(UserError, match=r"image_only\.pt: holds no weights for SAM 2's memory .*chain"):
        Sam2Memory(TINY, path, torch.device("cpu"))


def test_mask_together_with_points_is_refused(segmenter, grey):
    with pytest.raises(UserError, match="object 1 on slice 4"):
        next(segmenter.segment(grey, [Prompt(4, 1, ((20, 30),), mask=DISC)]))
