"""Drawing: colours and marks of the figures: a slice, outlines of masks, prompts, a curve over the slices, a legend.

Colours are Okabe and Ito's, which the colour-blind can tell apart; where two lines coincide, width tells them apart as
well. Of several objects each has a colour of its own, and its number on a large picture. Coordinates on a slice are
columns and rows, whole numbers at the middle of a pixel, of the slice as it is drawn; ticks say which rows and columns
of the array these are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.markers import TICKDOWN, TICKLEFT, MarkerStyle
from matplotlib.patches import Patch, PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.patheffects import Normal, withStroke
from matplotlib.ticker import EngFormatter, MaxNLocator
from PIL import Image

from pose.figures.upright import Edges, Turn
from pose.prompts.prompt import Prompt
from pose.prompts.regions import Region

PREDICTION = "#56B4E9"
PREDICTION_ON_WHITE = "#0072B2"
TRUTH = "#E69F00"
POSITIVE = "#009E73"
NEGATIVE = "#D55E00"
BOX = "#F0E442"
PROMPTED = "#CC79A7"
TICK = "#444444"
FILL_ALPHA = 0.28
# Of several objects, as lines on a slice and on white paper; none is near the colour of the truth or of a prompt.
OBJECTS = (
    (PREDICTION, PREDICTION_ON_WHITE),
    ("#FF5A8A", "#C2185B"),
    ("#A6E34B", "#4F8A10"),
    ("#B79CFF", "#6A3FC8"),
    ("#2EE6B0", "#00857A"),
    ("#E8A98A", "#8A5A3C"),
    ("#FFFFFF", "#333333"),
)
OTHER_OBJECTS = ("#B0B0B0", "#8A8A8A")
POINTS = {"positive point": ("*", 14.0, POSITIVE), "negative point": ("X", 9.0, NEGATIVE)}
STYLE: dict[str, Any] = {
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


@dataclass(frozen=True)
class Look:
    """How what was predicted for an object is drawn.

    Attributes:
        name: its entry in the legend.
        on_slice: its colour on grey levels.
        on_paper: its colour on white.
    """

    name: str
    on_slice: str
    on_paper: str


def looks_of(objects: Sequence[int]) -> dict[int, Look]:
    """Return the look of each object: of a single one that of a prediction, and the last of very many share one."""
    objects = sorted(set(objects))
    if len(objects) < 2:
        return {number: Look("prediction", *OBJECTS[0]) for number in objects or (1,)}
    own = objects if len(objects) <= len(OBJECTS) else objects[: len(OBJECTS)]
    looks = {number: Look(f"object {number}", *colours) for number, colours in zip(own, OBJECTS)}
    others = Look(f"{len(objects) - len(own)} other objects", *OTHER_OBJECTS)
    return {**looks, **dict.fromkeys(objects[len(own) :], others)}


def parts_of(labels: np.ndarray, looks: Mapping[int, Look]) -> dict[Look, np.ndarray]:
    """Return the labels of a slice, (rows, columns), of each look that it has; all that is not 0 where there is one."""
    if len(looks) == 1:
        return {look: labels for look in looks.values() if labels.any()}
    found: dict[Look, np.ndarray] = {}
    for number, look in looks.items():
        if (here := labels == number).any():
            found[look] = np.where(here, labels, found.get(look, 0)).astype(labels.dtype, copy=False)
    return found


def draw_slice(
    axes: Axes,
    grey: np.ndarray,
    prediction: np.ndarray | None,
    truth: np.ndarray | None,
    prompts: Sequence[Prompt],
    size: tuple[int, int],
    looks: Mapping[int, Look] | None = None,
    tile: bool = False,
    smooth: bool = False,
    text_size: float = 9.0,
) -> None:
    """Fill the axes with a slice, what was found on it, what is true and what was asked.

    Args:
        axes: what to draw on.
        grey: (rows, columns) uint8.
        prediction: (rows, columns) bool or labels.
        truth: (rows, columns) bool or labels.
        prompts: of this slice.
        size: width and height of the axes in pixels; what is larger is reduced before it is drawn.
        looks: of each object of ``prediction``; None where there is one.
        tile: draw finer lines and smaller marks.
        smooth: enlarge grey levels smoothly, instead of pixels as squares.
        text_size: of the numbers of objects, in points.
    """
    (rows, columns), (width, height) = grey.shape, size
    # above the ticks, whose ends would else cover pixels of the rim
    look: dict[str, Any] = {
        "extent": (-0.5, columns - 0.5, rows - 0.5, -0.5),
        "aspect": "auto",
        "interpolation": "nearest",
        "zorder": 1,
    }
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
    looks = looks or looks_of(())
    parts = {} if prediction is None else parts_of(prediction, looks)
    fill = np.zeros((len(row_at), len(column_at), 4), dtype=np.uint8)
    for part, mask in parts.items():
        colour = [round(255 * channel) for channel in (*to_rgb(part.on_slice), FILL_ALPHA)]
        fill[mask[np.ix_(row_at, column_at)] > 0] = colour
    if parts:
        axes.imshow(fill, **look)
    # The truth is wide and below, the prediction narrow and above: both are seen where they agree.
    scale = 0.65 if tile else 1.0
    if truth is not None:
        _draw_boundary(axes, truth, TRUTH, 3.2 * scale, 3)
    for part, mask in parts.items():
        _draw_boundary(axes, mask, part.on_slice, 1.2 * scale, 4)
    several = len(looks) > 1 or len({prompt.object_id for prompt in prompts}) > 1
    for prompt in prompts:
        _draw_prompt(axes, prompt, scale, text_size if several and not tile else None)
    if prediction is not None and len(looks) > 1 and not tile:
        for number in set(looks).difference(prompt.object_id for prompt in prompts):
            if (here := prediction == number).any():
                row, column = Region.of(here).point()
                _number(axes, number, (column, row), (0, 0), text_size, ha="center", va="center")
    axes.set(xlim=look["extent"][:2], ylim=look["extent"][2:])


def draw_ticks(
    axes: Axes,
    shape: tuple[int, int],
    turn: Turn,
    size: tuple[int, int],
    text_size: float,
    labelled: tuple[bool, bool] = (True, True),
) -> None:
    """Mark rows and columns along the left and the lower edge of a slice, with the numbers that prompts use.

    Args:
        axes: that the turned slice fills.
        shape: (rows, columns) before the turn.
        turn: how the slice was turned.
        size: width and height of the axes in pixels.
        text_size: of numbers, in points.
        labelled: whether there are numbers at the left, and below.
    """
    if any(labelled):
        axes.set_axis_on()
        axes.set_axisbelow(True)
        axes.spines[:].set_visible(False)
    pixels_per_letter = axes.figure.dpi / 72 * text_size
    length_of_tick, width_of_tick = 0.35 * text_size, 0.08 * text_size
    names = ("column", "row") if turn.transpose else ("row", "column")
    for axis, numbers, length, name, numbered in zip(
        (axes.yaxis, axes.xaxis), turn.places(shape), size[::-1], names, labelled
    ):
        places = np.flatnonzero(numbers % tick_step(len(numbers), length / pixels_per_letter) == 0)
        if not numbered:
            axis.set_visible(False)
            _mark_places(axes, places, axis is axes.yaxis, length_of_tick, width_of_tick)
            continue
        axis.set_ticks(places, [str(numbers[place]) for place in places], fontsize=text_size)
        axis.set_tick_params(length=length_of_tick, pad=0.2 * text_size, width=width_of_tick, color=TICK)
        axis.set_label_text(name, fontsize=text_size)
        axis.labelpad = 0.15 * text_size


def _mark_places(axes: Axes, places: np.ndarray, at_left: bool, length: float, width: float) -> None:
    """Draw ticks without numbers as one line of marks: as objects of an axis, each takes milliseconds."""
    edge = np.zeros(len(places))
    marks = Line2D(
        edge if at_left else places,
        places if at_left else edge,
        linestyle="none",
        marker=MarkerStyle(TICKLEFT if at_left else TICKDOWN),
        markersize=length,
        markeredgewidth=width,
        color=TICK,
        clip_on=False,
        zorder=0.5,
        transform=axes.get_yaxis_transform() if at_left else axes.get_xaxis_transform(),
    )
    axes.add_artist(marks)


def tick_step(count: int, letters: float) -> int:
    """Return how far apart ticks are on an axis of ``count`` pixels with room for so many letters: 1, 2 or 5 tens."""
    most = max(letters / 4, 1)
    steps = (factor * 10**power for power in range(len(str(count)) + 1) for factor in (1, 2, 5))
    return next(step for step in steps if count / step <= most or step >= count)


def draw_edges(axes: Axes, edges: Edges, text_size: float, all_four: bool = True) -> None:
    """Write inside the edges of a picture where in the patient they lie: on a small one, the upper and left alone."""
    at = {"top": (0.5, 1.0), "bottom": (0.5, 0.0), "left": (0.0, 0.5), "right": (1.0, 0.5)}
    for name, (x, y) in at.items():
        if all_four or name in ("top", "left"):
            axes.annotate(
                getattr(edges, name),
                (x, y),
                xycoords="axes fraction",
                xytext=(0.4 * text_size * (1 - 2 * x), 0.3 * text_size * (1 - 2 * y)),
                textcoords="offset points",
                ha={0.0: "left", 0.5: "center", 1.0: "right"}[x],
                va={0.0: "bottom", 0.5: "center", 1.0: "top"}[y],
                fontsize=text_size,
                fontweight="bold",
                color="white",
                zorder=9,
                path_effects=[withStroke(linewidth=0.22 * text_size, foreground="black")],
            )


def _draw_prompt(axes: Axes, prompt: Prompt, scale: float, text_size: float | None) -> None:
    """Draw a prompt, and its object's number where a text has a size."""
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
        under: dict[str, Any] = {"linestyle": "-", "edgecolor": "black", "alpha": 0.55, "linewidth": 2.4 * scale}
        over: dict[str, Any] = {"linestyle": (0, (5, 3)), "edgecolor": BOX, "linewidth": 1.6 * scale}
        for look in (under, over):
            axes.add_patch(Rectangle(anchor, *size, facecolor="none", clip_on=False, zorder=5, **look))
    if prompt.positive_points:
        anchor = (prompt.positive_points[0][1], prompt.positive_points[0][0])
    if text_size is not None and anchor is not None:
        _number(axes, prompt.object_id, anchor, (7, -7), text_size, va="top")


