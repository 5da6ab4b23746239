"""Animation: the predictions of a volume slice by slice as a small GIF, for a talk.

Each frame is made of few colours that all frames share: grey levels, the same grey levels tinted by each object, and
the colours of lines and text. So a frame needs no colours of its own and no dithering, which compress
badly.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from pose.figures.drawing import BOX, FILL_ALPHA, NEGATIVE, POSITIVE, Look, looks_of, tick_step
from pose.figures.overlays import choose_slices, objects_in
from pose.figures.upright import Edges, Turn
from pose.prompts.prompt import Prompt
from pose.prompts.regions import LAST_OBJECT_ID

if TYPE_CHECKING:
    from pose.scans.intensity import GreyStack

FRAMES_A_SECOND = 8
MOST_FRAMES = 60
MOST_BYTES = 2_000_000
# What is tried in turn until a GIF is small enough: pixels of the longer side, and grey levels.
SIZES = ((320, 64), (320, 32), (320, 16), (256, 16), (192, 16), (128, 8), (64, 8))
LINES = {name: to_rgb(name) for name in (POSITIVE, NEGATIVE, BOX, "white", "black")}
FONT_PIXELS, TICK_FONT_PIXELS = 13, 10
# Below this side, in pixels, there is no room for numbers of rows and columns.
LEAST_SIDE_FOR_TICKS = 256
CROSS = ndimage.generate_binary_structure(2, 1)
# As many levels of grey, plain and tinted by each object, as a GIF's 256 colours hold.
MOST_COLOURS = 256


def predictions_gif(
    grey: GreyStack | Sequence[np.ndarray],
    labels: np.ndarray,
    slices: Sequence[int] | None = None,
    *,
    prompts: Sequence[Prompt] = (),
    filled: bool = True,
    turn: Turn = Turn(),
    spacing_mm: Sequence[float] | None = None,
    edges: Edges | None = None,
    objects: Sequence[int] = (),
) -> bytes:
    """Return a GIF of the slices on which something is predicted, and one more at either end.

    Of many slices, 60 are shown, evenly spaced, prompted ones among them. The longer side has 320 pixels and there are
    64 grey levels; fewer of either where the file would be larger than 2 MB, or for colours of several objects. Numbers
    of rows and columns lie along the edges, letters of the patient's sides in the middle of them, and where there are
    several objects, their numbers in their colours in a corner.

    Args:
        grey: uint8 slices of (rows, columns).
        labels: (rows, columns, slices) what was predicted; each label is outlined on its own.
        slices: those that were worked on, if not all.
        prompts: drawn on their slices.
        filled: tint what was predicted, not only outline it.
        turn: how to lay the slices.
        spacing_mm: (row, column[, slice]) millimetres before the turn, for the proportions.
        edges: what to write at the edges of turned slices, see :func:`pose.figures.upright.edges_of`.
        objects: numbers of all objects; those of ``labels`` count as well.
    """
    filled_slices = np.array([labels[:, :, slice_index].any() for slice_index in range(labels.shape[2])])
    shown: Sequence[int] = choose_slices(filled_slices, [prompt.slice for prompt in prompts], MOST_FRAMES)
    if slices is not None:
        shown = [slice_index for slice_index in shown if slice_index in slices] or slices[:1]
    looks = looks_of([*objects, *objects_in(labels)])
    tints = list(dict.fromkeys(look.on_slice for look in looks.values()))
    for side, most_levels in SIZES:
        size = _size(turn.slice(labels[:, :, 0]).shape, turn.spacing(spacing_mm), side)
        levels = min(most_levels, (MOST_COLOURS - len(LINES) - len(tints)) // (1 + len(tints)))
        frames = _frames(grey, labels, shown, prompts, filled, turn, size, levels, edges, looks)
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
    edges: Edges | None,
    looks: Mapping[int, Look],
) -> Iterator[Image.Image]:
    tints = list(dict.fromkeys(look.on_slice for look in looks.values()))
    palette = _palette(levels, tints)
    colour = {name: (1 + len(tints)) * levels + index for index, name in enumerate([*LINES, *tints])}
    # of each label, which tint it has, from 1
    tint_of = np.zeros(LAST_OBJECT_ID + 1, np.int64)
    for number, look in looks.items():
        tint_of[number] = 1 + tints.index(look.on_slice)
    if len(tints) == 1:
        tint_of[1:] = 1
    for slice_index in shown:
        picture = Image.fromarray(np.ascontiguousarray(turn.slice(np.asarray(grey[slice_index]))))
        level = np.asarray(picture.resize(size, Image.Resampling.BOX)).astype(np.int64) * levels // 256
        mask = turn.slice(labels[:, :, slice_index]).astype(np.int64)
        here = mask[np.ix_(*(np.arange(to) * there // to for to, there in zip(size[::-1], mask.shape)))]
        tint = tint_of[here]
        pixels = (level + levels * tint * filled).astype(np.uint8)
        # outside an object the outline has its colour, too
        outline = np.where(tint > 0, tint, ndimage.maximum_filter(tint, footprint=CROSS))
        edge = _outline(here)
        pixels[edge] = colour[tints[0]] - 1 + outline[edge]
        frame = Image.frombytes("P", size, pixels.tobytes())
        frame.putpalette(palette)
        draw = ImageDraw.Draw(frame)
        scale = size[0] / mask.shape[1], size[1] / mask.shape[0]
        if max(size) >= LEAST_SIDE_FOR_TICKS:
            _draw_ticks(draw, labels.shape[:2], turn, size, colour)
        for prompt in prompts:
            if prompt.slice == slice_index:
                _draw_prompt(draw, turn.prompt(prompt, labels.shape[:2]), scale, colour)
        _write(draw, f"slice {slice_index}", (6, size[1] - 6), colour)
        if edges is not None:
            _write_edges(draw, edges, size, colour)
        if len(looks) > 1:
            _write_objects(draw, looks, size, colour)
        yield frame


def _write(
    draw: ImageDraw.ImageDraw,
    text: str,
    where: tuple[float, float],
    colour: dict[str, int],
    fill: str = "white",
    anchor: str = "ls",
    pixels: int = FONT_PIXELS,
    margin: int = 4,
) -> float:
    """Write on black with the anchor of the text at ``where``; return where it begins from the left."""
    look: dict[str, Any] = {"font": ImageFont.load_default(pixels), "anchor": anchor}
    left, top, right, bottom = draw.textbbox(where, text, **look)
    draw.rectangle((left - margin, top - margin, right + margin, bottom + margin), fill=colour["black"])
    draw.text(where, text, fill=colour[fill], **look)
    return left


def _draw_ticks(
    draw: ImageDraw.ImageDraw, shape: tuple[int, int], turn: Turn, size: tuple[int, int], colour: dict[str, int]
) -> None:
    """Mark rows and columns of the array inside the left and the upper edge; the middle is left to letters."""
    for vertical, numbers, pixels in ((True, turn.places(shape)[0], size[1]), (False, turn.places(shape)[1], size[0])):
        step = tick_step(len(numbers), pixels / TICK_FONT_PIXELS)
        for place in np.flatnonzero(numbers % step == 0).tolist():
            at = (place + 0.5) * pixels / len(numbers)
            # not in the corners, where text would be cut off or lie on the slice's number, and not on a letter
            if not 1.5 * FONT_PIXELS < at < pixels - 2.5 * FONT_PIXELS or abs(at - pixels / 2) < 2 * FONT_PIXELS:
                continue
            draw.line(((0, at), (4, at)) if vertical else ((at, 0), (at, 4)), fill=colour["white"], width=1)
            where, anchor = ((7, at), "lm") if vertical else ((at, 7), "mt")
            _write(draw, str(numbers[place]), where, colour, anchor=anchor, pixels=TICK_FONT_PIXELS, margin=1)


def _write_edges(draw: ImageDraw.ImageDraw, edges: Edges, size: tuple[int, int], colour: dict[str, int]) -> None:
    width, height = size
    at = ((width / 2, 4, "mt"), (width / 2, height - 4, "mb"), (4, height / 2, "lm"), (width - 4, height / 2, "rm"))
    for letters, (x, y, anchor) in zip(edges, at):
        _write(draw, letters, (x, y), colour, anchor=anchor, margin=2)


def _write_objects(
    draw: ImageDraw.ImageDraw, looks: Mapping[int, Look], size: tuple[int, int], colour: dict[str, int]
) -> None:
    """Write the numbers of objects in their colours into the lower right corner; of those that share one, how many."""
    sharing = Counter(look.on_slice for look in looks.values())
    words = {}
    for number, look in looks.items():
        shared = sharing[look.on_slice]
        words[look.on_slice] = str(number) if shared == 1 else f"+{shared}"
    right: float = size[0] - 6
    for fill, text in reversed(words.items()):
        right = _write(draw, text, (right, size[1] - 6), colour, fill, anchor="rs") - 6


def _palette(levels: int, tints: Sequence[str]) -> list[int]:
    grey = np.repeat(np.linspace(0, 1, levels)[:, np.newaxis], 3, axis=1)
    tinted = [(1 - FILL_ALPHA) * grey + FILL_ALPHA * np.array(to_rgb(tint)) for tint in tints]
    lines = [*LINES.values(), *map(to_rgb, tints)]
    return (np.concatenate((grey, *tinted, lines)) * 255).round().astype(int).ravel().tolist()


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
