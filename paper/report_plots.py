"""The plots of a report, as PNG: box plots of scores, Dice of each volume, and Dice by distance from the prompt."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper.report_data import Results, distance_edges, quartiles
from pose.plots import SERIES, new_plot

DPI = 150
SCORES = (("jaccard", "Jaccard"), ("dice", "Dice"), ("sam_score", "SAM score"))
# So many volumes have room for their names below a plot.
MOST_NAMED_VOLUMES = 60
BOX = {
    "patch_artist": True, "widths": 0.62, "medianprops": {"color": "black", "linewidth": 1.4},
    "flierprops": {"marker": ".", "markersize": 3, "markerfacecolor": "#444444", "markeredgecolor": "none", "alpha": 0.6},
}  # fmt: skip


def png_of(figure: Figure) -> bytes:
    """Return a plot as a PNG file of few colours; the same plot is the same file."""
    from PIL import Image

    file, reduced = io.BytesIO(), io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    Image.open(file).convert("RGB").quantize(128).save(reduced, format="PNG", optimize=True)
    return reduced.getvalue()


def scores(sets: Sequence[Results]) -> bytes:
    """Draw a box for each score and folder, over the slices of all its volumes; slices that score 0 are in them."""
    shown = [(metric, name) for metric, name in SCORES if any(_has(one, metric) for one in sets)]
    with new_plot(160, 42 + 7 * len(shown) * len(sets)) as figure:
        axes = figure.add_subplot()
        for row, (metric, _) in enumerate(shown):
            for number, one in enumerate(sets):
                at = row * (len(sets) + 1) + number
                if _has(one, metric):
                    _box(axes, one.slices[metric].dropna(), at, SERIES[number % len(SERIES)], vertical=False)
        middle = (len(sets) - 1) / 2
        axes.set_yticks([row * (len(sets) + 1) + middle for row in range(len(shown))], [name for _, name in shown])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("score of a slice")
        _finish(figure, axes, sets, "x")
        return png_of(figure)


def volumes(sets: Sequence[Results]) -> bytes:
    """Draw the Dice of the slices of each volume as a box, worst volume first; without names where there are many."""
    with new_plot(160, 78 * len(sets)) as figure:
        for number, (axes, one) in enumerate(zip(np.ravel(figure.subplots(len(sets), 1, squeeze=False)), sets)):
            grouped = {image: table["dice"].dropna() for image, table in one.slices.groupby("image")}
            ordered = sorted((name for name in grouped if len(grouped[name])), key=lambda name: grouped[name].mean())
            for at, image in enumerate(ordered):
                _box(axes, grouped[image], at, SERIES[number % len(SERIES)], vertical=True)
            if len(ordered) <= MOST_NAMED_VOLUMES:
                size = 8.0 if len(ordered) <= 25 else 5.5
                axes.set_xticks(range(len(ordered)), ordered, rotation=90, fontsize=size)
            else:
                axes.set_xticks([])
                axes.set_xlabel(f"{len(ordered)} volumes by their mean Dice")
            axes.set(ylabel="Dice", title=one.name, xlim=(-0.7, max(len(ordered), 1) - 0.3))
            _scale(axes, "y")
        return png_of(figure)


def by_distance(sets: Sequence[Results]) -> bytes:
    """Draw the median of Dice, and the range between its quartiles, over the distance from the prompted slice."""
    tables = [one.distances for one in sets]
    edges = distance_edges(max((table["distance_mm"].max() for table in tables if len(table)), default=0.0))
    with new_plot(160, 90) as figure:
        axes = figure.add_subplot()
        for number, (one, table) in enumerate(zip(sets, tables)):
            if not len(table):
                continue
            colour = SERIES[number % len(SERIES)]
            bins = table.groupby(np.searchsorted(edges, table["distance_mm"] - 1e-9))
            at = [0.0 if not index else (edges[index - 1] + edges[index]) / 2 for index, _ in bins]
            first, median, third = np.array([quartiles(group["dice"]) for _, group in bins]).T
            axes.plot(table["distance_mm"], table["dice"], ".", color=colour, alpha=0.3, markersize=4, zorder=1)
            axes.fill_between(at, first, third, color=colour, alpha=0.2, linewidth=0, zorder=2)
            axes.plot(at, median, "o-", color=colour, markersize=4, linewidth=1.6, zorder=3, label=one.name)
        axes.set_xlabel("distance from the nearest prompted slice (mm)")
        axes.set_ylabel("Dice")
        axes.set_xlim(-edges[-1] * 0.015, edges[-1] * 1.015 or 1.0)
        _scale(axes, "y")
        axes.legend(loc="lower left", frameon=False)
        return png_of(figure)


def _has(one: Results, metric: str) -> bool:
    return metric in one.slices and bool(one.slices[metric].notna().any())


def _box(axes: Axes, values: Sequence[float], at: float, colour: str, vertical: bool) -> None:
    drawn = axes.boxplot(np.asarray(values, dtype=np.float64), positions=[at], manage_ticks=False,
                         orientation="vertical" if vertical else "horizontal", **BOX)  # fmt: skip
    for box in drawn["boxes"]:
        box.set(facecolor=colour, alpha=0.75)


def _scale(axes: Axes, axis: str) -> None:
    """Scores lie within 0 to 1: the whole of it is shown, so that a small difference looks small."""
    (axes.set_xlim if axis == "x" else axes.set_ylim)(-0.02, 1.02)
    axes.grid(axis=axis, color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)


def _finish(figure: Figure, axes: Axes, sets: Sequence[Results], axis: str) -> None:
    from matplotlib.patches import Patch

    _scale(axes, axis)
    if len(sets) > 1:
        handles = [Patch(facecolor=SERIES[number % len(SERIES)], alpha=0.75, edgecolor="black", label=one.name)
                   for number, one in enumerate(sets)]  # fmt: skip
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(sets), 3), frameon=False)