def _number(
    axes: Axes, number: int, at: tuple[float, float], offset: tuple[int, int], size: float, **aligned: Any
) -> None:
    axes.annotate(
        str(number),
        at,
        xytext=offset,
        textcoords="offset points",
        fontsize=1.1 * size,
        color="white",
        zorder=7,
        path_effects=[withStroke(linewidth=0.27 * size, foreground="black")],
        **aligned,
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
    mask = np.asarray(mask)
    down, across = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = tuple(slice(line[0], line[-1] + 1) if line.size else slice(0, 0) for line in (down, across))
    labels = np.pad(mask[box], 1)
    line, start, stop = _runs(labels[1:, 1:-1] != labels[:-1, 1:-1])
    level = np.stack((start, line, stop, line), axis=-1)
    line, start, stop = _runs((labels[1:-1, 1:] != labels[1:-1, :-1]).T)
    segments = np.concatenate((level, np.stack((line, start, line, stop), axis=-1))).reshape(-1, 2, 2)
    segments = segments + [box[1].start, box[0].start] - 0.5
    # One path for all of them: a ragged mask has ten thousand, and as objects of their own they take seconds.
    path = Path(segments.reshape(-1, 2), np.tile((Path.MOVETO, Path.LINETO), len(segments)).astype(Path.code_type))
    # The dark rims of all lines lie below all lines, so that none hides another.
    for look, wider, alpha, layer in (("black", 1.0, 0.45, 2), (colour, 0.0, 1.0, order)):
        lines = PathPatch(path, fill=False, edgecolor=look, alpha=alpha, zorder=layer, linewidth=linewidth + wider)
        lines.set(capstyle="projecting", clip_on=False)
        axes.add_artist(lines)


def _runs(change: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, start and stop (exclusive) of every run of True in the rows of a (rows, columns) array."""
    edges = np.zeros((change.shape[0], change.shape[1] + 1), dtype=bool)
    edges[:, :-1] = change
    edges[:, 1:] ^= change
    # in each row starts and stops take turns
    line, place = np.divmod(np.flatnonzero(edges), edges.shape[1])
    return line[::2], place[::2], place[1::2]


def label_tile(axes: Axes, slice_index: int, dice: np.ndarray | None, marked: bool) -> None:
    """Write the slice and its Dice over a tile; frame the tile where its slice is marked."""
    label = f"slice {slice_index}"
    if dice is not None:
        label += " · Dice –" if np.isnan(dice[slice_index]) else f" · Dice {dice[slice_index]:.3f}"
    axes.set_title(label, fontsize=8.5, pad=3.5, fontweight="bold" if marked else "normal")
    if marked:
        frame: dict[str, Any] = {
            "transform": axes.transAxes,
            "facecolor": "none",
            "edgecolor": PROMPTED,
            "linewidth": 2.5,
        }
        axes.add_patch(Rectangle((0, 0), 1, 1, clip_on=False, zorder=8, **frame))


@dataclass(frozen=True)
class Curve:
    """A value of each slice for an object.

    Attributes:
        look: of the object.
        predicted: (slices,) voxels of the prediction.
        true: (slices,) voxels of the ground truth, where it is known of this object.
        dice: (slices,) from 0 to 1, NaN where it is undefined; None where there is none.
    """

    look: Look
    predicted: np.ndarray
    true: np.ndarray | None = None
    dice: np.ndarray | None = None


def draw_curves(axes: Axes, curves: Sequence[Curve], *, false: np.ndarray, marked: Sequence[int], score: str) -> None:
    """Draw the Dice of each slice, or, unless all objects have one, the voxels.

    Args:
        axes: what to draw on.
        curves: one for each object.
        false: (slices,) bool, slices with a prediction and no ground truth.
        marked: slices to mark by a line.
        score: what is to be said over the curve.
    """
    slices = np.arange(len(false))
    line: dict[str, Any] = {"marker": ".", "markersize": 5, "clip_on": False}
    for where in marked:
        axes.axvline(where, color=PROMPTED, linewidth=2.5, zorder=1)
    scored = all(curve.dice is not None for curve in curves)
    if scored:
        axes.set(ylim=(0.0, 1.0), ylabel="Dice")
    else:
        counts = [part for curve in curves for part in (curve.predicted, curve.true) if part is not None]
        axes.set(ylim=(0, 1.05 * max(4, *(part.max() for part in counts))), ylabel="voxels")
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    for curve in curves:
        if not scored and curve.true is not None:
            axes.plot(slices, curve.true, color=TRUTH, linewidth=3.2, zorder=2, **line)
        values = curve.predicted if curve.dice is None or not scored else curve.dice
        axes.plot(slices, values, color=curve.look.on_paper, linewidth=1.6, zorder=3, **line)
    axes.set_title(score, loc="right", fontsize=8.5, pad=3.5)
    axes.plot(slices[false], np.zeros(false.sum()), "x", color=NEGATIVE, markersize=6, clip_on=False, zorder=4)
    axes.set(xlim=(-0.5, len(slices) - 0.5), xlabel="slice")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=20, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=not scored))
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)


def legend_handles(
    looks: Mapping[int, Look], truth: bool, prompts: Sequence[Prompt], prompted: bool = False, false: bool = False
) -> list[Line2D | Patch]:
    """What the legend names: only what is drawn."""
    fills = [
        Patch(facecolor=(*to_rgb(look.on_slice), FILL_ALPHA), edgecolor=look.on_slice, linewidth=1.8, label=look.name)
        for look in dict.fromkeys(looks.values())
    ]
    named = (
        (truth, Line2D([], [], color=TRUTH, linewidth=3.0, label="ground truth")),
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
    return [*fills, *(handle for drawn, handle in named if drawn)]
