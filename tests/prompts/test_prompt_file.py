"""Prompts from and to JSON: what is written is read again, masks come from their files; what is refused."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pose.cli import UserError
from pose.prompts.prompt import Prompt
from pose.prompts.prompt_file import prompts_to_json, read_prompts
from pose.scans.geometry import fit
from pose.scans.volume import Volume, read_volume, write_volume

SHAPE = (20, 30, 5)


def refused(message: str):
    return pytest.raises(UserError, match=f"^{re.escape(message)}$")


def written(folder: Path, document: object) -> Path:
    path = folder / "prompts.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


def one(**fields) -> dict:
    return {"slice": 2, "points": [{"row": 3, "column": 4, "label": 1}], **fields}


@pytest.fixture
def mask_volume(tmp_path) -> np.ndarray:
    voxels = np.random.default_rng(1).integers(0, 3, SHAPE).astype(np.uint8)
    write_volume(tmp_path / "mask.npz", Volume(voxels))
    return voxels


def test_json_has_the_documented_form():
    prompts = [
        Prompt(np.int64(46), 2, ((np.int64(1), 2), (3, 4)), ((5, 6),), (0, 1, 7, np.int16(8))),
        Prompt(47, box=(0, 0, 1, 1)),
    ]
    document = prompts_to_json(
        prompts, image_file_path=Path("scans/chest.nii.gz"), shape=(np.int64(512), 512, 301), swap_axes=np.True_
    )
    assert json.loads(json.dumps(document)) == {
        "format": "pose_prompts",
        "version": 1,
        "image": "chest.nii.gz",
        "shape": {"rows": 512, "columns": 512, "slices": 301},
        "swap_axes": True,
        "prompts": [
            {
                "slice": 46,
                "object_id": 2,
                "points": [
                    {"row": 1, "column": 2, "label": 1},
                    {"row": 3, "column": 4, "label": 1},
                    {"row": 5, "column": 6, "label": 0},
                ],
                "box": {"row_min": 0, "column_min": 1, "row_max": 7, "column_max": 8},
            },
            {"slice": 47, "object_id": 1, "box": {"row_min": 0, "column_min": 0, "row_max": 1, "column_max": 1}},
        ],
    }


pixels = st.tuples(st.integers(0, SHAPE[0] - 1), st.integers(0, SHAPE[1] - 1))
point_lists = st.lists(pixels, max_size=4).map(tuple)


@st.composite
def boxes(draw) -> tuple[int, int, int, int]:
    (top, left), (bottom, right) = draw(pixels), draw(pixels)
    return (min(top, bottom), min(left, right), max(top, bottom), max(left, right))


@settings(max_examples=100)
@given(
    prompts=st.lists(
        st.builds(
            Prompt, st.integers(0, SHAPE[2] - 1), st.integers(1, 300), point_lists, point_lists, st.none() | boxes()
        ).filter(lambda prompt: prompt.positive_points or prompt.box),
        min_size=1,
        max_size=5,
        unique_by=lambda prompt: (prompt.slice, prompt.object_id),
    ),
    swap_axes=st.sampled_from([True, False, None]),
)
def test_what_is_written_is_read(tmp_path_factory, prompts, swap_axes):
    path = tmp_path_factory.getbasetemp() / "round_trip.json"
    document = prompts_to_json(prompts, image_file_path="a.npz", shape=SHAPE, swap_axes=swap_axes)
    path.write_text(json.dumps(document), encoding="utf-8")
    assert read_prompts(path) == prompts
    assert read_prompts(path, SHAPE, swap_axes) == prompts


def test_the_shortest_files_a_person_may_write(tmp_path):
    expected = [Prompt(2, 1, ((3, 4),))]
    assert read_prompts(written(tmp_path, [one()])) == expected
    assert read_prompts(written(tmp_path, {"prompts": [one()]}), SHAPE, True) == expected
    assert read_prompts(written(tmp_path, "\ufeff" + json.dumps([one(box=None)])), SHAPE) == expected
    nothing_known = {"shape": None, "swap_axes": None, "image": None, "prompts": [one(mask_file_path=None)]}
    assert read_prompts(written(tmp_path, nothing_known), SHAPE, False) == expected


def test_masks_come_from_their_files(tmp_path, mask_volume):
    mask_path = str(tmp_path / "mask.npz")
    write_volume(tmp_path / "slice.npz", Volume(mask_volume[:, :, :1]))
    relative, absolute, single = read_prompts(
        written(
            tmp_path,
            [
                {"slice": 2, "object_id": 1, "mask_file_path": "mask.npz"},
                {"slice": 3, "object_id": 1, "mask_file_path": mask_path},
                {"slice": 4, "object_id": 1, "mask_file_path": "../" + tmp_path.name + "/slice.npz"},
            ],
        ),
        SHAPE,
    )
    assert relative == Prompt(2, mask=mask_volume[:, :, 2] != 0, mask_file_path=mask_path)
    assert absolute == Prompt(3, mask=mask_volume[:, :, 3] != 0, mask_file_path=mask_path)
    assert single == Prompt(4, mask=mask_volume[:, :, 0] != 0, mask_file_path=str(tmp_path / "slice.npz"))
    assert relative.mask.dtype == bool


def test_masks_survive_a_round_trip_and_a_move(tmp_path, mask_volume, monkeypatch):
    mask_path = tmp_path / "mask.npz"
    prompts = [Prompt(2, 1, ((0, 0),), mask=mask_volume[:, :, 2] != 0, mask_file_path=str(mask_path))]
    about = {"image_file_path": "a.npz", "shape": SHAPE, "swap_axes": False}

    elsewhere = tmp_path / "results"
    elsewhere.mkdir()
    document = prompts_to_json(prompts, **about, folder=elsewhere)
    assert document["prompts"][0]["mask_file_path"] == mask_path.as_posix()
    assert read_prompts(written(elsewhere, document)) == prompts
    assert prompts_to_json(prompts, **about) == document

    document = prompts_to_json(prompts, **about, folder=tmp_path)
    assert document["prompts"][0]["mask_file_path"] == "mask.npz"
    assert read_prompts(written(tmp_path, document)) == prompts
    moved = tmp_path.parent / (tmp_path.name + "_moved")
    os.rename(tmp_path, moved)
    (prompt,) = read_prompts(moved / "prompts.json")
    assert prompt.mask_file_path == str(moved / "mask.npz")
    assert (prompt.mask == prompts[0].mask).all()

    # a path in memory is seen from the working directory
    monkeypatch.chdir(moved)
    document = prompts_to_json([Prompt(2, mask=prompt.mask, mask_file_path="mask.npz")], **about)
    assert document["prompts"][0]["mask_file_path"] == (moved / "mask.npz").as_posix()
    with pytest.raises(ValueError, match="slice 2, object 1: a mask without a file is not writable"):
        prompts_to_json([Prompt(2, mask=prompt.mask)], **about)


def test_nifti_masks_are_swapped_like_the_image(tmp_path):
    voxels = np.zeros((20, 30, 5), dtype=np.uint8)
    voxels[3, 8, 2] = 1
    write_volume(tmp_path / "mask.nii.gz", Volume(voxels, affine=np.eye(4), spacing_mm=(1.0, 1.0, 1.0)))
    entry = {"slice": 2, "mask_file_path": "mask.nii.gz"}
    (plain,) = read_prompts(written(tmp_path, [entry]), (20, 30, 5), False)
    (swapped,) = read_prompts(written(tmp_path, [entry]), (30, 20, 5), True)
    (by_the_file,) = read_prompts(written(tmp_path, {"swap_axes": True, "prompts": [entry]}), (30, 20, 5))
    assert np.argwhere(plain.mask).tolist() == [[3, 8]]
    assert np.argwhere(swapped.mask).tolist() == [[8, 3]]
    assert by_the_file == swapped


# an LPS scan of which nothing is symmetric, and a mask of three pixels on its slice 2
LPS = np.array([[-1.5, 0, 0, 40], [0, -2, 0, 30], [0, 0, 3, -100], [0, 0, 0, 1.0]])


def lps_scan(folder: Path) -> tuple[Path, nibabel.Nifti1Image]:
    voxels = np.zeros((20, 30, 5), dtype=np.uint8)
    voxels[3:6, 8, 2] = 1
    mask = nibabel.Nifti1Image(voxels, LPS)
    nibabel.save(nibabel.Nifti1Image(np.zeros_like(voxels), LPS), folder / "scan.nii.gz")
    return folder / "scan.nii.gz", mask


@pytest.mark.parametrize("swap_axes", [False, True])
@pytest.mark.parametrize("turned", ["as it is", "RAS", "from feet to head", "other axes"])
def test_masks_are_fitted_to_the_scan_as_ground_truth_is(tmp_path, swap_axes, turned, caplog):
    scan_path, mask = lps_scan(tmp_path)
    if turned == "RAS":
        mask = nibabel.as_closest_canonical(mask)
    elif turned == "from feet to head":
        mask = mask.as_reoriented(np.array([[0, 1], [1, 1], [2, -1]]))
    elif turned == "other axes":
        mask = mask.as_reoriented(np.array([[2, 1], [0, -1], [1, 1]]))
    nibabel.save(mask, tmp_path / "mask.nii.gz")
    path = written(tmp_path, [{"slice": 2, "mask_file_path": "mask.nii.gz"}])
    with caplog.at_level("INFO"):
        (prompt,) = read_prompts(path, like=read_volume(scan_path, swap_axes))
    expected = [[3, 8], [4, 8], [5, 8]] if not swap_axes else [[8, 3], [8, 4], [8, 5]]
    assert np.argwhere(prompt.mask).tolist() == expected
    assert ("reoriented voxel by voxel" in caplog.text) is (turned != "as it is")


def test_a_mask_elsewhere_than_the_scan_is_refused(tmp_path):
    scan_path, mask = lps_scan(tmp_path)
    scan = read_volume(scan_path)
    path = written(tmp_path, [{"slice": 2, "mask_file_path": "mask.nii.gz"}])
    thick, moved = LPS.copy(), LPS.copy()
    thick[2, 2], moved[0, 3] = 6, 70
    for affine, what in ((thick, "spacing"), (moved, "origin")):
        nibabel.save(nibabel.Nifti1Image(np.asarray(mask.dataobj), affine), tmp_path / "mask.nii.gz")
        with pytest.raises(UserError, match=rf"mask.nii.gz: {what} .* differs from .*scan.nii.gz; resample it"):
            read_prompts(path, like=scan)
    (prompt,) = read_prompts(path, like=scan, allow_geometry_mismatch=True)
    assert np.argwhere(prompt.mask).tolist() == [[3, 8], [4, 8], [5, 8]]


@pytest.mark.parametrize("swap_axes", [False, True])
def test_masks_of_one_slice(tmp_path, swap_axes):
    """Of NIfTI, at the place of the slice or with the scan's own affine; of plain arrays in the axes of the file."""
    scan_path, mask = lps_scan(tmp_path)
    scan = read_volume(scan_path, swap_axes)
    plane = np.asarray(mask.dataobj)[:, :, 2]
    nibabel.save(mask.slicer[:, :, 2:3], tmp_path / "there.nii.gz")
    nibabel.save(nibabel.as_closest_canonical(mask.slicer[:, :, 2:3]), tmp_path / "ras.nii.gz")
    nibabel.save(nibabel.Nifti1Image(plane[:, :, np.newaxis], LPS), tmp_path / "first.nii.gz")
    np.save(tmp_path / "plain.npy", plane)
    for name in ("there.nii.gz", "ras.nii.gz", "first.nii.gz", "plain.npy"):
        (prompt,) = read_prompts(written(tmp_path, [{"slice": 2, "mask_file_path": name}]), like=scan)
        np.testing.assert_array_equal(prompt.mask, (plane.T if swap_axes else plane) != 0)
    with pytest.raises(UserError, match="there.nii.gz: origin .* differs"):
        read_prompts(written(tmp_path, [{"slice": 3, "mask_file_path": "there.nii.gz"}]), like=scan)


