"""Look: a scan before any prompt, and a prompt before any model: pictures with ticks, and a few words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from matplotlib.figure import Figure

from pose.figures.overlays import overlay, slices_figure
from pose.figures.upright import Turn, axis_directions, edges_of, letters_of, upright
from pose.prompts.prompt import Prompt
from pose.scans.intensity import WINDOWS, DisplaySlices, GreySlices, likely_unit, saturated_share
from pose.scans.volume import Volume

MOST_TILES = 24
PLANES = ("sagittal", "coronal", "axial")
TOWARDS = {"R": "right", "L": "left", "A": "front", "P": "back", "S": "head", "I": "feet"}
# So much of the body in black and white alone is little to go by.
MOST_SATURATED = 0.2


def look_figure(
    volume: Volume,
    *,
    prompts: Sequence[Prompt] = (),
    slices: Sequence[int] | None = None,
    window: tuple[float, float] | None = None,
    title: str | None = None,
    turn: Turn | None = None,
) -> Figure:
    """Draw slices of a scan upright, with their numbers, and the prompts on them.

    One slice is drawn large, several in a grid.

    Args:
        volume: the scan.
        prompts: drawn on their slices.
        slices: which ones; None are those with a prompt, or without any prompt 24 evenly spaced ones.
        window: (level, width) of the voxel values; None shows the body, see
            :func:`pose.scans.intensity.display_limits`.
        title: over the picture.
        turn: how to lay the slices; None is upright.
    """
    grey = DisplaySlices(volume, window)
    turn = upright(volume) if turn is None else turn
    if slices is None:
        slices = sorted({prompt.slice for prompt in prompts}) or range(len(grey))
    if len(slices) > MOST_TILES:
        slices = [slices[place] for place in np.linspace(0, len(slices) - 1, MOST_TILES).round().astype(int)]
    look: dict[str, Any] = {"spacing_mm": volume.spacing_mm, "turn": turn, "edges": edges_of(volume, turn)}
    if len(slices) > 1:
        return slices_figure(grey, slices, prompts=prompts, title=title, **look)
    here = [prompt for prompt in prompts if prompt.slice == slices[0]]
    title = f"{title}, slice {slices[0]}" if title else f"slice {slices[0]}"
    return overlay(grey[slices[0]], prompts=here, title=title, **look)


def describe(volume: Volume, window: tuple[float, float] | None = None) -> dict[str, str]:
    """Return what a person should know of a scan before a prompt, in words.

    Args:
        volume: the scan.
        window: (level, width) that is thought of; what it does to the body is told.

    Returns:
        "shape", "spacing", "orientation", "values", "unit", "window", in this order.
    """
    unit, voxels = likely_unit(volume), volume.voxels
    rows, columns, slices = voxels.shape
    spacing, orientation = "unknown", "unknown; pictures show the slices as they lie"
    if volume.spacing_mm is not None:
        spacing = " x ".join(f"{length:.4g}" for length in volume.spacing_mm) + " mm (row, column, slice)"
    if (axes := axis_directions(volume)) is not None:
        ways = (f"{name} count {_towards(axis)}" for name, axis in zip(("rows", "columns", "slices"), axes))
        orientation = f"{_plane(axes[2])} slices; {', '.join(ways)}"
    finite = voxels[np.isfinite(voxels)] if voxels.dtype.kind == "f" else voxels
    values = f"{finite.min():g} to {finite.max():g}, {voxels.dtype}" if finite.size else "none is finite"
    if finite.size < voxels.size:
        values += f"; {voxels.size - finite.size} of {voxels.size} voxels are NaN or infinite"
    likely = {True: "likely Hounsfield units", False: "not Hounsfield units", None: "unknown"}[unit.is_hounsfield]
    return {
        "shape": f"{rows} rows x {columns} columns x {slices} slices; they count from 0",
        "spacing": spacing,
        "orientation": orientation,
        "values": values,
        "unit": f"{likely}: {unit.reason}",
        "window": _window_in_words(volume, window, unit.is_hounsfield, unit.has_lungs),
    }


def _plane(normal: np.ndarray) -> str:
    oblique = "oblique, nearly " if np.abs(normal).max() < 0.999 else ""
    return oblique + PLANES[int(np.abs(normal).argmax())]


def _towards(axis: np.ndarray) -> str:
    """Say where an axis points to, such as "towards the head (S)"."""
    letters = letters_of(axis)
    return f"towards the {' and '.join(TOWARDS[letter] for letter in letters)} ({letters})"


def _window_in_words(
    volume: Volume, window: tuple[float, float] | None, is_hounsfield: bool | None, has_lungs: bool
) -> str:
    if window is not None:
        limits = (window[0] - window[1] / 2, window[0] + window[1] / 2)
        return _shown(f"{window[0]:g} {window[1]:g}", limits, volume)
    if is_hounsfield:
        names = ("lung", "mediastinum") if has_lungs else ("soft_tissue", "bone")
        told = (f"{name} ({WINDOWS[name][0]:g} {WINDOWS[name][1]:g})" for name in names)
        return f"--window {' or '.join(told)}, by what is to be segmented: {'it has' if has_lungs else 'no'} lungs"
    limits = cast(tuple[float, float], GreySlices(volume).limits)  # the volume's: no slice has its own
    words = _shown("without --window", limits, volume)
    if saturated_share(volume, limits) <= MOST_SATURATED:
        return f"none is needed; {words}"
    low, high = DisplaySlices(volume).limits
    return f"--window {(low + high) / 2:g} {high - low:g}; {words}"


def _shown(name: str, limits: tuple[float, float], volume: Volume) -> str:
    share = saturated_share(volume, limits)
    return f"{name}: {limits[0]:g} is black and {limits[1]:g} white; {share:.0%} of the body is one or the other"
