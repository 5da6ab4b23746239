"""Box plots: their statistics, and how they are drawn."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cbook import boxplot_stats

from pose.figures.names import shown_name

BOX_COLUMNS = ("mean", "std", "min", "whisker_low", "q1", "median", "q3", "whisker_high", "max")
FAILURE_COLOUR = "#D55E00"
LABEL_LETTERS = 12  # in a line below a box, beside its neighbours


def box_statistics(values: Sequence[float] | np.ndarray) -> dict[str, Any]:
    """Return what a box plot shows of ``values``, all finite.

    The box goes from the first to the third quartile (linear interpolation), whiskers to the farthest values within
    1.5 times its height, and what lies beyond is an outlier (Tukey).

    Returns:
        "n", :data:`BOX_COLUMNS` (nan where undefined; the standard deviation is the sample's) and "outliers", an array.

    Raises:
        ValueError: a value that is not finite.
    """
    known = np.asarray(values, dtype=np.float64)
    if not np.isfinite(known).all():
        raise ValueError("a box plot takes finite values only")
    if known.size == 0:
        return {"n": 0, **dict.fromkeys(BOX_COLUMNS, np.nan), "outliers": known}
    (found,) = boxplot_stats(known)
    return {
        "n": known.size,
        "mean": known.mean(),
        "std": known.std(ddof=1) if known.size > 1 else np.nan,
        "min": known.min(),
        "whisker_low": found["whislo"],
        "q1": found["q1"],
        "median": found["med"],
        "q3": found["q3"],
        "whisker_high": found["whishi"],
        "max": known.max(),
        "outliers": np.asarray(found["fliers"]),
    }


def draw_boxes(
    axes: Axes,
    boxes: Sequence[Mapping[str, Any]],
    labels: Sequence[str],
    colours: Sequence[str],
    failure_value: float | None = None,
) -> None:
    """Draw boxes side by side, each with its label below it; one without values leaves its place empty.

    Args:
        boxes: what :func:`box_statistics` returns.
        failure_value: outliers of this value are marked as failures.
    """
    for place, (box, colour) in enumerate(zip(boxes, colours)):
        if not box["n"]:
            continue
        outliers = np.asarray(box["outliers"])
        failed = np.zeros(outliers.shape, bool) if failure_value is None else outliers == failure_value
        drawn = {
            "med": box["median"],
            "q1": box["q1"],
            "q3": box["q3"],
            "whislo": box["whisker_low"],
            "whishi": box["whisker_high"],
            "fliers": outliers[~failed],
        }
        axes.bxp(
            [drawn],
            positions=[place],
            widths=0.55,
            patch_artist=True,
            boxprops={"facecolor": colour, "alpha": 0.55, "edgecolor": "#222222", "linewidth": 0.8},
            medianprops={"color": "black", "linewidth": 1.4},
            whiskerprops={"color": "#222222", "linewidth": 0.8},
            capprops={"color": "#222222", "linewidth": 0.8},
            flierprops={
                "marker": "o",
                "markersize": 2.2,
                "markerfacecolor": colour,
                "markeredgewidth": 0,
                "alpha": 0.6,
            },
        )
        # a step aside, so that marks on the same value are seen to be many
        aside = np.linspace(-0.25, 0.25, failed.sum()) if failed.sum() > 1 else np.zeros(failed.sum())
        axes.plot(place + aside, outliers[failed], "x", color=FAILURE_COLOUR, markersize=4, markeredgewidth=1.0)
        edge: dict[str, Any] = {"markeredgecolor": "#222222", "markeredgewidth": 0.7}
        axes.plot(place, box["mean"], "D", color="white", markersize=3.2, **edge)
    axes.set_xticks(range(len(boxes)), [_wrapped(label) for label in labels])
    axes.set_xlim(-0.6, len(boxes) - 0.4)
    axes.tick_params(axis="x", length=0)


def _wrapped(label: str) -> str:
    """Return a label whose lines end at blanks before they reach into the neighbour's, names in it as they are."""
    parts = (part for line in label.split("\n") for part in textwrap.wrap(line, LABEL_LETTERS, break_long_words=False))
    return "\n".join(map(shown_name, parts))