def test_prompts_say_how_the_axes_lay_and_are_turned(tmp_path, caplog):
    """Made on one orientation, read for others: the same voxels in space, or refused."""
    scan_path, mask = lps_scan(tmp_path)
    made_on = read_volume(scan_path, swap_axes=True)
    prompts = [Prompt(1, 1, ((4, 3),), ((29, 0),), (2, 5, 10, 19))]
    about = {"image_file_path": scan_path, "shape": made_on.voxels.shape, "swap_axes": True}
    path = written(tmp_path, prompts_to_json(prompts, **about, orientation=made_on.orientation))
    assert json.loads(path.read_text())["orientation"] == "PLS"
    assert read_prompts(path, like=made_on) == read_prompts(path) == prompts
    assert caplog.text == ""

    nibabel.save(nibabel.as_closest_canonical(nibabel.load(scan_path)), tmp_path / "ras.nii.gz")
    nibabel.save(nibabel.load(scan_path).as_reoriented(np.array([[0, 1], [1, 1], [2, -1]])), tmp_path / "up.nii.gz")
    for name, swap_axes in (("scan", False), ("ras", False), ("ras", True), ("up", True)):
        scan = read_volume(tmp_path / f"{name}.nii.gz", swap_axes)
        caplog.clear()
        with caplog.at_level("INFO"):
            (prompt,) = read_prompts(path, like=scan)
        assert f"orientation is PLS, that of {scan.path} {scan.orientation}; its prompts are turned" in caplog.text
        for one, other in zip((*prompt.positive_points, *prompt.negative_points), ((4, 3), (29, 0))):
            np.testing.assert_allclose(
                scan.array_affine @ (*one, prompt.slice, 1), made_on.array_affine @ (*other, 1, 1), atol=1e-4
            )
        rows, columns = prompt.box[2] - prompt.box[0], prompt.box[3] - prompt.box[1]
        assert (rows, columns) == ((8, 14) if swap_axes else (14, 8))
        marked, before = np.zeros(scan.voxels.shape, bool), np.zeros(made_on.voxels.shape, bool)
        marked[prompt.box[0] : prompt.box[2] + 1, prompt.box[1] : prompt.box[3] + 1, prompt.slice] = True
        before[2:11, 5:20, 1] = True
        there = fit(made_on.grid, scan.grid).apply(before)
        np.testing.assert_array_equal(marked, there)

    with pytest.raises(UserError, match="orientation is PLS, that of .* its slices run along another axis"):
        read_prompts(path, like=read_volume(scan_path, slice_axis=0))


