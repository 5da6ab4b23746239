"""A session without a browser: clicks, masks, what is carried, cancelled, corrected and saved."""

from __future__ import annotations

import csv
import json
import shlex

import numpy as np
import pytest

import process_video
from pose.cli import UserError
from pose.page.session import BusyError
from pose.prompts.prompt import Prompt
from pose.scans.phantom import chest_ct
from pose.scans.volume import write_volume
from scripts.prompt_in_browser import make_parser, session_of
from tests.page.sessions import FIRST, HELD, SECOND, block, gate, make_session, until

NOTHING = np.zeros((30, 40), np.uint16)
AROUND_FIRST = (5, 3, 20, 14)


@pytest.fixture
def session(tmp_path):
    made = make_session(tmp_path)
    yield made
    made.close()


def carry(session):
    session.carry()
    session.wait()
    assert session.task is None and session.message == ""


def save(session):
    session.save()
    session.wait()
    assert session.task is None and session.message == ""
    return session.saved


def written(session, kind):
    (name,) = (name for name in session.saved["files"] if name.startswith(kind))
    return session.case.job.results_folder / name


def test_the_mask_of_a_slice_is_there_with_the_click(session):
    assert session.labels(3).tolist() == NOTHING.tolist()
    assert session.point(1, 3, 10, 8, True) > 0
    np.testing.assert_array_equal(session.labels(3), block(FIRST))
    np.testing.assert_array_equal(session.labels(4), NOTHING)
    session.box(2, 4, (7, 20, 25, 37))
    np.testing.assert_array_equal(session.labels(4), block(SECOND, 2))


def test_carry_brings_every_slice_and_clicks_after_it_make_it_old(session):
    session.point(1, 3, 10, 8, True)
    assert not session.is_carried
    carry(session)
    assert session.is_carried
    for index in range(7):
        np.testing.assert_array_equal(session.labels(index), block(FIRST) if index in HELD else NOTHING)
    session.box(2, 4, (7, 20, 25, 37))
    assert not session.is_carried
    np.testing.assert_array_equal(session.labels(4), block(FIRST) + block(SECOND, 2))
    np.testing.assert_array_equal(session.labels(5), block(FIRST))
    carry(session)
    np.testing.assert_array_equal(session.labels(5), block(FIRST) + block(SECOND, 2))


def test_not_here_is_seen_at_once_and_carried(session):
    session.point(1, 3, 10, 8, True)
    carry(session)
    session.absent(1, 4, True)
    np.testing.assert_array_equal(session.labels(4), NOTHING)
    np.testing.assert_array_equal(session.labels(5), block(FIRST))
    carry(session)
    assert [index for index in range(7) if session.labels(index).any()] == [2, 3]
    session.absent(1, 4, False)
    carry(session)
    assert [index for index in range(7) if session.labels(index).any()] == [2, 3, 4, 5]


def test_a_point_outside_that_stands_alone_removes_the_part_it_lies_in(session):
    session.box(1, 3, AROUND_FIRST)
    session.box(1, 3, (7, 20, 25, 37), further=True)
    carry(session)
    both = block(FIRST) + block(SECOND)
    np.testing.assert_array_equal(session.labels(4), both)
    session.point(1, 4, 10, 30, False)
    np.testing.assert_array_equal(session.labels(4), block(FIRST))
    carry(session)
    np.testing.assert_array_equal(session.labels(4), block(FIRST))
    np.testing.assert_array_equal(session.labels(3), both)


def test_undo_and_clear_take_the_mask_back(session):
    session.point(1, 3, 10, 8, True)
    session.undo()
    np.testing.assert_array_equal(session.labels(3), NOTHING)
    session.point(1, 3, 10, 8, True)
    carry(session)
    session.clear(1, 3)
    assert session.clicks.prompts == [] and not session.is_carried
    session.undo()
    assert session.is_carried


def test_objects_have_names_and_go_with_all_that_was_said_of_them(session):
    session.name_object(2, " right block ")
    assert session.names == {1: "", 2: "right block"}
    session.box(1, 3, AROUND_FIRST)
    session.box(2, 3, (7, 20, 25, 37))
    carry(session)
    session.remove_object(2)
    assert session.names == {1: ""} and session.clicks.prompts == [Prompt(3, 1, box=AROUND_FIRST)]
    np.testing.assert_array_equal(session.labels(3), block(FIRST))
    np.testing.assert_array_equal(session.labels(4), block(FIRST))
    session.undo()
    assert session.names == {1: "", 2: ""}
    session.remove_object(1)
    session.remove_object(2)
    assert session.names == {1: ""}


@pytest.mark.parametrize(
    "number, name, says",
    [
        (0, "", "object 0: objects on the page have the numbers 1 to 99"),
        (100, "", "object 100: objects on the page have the numbers 1 to 99"),
        (1, "a" * 61, "object 1: a name has at most 60 letters, on one line"),
        (1, "a\nb", "object 1: a name has at most 60 letters, on one line"),
    ],
)
def test_names_that_are_none(session, number, name, says):
    with pytest.raises(UserError) as raised:
        session.name_object(number, name)
    assert str(raised.value) == says
    assert session.names == {1: ""}


