"""Regions of a slice: where the point goes, and in which order components come."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pose.prompts.regions import Region, regions_of_objects, rounded


def drawing(*rows: str) -> np.ndarray:
    return np.array([[character == "#" for character in row] for row in rows])


def test_box_and_cut_out_are_tight():
    region = Region.of(drawing("....", "..#.", ".#..", "...."))
    assert region.box == (1, 1, 2, 2)
    assert region.inside.tolist() == [[False, True], [True, False]]
    assert region.pixel_sums() == (3, 3, 2)


def test_a_centre_of_mass_in_the_region_stays_even_where_it_is_thin():
    dumbbell = drawing("#####", "#####", "#####", "..#..", "#####", "#####", "#####")
    assert Region.of(dumbbell).point() == (3, 2)


def test_a_centre_in_the_hole_of_a_thick_ring_moves_well_into_the_ring():
    inside = np.ones((13, 13), dtype=bool)
    inside[4:9, 4:9] = False
    # (3, 6) is nearer, but lies at the edge of the hole; (2, 6), (6, 2), (6, 10), (10, 6) are equally near. Were the
    # rim of the slice no edge, the corners would be the deepest, and only the two outer rows deep enough.
    assert Region.of(inside).point() == (2, 6)
    assert Region.of(inside).point(move_inside=False) == (6, 6)


def test_a_centre_beside_a_thin_part_moves_into_the_thick_part():
    inside = np.zeros((20, 9), dtype=bool)
    inside[:, 0] = inside[19, :4] = True
    inside[15:, 4:] = True
    # centre of mass: row 14, column 3.25; the corner (15, 4) is nearest, the block is 3 deep in its middle, 2 round it
    assert Region.of(inside).point() == (16, 5)


def test_components_touch_at_corners_and_come_from_left_to_right_then_from_top_to_bottom():
    inside = drawing("....#.#", ".....#.", "#......", "......#", "#......")
    found = [part.box for part in Region.of(inside).components()]
    assert found == [(2, 0, 2, 0), (4, 0, 4, 0), (0, 4, 1, 6), (3, 6, 3, 6)]


def test_components_with_one_centre_come_in_the_order_of_their_first_pixel():
    inside = np.zeros((9, 9), dtype=bool)
    inside[0, :] = inside[8, :] = inside[:, 0] = inside[:, 8] = True
    inside[4, 4] = True
    assert [part.box for part in Region.of(inside).components()] == [(0, 0, 8, 8), (4, 4, 4, 4)]


def test_rounding_takes_halves_up():
    assert [rounded(number, 4) for number in range(9)] == [0, 0, 1, 1, 1, 1, 2, 2, 2]
    assert rounded(3, 2) == 2 and rounded(5, 2) == 3


def test_large_slices_do_not_overflow():
    labels = np.ones((4892, 4020), dtype=np.uint8)
    assert regions_of_objects(labels, "union", "mask")[1][0].point() == (2446, 2010)


@settings(max_examples=100)
@given(rows=st.integers(1, 12), columns=st.integers(1, 12), density=st.floats(0.1, 1), seed=st.integers(0, 2**32 - 1))
def test_the_moved_point_is_the_nearest_of_the_deep_ones(rows, columns, density, seed):
    inside = np.random.default_rng(seed).random((rows, columns)) < density
    if not inside.any():
        inside[0, 0] = True
    pixels = [(row, column) for row in range(rows) for column in range(columns) if inside[row, column]]
    count = len(pixels)
    row = (2 * sum(row for row, _ in pixels) + count) // (2 * count)
    column = (2 * sum(column for _, column in pixels) + count) // (2 * count)
    expected = (row, column)
    if not inside[row, column]:
        outside = [
            (r, c)
            for r in range(-1, rows + 1)
            for c in range(-1, columns + 1)
            if not (0 <= r < rows and 0 <= c < columns and inside[r, c])
        ]
        # squared depths: at least half as deep is at least a quarter of the square
        depth = {(r, c): min((r - s) ** 2 + (c - t) ** 2 for s, t in outside) for r, c in pixels}
        deep = [pixel for pixel in pixels if 4 * depth[pixel] >= max(depth.values())]
        expected = min(deep, key=lambda pixel: ((pixel[0] - row) ** 2 + (pixel[1] - column) ** 2, pixel))
    assert Region.of(inside).point() == expected