def test_prompts_that_say_the_swap_alone_are_turned_too(tmp_path, caplog):
    scan_path, _ = lps_scan(tmp_path)
    prompts = [Prompt(1, 1, ((4, 3),), (), (2, 5, 10, 19))]
    about = {"image_file_path": scan_path, "shape": (30, 20, 5), "swap_axes": True}
    path = written(tmp_path, prompts_to_json(prompts, **about))
    with caplog.at_level("INFO"):
        assert read_prompts(path, like=read_volume(scan_path)) == [Prompt(1, 1, ((3, 4),), (), (5, 2, 19, 10))]
    assert "swap_axes is True, the image's is False; rows and columns of its prompts are swapped" in caplog.text
    assert read_prompts(path, like=read_volume(scan_path, True)) == prompts
    outside = written(tmp_path, prompts_to_json([Prompt(1, 1, ((30, 3),))], **about))
    with pytest.raises(UserError, match="the point row 3, column 30 lies outside the image of 20 x 30"):
        read_prompts(outside, like=read_volume(scan_path))


@pytest.mark.parametrize("orientation", ["", "LP", "LPSA", "LRS", "XYZ"])
def test_an_orientation_that_is_none_is_refused(tmp_path, orientation):
    scan_path, _ = lps_scan(tmp_path)
    path = written(tmp_path, {"orientation": orientation, "prompts": [one()]})
    with refused(f"{path}: orientation must be letters such as PLS, got {orientation!r}"):
        read_prompts(path, like=read_volume(scan_path))


