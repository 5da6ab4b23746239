"""Figures: overlays of one slice and contact sheets of a volume.

Pictures are laid out in pixels, so that a slice keeps its proportions and text is never cut off; they are drawn by Agg
alone, which needs no display and leaves no state behind.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image

from pose.figures.drawing import (
    STYLE,
    Curve,
    draw_curves,
    draw_edges,
    draw_slice,
    draw_ticks,
    label_tile,
    legend_handles,
    looks_of,
)
from pose.figures.names import shown_name
from pose.figures.upright import Edges, Turn
from pose.files.atomic import write_atomically
from pose.prompts.prompt import Prompt
from pose.scans.masks import labels_of

if TYPE_CHECKING:
    from pose.scans.intensity import GreyStack

DPI = 100
MARGIN = 12
LONGEST_SIDE, LARGEST_UNSCALED_SIDE = 768, 1024
NARROWEST_OVERLAY = 420
SHEET_WIDTH, NARROWEST_SHEET, GRID_HEIGHT = 1500, 760, 1080
NARROWEST_CELL, LARGEST_TILE, TILE_LABEL_HEIGHT, TILE_GAP = 152, 480, 19, 8
TEXT_SIZE, TILE_TEXT_SIZE = 9.0, 7.0
MOST_TICKS_LEFT = 60
CURVE_HEIGHT, CURVE_LEFT, CURVE_ABOVE, CURVE_BELOW = 170, 66, 22, 46
CURVE_SPACE = CURVE_ABOVE + CURVE_HEIGHT + CURVE_BELOW
# More prompted slices than this, and one in three, are counted in words: a forest of lines would hide the curve.
MOST_MARKED_SLICES = 12


def overlay(
    grey: np.ndarray,
    *,
    prediction: np.ndarray | None = None,
    truth: np.ndarray | None = None,
    prompts: Sequence[Prompt] = (),
    title: str | None = None,
    legend: bool = True,
    spacing_mm: Sequence[float] | None = None,
    turn: Turn = Turn(),
    edges: Edges | None = None,
    objects: Sequence[int] = (),
    text_size: float = TEXT_SIZE,
) -> Figure:
    """Draw a slice with what was found on it, what is true, and what was asked, and the numbers of rows and columns.

    Args:
        grey: (rows, columns) uint8.
        prediction: (rows, columns) bool or labels; filled and outlined, each label on its own.
        truth: (rows, columns) bool or labels; outlined.
        prompts: of this slice. With several objects, each carries its number.
        title: over the picture, wrapped where it is too long.
        legend: name the colours below the picture.
        spacing_mm: (row, column[, slice]) millimetres, for the proportions of the picture; square pixels where None.
        turn: how to lay the slice; all else is given as before it.
        edges: what to write at the edges of the turned slice, see :func:`pose.figures.upright.edges_of`.
        objects: numbers of all objects of the volume, so that each has the same colour on every slice; those of
            ``prediction`` count as well.
        text_size: of the numbers, letters and words on and round the slice, in points at 100 dpi.

    Returns:
        A figure whose size in pixels is its size in inches times its dpi.

    Raises:
        ValueError: prediction or truth has another shape than grey.
    """
    for name, mask in (("prediction", prediction), ("truth", truth)):
        if mask is not None and mask.shape != grey.shape:
            raise ValueError(f"{name} of shape {mask.shape} on a slice of shape {grey.shape}")
    looks = {} if prediction is None else looks_of([*objects, *objects_in(prediction)])
    with matplotlib.rc_context(STYLE):
        width, height = _display_size(turn.slice(grey).shape, turn.spacing(spacing_mm))
        left, below = _room_for_ticks(grey.shape, text_size)
        figure = _new_figure(max(left + width, NARROWEST_OVERLAY) + 2 * MARGIN)
        above = _title_height(figure, title)
        handles = legend_handles(looks, truth is not None, prompts) if legend else []
        legend_below = _legend_height(figure, handles, text_size)
        _set_height(figure, above + height + below + legend_below)
        axes = _axes_at(figure, (figure.bbox.width - left - width) / 2 + left, above, width, height)
        _draw_turned(axes, grey, prediction, truth, prompts, (width, height), turn, looks=looks, text_size=text_size)
        draw_ticks(axes, grey.shape, turn, (width, height), text_size)
        if edges is not None:
            draw_edges(axes, edges, 1.3 * text_size)
    return figure


def _draw_turned(
    axes: Axes,
    grey: np.ndarray,
    prediction: np.ndarray | None,
    truth: np.ndarray | None,
    prompts: Sequence[Prompt],
    size: tuple[int, int],
    turn: Turn,
    **look: Any,
) -> None:
    found, true = (None if one is None else turn.slice(one) for one in (prediction, truth))
    here = [turn.prompt(prompt, grey.shape) for prompt in prompts]
    draw_slice(axes, np.ascontiguousarray(turn.slice(grey)), found, true, here, size, **look)


def _room_for_ticks(shape: tuple[int, int], text_size: float) -> tuple[int, int]:
    """Pixels left of and below a slice for the numbers of its rows and columns, and what these are."""
    letter = text_size * DPI / 72
    digits = len(str(max(shape) - 1))
    return round((0.66 * digits + 2.3) * letter), round(3.2 * letter)


def print_figure(
    grey: np.ndarray,
    size: int,
    *,
    prediction: np.ndarray | None = None,
    truth: np.ndarray | None = None,
    prompts: Sequence[Prompt] = (),
    spacing_mm: Sequence[float] | None = None,
) -> Figure:
    """Draw a slice for print: a square of ``size`` pixels without frame, title or legend, grey levels enlarged
    smoothly.

    A slice that is no square lies in the middle of a black one. The other arguments are those of :func:`overlay`.
    """
    row_mm, column_mm = (1.0, 1.0) if spacing_mm is None else spacing_mm[:2]
    lengths = grey.shape[1] * column_mm, grey.shape[0] * row_mm
    width, height = (max(round(size * length / max(lengths)), 1) for length in lengths)
    with matplotlib.rc_context(STYLE):
        figure = _new_figure(size)
        figure.set_facecolor("black")
        _set_height(figure, size)
        axes = _axes_at(figure, (size - width) // 2, (size - height) // 2, width, height)
        draw_slice(axes, grey, prediction, truth, prompts, (width, height), smooth=True)
    return figure


def save_overlay(path: Path | str, grey: np.ndarray, **drawing: Any) -> None:
    """Write :func:`overlay`, which takes the same arguments, as PNG to ``path``; all or nothing."""
    save_png(path, overlay(grey, **drawing))


def contact_sheet_figure(
    grey: GreyStack | Sequence[np.ndarray],
    prediction: np.ndarray,
    truth: np.ndarray | None = None,
    dice_per_slice: Sequence[float | None] | None = None,
    *,
    dice_of_objects: Mapping[int, Sequence[float | None]] | None = None,
    prompts: Sequence[Prompt] = (),
    title: str | None = None,
    max_tiles: int = 24,
    spacing_mm: Sequence[float] | None = None,
    turn: Turn = Turn(),
    edges: Edges | None = None,
    objects: Sequence[int] = (),
) -> Figure:
    """Draw a volume at a glance: a grid of slices with contours, and below it a curve over all slices for each object.

    The curves are the Dice of each slice where every object has one, and the number of voxels otherwise. Slices on
    which something was predicted without any ground truth are marked in them.

    Args:
        grey: uint8 slices of (rows, columns).
        prediction: (rows, columns, slices) labels.
        truth: (rows, columns, slices) labels.
        dice_per_slice: one for each slice; None or NaN where it is undefined.
        dice_of_objects: the same of each object where there are several, by its number. Where it is given, the truth
            has the same labels as the prediction.
        prompts: on any slices.
        title: over the sheet.
        max_tiles: how many slices are shown at most, see :func:`choose_slices`.
        spacing_mm: (row, column[, slice]) millimetres, for the proportions of the slices.
        turn: how to lay the slices; all else is given as before it.
        edges: what to write at the upper and left edge of each, see :func:`pose.figures.upright.edges_of`.
        objects: numbers of all objects; those of ``prediction`` count as well.

    Raises:
        ValueError: shapes or lengths that do not fit each other.
    """
    slices = len(grey)
    if prediction.ndim != 3 or prediction.shape[2] != slices:
        raise ValueError(f"prediction of shape {prediction.shape} for {slices} slices")
    if truth is not None and truth.shape != prediction.shape:
        raise ValueError(f"truth of shape {truth.shape} for a prediction of shape {prediction.shape}")
    for given in (dice_per_slice, *(dice_of_objects or {}).values()):
        if given is not None and len(given) != slices:
            raise ValueError(f"{len(given)} values of Dice for {slices} slices")

    all_predicted = _voxels_by_slice(prediction)
    all_true = None if truth is None else _voxels_by_slice(truth)
    looks = looks_of([*objects, *objects_in(prediction)])
    dice = None if dice_per_slice is None else _as_numbers(dice_per_slice)
    if len(looks) == 1:
        (look,) = looks.values()
        curves = [Curve(look, all_predicted, all_true, dice)]
    else:
        of_objects = {number: _as_numbers(values) for number, values in (dice_of_objects or {}).items()}
        same_labels = None if dice_of_objects is None else truth
        curves = [
            Curve(
                look,
                _voxels_by_slice(prediction, number),
                None if same_labels is None else _voxels_by_slice(same_labels, number),
                of_objects.get(number),
            )
            for number, look in looks.items()
        ]
    true = np.zeros(slices, bool) if all_true is None else all_true > 0
    false = (all_predicted > 0) & ~true & (truth is not None)
    prompted = sorted({prompt.slice for prompt in prompts})
    marked = prompted if len(prompted) <= max(MOST_MARKED_SLICES, slices // 3) else []
    chosen = choose_slices((all_predicted > 0) | true, prompted, max_tiles)
    shown = [prompt for prompt in prompts if prompt.slice in chosen]
    handles = legend_handles(looks, truth is not None, shown, bool(marked), bool(false.any()))

    def draw_tile(axes: Axes, slice_index: int, size: tuple[int, int]) -> None:
        here = [prompt for prompt in prompts if prompt.slice == slice_index]
        slice_truth = None if truth is None else truth[:, :, slice_index]
        masks = prediction[:, :, slice_index], slice_truth
        _draw_turned(axes, np.asarray(grey[slice_index]), *masks, here, size, turn, looks=looks, tile=True)
        label_tile(axes, slice_index, dice, slice_index in marked)

    with matplotlib.rc_context(STYLE):
        figure, curve_top = _sheet(
            chosen, draw_tile, prediction.shape[:2], spacing_mm, turn, edges, title, handles, CURVE_SPACE
        )
        curve = _axes_at(
            figure, CURVE_LEFT, curve_top + CURVE_ABOVE, figure.bbox.width - CURVE_LEFT - MARGIN, CURVE_HEIGHT
        )
        draw_curves(curve, curves, false=false, marked=marked, score=_score_of(dice))
        if len(prompted) > len(marked):
            curve.set_xlabel(f"slice ({len(prompted)} of {slices} prompted)")
    return figure


def slices_figure(
    grey: GreyStack | Sequence[np.ndarray],
    slices: Sequence[int],
    *,
    prompts: Sequence[Prompt] = (),
    title: str | None = None,
    spacing_mm: Sequence[float] | None = None,
    turn: Turn = Turn(),
    edges: Edges | None = None,
) -> Figure:
    """Draw slices of a scan and the prompts on them, in the layout of :func:`contact_sheet_figure`, whose arguments
    these are.
    """
    shown = [prompt for prompt in prompts if prompt.slice in slices]

    def draw_tile(axes: Axes, slice_index: int, size: tuple[int, int]) -> None:
        here = [prompt for prompt in shown if prompt.slice == slice_index]
        _draw_turned(axes, np.asarray(grey[slice_index]), None, None, here, size, turn, tile=True)
        label_tile(axes, slice_index, None, bool(here))

    with matplotlib.rc_context(STYLE):
        handles = legend_handles({}, False, shown, bool(shown))
        figure, _ = _sheet(slices, draw_tile, grey[slices[0]].shape, spacing_mm, turn, edges, title, handles)
    return figure


def _sheet(
    slices: Sequence[int],
    draw_tile: Callable[[Axes, int, tuple[int, int]], None],
    shape: tuple[int, int],
    spacing_mm: Sequence[float] | None,
    turn: Turn,
    edges: Edges | None,
    title: str | None,
    handles: Sequence[Line2D | Patch],
    space_below: int = 0,
) -> tuple[Figure, float]:
    """Lay slices of ``shape`` out in a grid under a title, with a legend at the bottom.

    Args:
        draw_tile: draws one slice, given axes, its number, and the width and height of the axes in pixels.
        space_below: pixels to be left free between the grid and the legend.

    Returns:
        The figure, and where in it the free space begins, in pixels from the top.
    """
    ticks_left, ticks_below = _room_for_ticks(shape, TILE_TEXT_SIZE)
    columns, cell, width, height = _grid(len(slices), turn.slice(np.empty(shape, bool)).shape, turn.spacing(spacing_mm))
    row_height, column_width = TILE_LABEL_HEIGHT + height + TILE_GAP, cell + TILE_GAP
    grid_width = ticks_left + columns * column_width - TILE_GAP
    figure = _new_figure(max(NARROWEST_SHEET, grid_width + 2 * MARGIN))
    above = _title_height(figure, title)
    below = _legend_height(figure, handles)
    free = above + -(-len(slices) // columns) * row_height + ticks_below
    _set_height(figure, free + space_below + below)
    grid_left = (figure.bbox.width - grid_width) / 2 + ticks_left + (cell - width) / 2
    for number, slice_index in enumerate(slices):
        row, column = divmod(number, columns)
        left, top = grid_left + column * column_width, above + row * row_height + TILE_LABEL_HEIGHT
        axes = _axes_at(figure, left, top, width, height)
        draw_tile(axes, slice_index, (width, height))
        at_edge = column == 0, number + columns >= len(slices)
        draw_ticks(axes, shape, turn, (width, height), TILE_TEXT_SIZE, at_edge)
        if edges is not None:
            draw_edges(axes, edges, 1.2 * TILE_TEXT_SIZE, all_four=False)
    return figure, free


def _as_numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _score_of(dice: np.ndarray | None) -> str:
    """What is said of a whole volume over its curves; nothing where no slice has a Dice."""
    defined = np.zeros(0) if dice is None else dice[np.isfinite(dice)]
    return f"mean Dice {defined.mean():.3f}, slices: {defined.size}" if defined.size else ""


def _voxels_by_slice(labels: np.ndarray, number: int | None = None) -> np.ndarray:
    """Return how many voxels of each slice have a label above 0, or that of an object."""
    # slice by slice: with an axis, numpy makes a copy of the volume as bool
    slices = (labels[:, :, slice_index] for slice_index in range(labels.shape[2]))
    return np.array([np.count_nonzero(one if number is None else one == number) for one in slices])


def objects_in(labels: np.ndarray) -> list[int]:
    """Return the numbers of objects in (rows, columns) or (rows, columns, slices) of them."""
    return labels_of(np.atleast_3d(labels))


def choose_slices(filled: np.ndarray, prompted: Sequence[int], max_tiles: int) -> list[int]:
    """Choose which slices to show, evenly over those that hold anything and one more at either end.

    Args:
        filled: (slices,) bool, whether a slice holds anything.
        prompted: slices that must be shown, as long as they alone are not too many.
        max_tiles: how many at most.

    Returns:
        Indices of slices, ascending, at least one.
    """
    prompted = sorted({int(slice_index) for slice_index in prompted if 0 <= slice_index < len(filled)})
    max_tiles = max(max_tiles, 1)
    where = np.flatnonzero(filled)
    if len(prompted) > max_tiles:
        where, prompted = np.union1d(where, prompted).astype(int), []
    first, last = (max(where[0] - 1, 0), min(where[-1] + 1, len(filled) - 1)) if where.size else (0, len(filled) - 1)
    chosen = set(np.linspace(first, last, min(max_tiles, last - first + 1)).round().astype(int).tolist())
    for slice_index in prompted:
        if slice_index not in chosen and len(chosen) >= max_tiles:
            chosen.remove(min(chosen.difference(prompted), key=lambda other: abs(other - slice_index)))
        chosen.add(slice_index)
    return sorted(chosen)


def png_of(figure: Figure) -> bytes:
    """Return a figure as a PNG file, pixel for pixel, without an alpha channel."""
    canvas = cast(FigureCanvasAgg, figure.canvas)
    canvas.draw()
    picture = Image.fromarray(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[:, :, :3]))
    file = io.BytesIO()
    picture.save(file, format="PNG", dpi=(DPI, DPI))
    return file.getvalue()


def save_png(path: Path | str, figure: Figure) -> None:
    """Write a figure as PNG to exactly ``path``; all or nothing."""
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(png_of(figure)))


def _display_size(shape: tuple[int, int], spacing_mm: Sequence[float] | None) -> tuple[int, int]:
    """Width and height in pixels of a slice on its own: a small one is enlarged, a large one reduced."""
    row_mm, column_mm = (1.0, 1.0) if spacing_mm is None else spacing_mm[:2]
    width, height = shape[1] * column_mm / min(row_mm, column_mm), shape[0] * row_mm / min(row_mm, column_mm)
    longest = max(width, height)
    factor = LARGEST_UNSCALED_SIDE / longest if longest > LARGEST_UNSCALED_SIDE else max(LONGEST_SIDE // longest, 1)
    return max(round(width * factor), 1), max(round(height * factor), 1)


def _grid(tiles: int, shape: tuple[int, int], spacing_mm: Sequence[float] | None) -> tuple[int, int, int, int]:
    """Columns of the grid, width of a cell, width and height of a tile: the largest that fit the sheet."""
    row_mm, column_mm = (1.0, 1.0) if spacing_mm is None else spacing_mm[:2]
    proportion = shape[1] * column_mm / (shape[0] * row_mm)
    best = (1, NARROWEST_CELL, 1, 1)
    for columns in range(1, tiles + 1):
        cell = (SHEET_WIDTH - 2 * MARGIN - MOST_TICKS_LEFT + TILE_GAP) // columns - TILE_GAP
        room = min(GRID_HEIGHT // -(-tiles // columns) - TILE_LABEL_HEIGHT - TILE_GAP, LARGEST_TILE)
        width = int(min(cell, room * proportion))
        if cell >= NARROWEST_CELL and width > best[2]:
            best = (columns, max(width, NARROWEST_CELL), width, max(round(width / proportion), 1))
    return best


def _inches(pixels: float) -> float:
    """Inches that give so many whole pixels; the canvas rounds down, so that they must not fall just short of it."""
    return (round(pixels) + 1e-4) / DPI


def _new_figure(width: float) -> Figure:
    figure = Figure(figsize=(_inches(width), 1.0), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes placed in pixels from the upper left corner, on whole ones so that no grey level is blurred."""
    full_width, full_height = figure.bbox.width, figure.bbox.height
    bottom = full_height - round(top) - height
    return figure.add_axes((round(left) / full_width, bottom / full_height, width / full_width, height / full_height))


