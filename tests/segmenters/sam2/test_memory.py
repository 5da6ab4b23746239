"""SAM 2's memory: the halves of a volume, and masks equal to those of sam2's own video predictor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pose.cli import UserError
from pose.prompts.prompt import Prompt
from pose.segmenters import models
from pose.segmenters.embeddings import EmbeddingsCache
from pose.segmenters.sam2.image import MEMORY_WEIGHTS
from pose.segmenters.sam2.memory import Sam2Memory
from pose.segmenters.sam2.memory_bank import MemoryBank, halves
from pose.segmenters.sam2.slice_encoder import EncodedSlices, SliceEncoder, normalised, square_of
from pose.segmenters.sam2.steps import Steps
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
    return with_float_memories(random_network(video=True))


def with_float_memories(network):
    """Give memories, which sam2 rounds to bfloat16, the type of the network: in float32 it fails on them in places."""
    track, remember = network._run_single_frame_inference, network._run_memory_encoder

    def tracked(**arguments):
        output, logits = track(**arguments)
        if output["maskmem_features"] is not None:
            output["maskmem_features"] = output["maskmem_features"].float()
        return output, logits

    def remembered(**arguments):
        features, position = remember(**arguments)
        return features.float(), position

    network._run_single_frame_inference, network._run_memory_encoder = tracked, remembered
    return network


def encoding_once(network):
    """Let sam2's predictor keep what it made of a frame: that is what takes long at 1024 pixels."""
    encode, kept = network.forward_image, {}

    def encoded(frames):
        key = frames.numpy().tobytes()
        if key not in kept:
            kept[key] = encode(frames)
        return dict(kept[key])

    network.forward_image = encoded
    return network


@torch.inference_mode()
def upstream_logits(network, frames, shape, prompts, monkeypatch) -> dict[tuple[int, int], np.ndarray]:
    """Run sam2's predictor over frames as a video of its own; returns logits by (object id, frame).

    Args:
        frames: grey slices, each of any shape.
        shape: (rows, columns) of the masks.
        prompts: by frame; their coordinates are those of the frame's own grey slice.
    """
    images = normalised(torch.stack([square_of(frame, network.image_size) for frame in frames]))
    monkeypatch.setattr("sam2.sam2_video_predictor.load_video_frames", lambda **_: (images, *shape))
    logits = {}
    state = network.init_state("frames")
    for frame, prompt in prompts:
        state["video_height"], state["video_width"] = frames[frame].shape
        if prompt.mask is not None:
            network.add_new_mask(state, frame, prompt.object_id, prompt.mask)
            continue
        points = [(column, row) for row, column in prompt.positive_points + prompt.negative_points]
        labels = [1] * len(prompt.positive_points) + [0] * len(prompt.negative_points)
        box = None if prompt.box is None else np.array(prompt.box, dtype=np.float32)[[1, 0, 3, 2]]
        network.add_new_points_or_box(
            state,
            frame,
            prompt.object_id,
            points=np.array(points, dtype=np.float32) if points else None,
            labels=np.array(labels) if points else None,
            box=box,
        )
    state["video_height"], state["video_width"] = shape
    for frame, object_ids, masks in network.propagate_in_video(state, start_frame_idx=0):
        for object_id, mask in zip(object_ids, masks):
            logits[object_id, frame] = mask[0].float().numpy()
    return logits


def published_way(network, grey, prompts, monkeypatch, seeds=(), start=None) -> dict[tuple[int, int], np.ndarray]:
    """Run a volume as two videos, one a half, with seeds (grey slices with their prompts) in front of each."""
    front = [seed for seed, _ in seeds]
    parts = halves([prompt.slice for prompt in prompts] or [start], len(grey))
    expected = {}
    for slices, memory_only in parts:
        if len(slices) == memory_only:
            continue
        where = [(number, prompt) for number, (_, given) in enumerate(seeds) for prompt in given]
        where += [(len(front) + slices.index(prompt.slice), prompt) for prompt in prompts if prompt.slice in slices]
        frames = front + [grey[index] for index in slices]
        logits = upstream_logits(network, frames, grey.shape[:2], where, monkeypatch)
        for (object_id, frame), found in logits.items():
            if frame - len(front) >= memory_only:
                expected[object_id, slices[frame - len(front)]] = found
    return expected