def test_masks_that_do_not_fit_are_refused(tmp_path, mask_volume):
    mask_path = tmp_path / "mask.npz"
    path = written(tmp_path, [{"slice": 2, "object_id": 1, "mask_file_path": "mask.npz"}])
    with refused(f"{path}: slice 2, object 1: {mask_path} has slices of 20 x 30, the image 20 x 31"):
        read_prompts(path, (20, 31, 5))
    with refused(f"{path}: prompts[0]: {mask_path} has 5 slices, it needs 1 or 7"):
        read_prompts(path, (20, 30, 7))
    beyond = written(tmp_path, [{"slice": 9, "mask_file_path": "mask.npz"}])
    with refused(f"{beyond}: prompts[0]: {mask_path} has 5 slices, it needs 1 or 10"):
        read_prompts(beyond)
    write_volume(mask_path, Volume(np.zeros(SHAPE, dtype=np.uint8)))
    path = written(tmp_path, [{"slice": 2, "mask_file_path": "mask.npz"}])
    with refused(f"{path}: prompts[0]: {mask_path} marks nothing"):
        read_prompts(path)
    swapped = Volume(np.ones((20, 20, 5), dtype=np.uint8), np.eye(4), (1.0, 1.0, 1.0), swap_axes=True)
    write_volume(mask_path, swapped)
    with refused(f"{path}: {mask_path} was made with --swap_axes, the image without it"):
        read_prompts(path, (20, 20, 5), False)
    assert len(read_prompts(path, (20, 20, 5), True)) == len(read_prompts(path, (20, 20, 5))) == 1
    with refused(f"{tmp_path / 'none.npz'}: no such file"):
        read_prompts(written(tmp_path, [{"slice": 2, "mask_file_path": "none.npz"}]))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "prompts must be a list of at least one prompt, got []"),
        ({"prompts": {}}, "prompts must be a list of at least one prompt, got {}"),
        ({}, "the file has no 'prompts'"),
        (7, "the file must be an object with prompts, format, version, image, shape, swap_axes, orientation, got 7"),
        (
            one(),
            "the file has the unknown key 'slice', known are prompts, format, version, image, shape, swap_axes, "
            "orientation",
        ),
        ({"format": "sam", "prompts": [one()]}, "format must be 'pose_prompts', got 'sam'"),
        ({"version": 2, "prompts": [one()]}, "version must be 1, got 2"),
        ({"version": True, "prompts": [one()]}, "version must be 1, got True"),
        ({"image": 3, "prompts": [one()]}, "image must be a file name, got 3"),
        ({"swap_axes": "no", "prompts": [one()]}, "swap_axes must be true, false or null, got 'no'"),
        ({"swap_axes": False, "prompts": [one()]}, "swap_axes is False, the image's is True"),
        (
            {"shape": {"rows": 20, "columns": 31, "slices": 5}, "prompts": [one()]},
            "shape is 20 x 31 x 5 (rows x columns x slices), the image's is 20 x 30 x 5",
        ),
        ({"shape": {"rows": 20, "columns": 30}, "prompts": [one()]}, "shape has no 'slices'"),
        (
            {"shape": [20, 30, 5], "prompts": [one()]},
            "shape must be an object with rows, columns, slices, got [20, 30, 5]",
        ),
        (
            {"shape": {"rows": 20, "columns": 30, "slices": 0}, "prompts": [one()]},
            "shape.slices must be a whole number from 1, got 0",
        ),
        (
            ["x"],
            "prompts[0] must be an object with slice, object_id, points, box, mask_file_path, absent, first_slice, "
            "last_slice, name, got 'x'",
        ),
        ([{"points": []}], "prompts[0] has no 'slice'"),
        (
            [one(), one(slice=3, point=[1, 2])],
            "prompts[1] has the unknown key 'point', known are slice, object_id, points, box, mask_file_path, "
            "absent, first_slice, last_slice, name",
        ),
        ([one(slice="2")], "prompts[0].slice must be a whole number from 0, got '2'"),
        ([one(slice=2.0)], "prompts[0].slice must be a whole number from 0, got 2.0"),
        ([one(slice=True)], "prompts[0].slice must be a whole number from 0, got True"),
        ([one(slice=None)], "prompts[0].slice must be a whole number from 0, got None"),
        ([one(slice=float("nan"))], "prompts[0].slice must be a whole number from 0, got nan"),
        ([one(slice=5)], "slice 5, object 1: no such slice, they count from 0 to 4"),
        ([one(object_id=-1)], "prompts[0].object_id must be a whole number from 1 to 65535, got -1"),
        ([one(object_id=0)], "prompts[0].object_id must be a whole number from 1 to 65535, got 0"),
        ([one(object_id=65536)], "prompts[0].object_id must be a whole number from 1 to 65535, got 65536"),
        ([one(points={"row": 1})], "prompts[0].points must be a list, got {'row': 1}"),
        ([one(points=[[1, 2]])], "prompts[0].points[0] must be an object with row, column, label, got [1, 2]"),
        ([one(points=[{"row": 1, "column": 2}])], "prompts[0].points[0] has no 'label'"),
        (
            [one(points=[{"x": 1, "y": 2, "label": 1}])],
            "prompts[0].points[0] has the unknown key 'x', known are row, column, label",
        ),
        (
            [one(points=[{"row": 1, "column": 2, "label": 2}])],
            "prompts[0].points[0].label must be 1 (object) or 0 (background), got 2",
        ),
        (
            [one(points=[{"row": 1, "column": 2.5, "label": 1}])],
            "prompts[0].points[0].column must be a whole number from 0, got 2.5",
        ),
        (
            [one(points=[{"row": 20, "column": 2, "label": 1}])],
            "slice 2, object 1: the point row 20, column 2 lies outside the image of 20 x 30 (rows x columns)",
        ),
        (
            [one(box=[1, 2, 3, 4])],
            "prompts[0].box must be an object with row_min, column_min, row_max, column_max, got [1, 2, 3, 4]",
        ),
        (
            [one(box={"row_min": 1, "column_min": -2, "row_max": 3, "column_max": 4})],
            "prompts[0].box.column_min must be a whole number from 0, got -2",
        ),
        (
            [one(points=[{"row": 1, "column": 2, "label": 0}])],
            "slice 2, object 1: the prompt has no positive point, no box and no mask, it needs one of them",
        ),
        ([one(mask_file_path=3)], "prompts[0].mask_file_path must be a path, got 3"),
        ([one(), one(absent=True, points=[])], "slice 2, object 1: the object is absent and yet prompted"),
        ([one(), one(slice=3, absent=1)], "prompts[1].absent must be true or false, got 1"),
        ([one(last_slice=1)], "slice 2, object 1: the object lies on slices 0 to 1, and is prompted on slice 2"),
        ([one(first_slice=-1)], "prompts[0].first_slice must be a whole number from 0, got -1"),
    ],
)
def test_files_that_are_no_prompts_are_refused(tmp_path, document, message):
    path = written(tmp_path, document)
    with refused(f"{path}: {message}"):
        read_prompts(path, SHAPE, True)