def _set_height(figure: Figure, height: float) -> None:
    """Give the figure its height and pull its title and legend to the edges."""
    figure.set_size_inches(figure.get_size_inches()[0], _inches(height))
    for text in figure.texts:
        text.set_y(1.0 - MARGIN / figure.bbox.height)
    for legend in figure.legends:
        legend.set_bbox_to_anchor((0.5, MARGIN / figure.bbox.height), transform=figure.transFigure)


def _title_height(figure: Figure, title: str | None) -> int:
    """Write the title, wrapped to the figure; returns the pixels it takes from the top, margins included."""
    if not title:
        return MARGIN
    text = figure.text(0.5, 1.0, shown_name(title), ha="center", va="top", fontsize=11)
    room, renderer = figure.bbox.width - 2 * MARGIN, cast(FigureCanvasAgg, figure.canvas).get_renderer()
    characters = len(title)
    while text.get_window_extent(renderer).width > room and characters > 8:
        characters = int(characters * 0.9)
        text.set_text("\n".join(map(shown_name, textwrap.wrap(title, characters))))
    return MARGIN + int(np.ceil(text.get_window_extent(renderer).height)) + MARGIN // 2


def _legend_height(figure: Figure, handles: Sequence[Line2D | Patch], text_size: float = TEXT_SIZE) -> int:
    """Put the legend at the bottom, in as few rows as fit; returns the pixels it takes, margins included."""
    if not handles:
        return MARGIN
    renderer = cast(FigureCanvasAgg, figure.canvas).get_renderer()
    for columns in range(len(handles), 0, -1):
        legend = figure.legend(
            handles=handles,
            loc="lower center",
            ncols=columns,
            framealpha=1.0,
            facecolor="#3A3A3A",
            edgecolor="none",
            labelcolor="white",
            fontsize=1.05 * text_size,
            handlelength=1.6,
            columnspacing=1.3,
            borderaxespad=0.0,
        )
        extent = legend.get_window_extent(renderer)
        if extent.width <= figure.bbox.width - 2 * MARGIN or columns == 1:
            break
        legend.remove()
    return MARGIN + int(np.ceil(extent.height)) + MARGIN
