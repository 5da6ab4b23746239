"""Tests of pose/runs/resume.py: what a result was made from, and when a volume has it already."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import process_image
import process_video
from pose import results
from pose.cli import UserError
from pose.runs import resume
from pose.runs.command_line import jobs_of
from pose.segmenters.models import find_model, sha256_once
from tests.cases import write_two_blocks


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write_two_blocks(tmp_path)


def arguments_of(files: tuple[Path, Path], *more: object, script=process_video):
    return script.make_parser().parse_args(["-i", str(files[0]), "-m", str(files[1]), *map(str, more)])


def origin(files: tuple[Path, Path], *more: object, script=process_video, **model) -> dict:
    arguments = vars(arguments_of(files, *more, script=script))
    [job] = jobs_of(arguments, "results")
    return resume.made_from(job, arguments, **model)


@pytest.mark.parametrize("script", [process_image, process_video])
def test_every_flag_counts_unless_it_is_known_not_to(files, script):
    """A flag added tomorrow counts as a setting, until somebody says that it does not."""
    arguments = vars(arguments_of(files, script=script))
    settings = origin(files, script=script)["settings"]
    assert set(settings) == set(arguments) - resume.NOT_SETTINGS
    assert {"window", "apply_windowing", "objects", "labels", "image_size", "precision", "device"} <= set(settings)


def test_the_same_twice_and_as_json_holds_it(files):
    first = origin(files, "--labels", 1, "--window", "lung")
    assert first == origin(files, "--labels", 1, "--window", "lung") == json.loads(json.dumps(first))
    assert sorted(first["inputs"]) == ["image", "masks"]


def test_where_files_lie_and_how_the_run_behaves_is_no_matter(files, tmp_path):
    moved = write_two_blocks(tmp_path / "elsewhere", "other")
    more = "--resume", "--debug", "--results_folder_path", tmp_path / "r", "--embeddings_cache", tmp_path / "c"
    assert origin(files) == origin(moved, *more)


def test_settings_inputs_and_code_count(files, monkeypatch):
    before = origin(files)
    assert origin(files, "-w")["settings"] != before["settings"]
    prompts = files[0].parent / "prompts.json"
    prompts.write_text("[]")
    with_prompts = origin(files, "--prompt_file_path", prompts)
    assert sorted(with_prompts["inputs"]) == ["image", "masks", "prompt_file_path"]
    prompts.write_text("[ ]")
    assert origin(files, "--prompt_file_path", prompts)["inputs"] != with_prompts["inputs"]
    files[0].write_bytes(files[0].read_bytes() + b"\0")
    assert origin(files)["inputs"]["image"] != before["inputs"]["image"]
    monkeypatch.setattr(resume, "code_sha256", lambda: "0")
    assert origin(files)["code"] == {"pose": "0", "packages": before["code"]["packages"]}


def test_the_model_and_its_weights_count(files, tmp_path):
    weights, spec = tmp_path / "tiny.pt", find_model("tiny")
    weights.write_bytes(b"1")
    one = origin(files, spec=spec, weights=weights)
    assert one["settings"]["model_description"]["config"] == spec.config and "weights" in one["inputs"]
    assert origin(files, spec=replace(spec, image_size=512), weights=weights)["settings"] != one["settings"]
    weights.write_bytes(b"22")
    assert origin(files, spec=spec, weights=weights)["inputs"]["weights"] != one["inputs"]["weights"]


def test_files_that_are_read_with_others_count(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 2, 2)))
    alone = origin((tmp_path / "a.npy", tmp_path / "a.npy"))["inputs"]["image"]
    (tmp_path / "a.json").write_text("{}")
    with_geometry = origin((tmp_path / "a.npy", tmp_path / "a.npy"))["inputs"]["image"]
    (tmp_path / "a.json").write_text("{ }")
    assert len({alone, with_geometry, origin((tmp_path / "a.npy", tmp_path / "a.npy"))["inputs"]["image"]}) == 3


def test_masks_that_prompts_name_count(files):
    prompts = files[0].parent / "prompts.json"
    prompts.write_text(json.dumps({"prompts": [{"slice": 1, "mask_file_path": "drawn.nii"}]}))
    with pytest.raises(UserError, match="drawn.nii: no such file"):
        origin(files, "--prompt_file_path", prompts)
    drawn = files[0].parent / "drawn.nii"
    drawn.write_bytes(b"1")
    before = origin(files, "--prompt_file_path", prompts)["inputs"]
    drawn.write_bytes(b"22")
    assert origin(files, "--prompt_file_path", prompts)["inputs"] != before


def test_a_file_that_changes_within_a_process_is_read_again(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"1")
    first = sha256_once(path)
    path.write_bytes(b"2")
    os.utime(path, ns=(0, 0))
    assert sha256_once(path) != first


class TestIsDone:
    WANTED = {
        "inputs": {"image": "a"},
        "settings": {"window": None, "labels": [1]},
        "code": {"pose": "c", "packages": {}},
    }

    def write(self, folder: Path, **manifest) -> dict[str, Path]:
        record = {"status": "done", "made_from": self.WANTED, **manifest}
        return results.write_results(folder, rows=[{"slice": 0}], prompts_json={}, manifest=record)

    def test_no_folder_and_no_run(self, tmp_path):
        assert not resume.is_done(tmp_path / "none", self.WANTED)
        assert not resume.is_done(tmp_path, self.WANTED)

    def test_done(self, tmp_path):
        self.write(tmp_path)
        assert resume.is_done(tmp_path, self.WANTED)

    def test_a_folder_is_listed_once(self, tmp_path, monkeypatch):
        self.write(tmp_path)
        listed = []
        scandir = os.scandir
        monkeypatch.setattr(os, "scandir", lambda folder: listed.append(folder) or scandir(folder))
        assert resume.is_done(tmp_path, self.WANTED) and listed == [tmp_path]

    @pytest.mark.parametrize(
        ("change", "word"),
        [
            ({"inputs": {"image": "b"}}, "inputs changed (image)"),
            ({"inputs": {"image": "a", "masks": "m"}}, "inputs changed (masks)"),
            ({"settings": {"window": "lung", "labels": [1]}}, "settings changed (window None to lung)"),
            ({"settings": {"window": None}}, "settings changed (labels [1] to None)"),
            ({"code": {"pose": "d", "packages": {}}}, "code changed (pose)"),
        ],
    )
    def test_what_changed_is_told(self, tmp_path, caplog, change, word):
        caplog.set_level("INFO", "pose")
        self.write(tmp_path)
        assert not resume.is_done(tmp_path, {**self.WANTED, **change})
        assert word in caplog.text and "done again" in caplog.text

    @pytest.mark.parametrize("manifest", [{"status": "failed"}, {"made_from": None}, {"made_from": {"inputs": 1}}])
    def test_a_manifest_that_says_something_else(self, tmp_path, manifest):
        self.write(tmp_path, **manifest)
        assert not resume.is_done(tmp_path, self.WANTED)

    def test_without_manifest_or_with_a_damaged_one(self, tmp_path, caplog):
        caplog.set_level("INFO", "pose")
        written = self.write(tmp_path)
        written["run"].write_text("{")
        assert not resume.is_done(tmp_path, self.WANTED)
        assert "cannot be read as JSON" in caplog.text
        written["run"].unlink()
        assert not resume.is_done(tmp_path, self.WANTED)

    def test_a_file_that_is_gone(self, tmp_path, caplog):
        caplog.set_level("INFO", "pose")
        written = self.write(tmp_path)
        written["results"].unlink()
        assert not resume.is_done(tmp_path, self.WANTED)
        assert f"{written['results'].name} is gone" in caplog.text

    def test_a_newer_run_of_another_kind_counts(self, tmp_path):
        """Tables are joined from the newest run: an older one that would do is no result."""
        self.write(tmp_path)
        self.write(tmp_path, made_from={**self.WANTED, "settings": {}})
        assert not resume.is_done(tmp_path, self.WANTED)

    def test_a_failure_after_it_counts(self, tmp_path):
        self.write(tmp_path)
        results.write_failure(tmp_path, "the power went", {})
        assert not resume.is_done(tmp_path, self.WANTED)

    def test_a_run_of_one_slice_beside_it(self, tmp_path):
        """Neither asks for the other again: the whole volume is done, and so is the slice."""
        one = {**self.WANTED, "settings": {**self.WANTED["settings"], "slice": 4}}
        self.write(tmp_path, slices=3, image={"shape": [9, 9, 3]})
        self.write(tmp_path, slices=1, image={"shape": [9, 9, 3]}, made_from=one)
        assert resume.is_done(tmp_path, self.WANTED) and resume.is_done(tmp_path, one)
        other = {**one, "settings": {**one["settings"], "slice": 5}}
        assert not resume.is_done(tmp_path, other)
        self.write(tmp_path, slices=1, image={"shape": [9, 9, 3]}, made_from=other)
        assert resume.is_done(tmp_path, self.WANTED) and not resume.is_done(tmp_path, one)