def test_the_shape_in_the_file_counts_where_the_image_is_not_known(tmp_path):
    path = written(tmp_path, {"shape": {"rows": 3, "columns": 9, "slices": 9}, "prompts": [one()]})
    where = "slice 2, object 1: the point row 3, column 4"
    with refused(f"{path}: {where} lies outside the image of 3 x 9 (rows x columns)"):
        read_prompts(path)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(" ", id="blank"),
        pytest.param(json.dumps([one()])[:-9], id="truncated"),
        pytest.param("[{'slice': 1}]", id="single quotes"),
        pytest.param("[" * 100_000, id="nested for ever"),
        pytest.param(f'[{{"slice": {"9" * 5000}}}]', id="a number of 5000 digits"),
    ],
)
def test_broken_json_is_refused_in_one_line(tmp_path, text):
    path = written(tmp_path, text)
    with pytest.raises(UserError) as caught:
        read_prompts(path)
    assert str(caught.value).startswith(f"{path}: cannot be read as JSON: ")
    assert "\n" not in str(caught.value)


def test_files_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "prompts.json"
    with refused(f"{path}: no such file"):
        read_prompts(path)
    with refused(f"{tmp_path}: is a folder, not a file"):
        read_prompts(tmp_path)
    path.write_bytes(b"\x80\x04\x95\xff")
    with pytest.raises(UserError, match="cannot be read as JSON: 'utf-8' codec"):
        read_prompts(path)


