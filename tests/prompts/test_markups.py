"""Tests of pose/prompts/markups.py and pose/prompts/in_space.py: what 3D Slicer draws, as prompts on a scan."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pose.cli import UserError
from pose.prompts.in_space import prompts_of_marks
from pose.prompts.markups import MOST_POINTS
from pose.prompts.prompt import Prompt
from pose.prompts.prompt_file import prompts_to_json, read_prompts
from pose.prompts.typed import typed_points
from tests.prompts.markup_files import AFFINE, SHAPE, control_points, markup, place, roi, scan, write_markups

FCSV_5 = """# Markups fiducial file version = 5.6
# CoordinateSystem = LPS
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
1,-25,-40,-18,0,0,0,1,1,1,0,F-1,,,2,0
2,-26,-42,-18,0,0,0,1,1,1,0,F-2 neg,,,2,0
3,100,100,100,0,0,0,1,1,1,0,never placed,,,0,0
"""
FCSV_4 = """# Markups fiducial file version = 4.10
# CoordinateSystem = 0
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
vtkMRMLMarkupsFiducialNode_0,25,40,-18,0,0,0,1,1,1,0,F-1,,vtkMRMLScalarVolumeNode1
"""
FCSV_3 = """# Fiducial List file /tmp/L.fcsv
# version = 2
# name = L
# columns = label,x,y,z,sel,vis
"one, two",25,40,-18,1,1
"""


def read(tmp_path: Path, *markups: object) -> list[Prompt]:
    return read_prompts(write_markups(tmp_path / "F.mrk.json", *markups), like=scan())


def refused(tmp_path: Path, *markups: object) -> str:
    with pytest.raises(UserError) as error:
        read(tmp_path, *markups)
    text = str(error.value)
    assert text.startswith(f"{tmp_path / 'F.mrk.json'}: ")
    return text.removeprefix(f"{tmp_path / 'F.mrk.json'}: ")


@pytest.mark.parametrize("space", ["LPS", "RAS"])
def test_points_lie_on_the_nearest_slice_in_the_space_that_their_file_names(tmp_path: Path, space: str) -> None:
    places = [(5.3, 9.6, 4.4), (6, 20, 3.6), (5, 11, 4)]
    points = markup("Fiducial", [place(*one, space) for one in places], ["a", "b neg", "c"], coordinateSystem=space)
    assert read(tmp_path, points) == [Prompt(4, 1, ((5, 10), (5, 11)), ((6, 20),), name="F")]


def test_lps_is_what_a_file_means_that_does_not_say(tmp_path: Path) -> None:
    points = markup("Fiducial", [place(5, 10, 4)])
    del points["coordinateSystem"], points["coordinateUnits"]
    assert read(tmp_path, points) == [Prompt(4, 1, ((5, 10),), name="F")]


def test_points_on_several_slices_are_a_prompt_each_and_unplaced_ones_are_none(tmp_path: Path) -> None:
    points = markup("Fiducial", [place(5, 10, 4), place(7, 12, 6)])
    points["controlPoints"] += control_points([[1e5, 0, 0]], status="undefined")
    points["controlPoints"] += control_points([[1e5, 0, 0]], status="preview")
    assert read(tmp_path, points) == [Prompt(4, 1, ((5, 10),), name="F"), Prompt(6, 1, ((7, 12),), name="F")]


def test_each_markup_is_an_object_and_a_negative_list_is_about_the_one_of_its_name(tmp_path: Path) -> None:
    lists = [
        markup("Fiducial", [place(5, 10, 4)], name="liver"),
        markup("Fiducial", [place(6, 11, 5)], name="liver neg"),
        markup("Fiducial", [place(7, 12, 4)], name="spleen"),
        markup("Fiducial", [place(8, 13, 4)], name="Spleen-"),
    ]
    assert read(tmp_path, *lists) == [
        Prompt(4, 1, ((5, 10),), name="liver"),
        Prompt(5, 1, (), ((6, 11),), name="liver"),
        Prompt(4, 2, ((7, 12),), name="spleen"),
        Prompt(4, 2, (), ((8, 13),), name="spleen"),
    ]
    lists[1]["name"] = "kidney neg"
    assert "'kidney neg' is negative for 'kidney', which is not one object; objects: 'liver', 'spleen'" in refused(
        tmp_path, *lists
    )
    # of a single object, whatever it is called
    assert [prompt.object_id for prompt in read(tmp_path, *lists[:2])] == [1, 1]


@pytest.mark.parametrize("space", ["LPS", "RAS"])
def test_a_box_in_space_is_one_on_its_middle_slice_between_its_ends(tmp_path: Path, space: str) -> None:
    box = roi((4.5, 9.5, 1.5), (8.5, 20.5, 6.5), space)
    assert read(tmp_path, box) == [Prompt(4, 1, box=(5, 10, 8, 20), first_slice=2, last_slice=6, name="F")]


def test_a_hand_written_box_has_its_centre_as_the_only_control_point(tmp_path: Path) -> None:
    box = roi((4.5, 9.5, 1.5), (8.5, 20.5, 6.5))
    del box["center"], box["insideOut"]
    assert read(tmp_path, box)[0].box == (5, 10, 8, 20)
    box["controlPoints"] = []
    assert "has no 'center'" in refused(tmp_path, box)


def test_an_oblique_box_is_that_round_its_cut_with_the_slice(tmp_path: Path) -> None:
    half = np.sqrt(0.5)
    # a square of 16 mm turned by 45 degrees about z: its diagonals reach 11.31 mm, that is 5 rows and 22 columns
    turned = [half, -half, 0, half, half, 0, 0, 0, 1]
    box = markup("ROI", [], center=place(9, 20, 4), size=[16, 16, 30], orientation=turned)
    [prompt] = read(tmp_path, box)
    assert prompt.box == (4, 0, 14, 39)
    assert (prompt.first_slice, prompt.last_slice) == (None, None)
    # turned about x, it is cut where the slice is, not where it reaches in all
    turned = [1, 0, 0, 0, half, -half, 0, half, half]
    box = markup("ROI", [], center=place(9, 20, 4), size=[4, 8, 8], orientation=turned)
    [prompt] = read(tmp_path, box)
    assert (prompt.box, prompt.first_slice, prompt.last_slice) == ((7, 16, 11, 24), 3, 5)


def test_a_box_that_reaches_beyond_the_scan_is_cut_with_a_word(tmp_path: Path, caplog) -> None:
    with caplog.at_level(logging.INFO):
        [prompt] = read(tmp_path, roi((-3, -5, -4), (8, 20, 4)))
    assert (prompt.box, prompt.slice, prompt.first_slice, prompt.last_slice) == ((0, 0, 8, 20), 0, None, 4)
    assert "the box of 'F' reaches beyond the slices of scan.nii.gz, and is cut there" in caplog.text


def test_a_box_thinner_than_a_slice_lies_on_the_nearest_one(tmp_path: Path) -> None:
    assert read(tmp_path, roi((4, 9, 3.2), (8, 20, 3.4))) == [
        Prompt(3, 1, box=(4, 9, 8, 20), first_slice=3, last_slice=3, name="F")
    ]


def test_a_line_is_the_box_round_its_circle(tmp_path: Path) -> None:
    # 16 mm along the columns: 8 mm up and down are 4 rows
    line = markup("Line", [place(9, 10, 4), place(9, 42 - 0, 4)])
    assert "column 42 lies outside the slices of scan.nii.gz, 20 x 40" in refused(tmp_path, line)
    line = markup("Line", [place(9, 4, 4.3), place(9, 36, 3.8)])
    assert read(tmp_path, line) == [Prompt(4, 1, box=(5, 4, 13, 36), name="F")]


def test_two_lines_that_cross_are_long_and_short_axis_of_one_object(tmp_path: Path) -> None:
    short = markup("Line", [place(7, 20, 4), place(11, 20, 4)], name="short")
    long = markup("Line", [place(9, 4, 4), place(9, 36, 4)], name="long")
    other = markup("Line", [place(9, 4, 6), place(9, 36, 6)], name="elsewhere")
    assert read(tmp_path, short, long, other) == [
        Prompt(4, 1, box=(7, 4, 11, 36), name="long"),
        Prompt(6, 2, box=(5, 4, 13, 36), name="elsewhere"),
    ]
    third = markup("Line", [place(7, 22, 4), place(11, 22, 4)], name="third")
    assert "'long' and 'third' cross, and a third line too" in refused(tmp_path, short, long, third)


def test_oblique_axes_give_the_box_round_their_ellipse(tmp_path: Path) -> None:
    # axes of 4 and 2 * sqrt(2) ... in rows: 3 and 1.5, in columns 8 and 4
    long = markup("Line", [place(6, 12, 4), place(12, 28, 4)])
    short = markup("Line", [place(10.5, 16, 4), place(7.5, 24, 4)])
    # reaches of sqrt(9 + 2.25) = 3.354 rows and sqrt(64 + 16) = 8.944 columns about (9, 20)
    assert read(tmp_path, long, short)[0].box == (6, 11, 12, 29)


def test_a_closed_curve_is_a_painted_mask(tmp_path: Path) -> None:
    corners = [(3, 5, 4), (3, 9, 4), (8, 9, 4.2), (8, 5, 3.9)]
    [prompt] = read(tmp_path, markup("ClosedCurve", [place(*one) for one in corners]))
    expected = np.zeros(SHAPE[:2], bool)
    expected[3:9, 5:10] = True
    assert prompt == Prompt(4, 1, mask=expected, name="F")


def test_lines_and_curves_lie_on_one_slice(tmp_path: Path) -> None:
    line = markup("Line", [place(9, 4, 3), place(9, 36, 5)])
    assert refused(tmp_path, line) == "'F' runs from slice 3 to slice 5 of scan.nii.gz; draw it on one"


def test_what_lies_off_the_scan_is_told_in_millimetres(tmp_path: Path) -> None:
    off = markup("Fiducial", [place(5, 10, 8.75)])
    assert refused(tmp_path, off) == ("'F', F-1: lies 2.25 mm off the slices of scan.nii.gz, half a slice is 1.5 mm")
    assert read(tmp_path, markup("Fiducial", [place(5, 10, 8.5)]))[0].slice == 8
    assert read(tmp_path, markup("Fiducial", [place(-0.5, 39.5, -0.5)])) == [Prompt(0, 1, ((0, 39),), name="F")]
    aside = markup("Fiducial", [place(19.6, 10, 4)])
    assert refused(tmp_path, aside) == (
        "'F', F-1: row 19.6, column 10 lies outside the slices of scan.nii.gz, 20 x 40 (rows x columns)"
    )


def test_the_other_space_is_named_where_it_would_explain_a_point_off_the_scan(tmp_path: Path) -> None:
    mixed = markup("Fiducial", [place(2, 10, 4, "RAS")])
    assert refused(tmp_path, mixed) == (
        "'F', F-1: row 48, column 110 lies outside the slices of scan.nii.gz, 20 x 40 (rows x columns); with x and y "
        "of the other sign it would lie within: is it LPS or RAS?"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (FCSV_5, [Prompt(4, 1, ((5, 10),), ((4, 8),), name="L")]),
        (FCSV_4, [Prompt(4, 1, ((5, 10),), name="L")]),
        (FCSV_3, [Prompt(4, 1, ((5, 10),), name="L")]),
        ("\ufeff" + FCSV_3, [Prompt(4, 1, ((5, 10),), name="L")]),
    ],
    ids=["5.6", "4.10", "3", "byte order mark"],
)
def test_fcsv_of_old_and_new_versions_is_a_list_of_points(tmp_path: Path, text: str, expected: list[Prompt]) -> None:
    path = tmp_path / "L.fcsv"
    path.write_text(text, encoding="utf-8")
    assert read_prompts(path, like=scan()) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FCSV_5.replace("LPS", "IJK"), "line 2: CoordinateSystem is 'IJK', known are LPS (1) and RAS (0)"),
        (FCSV_5.replace("id,x,", "id,u,"), "line 3: columns lack 'x', got "),
        (FCSV_5.replace(",-25,", ",nan,"), "line 4: x, y and z must be finite numbers, got 'nan,-40,-18'"),
        (FCSV_5.replace(",-25,", ",five,"), "line 4: x, y and z must be finite numbers, got 'five,-40,-18'"),
        (FCSV_5.replace(",0,F-1,,,2,0", ""), "line 4: has 10 cells, its columns are 14: id,x,y,z,"),
        (FCSV_5.replace(",2,0\n", ",0,0\n"), "holds no point that is placed"),
        (FCSV_5.replace(",F-1,", ",F-,"), "slice 4, object 1: the prompt has no positive point"),
        (FCSV_3 + "a,25,40,-18,1,1\n" * MOST_POINTS, "more than 10000 points; a prompt has at most as many"),
    ],
)
def test_fcsv_that_holds_no_points_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "L.fcsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        read_prompts(path, like=scan())
    assert str(error.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "Angle"}, "markups[0]: type is 'Angle'; a prompt is one of Fiducial, Line, ClosedCurve, ROI"),
        ({"type": ["Line"]}, "markups[0]: type is ['Line']; a prompt is one of"),
        ({"coordinateSystem": "IJK"}, "markups[0]: coordinateSystem is 'IJK', known are LPS and RAS"),
        ({"coordinateUnits": "um"}, "markups[0]: coordinateUnits is 'um', known is mm"),
        ({"name": 5}, "markups[0]: name must be text, got 5"),
        ({"controlPoints": {}}, "markups[0]: controlPoints must be a list, got {}"),
        ({"controlPoints": [7]}, "markups[0].controlPoints[0] must be an object, got 7"),
        ({"controlPoints": []}, "no control point is placed (positionStatus is not defined)"),
        ({"controlPoints": [{}]}, "markups[0].controlPoints[0].position must be 3 numbers, got None"),
        (
            {"controlPoints": control_points([[1, 2]])},
            "markups[0].controlPoints[0].position must be 3 numbers, got [1, 2]",
        ),
        (
            {"controlPoints": control_points([[1, 2, float("inf")]])},
            "markups[0].controlPoints[0].position must be finite numbers of millimetres, got [1, 2, inf]",
        ),
        (
            {"controlPoints": control_points([[1, 2, 10**400]])},
            "markups[0].controlPoints[0].position must be finite numbers of millimetres, got [1, 2, 1000",
        ),
        (
            {"controlPoints": control_points([[0, 0, 0]] * 100_000)},
            "100000 control points and more; a prompt has at most 10000",
        ),
        ({"type": "Line"}, "markups[0]: a line has two ends, this one 1"),
        ({"type": "ClosedCurve"}, "markups[0]: a closed curve has three points or more, this one 1"),
        ({"type": "ROI", "insideOut": True}, "markups[0]: insideOut is True; a box is what lies inside of it"),
        ({"type": "ROI"}, "markups[0].size must be 3 numbers, got None"),
        ({"type": "ROI", "size": [1, 0, 1]}, "markups[0].size must be three lengths above 0, got [1.0, 0.0, 1.0]"),
        (
            {"type": "ROI", "size": [1, 1, 1], "orientation": [1, 1, 0, 0, 1, 0, 0, 0, 1]},
            "markups[0].orientation must be three directions at right angles, got [1, 1, 0, 0, 1, 0, 0, 0, 1]",
        ),
    ],
)
def test_markups_that_are_no_prompt_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    assert refused(tmp_path, {**markup("Fiducial", [place(5, 10, 4)]), **change}).startswith(message)


def test_a_file_of_no_markups_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path) == "markups must be a list of at least one, got []"
    assert refused(tmp_path, "x") == "markups[0] must be an object, got 'x'"
    path = tmp_path / "cut.mrk.json"
    path.write_text(json.dumps({"markups": [markup("Fiducial", [place(5, 10, 4)])]})[:200])
    with pytest.raises(UserError, match=f"^{path}: cannot be read as JSON: "):
        read_prompts(path, like=scan())


def test_a_scan_is_needed_and_its_geometry(tmp_path: Path) -> None:
    path = write_markups(tmp_path / "F.mrk.json", markup("Fiducial", [place(5, 10, 4)]))
    with pytest.raises(UserError, match="so that the scan is needed to read it"):
        read_prompts(path)
    bare = replace(scan(), affine=None, spacing_mm=None)
    with pytest.raises(UserError, match="is in millimetres, and the geometry of scan.nii.gz is unknown"):
        read_prompts(path, like=bare)


def test_names_are_kept_in_the_prompts_that_a_run_saves(tmp_path: Path) -> None:
    prompts = read(tmp_path, markup("Fiducial", [place(5, 10, 4)], name="left lung"))
    about = {"image_file_path": "scan.nii.gz", "shape": SHAPE, "swap_axes": True}
    (tmp_path / "again.json").write_text(json.dumps(prompts_to_json(prompts, **about)))
    assert read_prompts(tmp_path / "again.json", like=scan()) == prompts
    assert prompts[0].name == "left lung"


def test_typed_points_are_those_of_a_markup() -> None:
    mark = typed_points([place(5, 10, 4, "RAS"), place(6, 12, 4, "RAS")], "RAS")
    assert prompts_of_marks([mark], scan(), "command line") == [Prompt(4, 1, ((5, 10), (6, 12)))]
    with pytest.raises(UserError, match="^--point_mm 1 nan 2: must be finite numbers of millimetres$"):
        typed_points([[1, float("nan"), 2]], "LPS")


@settings(max_examples=50)
@given(
    axes=st.permutations([0, 1, 2]),
    signs=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    angle=st.floats(-1, 1),
    voxel=st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 6)),
)
def test_a_voxel_is_found_again_from_its_place_whatever_the_geometry(axes, signs, angle, voxel) -> None:
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ (np.eye(3)[:, axes] * np.array(signs) * [0.7, 0.8, 2.5])
    affine[:3, 3] = 11, -7, 130
    oblique = replace(scan(), voxels=np.zeros((5, 6, 7)), affine=affine, spacing_mm=None, swap_axes=False)
    mark = typed_points([(affine @ [*voxel, 1])[:3].tolist()], "RAS")
    assert prompts_of_marks([mark], oblique, "x") == [Prompt(voxel[2], 1, (voxel[:2],))]


def test_the_affine_of_the_helper_is_that_of_its_places() -> None:
    x, y, z = (AFFINE @ [10, 5, 4, 1])[:3].tolist()
    assert place(5, 10, 4, "RAS") == [x, y, z]