def test_a_click_outside_is_refused(session):
    with pytest.raises(UserError, match="^row 30, column 0: outside the image of 30 x 40"):
        session.point(1, 3, 30, 0, True)
    with pytest.raises(UserError, match="^case: nothing says where an object is"):
        session.carry()
    assert session.task is None


def test_while_it_is_carried_nothing_else_changes_and_slices_come_one_by_one(session):
    session.point(1, 3, 10, 8, True)
    gated = gate(session)
    session.carry()
    for change in (
        lambda: session.point(1, 3, 10, 9, True),
        lambda: session.undo(),
        lambda: session.name_object(1, "a"),
        lambda: session.remove_object(1),
        lambda: session.carry(),
        lambda: session.save(),
    ):
        with pytest.raises(BusyError):
            change()
    gated.let(3)
    until(lambda: session.task.done == [0, 1, 2])
    np.testing.assert_array_equal(session.labels(2), block(FIRST))
    np.testing.assert_array_equal(session.labels(4), NOTHING)
    gated.let(4)
    session.wait()
    assert session.is_carried and session.carried.found.to_review == [2, 3, 4, 5]


def test_cancel_leaves_the_masks_of_before(session):
    session.point(1, 3, 10, 8, True)
    carry(session)
    session.absent(1, 4, True)
    gated = gate(session)
    session.carry()
    gated.let(2)
    until(lambda: len(session.task.done) == 2)
    session.cancel()
    gated.let(1)
    session.wait()
    assert session.message == "cancelled: the masks are those of before"
    assert not session.is_carried
    np.testing.assert_array_equal(session.labels(5), block(FIRST))
    np.testing.assert_array_equal(session.labels(4), NOTHING)
    session.absent(1, 4, False)
    assert session.is_carried


def test_a_save_that_is_cancelled_writes_nothing(session):
    session.point(1, 3, 10, 8, True)
    gated = gate(session)
    session.save()
    session.cancel()
    gated.let(1)
    session.wait()
    assert session.saved is None and not session.case.job.results_folder.exists()


def test_a_fault_is_said_and_logged_and_the_session_goes_on(session, caplog, monkeypatch):
    session.point(1, 3, 10, 8, True)
    monkeypatch.setattr(session.model.segmenter, "segment", lambda grey, prompts: iter([1 / 0]))
    session.carry()
    session.wait()
    assert session.message == "a fault of the program, its terminal says more: ZeroDivisionError: division by zero"
    until(lambda: any("fault of the program" in one.message and one.exc_info for one in caplog.records))
    monkeypatch.undo()
    carry(session)


def test_dice_with_ground_truth(tmp_path):
    session = make_session(tmp_path, masks=True)
    assert session.volume_dice() is None and session.dice(0) is None and session.dice(3) == 0
    session.point(1, 3, 10, 8, True)
    # 140 pixels of the one block, 224 of the other
    assert session.dice(3) == pytest.approx(2 * 140 / (140 + 364), abs=1e-12)
    carry(session)
    assert session.volume_dice() == pytest.approx(280 / 504, abs=1e-12)
    session.box(2, 3, (7, 20, 25, 37))
    assert session.dice(3) == 1
    carry(session)
    assert session.volume_dice() == 1
    save(session)
    with written(session, "raw_data").open() as file:
        assert [row["dice"] for row in csv.DictReader(file)] == ["", "", "1.0", "1.0", "1.0", "1.0", ""]
    session.close()


def test_saved_is_what_the_command_writes(session):
    session.name_object(2, "right")
    session.point(1, 3, 10, 8, True)
    session.box(2, 4, (7, 20, 25, 37))
    session.absent(2, 5, True)
    session.point(1, 2, 10, 8, False)
    saved = save(session)
    assert session.is_carried and session.is_saved
    kinds = sorted(name.rpartition("_2")[0] for name in saved["files"])
    assert kinds == ["contact_sheet", "masks", "raw_data", "results", "run", "sam_prompts"]
    manifest = json.loads(written(session, "run").read_text())
    assert manifest["object_names"] == {"2": "right"} and manifest["method"] == "region_growing"
    assert saved["words"][1].startswith("right: object 2: 672 voxels, 6.0 ml, slices 2 to 4")
    mask = written(session, "masks").read_bytes()
    prompts = json.loads(written(session, "sam_prompts").read_text())["prompts"]
    assert len(prompts) == 4
    python, script, *words = shlex.split(saved["command"])
    assert (python, script) == ("python", "process_video.py")
    before = set(session.case.job.results_folder.iterdir())
    assert process_video.main(words) == 0
    fresh = {path.name.rpartition("_2")[0]: path for path in set(session.case.job.results_folder.iterdir()) - before}
    assert fresh["masks"].read_bytes() == mask
    assert fresh["contact_sheet"].read_bytes() == written(session, "contact_sheet").read_bytes()
    assert json.loads(fresh["sam_prompts"].read_text())["prompts"] == prompts
    assert without_times(fresh["raw_data"]) == without_times(written(session, "raw_data"))
    again = json.loads(fresh["run"].read_text())
    assert again["made_from"]["settings"] == manifest["made_from"]["settings"]
    session.point(1, 2, 10, 8, True)
    assert not session.is_saved


