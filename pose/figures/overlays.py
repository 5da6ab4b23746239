"""Figures: overlays of one slice and contact sheets of a volume.

Pictures are laid out in pixels, so that a slice keeps its proportions and text is never cut off; they are drawn by Agg
alone, which needs no display and leaves no state behind.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image

from pose.figures.drawing import STYLE, draw_curve, draw_slice, label_tile, legend_handles
from pose.files.atomic import write_atomically
from pose.prompts.prompt import Prompt

if TYPE_CHECKING:
    from pose.scans.intensity import GreyStack

DPI = 100
MARGIN = 12
LONGEST_SIDE, LARGEST_UNSCALED_SIDE = 768, 1024
NARROWEST_OVERLAY = 420
SHEET_WIDTH, NARROWEST_SHEET, GRID_HEIGHT = 1500, 760, 1080
NARROWEST_CELL, LARGEST_TILE, TILE_LABEL_HEIGHT, TILE_GAP = 152, 480, 19, 8
CURVE_HEIGHT, CURVE_LEFT, CURVE_ABOVE, CURVE_BELOW = 170, 66, 22, 46
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
) -> Figure:
    """Draw a slice with what was found on it, what is true, and what was asked.

    Args:
        grey: (rows, columns) uint8.
        prediction: (rows, columns) bool or labels; filled and outlined, each label on its own.
        truth: (rows, columns) bool or labels; outlined.
        prompts: of this slice. With several objects, each carries its number.
        title: over the picture, wrapped where it is too long.
        legend: name the colours below the picture.
        spacing_mm: (row, column[, slice]) millimetres, for the proportions of the picture; square pixels where None.

    Returns:
        A figure whose size in pixels is its size in inches times its dpi.

    Raises:
        ValueError: prediction or truth has another shape than grey.
    """
    for name, mask in (("prediction", prediction), ("truth", truth)):
        if mask is not None and mask.shape != grey.shape:
            raise ValueError(f"{name} of shape {mask.shape} on a slice of shape {grey.shape}")
    with matplotlib.rc_context(STYLE):
        width, height = _display_size(grey.shape, spacing_mm)
        figure = _new_figure(max(width, NARROWEST_OVERLAY) + 2 * MARGIN)
        above = _title_height(figure, title)
        below = _legend_height(figure, legend_handles(prediction, truth, prompts) if legend else [])
        _set_height(figure, above + height + below)
        axes = _axes_at(figure, (figure.bbox.width - width) / 2, above, width, height)
        draw_slice(axes, grey, prediction, truth, prompts, (width, height))
    return figure


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
    prompts: Sequence[Prompt] = (),
    title: str | None = None,
    max_tiles: int = 24,
    spacing_mm: Sequence[float] | None = None,
) -> Figure:
    """Draw a volume at a glance: a grid of slices with contours, and below it a curve over all slices.

    The curve is the Dice of each slice where it is given, and the number of voxels otherwise. Slices on which something
    was predicted without any ground truth are marked in it.

    Args:
        grey: uint8 slices of (rows, columns).
        prediction: (rows, columns, slices) labels.
        truth: (rows, columns, slices) labels.
        dice_per_slice: one for each slice; None or NaN where it is undefined.
        prompts: on any slices.
        title: over the sheet.
        max_tiles: how many slices are shown at most, see :func:`choose_slices`.
        spacing_mm: (row, column[, slice]) millimetres, for the proportions of the slices.

    Raises:
        ValueError: shapes or lengths that do not fit each other.
    """
    slices = len(grey)
    if prediction.ndim != 3 or prediction.shape[2] != slices:
        raise ValueError(f"prediction of shape {prediction.shape} for {slices} slices")
    if truth is not None and truth.shape != prediction.shape:
        raise ValueError(f"truth of shape {truth.shape} for a prediction of shape {prediction.shape}")
    if dice_per_slice is not None and len(dice_per_slice) != slices:
        raise ValueError(f"{len(dice_per_slice)} values of Dice for {slices} slices")

    curves = {"predicted": _voxels_by_slice(prediction)}
    if truth is not None:
        curves["true"] = _voxels_by_slice(truth)
    if dice_per_slice is not None:
        curves["dice"] = np.array([np.nan if dice is None else dice for dice in dice_per_slice], dtype=float)
    false = (curves["predicted"] > 0) & (curves.get("true", np.ones(slices)) == 0)
    prompted = sorted({prompt.slice for prompt in prompts})
    marked = prompted if len(prompted) <= max(MOST_MARKED_SLICES, slices // 3) else []
    chosen = choose_slices((curves["predicted"] > 0) | (curves.get("true", 0) > 0), prompted, max_tiles)
    with matplotlib.rc_context(STYLE):
        columns, cell, width, height = _grid(len(chosen), prediction.shape[:2], spacing_mm)
        row_height, column_width = TILE_LABEL_HEIGHT + height + TILE_GAP, cell + TILE_GAP
        figure = _new_figure(max(NARROWEST_SHEET, columns * column_width - TILE_GAP + 2 * MARGIN))
        above = _title_height(figure, title)
        shown = [prompt for prompt in prompts if prompt.slice in chosen]
        below = _legend_height(figure, legend_handles(prediction, truth, shown, bool(marked), bool(false.any())))
        curve_top = above + -(-len(chosen) // columns) * row_height + CURVE_ABOVE
        _set_height(figure, curve_top + CURVE_HEIGHT + CURVE_BELOW + below)

        grid_left = (figure.bbox.width - columns * column_width + TILE_GAP + cell - width) / 2
        for number, index in enumerate(chosen):
            row, column = divmod(number, columns)
            left, top = grid_left + column * column_width, above + row * row_height + TILE_LABEL_HEIGHT
            axes = _axes_at(figure, left, top, width, height)
            here = [prompt for prompt in prompts if prompt.slice == index]
            slice_truth = None if truth is None else truth[:, :, index]
            slice_grey, size = np.asarray(grey[index]), (width, height)
            draw_slice(axes, slice_grey, prediction[:, :, index], slice_truth, here, size, tile=True)
            label_tile(axes, index, curves.get("dice"), index in marked)
        curve = _axes_at(figure, CURVE_LEFT, curve_top, figure.bbox.width - CURVE_LEFT - MARGIN, CURVE_HEIGHT)
        draw_curve(curve, **curves, false=false, marked=marked)
        if len(prompted) > len(marked):
            curve.set_xlabel(f"slice ({len(prompted)} of {slices} prompted)")
    return figure


def _voxels_by_slice(labels: np.ndarray) -> np.ndarray:
    # slice by slice: with an axis, numpy makes a copy of the volume as bool
    return np.array([np.count_nonzero(labels[:, :, index]) for index in range(labels.shape[2])])


def choose_slices(filled: np.ndarray, prompted: Sequence[int], max_tiles: int) -> list[int]:
    """Choose which slices to show, evenly over those that hold anything and one more at either end.

    Args:
        filled: (slices,) bool, whether a slice holds anything.
        prompted: slices that must be shown, as long as they alone are not too many.
        max_tiles: how many at most.

    Returns:
        Indices of slices, ascending, at least one.
    """
    prompted = sorted({int(index) for index in prompted if 0 <= index < len(filled)})
    max_tiles = max(max_tiles, 1)
    where = np.flatnonzero(filled)
    if len(prompted) > max_tiles:
        where, prompted = np.union1d(where, prompted).astype(int), []
    first, last = (max(where[0] - 1, 0), min(where[-1] + 1, len(filled) - 1)) if where.size else (0, len(filled) - 1)
    chosen = set(np.linspace(first, last, min(max_tiles, last - first + 1)).round().astype(int).tolist())
    for index in prompted:
        if index not in chosen and len(chosen) >= max_tiles:
            chosen.remove(min(chosen.difference(prompted), key=lambda other: abs(other - index)))
        chosen.add(index)
    return sorted(chosen)


def png_of(figure: Figure) -> bytes:
    """Return a figure as a PNG file, pixel for pixel, without an alpha channel."""
    canvas = figure.canvas
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
        cell = (SHEET_WIDTH - 2 * MARGIN + TILE_GAP) // columns - TILE_GAP
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
    text = figure.text(0.5, 1.0, title, ha="center", va="top", fontsize=11, parse_math=False)
    room, renderer = figure.bbox.width - 2 * MARGIN, figure.canvas.get_renderer()
    characters = len(title)
    while text.get_window_extent(renderer).width > room and characters > 8:
        characters = int(characters * 0.9)
        text.set_text("\n".join(textwrap.wrap(title, characters)))
    return MARGIN + int(np.ceil(text.get_window_extent(renderer).height)) + MARGIN // 2


def _legend_height(figure: Figure, handles: Sequence[Line2D | Patch]) -> int:
    """Put the legend at the bottom, in as few rows as fit; returns the pixels it takes, margins included."""
    if not handles:
        return MARGIN
    renderer = figure.canvas.get_renderer()
    for columns in range(len(handles), 0, -1):
        legend = figure.legend(
            handles=handles,
            loc="lower center",
            ncols=columns,
            framealpha=1.0,
            facecolor="#3A3A3A",
            edgecolor="none",
            labelcolor="white",
            fontsize=9.5,
            handlelength=1.6,
            columnspacing=1.3,
            borderaxespad=0.0,
        )
        extent = legend.get_window_extent(renderer)
        if extent.width <= figure.bbox.width - 2 * MARGIN or columns == 1:
            break
        legend.remove()
    return MARGIN + int(np.ceil(extent.height)) + MARGIN
