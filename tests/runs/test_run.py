"""What the process scripts share: label maps, rows of several objects, prompts a model cannot use."""

from __future__ import annotations

import numpy as np
import pytest

from pose.cli import UserError
from pose.prompts.prompt import Prompt
from pose.runs.case import usable_prompts
from pose.runs.segmentation import label_map, mean_of
from pose.segmenters import Prediction

LEFT, RIGHT = np.array([[1, 1, 0]], dtype=bool), np.array([[0, 1, 1]], dtype=bool)


def test_label_map_paints_ids_and_gives_overlap_to_the_larger_logit():
    objects = {
        7: Prediction(RIGHT, logits=np.array([[-1, 3, 2]], dtype=np.float32)),
        2: Prediction(LEFT, logits=np.array([[5, 1, -1]], dtype=np.float32)),
    }
    assert label_map(objects, (1, 3)).tolist() == [[2, 7, 7]]


def test_label_map_gives_overlap_without_logits_to_the_lower_id():
    assert label_map({7: Prediction(RIGHT), 2: Prediction(LEFT)}, (1, 3)).tolist() == [[2, 2, 7]]
    assert label_map({}, (1, 3)).tolist() == [[0, 0, 0]]


def test_mean_of_known_values():
    assert mean_of([None, 0.5, 1.0]) == 0.75
    assert mean_of([None]) is None and mean_of([]) is None


def test_prompts_keep_what_a_model_takes(caplog):
    both = Prompt(3, 1, ((1, 1),), ((2, 2),), (0, 0, 1, 1))
    pointed = Prompt(4, 2, ((1, 1),))
    assert usable_prompts([both, pointed], frozenset({"points", "box"}), "sam") == [both, pointed]
    with caplog.at_level("INFO"):
        assert usable_prompts([both], frozenset({"box"}), "lite_medsam") == [Prompt(3, 1, box=(0, 0, 1, 1))]
    assert caplog.messages == ["lite_medsam takes box only: points left out"]
    with pytest.raises(UserError, match="slice 4, object 2: lite_medsam takes box only, .*--use_bounding_box"):
        usable_prompts([both, pointed], frozenset({"box"}), "lite_medsam")
    with pytest.raises(UserError, match="slice 0, object 1: sam takes box and points only"):
        usable_prompts([Prompt(0, mask=LEFT)], frozenset({"points", "box"}), "sam")