def logits_of(parts) -> dict[tuple[int, int], np.ndarray]:
    return {(object_id, part.slice): one.logits for part in parts for object_id, one in part.objects.items()}


def largest_difference(found, expected) -> float:
    assert found.keys() == expected.keys()
    assert max(np.abs(logits).max() for logits in expected.values()) > 1e-2
    return max(np.abs(found[key] - expected[key]).max() for key in found)


DISC = np.hypot(*np.mgrid[-20:20, -30:30]) < 9
PROMPTS = {
    "points at the centre": [Prompt(4, 1, ((20, 30), (25, 33)), ((5, 5),))],
    "one point": [Prompt(4, 1, ((20, 30),))],
    "box": [Prompt(4, 1, (), (), (10, 15, 30, 45))],
    "points and box on the first slice": [Prompt(0, 1, ((20, 30),), ((5, 5),), (10, 15, 30, 45))],
    "points and box on the last slice": [Prompt(SLICES - 1, 1, ((20, 30),), (), (10, 15, 30, 45))],
    "mask": [Prompt(4, 1, mask=DISC)],
    "two objects": [Prompt(4, 1, ((20, 30),), ((5, 5),)), Prompt(4, 7, (), (), (2, 2, 12, 20))],
    "three objects, one a mask": [
        Prompt(4, 1, ((20, 30),), ((5, 5),)),
        Prompt(4, 2, mask=DISC),
        Prompt(4, 3, (), (), (2, 2, 12, 20)),
    ],
    "an object on several slices": [
        Prompt(2, 1, ((20, 30),)),
        Prompt(5, 1, (), (), (10, 15, 30, 45)),
        Prompt(8, 1, mask=DISC),
    ],
    "objects on different slices": [Prompt(3, 1, ((20, 30),)), Prompt(6, 2, (), (), (10, 15, 30, 45))],
}
WITHOUT_C_EXTENSION = (
    pytest.mark.filterwarnings("ignore:cannot import name '_C':UserWarning"),
    pytest.mark.filterwarnings("ignore:.*Skipping the post-processing step:UserWarning"),
)


def like_sam2(test):
    for mark in WITHOUT_C_EXTENSION:
        test = mark(test)
    return test


@like_sam2
@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS.keys())
def test_logits_equal_those_of_sam2_run_half_by_half(segmenter, upstream, grey, prompts, monkeypatch):
    expected = published_way(upstream, grey, prompts, monkeypatch)
    assert largest_difference(logits_of(segmenter.segment(grey, prompts)), expected) <= 1e-4


@pytest.fixture(scope="module")
def in_step(checkpoint) -> Sam2Memory:
    """What a GPU does: slices encoded in batches, both halves as one batch."""
    return Sam2Memory(TINY, checkpoint, torch.device("cpu"), in_step=True)


@like_sam2
@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS.keys())
def test_halves_in_step_equal_sam2_too(in_step, upstream, grey, prompts, monkeypatch):
    expected = published_way(upstream, grey, prompts, monkeypatch)
    assert largest_difference(logits_of(in_step.segment(grey, prompts)), expected) <= 1e-4


def test_halves_in_step_are_asked_together_as_far_as_both_go(in_step, segmenter, monkeypatch):
    grey = ArraySlices(np.random.default_rng(2).integers(0, 255, (ROWS, COLUMNS, 24), dtype=np.uint8))
    prompts = [Prompt(5, 1, ((20, 30),)), Prompt(5, 2, (), (), (2, 2, 12, 20))]
    expected = {part.slice: part for part in segmenter.segment(grey, prompts)}
    batches, encoded = [], []
    track, encode = Steps.track, SliceEncoder.encode

    def watched_track(self, asked):
        batches.append(len(asked))
        return track(self, asked)

    def watched_encode(self, squares):
        encoded.append(len(squares))
        return encode(self, squares)

    monkeypatch.setattr(Steps, "track", watched_track)
    monkeypatch.setattr(SliceEncoder, "encode", watched_encode)
    found = {part.slice: part for part in in_step.segment(grey, prompts)}
    # slices 6 and 4, 7 and 3 ... 10 and 0, then 11 to 23
    assert batches == [2] * 5 + [1] * 13
    # the prompted slice, then those of each half in batches of 4
    assert sorted(encoded) == sorted([1, 4, 1, 4, 4, 4, 4, 2])
    assert largest_difference(logits_of(found.values()), logits_of(expected.values())) <= 1e-4
    for index, part in found.items():
        assert part.objects.keys() == expected[index].objects.keys() == {1, 2}
        for object_id, one in part.objects.items():
            assert one.score == pytest.approx(expected[index].objects[object_id].score, abs=1e-4)
        assert part.predict_image_time > 0 and part.set_image_time > 0


