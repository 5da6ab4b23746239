"""The benchmark of the chain: what it times, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from comparison.benchmarks import chain as benchmark
from pose import cli
from pose.prompts.prompt import Prompt
from pose.segmenters.chain import Chain
from pose.segmenters.chain_settings import ChainSettings
from pose.segmenters.mask_parts import box_around
from tests.segmenters.test_side_views import SIDE, SLICES, BrightInBox, volume


def test_the_same_chain_is_timed_with_views_and_without() -> None:
    truth, grey = volume()
    model = BrightInBox()
    segmenter = Chain(model, ChainSettings(feature_weight=0.0))
    times = benchmark.times_in_turns(segmenter, grey, [Prompt(20, box=box_around(truth[:, :, 20]))], 2)
    assert list(times) == ["off", "on"]
    # 20 slices and one beyond each end, of which the cylinder fills 20
    assert times["off"][2] == times["on"][2] == 22
    assert len(model.shown) == 2 * (22 + 22 + 6) and model.shown.count((SIDE, SLICES)) == 12
    assert segmenter.findings == {}


def test_times_are_printed_for_both(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch) -> None:
    from pose.scans.phantom import chest_ct
    from tests.cases import write_nifti

    scan, labels = chest_ct((64, 64, 18))
    image = write_nifti(tmp_path / "a.nii.gz", scan.voxels.swapaxes(0, 1), scan.affine)
    masks = write_nifti(tmp_path / "m.nii.gz", labels.swapaxes(0, 1), scan.affine)
    monkeypatch.setattr(benchmark, "load_segmenter", lambda _: Chain(BrightInBox()))
    given = ["-i", str(image), "-m", str(masks), "-w", "--starts", "centre"]
    assert cli.run_main(benchmark.main, [*given, "--turns", "1"]) == 0
    _, head, off, on = (line.split() for line in capsys.readouterr().out.splitlines())
    assert head == list(benchmark.TIMES)
    assert off[:3] == ["a", "9", "off"] and on[:3] == ["a", "9", "on"] and off[-1] == "1.00"


def test_region_growing_has_no_views(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    paths = [tmp_path / name for name in ("a.nii.gz", "m.nii.gz")]
    for path in paths:
        path.write_bytes(b"")
    given = ["-i", str(paths[0]), "-m", str(paths[1]), "--model", "region_growing", "--turns", "2"]
    assert cli.run_main(benchmark.main, given) == 2
    assert capsys.readouterr().err.strip() == "error: --turns 2: region_growing has no views from the side"
