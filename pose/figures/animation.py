"""Animation: the predictions of a volume slice by slice as a small GIF, for a talk.

Each frame is made of few colours that all frames share: grey levels, the same grey levels tinted where something is
predicted, and the colours of lines and text. So a frame needs no colours of its own and no dithering, which compress
badly.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image, ImageDraw, ImageFont

from pose.figures.drawing import BOX, FILL_ALPHA, NEGATIVE, POSITIVE, PREDICTION
from pose.figures.overlays import choose_slices
from pose.figures.upright import Turn
from pose.prompts.prompt import Prompt

if TYPE_CHECKING:
    from pose.scans.intensity import GreyStack

FRAMES_A_SECOND = 8
MOST_FRAMES = 60
MOST_BYTES = 2_000_000
# What is tried in turn until a GIF is small enough: pixels of the longer side, and grey levels.
SIZES = ((320, 64), (320, 32), (320, 16), (256, 16), (192, 16), (128, 8), (64, 8))
LINES = {name: to_rgb(name) for name in (PREDICTION, POSITIVE, NEGATIVE, BOX, "white", "black")}
FONT_PIXELS = 13


def predictions_gif(
    grey: GreyStack | Sequence[np.ndarray],
    labels: np.ndarray,
    slices: Sequence[int] | None = None,
    *,
    prompts: Sequence[Prompt] = (),
    filled: bool = True,
    turn: Turn = Turn(),
    spacing_mm: Sequence[float] | None = None,
) -> bytes:
    """Return a GIF of the slices on which something is predicted, and one more at either end.

    Of many slices, 60 are shown, evenly spaced, prompted ones among them. The longer side has 320 pixels and there are
    64 grey levels; fewer of either where the file would be larger than 2 MB.

    Args:
        grey: uint8 slices of (rows, columns).
        labels: (rows, columns, slices) what was predicted; each label is outlined on its own.
        slices: those that were worked on, if not all.
        prompts: drawn on their slices.
        filled: tint what was predicted, not only outline it.
        turn: how to lay the slices.
        spacing_mm: (row, column[, slice]) millimetres before the turn, for the proportions.
    """
    filled_slices = np.array([labels[:, :, index].any() for index in range(labels.shape[2])])
    shown = choose_slices(filled_slices, [prompt.slice for prompt in prompts], MOST_FRAMES)
    if slices is not None:
        shown = [index for index in shown if index in slices] or slices[:1]
    for side, levels in SIZES:
        size = _size(turn.slice(labels[:, :, 0]).shape, turn.spacing(spacing_mm), side)
        frames = _frames(grey, labels, shown, prompts, filled, turn, size, levels)
        file = io.BytesIO()
        next(frames).save(
            file,
            format="GIF",
            save_all=True,
            append_images=frames,
            duration=1000 // FRAMES_A_SECOND,
            loop=0,
            optimize=False,
        )
        if file.tell() <= MOST_BYTES:
            break
    return file.getvalue()


def _size(shape: tuple[int, int], spacing_mm: Sequence[float] | None, side: int) -> tuple[int, int]:
    """Width and height in pixels of (rows, columns) whose longer side takes ``side``."""
    row_mm, column_mm = spacing_mm or (1.0, 1.0)
    width, height = shape[1] * column_mm, shape[0] * row_mm
    factor = side / max(width, height)
    return max(round(width * factor), 1), max(round(height * factor), 1)


def _frames(
    grey: GreyStack | Sequence[np.ndarray],
    labels: np.ndarray,
    shown: Sequence[int],
    prompts: Sequence[Prompt],
    filled: bool,
    turn: Turn,
    size: tuple[int, int],
    levels: int,
) -> Iterator[Image.Image]:
    palette = _palette(levels)
    colour = {name: 2 * levels + index for index, name in enumerate(LINES)}
    for index in shown:
        picture = Image.fromarray(np.ascontiguousarray(turn.slice(np.asarray(grey[index]))))
        level = np.asarray(picture.resize(size, Image.Resampling.BOX)).astype(np.int64) * levels // 256
        mask = turn.slice(labels[:, :, index])
        here = mask[np.ix_(*(np.arange(to) * there // to for to, there in zip(size[::-1], mask.shape)))]
        pixels = (level + levels * ((here > 0) & filled)).astype(np.uint8)
        pixels[_outline(here)] = colour[PREDICTION]
        frame = Image.frombytes("P", size, pixels.tobytes())
        frame.putpalette(palette)
        draw = ImageDraw.Draw(frame)
        scale = size[0] / mask.shape[1], size[1] / mask.shape[0]
        for prompt in prompts:
            if prompt.slice == index:
                _draw_prompt(draw, turn.prompt(prompt, labels.shape[:2]), scale, colour)
        _write(draw, f"slice {index}", (6, size[1] - 6), colour)
        yield frame


def _write(draw: ImageDraw.ImageDraw, text: str, where: tuple[int, int], colour: dict[str, int]) -> None:
    """Write white on black with the lower left corner at ``where``."""
    look = {"font": ImageFont.load_default(FONT_PIXELS), "anchor": "ls"}
    left, top, right, bottom = draw.textbbox(where, text, **look)
    draw.rectangle((left - 4, top - 4, right + 4, bottom + 4), fill=colour["black"])
    draw.text(where, text, fill=colour["white"], **look)


def _palette(levels: int) -> list[int]:
    grey = np.repeat(np.linspace(0, 1, levels)[:, np.newaxis], 3, axis=1)
    tinted = (1 - FILL_ALPHA) * grey + FILL_ALPHA * np.array(LINES[PREDICTION])
    return (np.concatenate((grey, tinted, list(LINES.values()))) * 255).round().astype(int).ravel().tolist()


def _outline(labels: np.ndarray) -> np.ndarray:
    """Return where a neighbour has another value: lines of two pixels, of one at the edge of the picture."""
    padded = np.pad(labels, 1)
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.any([labels != neighbour for neighbour in neighbours], axis=0)


def _draw_prompt(draw: ImageDraw.ImageDraw, prompt: Prompt, scale: tuple[float, float], colour: dict[str, int]) -> None:
    if prompt.box is not None:
        top, left, bottom, right = prompt.box
        corners = (left * scale[0], top * scale[1], (right + 1) * scale[0] - 1, (bottom + 1) * scale[1] - 1)
        draw.rectangle(corners, outline=colour[BOX], width=2)
    for points, name in ((prompt.positive_points, POSITIVE), (prompt.negative_points, NEGATIVE)):
        for row, column in points:
            centre = ((column + 0.5) * scale[0], (row + 0.5) * scale[1])
            corners = (centre[0] - 5, centre[1] - 5, centre[0] + 5, centre[1] + 5)
            draw.ellipse(corners, fill=colour[name], outline=colour["white"])