def test_slices_of_a_batch_are_encoded_as_each_by_itself(checkpoint, grey, monkeypatch):
    monkeypatch.setattr("pose.segmenters.sam2.hiera.fits", lambda network: False)
    encoder = SliceEncoder(random_network(video=True), torch.device("cpu"), "fp32")
    squares = [encoder.square(grey[index]) for index in range(3)]
    with torch.inference_mode():
        together = encoder.encode(torch.stack(squares))
        for index, square in enumerate(squares):
            for level, own in zip(together, encoder.encode(square[None]), strict=True):
                assert (level[index] - own[0]).abs().max() <= 1e-4


@like_sam2
@pytest.mark.parametrize("start", [0, 4, SLICES - 1])
@pytest.mark.parametrize("shape", [(ROWS, COLUMNS), (57, 33)], ids=["same shape", "other shape"])
def test_seeds_of_other_patients_equal_those_in_front_of_sam2s_videos(
    segmenter, upstream, grey, shape, start, monkeypatch
):
    rng = np.random.default_rng(5)
    patient = ArraySlices(rng.integers(0, 255, (*shape, 3), dtype=np.uint8))
    other = ArraySlices(rng.integers(0, 255, (20, 44, 1), dtype=np.uint8))
    first = [Prompt(1, 1, ((20, 30),), ((5, 5),)), Prompt(1, 2, (), (), (10, 3, 30, 31))]
    second = [Prompt(0, 1, mask=np.tri(20, 44, dtype=bool)), Prompt(0, 2, (), (), (1, 1, 15, 40))]
    seeds = [*segmenter.remember(patient, first), *segmenter.remember(other, second)]
    found = logits_of(segmenter.segment(grey, [], seeds, start))
    expected = published_way(upstream, grey, [], monkeypatch, [(patient[1], first), (other[0], second)], start)
    assert largest_difference(found, expected) <= 1e-4


@like_sam2
def test_sam_2_of_the_first_release_equals_its_own(tmp_path, grey, monkeypatch):
    """It adds nothing to pointers, and no embedding to memories without an object."""
    spec = replace(TINY, config="configs/sam2/sam2_hiera_t.yaml")
    segmenter = Sam2Memory(spec, save_random_weights(tmp_path / "first.pt", spec=spec), torch.device("cpu"))
    network = with_float_memories(random_network(video=True, spec=spec))
    expected = published_way(network, grey, PROMPTS["two objects"], monkeypatch)
    assert largest_difference(logits_of(segmenter.segment(grey, PROMPTS["two objects"])), expected) <= 1e-4


@pytest.mark.slow
@like_sam2
def test_hiera_tiny_at_1024_pixels_equals_sam2s_predictor(tmp_path, monkeypatch):
    """Slices of each half, then one that remembers a seed and a slice without a prompt; none is encoded twice."""
    spec = models.find_model("2.1_tiny")
    weights, kept = save_random_weights(tmp_path / "tiny.pt", spec=spec), EmbeddingsCache(tmp_path / "embeddings")
    segmenter = Sam2Memory(spec, weights, torch.device("cpu"), embeddings=kept)
    network = encoding_once(with_float_memories(random_network(video=True, spec=spec)))
    grey = ArraySlices(np.random.default_rng(3).integers(0, 255, (ROWS, COLUMNS, 3), dtype=np.uint8))
    prompts = [Prompt(1, 1, ((20, 30),), ((5, 5),), (10, 15, 30, 45)), Prompt(1, 2, mask=DISC)]
    volume = largest_difference(
        logits_of(segmenter.segment(grey, prompts)), published_way(network, grey, prompts, monkeypatch)
    )
    patient = ArraySlices(np.random.default_rng(4).integers(0, 255, (57, 33, 1), dtype=np.uint8))
    seed, two = [Prompt(0, 1, (), (), (10, 3, 30, 31))], ArraySlices(grey.voxels[:, :, :2])
    found = logits_of(segmenter.segment(two, [], segmenter.remember(patient, seed), 0))
    data_set = largest_difference(found, published_way(network, two, [], monkeypatch, [(patient[0], seed)], 0))
    print(f"largest difference of logits: a prompt per volume {volume:.1e}, a seed {data_set:.1e}")
    assert max(volume, data_set) <= 1e-4


