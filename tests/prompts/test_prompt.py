"""Prompts: from a mask and from the command line; what is refused, and with which words."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pose.cli import UserError
from pose.prompts.prompt import Prompt, check_prompts, prompt_slice, prompts_from_mask, typed_prompt

SHAPE = (20, 30, 5)


def drawing(*rows: str) -> np.ndarray:
    """Labels of a slice: a digit is a label, a dot is background."""
    return np.array([[0 if character == "." else int(character) for character in row] for row in rows])


def refused(message: str):
    return pytest.raises(UserError, match=f"^{re.escape(message)}$")


TWO_LUNGS = drawing(
    "............",
    ".111........",
    ".111...222..",
    ".111...222..",
    ".......222..",
    ".......222..",
    ".......222..",
    "............",
)
RING = np.ones((13, 13), dtype=np.uint8)
RING[4:9, 4:9] = 0


# ------------------------------------------------------------------------------------------------- from a mask


def test_union_points_at_each_label_and_between_them():
    assert prompts_from_mask(TWO_LUNGS, 46) == [Prompt(46, 1, ((2, 2), (4, 8)), ((4, 5),))]


def test_use_bounding_box_adds_the_box_round_all_labels():
    expected = Prompt(46, 1, ((2, 2), (4, 8)), ((4, 5),), (1, 1, 6, 9))
    assert prompts_from_mask(TWO_LUNGS, 46, use_bounding_box=True) == [expected]


def test_negative_point_can_be_left_out():
    assert prompts_from_mask(TWO_LUNGS, 46, negative_point=False) == [Prompt(46, 1, ((2, 2), (4, 8)))]


@pytest.mark.parametrize(("rows", "point"), [(3, (7, 5)), (-4, (0, 5)), (0, (4, 5))])
def test_negative_point_can_be_displaced(rows, point):
    assert prompts_from_mask(TWO_LUNGS, 46, displace_negative_point=rows)[0].negative_points == (point,)


def test_displaced_negative_point_keeps_the_rules():
    # the middle of the ring is outside it, four rows below is in it
    assert prompts_from_mask(RING, 0)[0].negative_points == ((6, 6),)
    assert prompts_from_mask(RING, 0, displace_negative_point=4)[0].negative_points == ()
    moved = (
        "mask, slice 46: --displace_negative_point 4 moves the negative point to row 8, the slice has the rows 0 to 7"
    )
    with refused(moved):
        prompts_from_mask(TWO_LUNGS, 46, displace_negative_point=4)


def test_per_label_takes_the_labels_numbers_and_own_boxes():
    # both centres of boxes lie in their labels
    assert prompts_from_mask(2 * TWO_LUNGS, 3, objects="per_label", use_bounding_box=True) == [
        Prompt(3, 2, ((2, 2),), (), (1, 1, 3, 3)),
        Prompt(3, 4, ((4, 8),), (), (2, 7, 6, 9)),
    ]


def test_per_label_has_no_negative_point_in_another_label():
    labels = drawing("11111", "1...1", "1.2.1", "1...1", "11111")
    # a ring one pixel wide: every pixel is one deep, (0, 2) is the topmost of the four nearest to the centre (2, 2)
    ring, dot = prompts_from_mask(labels, 0, objects="per_label")
    assert ring == Prompt(0, 1, ((0, 2),))
    assert dot == Prompt(0, 2, ((2, 2),))
    labels[2, 2] = 0
    assert prompts_from_mask(labels, 0, objects="per_label") == [Prompt(0, 1, ((0, 2),), ((2, 2),))]


def test_per_component_counts_from_left_to_right_across_labels():
    labels = drawing("....7.", "5..3..", "5.....", "....3.")
    # 7 and 3 touch at a corner and are one component, whose centre (0.5, 3.5) is rounded to (1, 4), which is outside;
    # of its two pixels, equally near, the topmost counts; the lower right pixel lies further to the right
    assert prompts_from_mask(labels, 9, objects="per_component", use_bounding_box=True) == [
        Prompt(9, 1, ((2, 0),), (), (1, 0, 2, 0)),
        Prompt(9, 2, ((0, 4),), ((1, 4),), (0, 3, 1, 4)),
        Prompt(9, 3, ((3, 4),), (), (3, 4, 3, 4)),
    ]


def test_contours_give_a_point_for_each_component_of_each_label():
    labels = drawing("11...2", "11...2", "......", "...1..")
    # label 1: a block with its centre at (0.5, 0.5), and a pixel; label 2: a column with its centre at (0.5, 5)
    assert prompts_from_mask(labels, 0, use_masks_contours=True) == [Prompt(0, 1, ((1, 1), (3, 3), (1, 5)), ((2, 3),))]
    assert prompts_from_mask(labels, 0, objects="per_label", use_masks_contours=True) == [
        Prompt(0, 1, ((1, 1), (3, 3)), ((2, 2),)),
        Prompt(0, 2, ((1, 5),)),
    ]
    # without it, label 1 has one point at its centre (5 / 5, 5 / 5)
    assert prompts_from_mask(labels, 0)[0].positive_points == ((1, 1), (1, 5))


def test_contours_of_a_ring_count_once_not_once_for_its_hole():
    assert prompts_from_mask(RING, 0, use_masks_contours=True)[0].positive_points == ((2, 6),)


def test_a_point_in_a_hole_moves_into_the_ring_unless_told_otherwise():
    assert prompts_from_mask(RING, 0, use_bounding_box=True) == [Prompt(0, 1, ((2, 6),), ((6, 6),), (0, 0, 12, 12))]
    # left where it is, it would contradict the negative point, which goes
    assert prompts_from_mask(RING, 0, move_centroids=False) == [Prompt(0, 1, ((6, 6),))]


@pytest.mark.parametrize(
    ("labels", "point", "negative", "box"),
    [
        pytest.param(np.ones((1, 1)), (0, 0), None, (0, 0, 0, 0), id="one pixel is the image"),
        pytest.param(drawing("...", "..1"), (1, 2), None, (1, 2, 1, 2), id="one pixel in the last corner"),
        pytest.param(np.ones((1, 5)), (0, 2), None, (0, 0, 0, 4), id="the image is one row"),
        pytest.param(np.ones((6, 1)), (3, 0), None, (0, 0, 5, 0), id="the image is one column"),
        pytest.param(drawing("....", "1111", "...."), (1, 2), None, (1, 0, 1, 3), id="one row from border to border"),
        pytest.param(drawing(".1.", ".1.", ".1."), (1, 1), None, (0, 1, 2, 1), id="one column from border to border"),
        pytest.param(drawing("11.11"), (0, 1), (0, 2), (0, 0, 0, 4), id="a row with a gap"),
        pytest.param(drawing("111", "...", "..."), (0, 1), None, (0, 0, 0, 2), id="top border"),
        pytest.param(drawing("...", "...", "111"), (2, 1), None, (2, 0, 2, 2), id="bottom border"),
        pytest.param(drawing("1..", "1..", "1.."), (1, 0), None, (0, 0, 2, 0), id="left border"),
        pytest.param(drawing("..1", "..1", "..1"), (1, 2), None, (0, 2, 2, 2), id="right border"),
        pytest.param(np.ones((4, 6)), (2, 3), None, (0, 0, 3, 5), id="a full slice"),
        pytest.param(drawing("1.1.", ".1.1", "1.1.", ".1.1"), (2, 2), None, (0, 0, 3, 3), id="a checkerboard"),
        pytest.param(drawing(".1.1", "1.1.", ".1.1", "1.1."), (1, 2), (2, 2), (0, 0, 3, 3), id="its other squares"),
        pytest.param(drawing("1.1", "...", "1.1"), (0, 0), (1, 1), (0, 0, 2, 2), id="four corners"),
    ],
)
def test_every_mask_is_safe(labels, point, negative, box):
    expected = Prompt(0, 1, (point,), () if negative is None else (negative,), box)
    assert prompts_from_mask(labels, 0, use_bounding_box=True) == [expected]
    assert prompts_from_mask(labels, 0, objects="per_label", use_bounding_box=True) == [expected]


@pytest.mark.parametrize("objects", ["union", "per_label", "per_component"])
def test_a_slice_without_labels_has_no_prompts(objects):
    assert prompts_from_mask(np.zeros((3, 4), dtype=np.uint8), 0, objects=objects) == []


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int64, np.float32, np.float64])
def test_dtypes_do_not_matter(dtype):
    labels = np.zeros((400, 300), dtype=dtype)
    labels[100:350, 50:] = 1
    prompt = prompts_from_mask(labels, 0, objects="per_label", use_bounding_box=True)[0]
    assert prompt == Prompt(0, 1, ((225, 175),), (), (100, 50, 349, 299))
    assert {type(value) for value in (*prompt.positive_points[0], *prompt.box, prompt.object_id)} == {int}


def test_memory_order_does_not_matter():
    labels = np.random.default_rng(5).integers(0, 3, (30, 20))
    assert prompts_from_mask(np.asfortranarray(labels), 1) == prompts_from_mask(np.ascontiguousarray(labels), 1)


def test_labels_that_are_no_labels_are_refused():
    with refused("mask, slice 4: holds 0.5, labels are whole numbers"):
        prompts_from_mask(np.array([[0, 0.5]]), 4)
    with refused("lungs.npz, slice 4: holds nan, labels are whole numbers"):
        prompts_from_mask(np.array([[0, np.nan]]), 4, source="lungs.npz")
    with refused("mask, slice 4: label -1 cannot number an object, objects count from 1 to 65535"):
        prompts_from_mask(np.array([[0, -1]]), 4, objects="per_label")
    with refused("mask, slice 4: label 65536 cannot number an object, objects count from 1 to 65535"):
        prompts_from_mask(np.array([[65535, 65536]]), 4, objects="per_label")
    assert prompts_from_mask(np.array([[0, -1]]), 4) == [Prompt(4, 1, ((0, 1),))]


def test_programming_errors_are_not_hidden():
    with pytest.raises(ValueError, match="objects must be one of union, per_label, per_component, got 'lungs'"):
        prompts_from_mask(TWO_LUNGS, 0, objects="lungs")
    with pytest.raises(ValueError, match="rows and columns"):
        prompts_from_mask(np.ones((3, 3, 3), dtype=int), 0)


@st.composite
def label_slices(draw) -> np.ndarray:
    """Noise of some density or a few overlapping rectangles and rings, with up to three labels; never empty."""
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    if draw(st.booleans()):
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        labels = np.where(rng.random((rows, columns)) < draw(st.floats(0, 1)), rng.integers(1, 4, (rows, columns)), 0)
    else:
        labels = draw(arrays(np.int64, (rows, columns), elements=st.integers(0, 3), fill=st.just(0)))
        for label in draw(st.lists(st.integers(0, 3), max_size=5)):
            top, left = draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))
            bottom, right = draw(st.integers(top, rows - 1)), draw(st.integers(left, columns - 1))
            labels[top : bottom + 1, left : right + 1] = label
    if not labels.any():
        labels[draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))] = 1
    return labels


@settings(max_examples=150)
@given(labels=label_slices(), contours=st.booleans())
def test_what_holds_for_every_mask(labels, contours):
    from skimage.measure import label as connected

    before = labels.copy()
    parts = {
        "union": {1: labels != 0},
        "per_label": {value: labels == value for value in (1, 2, 3) if (labels == value).any()},
        "per_component": {},
    }
    components = connected(labels != 0, connectivity=2)
    for objects, masks in parts.items():
        flags = {"objects": objects, "use_bounding_box": True, "use_masks_contours": contours}
        prompts = prompts_from_mask(labels, 7, **flags)
        assert prompts == prompts_from_mask(labels.copy(), 7, **flags)
        check_prompts(prompts, (*labels.shape, 8), "mask")
        if objects == "per_component":
            owners = [components[prompt.positive_points[0]] for prompt in prompts]
            assert sorted(owners) == list(range(1, components.max() + 1))
            masks = {number: components == owner for number, owner in enumerate(owners, start=1)}
            centres = [np.argwhere(mask)[:, ::-1].mean(axis=0).round(9).tolist() for mask in masks.values()]
            assert centres == sorted(centres)
        assert [prompt.object_id for prompt in prompts] == list(masks)
        for prompt in prompts:
            mask = masks[prompt.object_id]
            rows, columns = np.nonzero(mask)
            assert prompt.box == (rows.min(), columns.min(), rows.max(), columns.max())
            assert all(mask[point] for point in prompt.positive_points)
            assert len(set(prompt.positive_points)) == len(prompt.positive_points)
            centre = ((prompt.box[0] + prompt.box[2] + 1) // 2, (prompt.box[1] + prompt.box[3] + 1) // 2)
            assert prompt.negative_points == ((centre,) if labels[centre] == 0 else ())
            pointed_at = [int(labels[point]) for point in prompt.positive_points]
            own = [int(value) for value in np.unique(labels[mask])]
            if objects == "per_component":
                assert len(pointed_at) == 1
            elif contours:
                counts = [connected(mask & (labels == value), connectivity=2).max() for value in own]
                assert pointed_at == list(np.repeat(own, counts))
            else:
                assert pointed_at == own
    assert (labels == before).all()


def test_real_lungs(real_data):
    from scipy.ndimage import center_of_mass, distance_transform_edt

    def labels_of(slice_index: int) -> np.ndarray:
        # stored with x first
        return np.load(real_data / "ct_slices" / f"coronacases_001_masks_slice_{slice_index}.npy").T

    labels = labels_of(122)
    centres = tuple(tuple(round(value) for value in center_of_mass(labels == label)) for label in (1, 2))
    (union,) = prompts_from_mask(labels, 122, use_bounding_box=True)
    assert union == Prompt(122, 1, centres, ((330, 252),), (217, 98, 443, 405))

    # the domes of the diaphragm hold both centres of mass: the points move to the lungs behind them
    labels = labels_of(98)
    for label, point in ((1, (263, 338)), (2, (273, 185))):
        row, column = (round(value) for value in center_of_mass(labels == label))
        assert labels[row, column] == 0 and labels[point] == label
        assert distance_transform_edt(labels == label)[point] > 15
    (union,) = prompts_from_mask(labels, 98, use_bounding_box=True)
    assert union == Prompt(98, 1, ((263, 338), (273, 185)), ((328, 252),), (218, 93, 437, 411))
    per_label = prompts_from_mask(labels, 98, objects="per_label")
    assert [prompt.positive_points for prompt in per_label] == [((263, 338),), ((273, 185),)]
    per_component = prompts_from_mask(labels, 98, objects="per_component")
    assert [prompt.positive_points for prompt in per_component] == [((273, 185),), ((263, 338),)]


# ------------------------------------------------------------------------------------------------- which slice


def labelled_volume(*areas: int) -> np.ndarray:
    volume = np.zeros((4, 5, len(areas)), dtype=np.uint8)
    for index, area in enumerate(areas):
        volume[..., index].flat[:area] = 255
    return volume


@pytest.mark.parametrize(
    ("areas", "centre", "largest"),
    [
        ((0, 1, 2, 3, 0, 0), 2, 3),
        ((0, 1, 2, 0, 0, 0), 2, 2),
        ((7, 0, 0, 0, 0, 1), 5, 0),
        ((0, 9, 0, 0, 2, 9), 4, 1),
        ((20,), 0, 0),
    ],
)
def test_prompt_slice(areas, centre, largest):
    volume = labelled_volume(*areas)
    assert (prompt_slice(volume, "centre"), prompt_slice(volume, "largest")) == (centre, largest)
    assert all(prompt_slice(volume, index) == index for index, area in enumerate(areas) if area)


def test_prompt_slice_names_the_nearest_slice_with_a_label():
    volume = labelled_volume(0, 0, 4, 0, 4, 0)
    with refused("lungs.npz: slice 0 holds no label, the nearest one with a label is 2"):
        prompt_slice(volume, 0, source="lungs.npz")
    with refused("mask: slice 3 holds no label, the nearest one with a label is 2"):
        prompt_slice(volume, 3)
    with refused("mask: slice 6 is not one of the slices 0 to 5, the nearest one with a label is 4"):
        prompt_slice(volume, 6)
    with refused("mask: slice -4 is not one of the slices 0 to 5, the nearest one with a label is 2"):
        prompt_slice(volume, -4)
    with refused("mask: no slice holds a label, there is nothing to take a prompt from"):
        prompt_slice(labelled_volume(0, 0), "centre")
    with pytest.raises(ValueError, match="got 'middle'"):
        prompt_slice(volume, "middle")


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Prompt(5, 1, ((0, 0),)), "slice 5, object 1: no such slice, they count from 0 to 4"),
        (Prompt(-1, 1, ((0, 0),)), "slice -1, object 1: no such slice, they count from 0 to 4"),
        (
            Prompt(0, 2, ((20, 0),)),
            "slice 0, object 2: the point row 20, column 0 lies outside the image of 20 x 30 (rows x columns)",
        ),
        (
            Prompt(0, 1, ((0, 0),), ((3, 30),)),
            "slice 0, object 1: the point row 3, column 30 lies outside the image of 20 x 30 (rows x columns)",
        ),
        (
            Prompt(0, 1, ((-1, 0),)),
            "slice 0, object 1: the point row -1, column 0 lies outside the image of 20 x 30 (rows x columns)",
        ),
        (
            Prompt(0, 1, box=(4, 0, 3, 9)),
            "slice 0, object 1: the box row_min 4, column_min 0, row_max 3, column_max 9 ends before it begins",
        ),
        (
            Prompt(0, 1, box=(4, 5, 4, 4)),
            "slice 0, object 1: the box row_min 4, column_min 5, row_max 4, column_max 4 ends before it begins",
        ),
        (
            Prompt(0, 1, box=(0, 0, 19, 30)),
            "slice 0, object 1: the box row_min 0, column_min 0, row_max 19, column_max 30 reaches outside "
            "the image of 20 x 30 (rows x columns)",
        ),
        (
            Prompt(0, 1, box=(0, -1, 19, 29)),
            "slice 0, object 1: the box row_min 0, column_min -1, row_max 19, column_max 29 reaches outside "
            "the image of 20 x 30 (rows x columns)",
        ),
        (
            Prompt(0, 1, (), ((1, 1),)),
            "slice 0, object 1: the prompt has no positive point, no box and no mask, it needs one of them",
        ),
        (Prompt(0), "slice 0, object 1: the prompt has no positive point, no box and no mask, it needs one of them"),
        (
            Prompt(0, mask=np.ones((30, 20), dtype=bool), mask_file_path="/m.npz"),
            "slice 0, object 1: /m.npz has slices of 30 x 20, the image 20 x 30",
        ),
        (Prompt(0, mask=np.zeros((20, 30), dtype=bool)), "slice 0, object 1: its mask marks nothing on this slice"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(prompt, message):
    with refused(f"prompts.json: {message}"):
        check_prompts([prompt], SHAPE, "prompts.json")


def test_prompts_at_the_last_pixel_fit():
    mask = np.zeros((20, 30), dtype=bool)
    mask[19, 29] = True
    check_prompts([Prompt(4, 1, ((19, 29),), ((0, 0),), (0, 0, 19, 29), mask)], SHAPE, "prompts.json")
    check_prompts([Prompt(4, box=(19, 29, 19, 29)), Prompt(4, 2, mask=mask), Prompt(3, 2, mask=mask)], SHAPE, "here")


def test_two_prompts_for_one_object_on_one_slice_are_taken():
    check_prompts([Prompt(2, 3, ((1, 1),)), Prompt(1, 3, ((1, 1),)), Prompt(2, 3, ((2, 2),))], SHAPE, "here")


def test_prompts_are_equal_voxel_by_voxel():
    mask = np.eye(4, dtype=bool)
    assert Prompt(0, mask=mask) == Prompt(0, mask=mask.copy())
    assert Prompt(0, mask=mask) != Prompt(0, mask=~mask)
    assert Prompt(0, mask=mask) != Prompt(0)
    assert Prompt(0, mask=mask) != Prompt(1, mask=mask)
    assert Prompt(0) != "prompt"
    assert len({Prompt(0, mask=mask), Prompt(0, mask=mask.copy()), Prompt(1)}) == 2


# ------------------------------------------------------------------------------------------------- command line


def test_typed_prompt():
    assert typed_prompt(46, [[100, 200], [3, 4]], [[5, 6]], [0, 1, 200, 300]) == Prompt(
        46, 1, ((100, 200), (3, 4)), ((5, 6),), (0, 1, 200, 300)
    )
    assert typed_prompt(0, None, None, [0, 0, 0, 0]) == Prompt(0, box=(0, 0, 0, 0))
    assert typed_prompt(0, [[7, 8]]) == Prompt(0, 1, ((7, 8),))


def test_typed_prompt_refuses_what_fits_no_image():
    with refused("command line: --point, --negative_point and --box need --slice"):
        typed_prompt(None, [[1, 2]])
    with refused(
        "command line: slice 3, object 1: the prompt has no positive point, no box and no mask, it needs one of them"
    ):
        typed_prompt(3, [], [[1, 2]])
    with refused("command line: slice -3, object 1: no such slice, they count from 0"):
        typed_prompt(-3, [[1, 2]])
    with refused("command line: slice 3, object 1: the point row 1, column -2 lies outside any image"):
        typed_prompt(3, [[1, -2]])
    with refused(
        "command line: slice 3, object 1: the box row_min 9, column_min 0, row_max 3, column_max 4 "
        "ends before it begins"
    ):
        typed_prompt(3, box=[9, 0, 3, 4])