def test_prompts_of_a_file_are_there_to_begin_with(tmp_path):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps([{"slice": 3, "object_id": 7, "points": [{"row": 10, "column": 8, "label": 1}]}]))
    session = make_session(tmp_path, "--prompt_file_path", path)
    assert session.names == {7: ""} and session.clicks.prompts == [Prompt(3, 7, ((10, 8),))]
    np.testing.assert_array_equal(session.labels(3), block(FIRST, 7))
    assert str(path) not in session.command(tmp_path / "saved.json")
    session.close()


def test_slices_beyond_the_limits_are_left_alone(tmp_path):
    session = make_session(tmp_path, "--slices", 0, 3)
    session.point(1, 3, 10, 8, True)
    carry(session)
    assert [index for index in range(7) if session.labels(index).any()] == [2, 3]
    session.point(1, 4, 10, 8, True)
    with pytest.raises(UserError, match="--slices 0 3: a prompt lies on slice 4"):
        session.carry()
    session.close()


@pytest.mark.slow
def test_lite_medsam_to_the_byte_and_encoded_once(tmp_path):
    # as few slices as a plane from the side takes
    volume, _ = chest_ct((48, 40, 5), seed=2)
    write_volume(tmp_path / "chest.nii.gz", volume)
    kept = tmp_path / "embeddings"
    words = [str(tmp_path / "chest.nii.gz"), "--window", "lung", "--results_folder_path", str(tmp_path / "results")]
    session = session_of(make_parser().parse_args(words), words, kept)
    assert session.model.about["model"] == "lite_medsam"
    session.box(1, 2, (15, 6, 32, 18))
    session.point(2, 2, 24, 28, True)
    carry(session)
    cache, predictions = session.model.embeddings, session.model.predictions
    cache.reset_counts()
    asked = predictions.asked
    session.absent(1, 3, True)
    carry(session)
    assert cache.misses == 0 and predictions.asked == asked > 0
    saved = save(session)
    assert all("likely Dice 0." in words for words in saved["words"])
    mask = written(session, "masks").read_bytes()
    statistics = likely(written(session, "results"))
    before = set(session.case.job.results_folder.iterdir())
    # the command draws the same pictures for the network, to the last pixel: it finds all of them encoded
    encoded = {path.name for path in kept.iterdir()}
    assert process_video.main([*shlex.split(saved["command"])[2:], "--embeddings_cache", str(kept)]) == 0
    assert {path.name for path in kept.iterdir()} == encoded
    fresh = {path.name.split("_")[0]: path for path in set(session.case.job.results_folder.iterdir()) - before}
    assert fresh["masks"].read_bytes() == mask
    assert len(statistics) == 3 and likely(fresh["results"]) == statistics
    session.close()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["chain", "region_growing"])
def test_corrected_and_carried_again_is_carried_afresh_and_asks_of_what_has_changed_alone(tmp_path, method):
    volume, _ = chest_ct((64, 64, 8), seed=2)
    write_volume(tmp_path / "chest.nii.gz", volume)
    words = [str(tmp_path / "chest.nii.gz"), "--window", "lung", "--method", method]
    again, afresh = (session_of(make_parser().parse_args(words), words, tmp_path / "embeddings") for _ in range(2))
    for session in (again, afresh):
        session.box(1, 4, (18, 10, 45, 28))
        session.box(2, 4, (18, 36, 45, 54))
    carry(again)
    before = again.model.predictions and again.model.predictions.asked
    for session in (again, afresh):
        session.box(2, 5, (20, 38, 43, 52))
        session.absent(2, 7, True)
        session.point(2, 3, 24, 40, False)
        carry(session)
    found, fresh = again.carried.found, afresh.carried.found
    np.testing.assert_array_equal(found.labels, fresh.labels)
    assert set(np.unique(fresh.labels)) == {0, 1, 2}
    assert (found.estimates, found.findings) == (fresh.estimates, fresh.findings)
    if before is not None:
        assert 0 < again.model.predictions.asked - before < afresh.model.predictions.asked / 2
    for session in (again, afresh):
        session.close()


def likely(path):
    """The rows of results_*.csv on the likely Dice."""
    return [line for line in path.read_text().splitlines() if line.startswith("likely_dice")]


def without_times(path):
    with path.open() as file:
        return [{key: value for key, value in row.items() if "time" not in key} for row in csv.DictReader(file)]
