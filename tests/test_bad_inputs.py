"""The scripts as processes on wrong input: one clear line, exit code 2, nothing left behind; and on what is odd."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from pose.prompts.prompt import Prompt
from pose.scans.intensity import GreySlices, Intensity
from pose.scans.volume import Volume
from tests.bad_inputs import (
    CASES,
    FULL,
    FULL_OF_RESULTS,
    ODD_CASES,
    BadInput,
    OddInput,
    Outcome,
    namespaces_missing,
    run_case,
    run_odd,
)
from tests.cases import DarkInBox


def parameter(case: BadInput):
    marks = [pytest.mark.slow] if case.slow else []
    if case.mount is not None and namespaces_missing():
        marks.append(pytest.mark.skip(reason=namespaces_missing()))
    return pytest.param(case, id=case.name, marks=marks)


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future]]:
    """What the chosen cases of this file left behind, by name: two processes run at a time."""
    here = [item for item in request.session.items if item.path == request.path]
    mine = [item for item in here if "outcomes" in getattr(item, "fixturenames", ())]
    chosen = [item.callspec.params["case"] for item in mine]
    with ThreadPoolExecutor(2) as workers:
        started = {}
        for case in chosen:
            run = run_odd if isinstance(case, OddInput) else run_case
            folder = tmp_path_factory.mktemp("case")
            started[case.name] = folder, workers.submit(run, case, folder)
        yield started
        for _, future in started.values():
            future.cancel()


@pytest.mark.parametrize("case", [parameter(case) for case in CASES])
def test_a_mistake_is_one_line_and_exit_2(case: BadInput, outcomes: dict) -> None:
    outcome: Outcome = outcomes[case.name][1].result()
    assert outcome.code == 2, outcome.err
    assert "Traceback" not in outcome.err
    (error,) = outcome.error_lines
    assert outcome.lines[-1] == error
    for words in case.says:
        assert words in error
    if case.usage:
        assert outcome.lines[0].startswith("usage: ")
    else:
        assert error.startswith("error: ")
        # that a disk is full shows only where something is written
        before = [line for line in outcome.lines[:-1] if case.mount not in (FULL, FULL_OF_RESULTS)]
        assert all(line.startswith(("INFO: ", "WARNING: ")) for line in before), outcome.err
    assert outcome.changed == ()
    assert outcome.out == ""


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in ODD_CASES])
def test_what_is_odd_has_a_word_in_the_log_and_a_defined_result(case: OddInput, outcomes: dict) -> None:
    folder, future = outcomes[case.name]
    outcome: Outcome = future.result()
    assert outcome.code == 0, outcome.err
    assert tuple(line for line in outcome.lines if "slice/s]" not in line) == case.logs
    assert case.result(folder) == case.expected


def test_the_table_is_long_and_its_names_are_unique() -> None:
    names = [case.name for case in [*CASES, *ODD_CASES]]
    assert len(set(names)) == len(names) >= 90
    assert {case.script for case in CASES} == {
        "nifti_to_numpy.py",
        "process_image.py",
        "process_video.py",
        "join_results.py",
        "scripts/make_phantom.py",
        "scripts/prompt_in_browser.py",
    }


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


def region_growing(folder: Path):
    from pose.segmenters.region_growing import RegionGrowing

    return RegionGrowing()


def chain(folder: Path):
    from pose.segmenters.chain import Chain

    return Chain(DarkInBox())


@cache
def lite_medsam(folder: Path):
    """One for all, which encodes a slice of each shape and grey level once: that takes longer than all else."""
    import torch

    from pose.segmenters.chain import Chain
    from pose.segmenters.embeddings import EmbeddingsCache
    from pose.segmenters.lite_medsam import LiteMedSam
    from pose.segmenters.models import checkpoint_path, find_model

    weights, encoded = checkpoint_path(find_model("lite_medsam")), EmbeddingsCache(folder / "embeddings")
    return Chain(LiteMedSam(weights, torch.device("cpu"), "fp32", encoded))


@cache
def sam2_memory(folder: Path):
    import torch

    from pose.segmenters.sam2.memory import Sam2Memory
    from tests.networks import TINY, save_random_weights

    return Sam2Memory(TINY, save_random_weights(folder / "tiny.pt"), torch.device("cpu"), "fp32")


@pytest.mark.slow
@pytest.mark.parametrize("make", [region_growing, chain, lite_medsam, sam2_memory])
@pytest.mark.parametrize(
    ("value", "intensity"), [(-1000, Intensity()), (0.0, Intensity((40.0, 400.0))), (np.nan, Intensity(per_slice=True))]
)
@pytest.mark.parametrize("slices", [1, 3])
def test_a_constant_volume_goes_through_every_method(
    make: Callable, intensity: Intensity, slices: int, value: float, shared_folder: Path
) -> None:
    segmenter = make(shared_folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "cannot import name '_C' from 'sam2'")
        grey = GreySlices(Volume(np.full((40, 30, slices), value)), intensity)
        found = list(segmenter.segment(grey, [Prompt(slices // 2, 1, box=(8, 6, 20, 18))]))
    assert sorted(one.slice for one in found) == list(range(slices))
    for one in found:
        for prediction in one.objects.values():
            assert prediction.mask.shape == (40, 30)
            assert prediction.score is None or np.isfinite(prediction.score)