@like_sam2
def test_reach_of_memories_in_a_long_half_equals_sam2s(segmenter, upstream, monkeypatch):
    grey = ArraySlices(np.random.default_rng(2).integers(0, 255, (ROWS, COLUMNS, 24), dtype=np.uint8))
    prompts = [Prompt(1, 1, ((20, 30),))]
    expected = published_way(upstream, grey, prompts, monkeypatch)
    assert largest_difference(logits_of(segmenter.segment(grey, prompts)), expected) <= 1e-4


@pytest.mark.parametrize("name", ["two objects", "mask"])
def test_bfloat16_differs_from_float32_by_its_rounding(segmenters, grey, name):
    exact, rounded = (logits_of(segmenters[precision].segment(grey, PROMPTS[name])) for precision in ("fp32", "bf16"))
    error = np.sqrt(np.mean([np.square(rounded[key] - exact[key]).mean() for key in exact]))
    spread = np.sqrt(np.mean([exact[key].var() for key in exact]))
    assert 0 < error < 0.05 * spread


def test_every_slice_comes_once_and_prompted_slices_are_encoded_once(segmenter, grey):
    prompts = [Prompt(3, 1, ((20, 30),)), Prompt(6, 2, (), (), (10, 15, 30, 45)), Prompt(1, 2, mask=DISC)]
    parts = list(segmenter.segment(grey, prompts))
    assert [part.slice for part in parts if part.slice >= 3] == [3, 4, 5, 6, 7, 8]
    assert [part.slice for part in parts if part.slice < 3] == [2, 1, 0]
    assert all(sorted(part.objects) == [1, 2] for part in parts)
    assert sorted(grey.asked) == list(range(SLICES))
    by_slice = {part.slice: part.objects for part in parts}
    np.testing.assert_array_equal(by_slice[1][2].mask[18:23, 28:33], True)
    assert by_slice[1][2].score is None
    assert all(0 <= part.objects[1].score <= 1 for part in parts)
    assert all(isinstance(part.objects[1].object_score, float) for part in parts)


def test_less_memory_keeps_no_keys_and_gives_the_same_masks(segmenter, grey, monkeypatch):
    prompts = [Prompt(4, 1, ((20, 30),)), Prompt(4, 2, (), (), (2, 2, 12, 20)), Prompt(6, 3, mask=DISC)]
    expected = logits_of(segmenter.segment(grey, prompts))
    kept, batch_sizes = [], []
    forget, track = MemoryBank.forget_keys, Steps.track

    def watched_forget(bank):
        forget(bank)
        kept.extend(memory.keys for memory in (*bank._prompted.values(), *bank._others.values()))

    def watched_track(self, asked):
        outcomes = track(self, asked)
        batch_sizes.extend(len(outcome.pointers) for outcome in outcomes)
        return outcomes

    monkeypatch.setattr(MemoryBank, "forget_keys", watched_forget)
    monkeypatch.setattr(Steps, "track", watched_track)
    monkeypatch.setattr(segmenter, "less_memory", True)
    assert largest_difference(logits_of(segmenter.segment(grey, prompts)), expected) <= 1e-5
    assert kept and not any(kept) and set(batch_sizes) == {1}