def test_what_is_said_of_where_an_object_is_not_is_written_and_read_again(tmp_path):
    prompts = [
        Prompt(2, 1, box=(1, 1, 3, 3), first_slice=1, last_slice=3),
        Prompt(3, 1, (), ((2, 2),)),
        Prompt(4, 2, ((1, 1),)),
        Prompt(1, 2, absent=True),
    ]
    document = prompts_to_json(prompts, image_file_path="ct.nii", shape=SHAPE, swap_axes=None)
    (tmp_path / "prompts.json").write_text(json.dumps(document))
    assert read_prompts(tmp_path / "prompts.json", shape=SHAPE) == prompts


class TestMasksOfSeveralLabels:
    """A mask file says by itself which objects it marks, and on which slice."""

    @pytest.fixture
    def folder(self, tmp_path):
        voxels = np.zeros(SHAPE, np.uint8)
        voxels[2:6, 3:9, 3] = 1
        voxels[10:14, 3:9, 3] = 3
        write_volume(tmp_path / "two.npz", Volume(voxels))
        voxels[2:6, 3:9, 4] = 1
        write_volume(tmp_path / "more.npz", Volume(voxels))
        return tmp_path

    def read(self, folder, **entry):
        (folder / "prompts.json").write_text(json.dumps([entry]))
        return read_prompts(folder / "prompts.json", shape=SHAPE)

    def test_each_label_is_an_object_on_the_only_marked_slice(self, folder):
        first, second = self.read(folder, mask_file_path="two.npz")
        assert (first.slice, first.object_id, second.slice, second.object_id) == (3, 1, 3, 3)
        assert first.mask.sum() == second.mask.sum() == 24 and not (first.mask & second.mask).any()

    def test_a_label_is_chosen(self, folder):
        [prompt] = self.read(folder, mask_file_path="two.npz", label=3)
        assert (prompt.slice, prompt.object_id) == (3, 1) and prompt.mask[10, 3] and not prompt.mask[2, 3]

    def test_an_object_of_all_labels(self, folder):
        [prompt] = self.read(folder, mask_file_path="two.npz", object_id=1)
        assert prompt.mask.sum() == 48

    def test_what_was_read_is_written_and_read_again(self, folder):
        prompts = self.read(folder, mask_file_path="two.npz")
        document = prompts_to_json(prompts, image_file_path="ct.nii", shape=SHAPE, swap_axes=None, folder=folder)
        (folder / "again.json").write_text(json.dumps(document))
        assert read_prompts(folder / "again.json", shape=SHAPE) == prompts

    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            ({"mask_file_path": "more.npz"}, "has no 'slice', and .*more.npz marks the slices 3, 4; choose one"),
            ({"mask_file_path": "two.npz", "slice": 2}, r"marks nothing on slice 2; it marks the slice\(s\) 3"),
            ({"mask_file_path": "two.npz", "label": 2}, "marks nothing with the label 2"),
            ({"mask_file_path": "two.npz", "label": 0}, "label must be a whole number from 1"),
        ],
    )
    def test_mistakes_name_the_right_slice(self, folder, entry, message):
        with pytest.raises(UserError, match=message):
            self.read(folder, **entry)
