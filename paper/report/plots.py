"""The plots of a report, as PNG: box plots of scores, Dice of each volume, and Dice by distance from the prompt."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from paper.report.data import Results, distance_edges, quartiles
from pose.figures.names import shown_name
from pose.figures.plots import SERIES, new_plot

if TYPE_CHECKING:
    import pandas as pd

DPI = 200
# Narrow, so that letters stay readable on a narrow screen.
WIDTH_MM = 130
SCORES = (("jaccard", "Jaccard"), ("dice", "Dice"), ("sam_score", "SAM score"))
# So many volumes have room for their names below a plot.
MOST_NAMED_VOLUMES = 60
# More than this do not show on a plot of 700 pixels, and cost minutes.
MOST_BANDS, MOST_DOTS = 2000, 50_000
BOX = {
    "patch_artist": True,
    "manage_ticks": False,
    "widths": 0.62,
    "medianprops": {"color": "black", "linewidth": 1.4},
    "flierprops": {"marker": ".", "markersize": 3, "markerfacecolor": "#444444", "markeredgecolor": "none"},
}


def png_of(figure: Figure) -> bytes:
    """Return a plot as a PNG file; the same plot is the same file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()


def scores(sets: Sequence[Results]) -> bytes:
    """Draw a box for each score and folder, over the slices of all its volumes; slices that score 0 are in them."""
    shown = [(metric, name) for metric, name in SCORES if any(_has(one, metric) for one in sets)]
    with new_plot(WIDTH_MM, 30 + 6 * len(shown) * len(sets)) as figure:
        axes = figure.add_subplot()
        for row, (metric, _) in enumerate(shown):
            for number, one in enumerate(sets):
                at = row * (len(sets) + 1) + number
                if _has(one, metric):
                    _boxes(axes, [one.slices[metric].dropna()], [at], SERIES[number % len(SERIES)])
        middle = (len(sets) - 1) / 2
        axes.set_yticks([row * (len(sets) + 1) + middle for row in range(len(shown))], [name for _, name in shown])
        # a row is whole, with its name, whichever folders have a box in it
        axes.set_ylim((len(shown) - 1) * (len(sets) + 1) + len(sets) - 0.3, -0.7)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("score of a slice")
        axes.set_xlim(_limits([one.slices[metric] for metric, _ in shown for one in sets if _has(one, metric)]))
        axes.xaxis.grid(True, color="#DDDDDD", linewidth=0.8)
        axes.set_axisbelow(True)
        if len(sets) > 1:
            handles = [
                Patch(facecolor=SERIES[number % len(SERIES)], edgecolor="black", alpha=0.75, label=shown_name(one.name))
                for number, one in enumerate(sets)
            ]
            figure.legend(handles=handles, loc="outside lower center", ncols=min(len(sets), 3), frameon=False)
        return png_of(figure)


def volumes(sets: Sequence[Results]) -> bytes:
    """Draw the Dice of the slices of each volume, lowest mean first: a box, or for many lines and a band."""
    found = [one.by_volume("dice") for one in sets]
    orders = [[place for place in np.argsort(one["avg"], kind="stable").tolist() if one["n"][place]] for one in found]
    ordered = [[one.images[place] for place in order] for one, order in zip(sets, orders, strict=True)]
    heights = [16 + (5.0 * max(len(names), 1) if len(names) <= MOST_NAMED_VOLUMES else 90.0) for names in ordered]
    with new_plot(WIDTH_MM, 6 + sum(heights)) as figure:
        panels = np.ravel(figure.subplots(len(sets), 1, squeeze=False, height_ratios=heights, sharex=True))
        for number, axes in enumerate(panels):
            names, colour = ordered[number], SERIES[number % len(SERIES)]
            if len(names) <= MOST_NAMED_VOLUMES:
                dice = dict(iter(sets[number].slices.groupby("image")["dice"]))
                _boxes(axes, [dice[image].dropna() for image in names], range(len(names)), colour)
                axes.set_yticks(range(len(names)), map(shown_name, names), fontsize=8.0)
            else:
                every = _every(len(names), MOST_BANDS)
                _bands(axes, found[number], orders[number], every, colour)
                axes.set_yticks([])
                part = f", one in {every} drawn" if every > 1 else ""
                axes.set_ylabel(f"{len(names)} volumes by their mean Dice{part}")
            axes.tick_params(axis="y", length=0)
            axes.set(title=shown_name(sets[number].name), ylim=(max(len(names), 1) - 0.3, -0.7))
            axes.xaxis.grid(True, color="#DDDDDD", linewidth=0.8)
            axes.set_axisbelow(True)
        panels[-1].set(xlabel="Dice of a slice", xlim=_limits([one.slices["dice"] for one in sets]))
        return png_of(figure)


