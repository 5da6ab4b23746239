"""Drawing: colours and marks of the figures: a slice, outlines of masks, prompts, a curve over the slices, a legend.

Colours are Okabe and Ito's, which the colour-blind can tell apart; where two lines coincide, width tells them apart as
well. Coordinates on a slice are columns and rows, whole numbers at the middle of a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.patheffects import Normal, withStroke
from matplotlib.ticker import EngFormatter, MaxNLocator
from PIL import Image

from pose.prompts.prompt import Prompt

PREDICTION = "#56B4E9"
PREDICTION_ON_WHITE = "#0072B2"
TRUTH = "#E69F00"
POSITIVE = "#009E73"
NEGATIVE = "#D55E00"
BOX = "#F0E442"
PROMPTED = "#CC79A7"
FILL_ALPHA = 0.28
POINTS = {"positive point": ("*", 14.0, POSITIVE), "negative point": ("X", 9.0, NEGATIVE)}
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.usetex": False,
    "text.color": "black",
    "figure.facecolor": "white",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.grid": False,
}


def draw_slice(
    axes: Axes,
    grey: np.ndarray,
    prediction: np.ndarray | None,
    truth: np.ndarray | None,
    prompts: Sequence[Prompt],
    size: tuple[int, int],
    tile: bool = False,
    smooth: bool = False,
) -> None:
    """Fill the axes with a slice, what was found on it, what is true and what was asked.

    Args:
        axes: what to draw on.
        grey: (rows, columns) uint8.
        prediction: (rows, columns) bool or labels.
        truth: (rows, columns) bool or labels.
        prompts: of this slice.
        size: width and height of the axes in pixels; what is larger is reduced before it is drawn.
        tile: draw finer lines and smaller marks.
        smooth: enlarge grey levels smoothly, instead of pixels as squares.
    """
    (rows, columns), (width, height) = grey.shape, size
    look = {"extent": (-0.5, columns - 0.5, rows - 0.5, -0.5), "aspect": "auto", "interpolation": "nearest"}
    row_at, column_at = (
        np.minimum((np.arange(min(shown, there)) + 0.5) * there / min(shown, there), there - 1).astype(int)
        for shown, there in ((height, rows), (width, columns))
    )
    if width < columns or height < rows:
        grey = np.asarray(Image.fromarray(grey).resize((len(column_at), len(row_at)), Image.Resampling.BOX))
    elif smooth:
        grey = np.asarray(Image.fromarray(grey).resize((width, height), Image.Resampling.BICUBIC))
    # As RGB, because a colour map rounds some of the grey levels.
    axes.imshow(np.repeat(grey[:, :, None], 3, axis=2), **look)
    axes.set_axis_off()
    if prediction is not None:
        fill = np.zeros((len(row_at), len(column_at), 4), dtype=np.uint8)
        colour = [round(255 * part) for part in (*to_rgb(PREDICTION), FILL_ALPHA)]
        fill[prediction[np.ix_(row_at, column_at)] > 0] = colour
        axes.imshow(fill, **look)
    # The truth is wide and below, the prediction narrow and above: both are seen where they agree.
    scale = 0.65 if tile else 1.0
    for mask, colour, linewidth, order in ((truth, TRUTH, 3.2, 3), (prediction, PREDICTION, 1.2, 4)):
        if mask is not None:
            _draw_boundary(axes, mask, colour, linewidth * scale, order)
    several = len({prompt.object_id for prompt in prompts}) > 1
    for prompt in prompts:
        _draw_prompt(axes, prompt, scale, several and not tile)
    axes.set(xlim=look["extent"][:2], ylim=look["extent"][2:])


def _draw_prompt(axes: Axes, prompt: Prompt, scale: float, numbered: bool) -> None:
    if prompt.mask is not None:
        _draw_boundary(axes, prompt.mask, BOX, 1.4 * scale, 5)
    for kind, points in (("positive point", prompt.positive_points), ("negative point", prompt.negative_points)):
        if points:
            rows, columns = zip(*points, strict=True)
            axes.add_line(_point_handle(kind, scale, (columns, rows)))
    anchor = None
    if prompt.box is not None:
        row_min, column_min, row_max, column_max = prompt.box
        anchor = (column_min - 0.5, row_min - 0.5)
        size = (column_max - column_min + 1, row_max - row_min + 1)
        under = {"linestyle": "-", "edgecolor": "black", "alpha": 0.55, "linewidth": 2.4 * scale}
        over = {"linestyle": (0, (5, 3)), "edgecolor": BOX, "linewidth": 1.6 * scale}
        for look in (under, over):
            axes.add_patch(Rectangle(anchor, *size, facecolor="none", clip_on=False, zorder=5, **look))
    if prompt.positive_points:
        anchor = (prompt.positive_points[0][1], prompt.positive_points[0][0])
    if numbered and anchor is not None:
        axes.annotate(
            str(prompt.object_id),
            anchor,
            xytext=(7, -7),
            textcoords="offset points",
            fontsize=10,
            color="white",
            va="top",
            zorder=7,
            path_effects=[withStroke(linewidth=2.4, foreground="black")],
        )


def _point_handle(kind: str, scale: float = 1.0, at: tuple[Sequence[float], Sequence[float]] = ((), ())) -> Line2D:
    """Markers for points: colour and shape both tell positive from negative, a white and a black edge lift them off."""
    marker, size, colour = POINTS[kind]
    return Line2D(
        *at,
        linestyle="none",
        marker=marker,
        markersize=size * scale,
        markerfacecolor=colour,
        markeredgecolor="white",
        markeredgewidth=0.5 + 0.5 * scale,
        label=kind,
        clip_on=False,
        zorder=6,
        path_effects=[withStroke(linewidth=1.2 + 1.6 * scale, foreground="black"), Normal()],
    )


def _draw_boundary(axes: Axes, mask: np.ndarray, colour: str, linewidth: float, order: int) -> None:
    """Outline every label along the edges of its pixels, the picture's own edge included."""
    labels = np.pad(np.asarray(mask), 1)
    line, start, stop = _runs(labels[1:, 1:-1] != labels[:-1, 1:-1])
    level = np.stack((start, line, stop, line), axis=-1)
    line, start, stop = _runs((labels[1:-1, 1:] != labels[1:-1, :-1]).T)
    segments = np.concatenate((level, np.stack((line, start, line, stop), axis=-1))).reshape(-1, 2, 2) - 0.5
    # One path for all of them: a ragged mask has ten thousand, and as objects of their own they take seconds.
    path = Path(segments.reshape(-1, 2), np.tile((Path.MOVETO, Path.LINETO), len(segments)).astype(Path.code_type))
    # The dark rims of all lines lie below all lines, so that none hides another.
    for look, wider, alpha, layer in (("black", 1.0, 0.45, 2), (colour, 0.0, 1.0, order)):
        lines = PathPatch(path, fill=False, edgecolor=look, alpha=alpha, zorder=layer, linewidth=linewidth + wider)
        lines.set(capstyle="projecting", clip_on=False)
        axes.add_artist(lines)