def test_an_object_is_known_by_the_seeds_that_prompt_it(segmenter, grey):
    first = segmenter.remember(grey, [Prompt(1, 1, ((20, 30),)), Prompt(1, 2, (), (), (10, 3, 30, 31))])
    second = segmenter.remember(grey, [Prompt(2, 2, ((20, 30),))])
    parts = list(segmenter.segment(grey, [], [*first, *second]))
    assert sorted(part.slice for part in parts) == list(range(SLICES))
    assert all(sorted(part.objects) == [1, 2] for part in parts)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_slices_encoded_by_an_earlier_run_are_not_encoded_again(checkpoint, grey, tmp_path, monkeypatch, precision):
    def segmenter() -> Sam2Memory:
        cache = EmbeddingsCache(tmp_path / "cache")
        return Sam2Memory(TINY, checkpoint, torch.device("cpu"), precision, embeddings=cache)

    first = logits_of(segmenter().segment(grey, PROMPTS["two objects"]))
    monkeypatch.setattr(SliceEncoder, "encode", lambda *_: pytest.fail("encoded again"))
    second = logits_of(segmenter().segment(grey, PROMPTS["two objects"]))
    assert largest_difference(second, first) == 0


def test_frames_of_prompted_slices_are_not_prepared_for_nothing(segmenter, grey, monkeypatch):
    volumes = []
    original = EncodedSlices.__init__

    def remember(self, *arguments):
        volumes.append(self)
        original(self, *arguments)

    monkeypatch.setattr(EncodedSlices, "__init__", remember)
    assert len(list(segmenter.segment(grey, [Prompt(index, 1, ((20, 30),)) for index in (2, 3, 4, 7)]))) == SLICES
    assert volumes[0]._waiting == {} and volumes[0]._kept == {} and volumes[0]._times == {}


def test_memories_out_of_reach_are_dropped(segmenter, monkeypatch):
    grey = ArraySlices(np.zeros((16, 16, 40), dtype=np.uint8))
    held, features = [], []
    original = MemoryBank.attended

    def count(self, frame):
        held.append(len(self._others))
        features.append(sum(memory.features.untyped_storage().nbytes() > 0 for memory in self._others.values()))
        return original(self, frame)

    monkeypatch.setattr(MemoryBank, "attended", count)
    for prompted in ([0], [0, 20, 21, 22]):
        assert len(list(segmenter.segment(grey, [Prompt(index, 1, ((8, 8),)) for index in prompted]))) == 40
    assert (max(held), max(features)) == (15, 6)


def test_fewer_memories_change_the_result_and_enough_do_not(checkpoint, segmenter, grey):
    prompts = PROMPTS["points at the centre"]
    device = torch.device("cpu")
    all_of_them = logits_of(segmenter.segment(grey, prompts))
    enough = logits_of(Sam2Memory(TINY, checkpoint, device, max_memories=6).segment(grey, prompts))
    one = logits_of(Sam2Memory(TINY, checkpoint, device, max_memories=1).segment(grey, prompts))
    assert largest_difference(enough, all_of_them) == 0
    assert np.array_equal(one[1, 5], all_of_them[1, 5]) and not np.array_equal(one[1, 8], all_of_them[1, 8])


def absent_everywhere(monkeypatch, but: int | None = None) -> list[int]:
    """Let objects be absent on every frame that is tracked, but one; returns the frames as they are tracked."""
    tracked: list[int] = []
    frames: list[tuple[object, int]] = []
    attended, original = MemoryBank.attended, Steps.track

    def watch(self, frame):
        tracked.append(frame)
        found = attended(self, frame)
        frames.append((found, frame))
        return found

    def track(self, asked):
        found = []
        for one, outcome in zip(asked, original(self, asked), strict=True):
            (frame,) = (frame for known, frame in list(frames) if known is one.attended)
            score = 1.0 if frame == but else -1.0
            found.append(replace(outcome, object_scores=torch.full_like(outcome.object_scores, score)))
        return found

    monkeypatch.setattr(MemoryBank, "attended", watch)
    monkeypatch.setattr(Steps, "track", track)
    return tracked


def test_a_half_ends_where_all_objects_are_absent(checkpoint, grey, monkeypatch):
    segmenter = Sam2Memory(TINY, checkpoint, torch.device("cpu"), stop_after=2)
    tracked = absent_everywhere(monkeypatch, but=2)
    parts = {part.slice: part for part in segmenter.segment(grey, [Prompt(1, 1, ((20, 30),))])}
    assert sorted(parts) == list(range(SLICES))
    assert sorted(tracked) == [1, 1, 2, 3, 4]  # frame 1 of both halves
    assert [parts[index].objects[1].score is None for index in range(SLICES)] == [False] * 6 + [True] * 3
    assert not any(parts[index].objects[1].mask.any() for index in (6, 7, 8))


