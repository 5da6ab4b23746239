"""Tests of segments by name: DICOM SEG, RTSTRUCT and .seg.nrrd, read onto a scan and written from labels."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pose.cli import UserError
from pose.prompts.prompt import Prompt
from pose.prompts.prompt_file import prompts_to_json, read_prompts
from pose.scans.contours import contours_of, inside_of
from pose.scans.dicom_frames import headers_of
from pose.scans.dicom_seg import seg_of
from pose.scans.masks import read_mask
from pose.scans.rtstruct import rtstruct_of
from pose.scans.seg_nrrd import write_seg_nrrd
from pose.scans.segments import Segment, labels_of_names, placement
from pose.scans.series import Series
from pose.scans.volume import Volume, read_volume
from tests.header_kinds import SimpleITK
from tests.scans import made_series as made
from tests.scans.made_series import CORNERS, ONE, OTHER, SQUARE, nrrd

SEGMENTS = (Segment(1, "ring", (255, 90, 138)), Segment(4, "Läsion \\ 2", (0, 0, 255)))
ALGORITHM = ("POSE, chain with lite_medsam", "0.2.0")
STAMP = datetime(2026, 11, 28, 6, 50, 1)


@pytest.fixture
def series(tmp_path: Path) -> Volume:
    return made.scan(made.write_series(tmp_path / "series"))


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def made_file(folder: Path, content: pydicom.Dataset) -> Path:
    content.save_as(folder / "made.dcm", enforce_file_format=True)
    return folder / "made.dcm"


def refused(path: Path, scan: Volume, **how: Any) -> str:
    with pytest.raises(UserError) as error:
        read_mask(path, scan, **how)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ")


# contours


def test_a_contour_on_the_centres_of_pixels_holds_these_pixels() -> None:
    corners = np.array([[4, 6], [4, 11], [8, 11], [8, 6]], dtype=float)
    for away in (0, 4e-4, -4e-4):
        np.testing.assert_array_equal(inside_of([corners + away], SQUARE.shape), SQUARE == 1)
    # half-way between them, it holds the same
    half = np.array([[3.5, 5.5], [3.5, 11.5], [8.5, 11.5], [8.5, 5.5]])
    np.testing.assert_array_equal(inside_of([half], SQUARE.shape), SQUARE == 1)


def test_contours_within_contours_are_holes_and_islands() -> None:
    def square(first: int, last: int) -> np.ndarray:
        return np.array([[first, first], [first, last], [last, last], [last, first]]) + [-0.5, -0.5]

    filled = inside_of([square(1, 19), square(4, 16), square(8, 12)], (20, 20))
    expected = np.zeros((20, 20), bool)
    expected[1:19, 1:19], expected[4:16, 4:16], expected[8:12, 8:12] = True, False, True
    np.testing.assert_array_equal(filled, expected)
    assert filled.sum() == 18 * 18 - 12 * 12 + 4 * 4


@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.05, 0.95))
def test_any_mask_is_found_again_from_its_contours(seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((9, 11)) < share
    np.testing.assert_array_equal(inside_of(contours_of(mask), mask.shape), mask)


# where an array lies on a scan


@settings(deadline=None, max_examples=100)
@given(
    axes=st.permutations([0, 1, 2]),
    flips=st.tuples(*[st.booleans()] * 3),
    start=st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 4)),
    size=st.tuples(*[st.integers(1, 3)] * 3),
)
def test_a_piece_of_a_scan_is_laid_where_it_was_cut_out_however_it_is_turned(axes, flips, start, size) -> None:
    scan, shape = made.scan().array_affine, (5, 6, 7)
    voxels = np.arange(210).reshape(shape)
    piece = voxels[tuple(slice(first, first + length) for first, length in zip(start, size))]
    affine = scan.copy()
    affine[:3, 3] += scan[:3, :3] @ start
    turned = piece.transpose(axes)
    of_turned = affine[:, [*axes, 3]].copy()
    for axis, flip in enumerate(flips):
        if flip:
            turned = np.flip(turned, axis)
            of_turned[:3, 3] += of_turned[:3, axis] * (turned.shape[axis] - 1)
            of_turned[:3, axis] *= -1
    found = placement(of_turned, turned.shape, scan, shape)
    assert found is not None
    np.testing.assert_array_equal(found.turn.apply(turned), voxels[found.place])
    np.testing.assert_array_equal(voxels[found.place], piece)


def test_what_does_not_lie_on_voxels_has_no_place() -> None:
    scan = made.scan().array_affine
    for change in (np.diag([1.01, 1, 1, 1]), np.diag([2, 1, 1, 1])):
        assert placement(scan @ change, (3, 3, 3), scan, (5, 6, 7)) is None
    for moved in ((0.3, 0, 0), (-1, 0, 0), (3, 0, 0)):
        shifted = np.eye(4)
        shifted[:3, 3] = moved
        assert placement(scan @ shifted, (3, 3, 3), scan, (5, 6, 7)) is None


# names


def test_labels_are_asked_for_by_number_or_by_name() -> None:
    assert labels_of_names(["RING", 4], SEGMENTS, "x") == (1, 4)
    assert labels_of_names([7, "ring", 1], SEGMENTS, "x") == (1, 7)
    assert labels_of_names(["2"], [Segment(5, "2")], "x") == (5,)
    assert labels_of_names([" left  LUNG "], [Segment(5, "Left lung "), Segment(6, "left")], "x") == (5,)
    with pytest.raises(
        UserError, match=r"^x: holds no 'lung' \(--labels\); it holds ring \(1\), without a name \(4\)$"
    ):
        labels_of_names(["lung"], [SEGMENTS[0], Segment(4)], "x")
    with pytest.raises(UserError, match=r"^x: holds no 'lung' \(--labels\); its labels have no names$"):
        labels_of_names(["lung"], [], "x")


# DICOM SEG


def test_a_binary_seg_lies_on_the_slices_of_its_frames(tmp_path: Path, series: Volume) -> None:
    frames = [(1, 5, SQUARE), (1, 2, OTHER), (2, 2, 1 - OTHER)]
    path = made.save(made.seg(frames, names=["liver", "rest"]), tmp_path / "seg.dcm")
    mask = read_mask(path, series)
    expected = np.zeros(series.voxels.shape, np.uint8)
    expected[:, :, 5], expected[:, :, 2] = SQUARE, 2 - OTHER
    np.testing.assert_array_equal(mask.voxels, expected)
    assert mask.voxels.dtype == np.uint8
    assert mask.segments == (Segment(1, "liver"), Segment(2, "rest"))
    np.testing.assert_array_equal(read_mask(path, series, labels=["liver"]).voxels, (expected == 1).astype(np.uint8))


@pytest.mark.parametrize("turn", [(1, 0, 2), (2, 1, 0), (0, 2, 1)])
def test_a_seg_is_turned_as_the_scan_is_shown(tmp_path: Path, series: Volume, turn: tuple[int, int, int]) -> None:
    path = made.save(made.seg([(1, 5, SQUARE)]), tmp_path / "seg.dcm")
    shown = series.voxels.transpose(turn)
    # rows, columns, slices of the series are y, x, z of the file
    axes = tuple((1, 0, 2)[axis] for axis in turn)
    turned = replace(
        series, voxels=shown, swap_axes=axes[0] > axes[1], slice_axis=axes[2], spacing_mm=None, path=Path("turned")
    )
    expected = np.zeros(series.voxels.shape, np.uint8)
    expected[:, :, 5] = SQUARE
    np.testing.assert_array_equal(read_mask(path, turned).voxels, expected.transpose(turn))


def test_a_fractional_seg_is_cut_at_half_with_a_word(tmp_path: Path, series: Volume, caplog) -> None:
    values = SQUARE * 99
    values[4, 6:9], values[5, 6] = 100, 200
    path = made.save(made.seg([(1, 0, values)], "FRACTIONAL"), tmp_path / "seg.dcm")
    with caplog.at_level(logging.INFO):
        assert np.count_nonzero(read_mask(path, series).voxels) == 4
    assert f"{path}: is fractional; a segment is where it has 100 of 200" in caplog.text


def test_a_labelmap_seg_holds_its_labels(tmp_path: Path, series: Volume) -> None:
    path = made.save(made.seg([(0, 3, SQUARE * 2 + OTHER)], "LABELMAP", ["a", "b", "c"]), tmp_path / "seg.dcm")
    mask = read_mask(path, series)
    np.testing.assert_array_equal(mask.voxels[:, :, 3], SQUARE * 2 + OTHER)
    assert np.count_nonzero(read_mask(path, series, labels=["c", 1]).voxels == 3) == np.count_nonzero(SQUARE & OTHER)


def test_segments_that_overlap_are_chosen_among(tmp_path: Path, series: Volume) -> None:
    path = made.save(made.seg([(1, 2, SQUARE), (2, 2, OTHER)], names=["liver", "tumour"]), tmp_path / "seg.dcm")
    assert refused(path, series) == (
        "'liver' and 'tumour' overlap, and a voxel has one label; choose among them with --labels; it holds liver (1), "
        "tumour (2)"
    )
    np.testing.assert_array_equal(read_mask(path, series, labels=["tumour"]).voxels[:, :, 2], OTHER * 2)
    assert refused(path, series, labels=[3]) == "holds no label 3 (--labels); it holds liver (1), tumour (2)"


def test_segments_and_structures_of_one_name_are_chosen_together(tmp_path: Path, series: Volume) -> None:
    seg = made.seg([(1, 2, SQUARE), (2, 3, OTHER), (3, 3, SQUARE)], names=["Liver", "liver ", "spleen"])
    path = made_file(tmp_path, seg)
    found = read_mask(path, series, labels=["LIVER"]).voxels
    assert [int((found == label).sum()) for label in (1, 2, 3)] == [30, 30, 0]
    assert "'liver' and 'spleen' overlap" in refused(path, series)
    rtstruct = made.rtstruct({"GTV": [made.on_plane(CORNERS, 3)], "other": [made.on_plane(CORNERS, 4)]})
    rtstruct.StructureSetROISequence[1].ROIName = "GTV"
    found = read_mask(made_file(tmp_path, rtstruct), series, labels=["gtv"]).voxels
    assert [int((found == label).sum()) for label in (1, 2)] == [30, 30]


def test_structures_that_share_a_number_or_have_none_are_refused(tmp_path: Path, series: Volume) -> None:
    contours = {"GTV": [made.on_plane(CORNERS, 3)], "CTV": [made.on_plane(CORNERS, 4)]}
    says = "two structures have the number 5; which contours are whose is not said"
    for sequence, number in (("StructureSetROISequence", "ROINumber"), ("ROIContourSequence", "ReferencedROINumber")):
        rtstruct = made.rtstruct(contours)
        setattr(rtstruct[sequence].value[1], number, 5)
        assert refused(made_file(tmp_path, rtstruct), series) == says
    rtstruct.ROIContourSequence[1].ReferencedROINumber = 9
    assert "contours are of structure 9, which is not described" in refused(made_file(tmp_path, rtstruct), series)


@pytest.mark.parametrize("tiles", ["TILED_FULL", "TILED_SPARSE"])
def test_a_seg_of_tiles_is_refused(tmp_path: Path, series: Volume, tiles: str) -> None:
    seg = made.seg([(1, 2, SQUARE)], DimensionOrganizationType=tiles)
    del seg.PerFrameFunctionalGroupsSequence
    says = f"its frames are tiles ({tiles}), as of slides; give one of slices"
    assert refused(made_file(tmp_path, seg), series) == says


def test_a_place_that_is_said_of_all_frames_is_that_of_a_single_one(tmp_path: Path, series: Volume) -> None:
    for count in (1, 2):
        seg = made.seg([(1, index, SQUARE) for index in range(2, 2 + count)])
        of_all, of_each = seg.SharedFunctionalGroupsSequence[0], seg.PerFrameFunctionalGroupsSequence
        of_all.PlanePositionSequence = of_each[0].PlanePositionSequence
        for one in of_each:
            del one.PlanePositionSequence
        path = made_file(tmp_path, seg)
        if count == 1:
            assert [int(one) for one in np.flatnonzero(read_mask(path, series).voxels.any(axis=(0, 1)))] == [2]
        else:
            says = "frames 0 and 1 of segment 1 lie at the same place; a scan has it once"
            assert refused(path, series) == says


def test_a_seg_of_another_series_is_refused(tmp_path: Path, series: Volume) -> None:
    other = made.seg([(1, 2, SQUARE)])
    other.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3"
    path = made.save(other, tmp_path / "seg.dcm")
    assert refused(path, series) == f"was drawn on the series 1.2.3, and series is {made.SERIES_UID}"
    # of a scan that is no DICOM, nothing is known but where it lies
    assert read_mask(path, made.scan()).voxels.sum() == SQUARE.sum()


def test_a_seg_off_the_grid_is_refused(tmp_path: Path, series: Volume) -> None:
    path = made.save(made.seg([(1, 9, SQUARE)]), tmp_path / "seg.dcm")
    x, y, z = made.position(9)
    assert refused(path, series) == (
        f"frame 0 at ({x:.6g}, {y:.6g}, {z:.6g}) mm does not lie on voxels of series; it was drawn on another series, "
        "or on another grid"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"SegmentationType": "SURFACE"}, "SegmentationType is 'SURFACE', known are BINARY, FRACTIONAL and LABELMAP"),
        ({"NumberOfFrames": 3}, "cannot be read: it has 3 frames, and places for 1; the file is damaged"),
        ({"PixelData": b"12"}, "cannot be read: its pixels are 2 bytes, which are not all of its frames; the file is"),
        ({"SegmentSequence": []}, "cannot be read: a frame is of segment 1, which is not described; the file is"),
        ({"SharedFunctionalGroupsSequence": []}, "cannot be read: "),
        ({"Rows": 0}, "cannot be read: "),
    ],
)
def test_a_seg_that_is_not_complete_is_refused(tmp_path: Path, series: Volume, change: dict, message: str) -> None:
    path = made.save(made.seg([(1, 2, SQUARE)], **change), tmp_path / "seg.dcm")
    assert refused(path, series).startswith(message)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert refused(path, series)


# RTSTRUCT


@pytest.mark.parametrize("kind", ["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"])
def test_contours_are_filled_on_their_slices_with_holes(tmp_path: Path, series: Volume, kind: str) -> None:
    hole = [(5.5, 7.5), (5.5, 9.5), (7.5, 9.5), (7.5, 7.5)]
    contours = {"skin": [], "GTV": [made.on_plane(CORNERS, 3), made.on_plane(hole, 3), made.on_plane(CORNERS, 4.1)]}
    path = made.save(made.rtstruct(contours, kind), tmp_path / "rtstruct.dcm")
    mask = read_mask(path, series)
    expected = np.zeros(series.voxels.shape, np.uint8)
    expected[4:9, 6:12, 3:5] = 2
    expected[6:8, 8:10, 3] = 0
    np.testing.assert_array_equal(mask.voxels, expected)
    assert mask.segments == (Segment(1, "skin", (255, 0, 10)), Segment(2, "GTV", (255, 0, 10)))
    np.testing.assert_array_equal(read_mask(path, series, labels=["gtv"]).voxels, expected)


def test_points_enclose_nothing(tmp_path: Path, series: Volume) -> None:
    path = made.save(made.rtstruct({"marker": [made.on_plane([(4, 6)], 3)]}, "POINT"), tmp_path / "rtstruct.dcm")
    assert not read_mask(path, series).voxels.any()


def test_contours_of_another_series_or_off_the_grid_are_refused(tmp_path: Path, series: Volume) -> None:
    path = made.save(made.rtstruct({"GTV": []}, series="1.2.3"), tmp_path / "rtstruct.dcm")
    assert refused(path, series) == f"was drawn on the series 1.2.3, and series is {made.SERIES_UID}"

    def of(points: np.ndarray) -> str:
        return refused(made.save(made.rtstruct({"GTV": [points]}), path), series)

    assert of(made.on_plane(CORNERS, 3.4)).endswith(
        "lies 0.4 of a slice off the slices of series, at most 0.25 is allowed; it was drawn on another series, or "
        "across the slices"
    )
    assert "leaves the grid of series (20 x 26 x 7): slice 8, rows 4.0 to 8.0" in of(made.on_plane(CORNERS, 8))
    assert "leaves the grid of series (20 x 26 x 7): slice 3, rows -12.0 to -8.0" in of(
        made.on_plane([(row - 16, column) for row, column in CORNERS], 3)
    )
    points = made.on_plane(CORNERS, 3)
    points[2, 1] = 1e12
    assert of(points).startswith("a contour of 'GTV' has a point at (")
    assert of(np.append(made.on_plane(CORNERS, 3).ravel(), 5)) == (
        "a contour of 'GTV' has 13 numbers, which are no points of three"
    )


# written


@pytest.mark.parametrize("write", [seg_of, rtstruct_of])
def test_what_is_written_as_dicom_is_read_again(tmp_path: Path, series: Volume, write) -> None:
    labels = made.labels()
    content = write(headers_of(series), labels, series.array_affine, SEGMENTS, ALGORITHM, STAMP)
    path = made.save(content, tmp_path / "written.dcm")
    mask = read_mask(path, series)
    # numbers count from 1, names and colours are kept
    assert mask.segments == (Segment(1, "ring", (255, 90, 138)), Segment(2, "Läsion / 2", (0, 0, 255)))
    for segment, label in zip(mask.segments, (1, 4)):
        assert dice(mask.voxels == segment.label, labels == label) == 1.0
    again = write(headers_of(series), labels, series.array_affine, SEGMENTS, ALGORITHM, STAMP)
    assert made.save(again, tmp_path / "again.dcm").read_bytes() == path.read_bytes()
    read = pydicom.dcmread(path)
    assert (read.PatientID, read.StudyInstanceUID, read.FrameOfReferenceUID) == ("4711", made.STUDY_UID, made.FRAME_UID)
    assert (str(read.PatientName), read.SeriesDate, read.SeriesTime) == (made.PATIENT, "20261128", "065001")
    assert read.SeriesInstanceUID != made.SERIES_UID


def test_a_written_seg_is_one_for_highdicom(tmp_path: Path, series: Volume) -> None:
    from highdicom.seg import segread

    labels = made.labels()
    made.save(
        seg_of(headers_of(series), labels, series.array_affine, SEGMENTS, ALGORITHM, STAMP),
        path := tmp_path / "seg.dcm",
    )
    seg = segread(path)
    assert seg.segmentation_type.value == "BINARY"
    described = seg.get_segment_description(1)
    assert (described.segment_label, described.algorithm_identification.name) == ("ring", ALGORITHM[0])
    assert described.algorithm_identification.version == ALGORITHM[1]
    assert described.algorithm_type.value == "SEMIAUTOMATIC"
    sources = [str(header.SOPInstanceUID) for header in headers_of(series)]
    volume = seg.get_pixels_by_source_instance(sources, combine_segments=False, ignore_spatial_locations=False)
    np.testing.assert_array_equal(volume[..., 0].transpose(1, 2, 0) == 1, labels == 1)
    np.testing.assert_array_equal(volume[..., 1].transpose(1, 2, 0) == 1, labels == 4)
    assert {str(uid) for _, _, uid in seg.get_source_image_uids()} == set(sources)


def test_a_written_rtstruct_refers_to_its_images(series: Volume) -> None:
    content = rtstruct_of(headers_of(series), made.labels(), series.array_affine, SEGMENTS, ALGORITHM, STAMP)
    ring = content.ROIContourSequence[0].ContourSequence
    # outside, hole and island on each of three slices
    assert len(ring) == 9
    uids = [str(header.SOPInstanceUID) for header in headers_of(series)]
    assert [uids.index(one.ContourImageSequence[0].ReferencedSOPInstanceUID) for one in ring] == [
        2,
        2,
        2,
        3,
        3,
        3,
        4,
        4,
        4,
    ]
    assert all(len(number) <= 16 for one in ring for number in map(str, one.ContourData))
    assert [one.ROIName for one in content.StructureSetROISequence] == ["ring", "Läsion / 2"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_written_seg_nrrd_is_read_by_itk_and_again(tmp_path: Path, series: Volume, dtype: type) -> None:
    labels = made.labels().astype(dtype)
    path = tmp_path / "made.seg.nrrd"
    with path.open("wb") as file:
        write_seg_nrrd(file, labels.transpose(1, 0, 2), series.affine, SEGMENTS)
    mask = read_mask(path, series)
    np.testing.assert_array_equal(mask.voxels, labels)
    assert mask.segments == SEGMENTS
    image = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image).transpose(1, 2, 0), labels)
    x, y, z = image.TransformIndexToPhysicalPoint((22, 3, 3))
    np.testing.assert_allclose([-x, -y, z], (series.affine @ [22, 3, 3, 1])[:3], atol=1e-6)
    assert image.GetMetaData("Segment1_Name") == "Läsion \\ 2"
    assert (image.GetMetaData("Segment0_LabelValue"), image.GetMetaData("Segment1_LabelValue")) == ("1", "4")


# .seg.nrrd


def test_a_segmentation_that_is_cropped_is_laid_where_it_was(tmp_path: Path) -> None:
    scan, path = made.scan(), tmp_path / "crop.seg.nrrd"
    moved = np.eye(4)
    moved[:3, 3] = 6, 4, 2
    path.write_bytes(nrrd(np.full((3, 2, 1), 3), scan.affine @ moved, ONE))
    expected = np.zeros(scan.voxels.shape, np.uint8)
    expected[4:6, 6:9, 2] = 3
    np.testing.assert_array_equal(read_mask(path, scan).voxels, expected)


def test_layers_overlap_and_labels_that_come_twice_are_numbered(tmp_path: Path) -> None:
    scan, path = made.scan(), tmp_path / "layers.seg.nrrd"
    voxels = np.zeros((2, made.COLUMNS, made.ROWS, made.SLICES))
    voxels[0, 2:5, 1:4, 2], voxels[1, 3:8, 1:4, 2] = 1, 1
    pairs = {"Segment0_Name": "a", "Segment0_LabelValue": 1, "Segment0_Layer": 0}
    pairs |= {"Segment1_Name": "b", "Segment1_LabelValue": 1, "Segment1_Layer": 1, "Segment1_Color": "1 0.5 0"}
    path.write_bytes(nrrd(voxels, scan.affine, pairs, encoding="raw"))
    assert "'a' and 'b' overlap" in refused(path, scan)
    mask = read_mask(path, scan, labels=["b"])
    assert mask.segments == (Segment(2, "b", (255, 128, 0)),)
    assert (mask.voxels == 2).sum() == (mask.voxels > 0).sum() == 15
    # before there were layers by name, each segment had one
    path.write_bytes(nrrd(voxels, scan.affine, {"Segment0_ID": "s", "Segment1_ID": "t", "Segment1_Name": "b"}))
    np.testing.assert_array_equal(read_mask(path, scan, labels=["b"]).voxels, mask.voxels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"sizes": "9 9 900000000"},
            "cannot be read as NRRD: its header promises 72900000000 bytes of voxels, bad.seg.nrrd",
        ),
        ({"encoding": "bzip2"}, "encoding 'bzip2'; a segmentation is read from gzip and raw"),
        (
            {"encoding": "raw"},
            "cannot be read as NRRD: its header promises 3640 bytes of voxels, bad.seg.nrrd is shorter",
        ),
        (
            {"space": "scanner-xyz"},
            "cannot be read as a segmentation: its header lacks or has an unknown 'scanner-xyz'",
        ),
        ({"space origin": ""}, "cannot be read as a segmentation: its header lacks or has an unknown 'space origin'"),
        ({"space origin": "(nan,0,0)"}, "space directions (0.5,"),
        ({"type": "double"}, "cannot be read as a segmentation: its header lacks or has an unknown 'double'"),
        ({"sizes": "26 20 x"}, "cannot be read as NRRD: invalid literal for int()"),
        ({"sizes": "26 140"}, "sizes 26 140 with space directions"),
        (
            {"space origin": "(1,2,3)"},
            "its 26 x 20 x 7 voxels do not lie on those of series; save it with the scan as its",
        ),
    ],
)
def test_a_segmentation_that_is_damaged_or_lies_elsewhere_is_refused(
    tmp_path: Path, change: dict, message: str
) -> None:
    scan, path = made.scan(), tmp_path / "bad.seg.nrrd"
    content = nrrd(np.full((made.COLUMNS, made.ROWS, made.SLICES), 3), scan.affine, ONE)
    if change == {"encoding": "raw"}:
        content = content.replace(b"encoding: gzip", b"encoding: raw")
    else:
        content = nrrd(np.full((made.COLUMNS, made.ROWS, made.SLICES), 3), scan.affine, ONE, **change)
    path.write_bytes(content)
    assert refused(path, scan).startswith(message)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({"LabelValue": "x"}, "Segment0 has a value, layer or colour that is no number"),
        ({"LabelValue": 70000}, "Segment0 has the value 70000 in layer 0; there are 1 layers"),
        ({"LabelValue": 1, "Layer": 1}, "Segment0 has the value 1 in layer 1; there are 1 layers"),
        ({"LabelValue": 1, "Color": "1 0"}, "Segment0 has a value, layer or colour that is no number"),
    ],
)
def test_segments_that_are_none_are_refused(tmp_path: Path, pairs: dict, message: str) -> None:
    scan, path = made.scan(), tmp_path / "bad.seg.nrrd"
    named = {f"Segment0_{key}": value for key, value in pairs.items()}
    path.write_bytes(nrrd(np.zeros((made.COLUMNS, made.ROWS, made.SLICES)), scan.affine, named))
    assert refused(path, scan).startswith(message)


def test_a_segmentation_that_is_cut_is_refused(tmp_path: Path) -> None:
    scan, path = made.scan(), tmp_path / "cut.seg.nrrd"
    content = nrrd(np.full((made.COLUMNS, made.ROWS, made.SLICES), 3), scan.affine, ONE)
    path.write_bytes(content[:-5])
    assert "; the file is damaged or cut, get it again" in refused(path, scan)
    path.write_bytes(content[:-8] + bytes(8))
    assert "incorrect data check" in refused(path, scan)
    path.write_bytes(content[:100])
    assert refused(path, scan) == (
        "cannot be read as NRRD: its header has no end; the file is damaged or cut, get it again"
    )


def test_segments_need_the_scan_and_its_geometry(tmp_path: Path) -> None:
    path = tmp_path / "made.seg.nrrd"
    path.write_bytes(nrrd(np.full((made.COLUMNS, made.ROWS, made.SLICES), 3), made.scan().affine, ONE))
    with pytest.raises(UserError, match="is a seg.nrrd of a scan, and is read together with it alone"):
        read_mask(path)
    bare = replace(made.scan(), affine=None)
    assert refused(path, bare) == "lies in space, and the geometry of series is unknown"


# as prompts


def test_segments_painted_on_a_few_slices_are_prompts_with_names(tmp_path: Path, series: Volume) -> None:
    seg = made.save(made.seg([(1, 2, SQUARE), (1, 5, OTHER), (2, 4, SQUARE)], names=["a", "b"]), tmp_path / "seg.dcm")
    contours = {"a": [made.on_plane(CORNERS, 3)]}
    structures = made.save(made.rtstruct(contours), tmp_path / "rtstruct.dcm")

    def prompt(path: Path, slice_index: int, label: int, mask: np.ndarray, name: str) -> Prompt:
        painted = {"mask": mask == 1, "mask_file_path": str(path), "mask_label": label}
        return Prompt(slice_index, label, **painted, name=name)

    prompts = read_prompts(seg, like=series)
    assert prompts == [prompt(seg, 2, 1, SQUARE, "a"), prompt(seg, 4, 2, SQUARE, "b"), prompt(seg, 5, 1, OTHER, "a")]
    assert read_prompts(structures, like=series) == [prompt(structures, 3, 1, SQUARE, "a")]
    # and again from what a run saves
    about = {"image_file_path": "series", "shape": series.voxels.shape, "swap_axes": True}
    (tmp_path / "again.json").write_text(json.dumps(prompts_to_json(prompts, **about)))
    assert read_prompts(tmp_path / "again.json", like=series) == prompts


def test_a_seg_of_nothing_is_no_prompt(tmp_path: Path, series: Volume) -> None:
    path = made.save(made.seg([(1, 2, SQUARE * 0)]), tmp_path / "seg.dcm")
    with pytest.raises(UserError, match=f"^{path}: marks nothing$"):
        read_prompts(path, like=series)


# real files


def itk_volume(image: Any, path: Path) -> Volume:
    voxels = SimpleITK.GetArrayFromImage(image).transpose(1, 2, 0)
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    x, y, z = image.GetSpacing()
    return Volume(voxels, np.diag([-1, -1, 1, 1]) @ affine, (y, x, z), swap_axes=True, path=path)


def test_a_real_seg_is_the_nrrd_of_the_same_object(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "dicom_seg"
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(folder / f"{number:02}.dcm") for number in (3, 2, 1)])
    scan = itk_volume(reader.Execute(), folder)
    truth = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / "liver_seg.nrrd"))).transpose(1, 2, 0) > 0
    mask = read_mask(folder / "liver.dcm", scan, labels=["Liver"])
    assert dice(mask.voxels > 0, truth) == 1.0
    # and so is what is written of it and read again, as contours too
    uid = "1.2.392.200103.20080913.113635.1.2009.6.22.21.43.10.23430.1"
    source = replace(scan, series=Series(uid, tuple(folder / f"{number:02}.dcm" for number in (3, 2, 1))))
    for write in (seg_of, rtstruct_of):
        content = write(headers_of(source), mask.voxels, scan.array_affine, mask.segments, ALGORITHM, STAMP)
        path = made.save(content, tmp_path / "written.dcm")
        assert dice(read_mask(path, source).voxels > 0, truth) == 1.0


def test_real_segmentations_of_3d_slicer_are_read_by_name(real_data: Path) -> None:
    folder = real_data / "slicer"
    scan = itk_volume(SimpleITK.ReadImage(str(folder / "CTChest4.nrrd")), folder)
    truth = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / "Segmentation.seg.nrrd"))).transpose(1, 2, 0)
    mask = read_mask(folder / "Segmentation.seg.nrrd", scan)
    np.testing.assert_array_equal(mask.voxels, truth)
    assert [one.name for one in mask.segments] == [
        "ribs",
        "cervical vertebral column",
        "thoracic vertebral column",
        "lumbar vertebral column",
        "right lung",
        "left lung",
        "tissue",
    ]
    lung = read_mask(folder / "Segmentation.seg.nrrd", scan, labels=["Right Lung"]).voxels
    np.testing.assert_array_equal(lung > 0, truth == 5)
    overlapping = folder / "SegmentationOverlapping.seg.nrrd"
    assert "'left lung' and 'overlapping sphere' overlap" in refused(overlapping, scan)
    assert (read_mask(overlapping, scan, labels=["overlapping sphere"]).voxels == 8).sum() == 19139


def test_a_real_series_carries_the_mask_of_its_nifti_as_seg_and_rtstruct(real_data: Path, tmp_path: Path) -> None:
    scan = read_volume(real_data / "dicom_sts_001", swap_axes=None)
    mask = read_mask(real_data / "ct_tumour" / "mask.nii.gz", scan).voxels
    assert mask.any() and scan.array_affine is not None
    for write in (seg_of, rtstruct_of):
        content = write(headers_of(scan), mask, scan.array_affine, [Segment(1, "GTV")], ALGORITHM, STAMP)
        path = made.save(content, tmp_path / "written.dcm")
        np.testing.assert_array_equal(read_mask(path, scan, labels=["gtv"]).voxels, mask)
    assert "was drawn on the series 1.2.392.200103.20080913" in refused(real_data / "dicom_seg" / "liver.dcm", scan)