def by_distance(sets: Sequence[Results]) -> bytes:
    """Draw the median of Dice, and the range between its quartiles, over the distance from the prompted slice."""
    tables = [one.distances for one in sets]
    edges = distance_edges(max((table["distance_mm"].max() for table in tables if len(table)), default=0.0))
    with new_plot(WIDTH_MM, 75) as figure:
        axes = figure.add_subplot()
        for number, (one, table) in enumerate(zip(sets, tables)):
            if not len(table):
                continue
            colour = SERIES[number % len(SERIES)]
            bins = table.groupby(np.searchsorted(edges, table["distance_mm"] - 1e-9))
            at = [0.0 if not index else (edges[index - 1] + edges[index]) / 2 for index, _ in bins]
            first, median, third = np.array([quartiles(group["dice"]) for _, group in bins]).T
            every = _every(len(table), MOST_DOTS)
            dots = table[["distance_mm", "dice"]][::every].to_numpy().T
            axes.plot(*dots, ".", color=colour, alpha=0.3, markersize=4, zorder=1)
            axes.fill_between(at, first, third, color=colour, alpha=0.2, linewidth=0, zorder=2)
            name = f"{one.name} (dots: one slice in {every})" if every > 1 else one.name
            axes.plot(at, median, "o-", color=colour, markersize=4, linewidth=1.6, zorder=3, label=shown_name(name))
        axes.set_xlabel("distance from the nearest prompted slice (mm)")
        axes.set_ylabel("Dice")
        axes.set_xlim(-edges[-1] * 0.015, edges[-1] * 1.015 or 1.0)
        axes.set_ylim(_limits([table["dice"] for table in tables]))
        axes.yaxis.grid(True, color="#DDDDDD", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.legend(loc="lower center", frameon=False)
        return png_of(figure)


def _has(one: Results, metric: str) -> bool:
    return metric in one.slices and bool(one.slices[metric].notna().any())


def _boxes(axes: Axes, groups: Sequence[pd.Series], at: Sequence[int], colour: str) -> None:
    values = [group.to_numpy(dtype=np.float64) for group in groups]
    for box in axes.boxplot(values, positions=at, orientation="horizontal", **BOX)["boxes"]:
        box.set(facecolor=colour, alpha=0.75)


def _every(count: int, most: int) -> int:
    """Return n, where one in n of ``count`` things is drawn so that no more than ``most`` are."""
    return max(1, math.ceil(count / most))


def _bands(axes: Axes, found: Mapping[str, np.ndarray], order: Sequence[int], every: int, colour: str) -> None:
    """Draw the quartiles, median and least value of volumes in ``order``, one in ``every``."""
    at, shown = np.arange(len(order))[::every], np.array(order)[::every]
    axes.fill_betweenx(
        at, found["q1"][shown], found["q3"][shown], step="mid", color=colour, alpha=0.35, linewidth=0, label="quartiles"
    )
    axes.plot(found["median"][shown], at, color=colour, linewidth=1.2, label="median")
    axes.plot(found["min"][shown], at, ".", color="#444444", markersize=2.5, label="least")
    axes.legend(loc="lower left", frameon=False)


def _limits(groups: Sequence[pd.Series]) -> tuple[float, float]:
    """Return the ends of an axis of scores: the tenth below the least of them, and 1 or the largest (of SAM's own)."""
    known = [group for group in groups if group.notna().any()]
    low = math.floor(10 * min((group.min() for group in known), default=0.0) + 1e-9) / 10
    high = max((group.max() for group in known), default=1.0)
    margin = 0.02 * (max(high, 1.0) - min(low, 0.9))
    return min(low, 0.9) - margin, max(high, 1.0) + margin
