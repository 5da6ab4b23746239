"""Slices as people look at them: from the affine, and by hand."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from pose.figures.upright import Edges, Turn, axis_directions, edges_of, letters_of, turn_by, upright
from pose.prompts.prompt import Prompt
from pose.scans.volume import Volume

SHAPE_XYZ = (5, 7, 3)
# per slice axis of the body: what the first row and the first column of an upright picture are nearest to
FIRST = {"S": ("A", "R"), "I": ("A", "R"), "A": ("S", "R"), "P": ("S", "R"), "L": ("S", "A"), "R": ("S", "A")}
DIRECTIONS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


def affine_of(codes: str) -> np.ndarray:
    """Affine of voxels whose axes point in the directions of ``codes``."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([DIRECTIONS[code] for code in codes]).T * (0.7, 1.3, 5.0)
    return affine


ALL_CODES = ["".join(codes) for pairs in permutations(("RL", "AP", "SI")) for codes in product(*pairs)]


@pytest.mark.parametrize("swap_axes", [False, True])
@pytest.mark.parametrize("codes", ALL_CODES)
def test_upright_from_every_orientation(codes, swap_axes):
    affine = affine_of(codes)
    where = np.stack(np.meshgrid(*map(np.arange, SHAPE_XYZ), indexing="ij"), axis=-1) @ affine[:3, :3].T
    voxels = where.swapaxes(0, 1) if swap_axes else where
    turn = upright(Volume(voxels[..., 0], affine, swap_axes=swap_axes))
    place = np.stack([turn.slice(voxels[:, :, 0, axis]) for axis in range(3)], axis=-1)
    top, left = FIRST[codes[2]]
    down, right = place[-1, 0] - place[0, 0], place[0, -1] - place[0, 0]
    assert down @ DIRECTIONS[top] < 0 and np.count_nonzero(down) == 1
    assert right @ DIRECTIONS[left] < 0 and np.count_nonzero(right) == 1


def test_all_orientations_are_tried():
    assert len(set(ALL_CODES)) == 48


def test_unknown_geometry_stays_as_it_lies():
    assert upright(Volume(np.zeros((2, 2, 1)))) == Turn()


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", ["none", "vertical", "horizontal"])
def test_turn_by_hand_is_numpys(degrees, flip):
    array = np.arange(12).reshape(3, 4)
    mirror = {"none": lambda a: a, "vertical": np.flipud, "horizontal": np.fliplr}[flip]
    expected = mirror(np.rot90(array, degrees // 90))
    assert np.array_equal(turn_by(degrees, flip).slice(array), expected)


@pytest.mark.parametrize("turn", [Turn(*flags) for flags in product((False, True), repeat=3)])
def test_prompts_turn_with_their_slice(turn):
    shape = (6, 9)
    drawn = np.zeros(shape, np.uint8)
    drawn[1, 2], drawn[4, 8], drawn[2:5, 3:8] = 1, 2, 3
    mask = drawn == 3
    prompt = Prompt(0, 1, ((1, 2),), ((4, 8),), (2, 3, 4, 7), mask, "mask.npz")
    turned, picture = turn.prompt(prompt, shape), turn.slice(drawn)
    assert [picture[point] for point in (*turned.positive_points, *turned.negative_points)] == [1, 2]
    row_min, column_min, row_max, column_max = turned.box
    boxed = np.zeros(picture.shape, bool)
    boxed[row_min : row_max + 1, column_min : column_max + 1] = True
    assert np.array_equal(boxed, picture == 3)
    assert np.array_equal(turned.mask, picture == 3)
    assert (turned.slice, turned.object_id, turned.mask_file_path) == (0, 1, "mask.npz")


def test_spacing_turns_with_the_axes():
    assert Turn(transpose=True).spacing((1.0, 2.0, 5.0)) == (2.0, 1.0)
    assert Turn(flip_rows=True).spacing((1.0, 2.0, 5.0)) == (1.0, 2.0)
    assert Turn().spacing(None) is None


OPPOSITE = dict(("RL", "LR", "AP", "PA", "SI", "IS"))


@pytest.mark.parametrize("swap_axes", [False, True])
@pytest.mark.parametrize("codes", ALL_CODES)
def test_letters_of_every_orientation(codes, swap_axes):
    volume = Volume(np.zeros(SHAPE_XYZ), affine_of(codes), swap_axes=swap_axes)
    top, left = FIRST[codes[2]]
    assert edges_of(volume, upright(volume)) == Edges(top, OPPOSITE[top], left, OPPOSITE[left])


def test_letters_of_a_slice_as_it_lies():
    # rows grow to the right, columns to the front
    volume = Volume(np.zeros(SHAPE_XYZ), affine_of("RAS"))
    assert edges_of(volume, Turn()) == Edges("L", "R", "P", "A")
    assert edges_of(volume, Turn(flip_rows=True)) == Edges("R", "L", "P", "A")
    assert edges_of(volume, Turn(transpose=True, flip_columns=True)) == Edges("P", "A", "R", "L")


def test_no_letters_without_geometry():
    assert edges_of(Volume(np.zeros((2, 2, 1))), Turn()) is None
    assert axis_directions(Volume(np.zeros((2, 2, 1)))) is None


@pytest.mark.parametrize(
    ("degrees", "left", "right"), [(0, "R", "L"), (10, "R", "L"), (20, "RI", "LS"), (50, "IR", "SL")]
)
def test_letters_of_an_oblique_slice(degrees, left, right):
    sine, cosine = np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[-cosine, 0, sine], [0, -1, 0], [sine, 0, cosine]]) * (0.7, 1.3, 5.0)
    edges = edges_of(Volume(np.zeros(SHAPE_XYZ), affine), Turn(transpose=True))
    assert edges == Edges("A", "P", left, right)


def test_letters_of_a_direction_between_three():
    assert letters_of(np.array([0.5, -0.6, 0.62])) == "SPR"


@pytest.mark.parametrize("turn", [Turn(*flags) for flags in product((False, True), repeat=3)])
def test_places_are_those_of_the_turned_slice(turn):
    rows, columns = np.indices((3, 4))
    down, across = turn.places((3, 4))
    turned_rows, turned_columns = turn.slice(rows), turn.slice(columns)
    if turn.transpose:
        turned_rows, turned_columns = turned_columns, turned_rows
    assert np.array_equal(turned_rows, np.broadcast_to(down[:, None], turned_rows.shape))
    assert np.array_equal(turned_columns, np.broadcast_to(across, turned_columns.shape))