def test_a_half_in_step_ends_on_the_same_slice_though_the_next_is_under_way(checkpoint, grey, monkeypatch):
    prompts = [Prompt(3, 1, ((20, 30),)), Prompt(3, 2, mask=DISC), Prompt(8, 2, absent=True)]
    absent_everywhere(monkeypatch, but=2)
    for stop_after in (1, 2, 3):
        found = []
        for in_step in (False, True):
            segmenter = Sam2Memory(TINY, checkpoint, torch.device("cpu"), stop_after=stop_after, in_step=in_step)
            found.append({part.slice: part.objects for part in segmenter.segment(grey, prompts)})
        apart, together = found
        assert sorted(together) == list(range(SLICES))
        for index, objects in apart.items():
            for object_id, one in objects.items():
                other = together[index][object_id]
                assert (one.logits is None) == (other.logits is None)
                assert one.logits is None or np.abs(one.logits - other.logits).max() <= 1e-4


def test_both_halves_end_after_the_prompted_slice(checkpoint, grey, monkeypatch):
    segmenter = Sam2Memory(TINY, checkpoint, torch.device("cpu"), stop_after=1)
    tracked = absent_everywhere(monkeypatch)
    assert len(list(segmenter.segment(grey, [Prompt(4, 1, mask=DISC)]))) == SLICES
    assert tracked == [1, 1]


def test_a_half_does_not_end_before_a_prompted_slice(checkpoint, grey, monkeypatch):
    segmenter = Sam2Memory(TINY, checkpoint, torch.device("cpu"), stop_after=1)
    absent_everywhere(monkeypatch)
    prompts = [Prompt(1, 1, mask=DISC), Prompt(6, 1, mask=DISC)]
    masks = {part.slice: part.objects[1].mask for part in segmenter.segment(grey, prompts)}
    scores = {part.slice: part.objects[1].object_score for part in segmenter.segment(grey, prompts)}
    np.testing.assert_array_equal(masks[6], DISC)
    assert [scores[index] for index in range(SLICES)] == [-1.0, 10.0, -1.0, -1.0, -1.0, -1.0, 10.0, -1.0, None]


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


class TestSteering:
    """What a person says of where objects are not."""

    BOX = Prompt(4, 1, (), (), (10, 15, 30, 45))

    def found(self, segmenter, grey, *prompts):
        return {one.slice: one.objects for one in segmenter.segment(grey, [self.BOX, *prompts])}

    def test_nothing_from_an_absent_slice_on_and_the_slices_before_are_the_same(self, segmenter, grey):
        free = self.found(segmenter, grey)
        steered = self.found(segmenter, grey, Prompt(7, 1, absent=True))
        assert sorted(steered) == list(range(SLICES))
        assert not any(steered[index][1].mask.any() for index in range(7, SLICES))
        for index in range(7):
            np.testing.assert_array_equal(steered[index][1].logits, free[index][1].logits)

    def test_a_removed_part_is_not_remembered(self, segmenter, grey):
        free = self.found(segmenter, grey)
        row, column = np.argwhere(free[6][1].mask)[0].tolist()
        steered = self.found(segmenter, grey, Prompt(6, 1, (), ((row, column),)))
        np.testing.assert_array_equal(steered[5][1].logits, free[5][1].logits)
        assert not steered[6][1].mask[row, column] and steered[6][1].mask.sum() < free[6][1].mask.sum()
        assert not np.array_equal(steered[7][1].logits, free[7][1].logits)

    def test_two_boxes_of_one_object_are_one_mask(self, segmenter, grey):
        other = Prompt(4, 1, (), (), (2, 2, 12, 20))
        alone = [next(segmenter.segment(grey, [prompt])).objects[1].mask for prompt in (self.BOX, other)]
        together = next(segmenter.segment(grey, [Prompt(4, 1, mask=alone[0] | alone[1])]))
        found = self.found(segmenter, grey, other)[4]
        assert together.slice == 4 and alone[0].any() and not np.array_equal(alone[0], alone[1])
        np.testing.assert_array_equal(found[1].logits, together.objects[1].logits)
