"""What is recorded once and replayed: that results are the same, and what is kept. The recorder is one for CPUs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pose.prompts.prompt import Prompt
from pose.segmenters.sam2.memory import Sam2Memory
from pose.segmenters.sam2.recorded import MOST_RECORDINGS, Recorded
from tests.networks import TINY, save_random_weights
from tests.segmenters.sam2.test_memory import COLUMNS, DISC, ROWS, ArraySlices


class OnCpu:
    """Records as a GPU does: a replay reads the tensors it was recorded with, and writes over its last results."""

    def __init__(self):
        self.recorded, self.replays = 0, 0

    def __call__(self, function, inputs):
        self.recorded += 1
        results = [one.clone() for one in function(inputs)]

        def replay():
            self.replays += 1
            for result, fresh in zip(results, function(inputs), strict=True):
                result.copy_(fresh)

        return replay, results


def doubled(inputs):
    return [2 * inputs[0]]


def test_what_comes_a_third_time_is_recorded_and_results_are_those_of_the_function():
    recorder = OnCpu()
    recorded = Recorded(recorder)
    results = [recorded("doubled", doubled, [torch.full((2,), float(value))])[0] for value in range(6)]
    assert [one.tolist() for one in results] == [[2.0 * value] * 2 for value in range(6)]
    assert (recorder.recorded, recorder.replays) == (1, 4)


def test_other_shapes_types_and_kinds_are_others():
    recorder = OnCpu()
    recorded = Recorded(recorder)
    for kind, inputs in [
        ("a", torch.ones(2)),
        ("a", torch.ones(3)),
        ("a", torch.ones(2, dtype=int)),
        ("b", torch.ones(2)),
    ]:
        for _ in range(2):
            assert torch.equal(recorded(kind, doubled, [inputs])[0], 2 * inputs)
    assert recorder.recorded == 0


def test_few_recordings_are_kept_those_used_last():
    recorder = OnCpu()
    recorded = Recorded(recorder)
    for size in range(1, MOST_RECORDINGS + 2):
        for _ in range(3):
            recorded("doubled", doubled, [torch.ones(size)])
        recorded("doubled", doubled, [torch.ones(1)])
    assert recorder.recorded == MOST_RECORDINGS + 1 and len(recorded._recordings) == MOST_RECORDINGS
    recorded("doubled", doubled, [torch.ones(1)])
    assert recorder.recorded == MOST_RECORDINGS + 1
    for _ in range(3):
        recorded("doubled", doubled, [torch.ones(2)])
    assert recorder.recorded == MOST_RECORDINGS + 2


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_replayed_slices_of_a_volume_are_those_of_the_network(tmp_path, precision):
    weights = save_random_weights(tmp_path / TINY.checkpoint)
    grey = ArraySlices(np.random.default_rng(2).integers(0, 255, (ROWS, COLUMNS, 52), dtype=np.uint8))
    prompts = [Prompt(21, 1, ((20, 30),)), Prompt(21, 2, mask=DISC), Prompt(25, 1, (), ((20, 30),))]
    recorder = OnCpu()
    expected, found = (
        {
            part.slice: part.objects
            for part in Sam2Memory(
                TINY, weights, torch.device("cpu"), precision, in_step=True, recorded=recorded
            ).segment(grey, prompts)
        }
        for recorded in (None, Recorded(recorder))
    )
    # two halves: 21 slices together, of which 15 fill the memory, then one alone for 9
    assert recorder.recorded == 4 and recorder.replays > 2 * 8
    for index, objects in expected.items():
        for object_id, one in objects.items():
            np.testing.assert_array_equal(found[index][object_id].logits, one.logits)
            assert found[index][object_id].score == one.score