def _runs(change: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, start and stop (exclusive) of every run of True in the rows of a (rows, columns) array."""
    edges = np.diff(np.pad(change.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    line, start = np.nonzero(edges == 1)
    return line, start, np.nonzero(edges == -1)[1]


def label_tile(axes: Axes, index: int, dice: np.ndarray | None, marked: bool) -> None:
    """Write the slice and its Dice over a tile; frame the tile where its slice is marked."""
    label = f"slice {index}"
    if dice is not None:
        label += " · Dice –" if np.isnan(dice[index]) else f" · Dice {dice[index]:.3f}"
    axes.set_title(label, fontsize=8.5, pad=3.5, fontweight="bold" if marked else "normal")
    if marked:
        frame = {"transform": axes.transAxes, "facecolor": "none", "edgecolor": PROMPTED, "linewidth": 2.5}
        axes.add_patch(Rectangle((0, 0), 1, 1, clip_on=False, zorder=8, **frame))


def draw_curve(
    axes: Axes,
    predicted: np.ndarray,
    true: np.ndarray | None = None,
    dice: np.ndarray | None = None,
    *,
    false: np.ndarray,
    marked: Sequence[int],
) -> None:
    """Draw the Dice of each slice, or its voxels where there is none.

    Args:
        axes: what to draw on.
        predicted: (slices,) voxels of the prediction.
        true: (slices,) voxels of the ground truth.
        dice: (slices,) from 0 to 1, NaN where it is undefined.
        false: (slices,) bool, slices with a prediction and no ground truth.
        marked: slices to mark by a line.
    """
    index = np.arange(len(predicted))
    line = {"marker": ".", "markersize": 5, "clip_on": False}
    for where in marked:
        axes.axvline(where, color=PROMPTED, linewidth=2.5, zorder=1)
    if dice is not None:
        axes.plot(index, dice, color=PREDICTION_ON_WHITE, linewidth=1.6, zorder=3, **line)
        axes.set(ylim=(0.0, 1.0), ylabel="Dice")
        defined = dice[np.isfinite(dice)]
        if defined.size:
            axes.set_title(f"mean {defined.mean():.3f}, slices: {defined.size}", loc="right", fontsize=8.5, pad=3.5)
    else:
        if true is not None:
            axes.plot(index, true, color=TRUTH, linewidth=3.2, zorder=2, **line)
        axes.plot(index, predicted, color=PREDICTION_ON_WHITE, linewidth=1.6, zorder=3, **line)
        axes.set(ylim=(0, 1.05 * max(predicted.max(), 4, 0 if true is None else true.max())), ylabel="voxels")
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.plot(index[false], np.zeros(false.sum()), "x", color=NEGATIVE, markersize=6, clip_on=False, zorder=4)
    axes.set(xlim=(-0.5, len(index) - 0.5), xlabel="slice")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=20, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=dice is None))
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)


def legend_handles(
    prediction: Any, truth: Any, prompts: Sequence[Prompt], prompted: bool = False, false: bool = False
) -> list[Line2D | Patch]:
    """What the legend names: only what is drawn."""
    fill = Patch(facecolor=(*to_rgb(PREDICTION), FILL_ALPHA), edgecolor=PREDICTION, linewidth=1.8, label="prediction")
    named = (
        (prediction is not None, fill),
        (truth is not None, Line2D([], [], color=TRUTH, linewidth=3.0, label="ground truth")),
        (any(prompt.positive_points for prompt in prompts), _point_handle("positive point")),
        (any(prompt.negative_points for prompt in prompts), _point_handle("negative point")),
        (
            any(prompt.box is not None for prompt in prompts),
            Line2D([], [], color=BOX, linewidth=1.8, linestyle=(0, (3, 1.5)), label="box"),
        ),
        (
            any(prompt.mask is not None for prompt in prompts),
            Line2D([], [], color=BOX, linewidth=1.8, label="mask prompt"),
        ),
        (prompted, Line2D([], [], color=PROMPTED, linewidth=2.5, label="prompted slice")),
        (false, Line2D([], [], color=NEGATIVE, linestyle="none", marker="x", label="predicted without ground truth")),
    )
    return [handle for drawn, handle in named if drawn]
