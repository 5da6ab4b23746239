"""Figure files: the pictures for print and for talks that a command line asks for, see ``cli.add_figure_arguments``."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pose.cli import UserError
from pose.figures.upright import Turn, edges_of, turn_by, upright
from pose.files.atomic import failure_named
from pose.prompts.prompt import Prompt

if TYPE_CHECKING:
    from pose.runs.case import Case
    from pose.scans.volume import Volume

DRAWN = ("prompt", "prediction", "truth", "none")
DRAWN_UNLESS_TOLD = ("prompt", "prediction")
PLACES = ("image", "slice")


@dataclass(frozen=True)
class FigureFile:
    """A picture to write: its path, in which {image} and {slice} stand for those at hand, and what is drawn on it."""

    path: str
    drawn: frozenset[str]

    @property
    def places(self) -> set[str]:
        """Which of "image" and "slice" the path tells."""
        return {name for _, name, _, _ in string.Formatter().parse(self.path) if name is not None}

    def path_of(self, image: str, slice_index: int) -> Path:
        """Return the path of one picture."""
        return Path(self.path.format(image=image, slice=slice_index))


@dataclass(frozen=True)
class Pictures:
    """The pictures for print and for talks that a run draws beside its contact sheet.

    Attributes:
        figures: the files to write.
        slices: the slices that are drawn; None for those with a prompt, a prediction or truth.
        size: their side in pixels.
        gif: "filled" or "contour"; None for no GIF.
        turn: how figures and GIF are turned; None for upright by the scan's geometry.
    """

    figures: tuple[FigureFile, ...] = ()
    slices: tuple[int, ...] | None = None
    size: int = 770
    gif: str | None = None
    turn: Turn | None = None

    def turn_of(self, volume: Volume) -> Turn:
        """Return how pictures of ``volume`` are turned."""
        return upright(volume) if self.turn is None else self.turn


def plan_pictures(
    figures: Sequence[Sequence[str]],
    slices: Sequence[int] | None = None,
    size: int = 770,
    gif: str | None = None,
    rotate: int | None = None,
    flip: str | None = None,
    *,
    images: int,
    one_slice: bool = False,
) -> Pictures:
    """Return the pictures that are asked for.

    Args:
        figures: for each its name and the words for what is drawn, see ``cli.add_figure_arguments``.
        slices, size, gif, rotate, flip: the other flags there.
        images: how many volumes the command names.
        one_slice: whether results are of one slice alone.

    Raises:
        UserError: a name that is no PNG, names something else than {image} and {slice}, or that several pictures would
            have; a word for something that is not drawn; a flag without a figure that it could be about.
    """
    asked = [_figure_file(*words) for words in figures]
    if not asked and slices is not None:
        raise UserError(f"--figure_slices {' '.join(map(str, slices))}: there is no --figure")
    if not asked and gif is None:
        for flag, value in (("rotate", rotate), ("flip", flip)):
            if value is not None:
                raise UserError(f"--{flag} {value}: turns --figure and --gif, and there is neither")
    one_slice = one_slice or len(set(slices or ())) == 1
    for figure in asked:
        if images > 1 and "image" not in figure.places:
            raise UserError(f"--figure {figure.path}: {images} images would have this name; put {{image}} into it")
        if not one_slice and "slice" not in figure.places:
            advice = "put {slice} into it, or choose one by --figure_slices"
            raise UserError(f"--figure {figure.path}: several slices would have this name; {advice}")
    paths = [figure.path for figure in asked]
    if twice := [path for path in paths if paths.count(path) > 1]:
        raise UserError(f"--figure {twice[0]}: is asked for twice")
    turn = None if rotate is None and flip is None else turn_by(rotate or 0, flip or "none")
    return Pictures(tuple(asked), None if slices is None else tuple(slices), size, gif, turn)


def _figure_file(path: str, *drawn: str) -> FigureFile:
    for word in drawn:
        if word not in DRAWN:
            raise UserError(f"--figure {path}: {word} is not among what can be drawn: {', '.join(DRAWN)}")
    if "none" in drawn and len(drawn) > 1:
        raise UserError(f"--figure {path}: none, and yet {' '.join(word for word in drawn if word != 'none')}")
    if not path.lower().endswith(".png"):
        raise UserError(f"--figure {path}: a picture is a .png")
    figure = FigureFile(path, frozenset(drawn or DRAWN_UNLESS_TOLD) - {"none"})
    try:
        unknown = figure.places.difference(PLACES)
        figure.path_of("", 0)
    except (ValueError, LookupError) as error:
        raise UserError(f"--figure {path}: {error}; only {{image}} and {{slice}} may stand in braces") from None
    if unknown:
        raise UserError(f"--figure {path}: {{{min(unknown)}}} is unknown; a name may hold {{image}} and {{slice}}")
    return figure


def write_figures(
    case: Case, prompts: Sequence[Prompt], labels: np.ndarray, slices: Sequence[int], pictures: Pictures
) -> list[Path]:
    """Write the figures of one volume, and return their paths.

    Args:
        prompts: what the model was asked.
        labels: (rows, columns, slices) what was predicted.
        slices: those that were worked on.
        pictures: which figures.

    Raises:
        UserError: --figure_slices names a slice that was not worked on, truth is to be drawn where there is none, or a
            file cannot be written.
    """
    from pose.figures import overlays

    asked = pictures.figures
    if not asked:
        return []
    if case.truth is None and (needs := [figure.path for figure in asked if "truth" in figure.drawn]):
        image = case.job.image_path
        raise UserError(f"--figure {needs[0]}: {image} has no ground truth to draw; give --masks_file_path")
    turn, written = pictures.turn_of(case.volume), []
    for slice_index in _slices_to_draw(case, prompts, labels, slices, pictures.slices):
        here = [turn.prompt(prompt, labels.shape[:2]) for prompt in prompts if prompt.slice == slice_index]
        truth = None if case.truth is None else turn.slice(case.truth[:, :, slice_index])
        for figure in asked:
            path = figure.path_of(case.job.name, slice_index)
            drawing = overlays.print_figure(
                np.ascontiguousarray(turn.slice(case.grey[slice_index])),
                pictures.size,
                prediction=turn.slice(labels[:, :, slice_index]) if "prediction" in figure.drawn else None,
                truth=truth if "truth" in figure.drawn else None,
                prompts=here if "prompt" in figure.drawn else (),
                spacing_mm=turn.spacing(case.volume.spacing_mm),
            )
            with failure_named(path.parent, "figures cannot be written here"):
                path.parent.mkdir(parents=True, exist_ok=True)
            overlays.save_png(path, drawing)
            written.append(path)
    return written


def _slices_to_draw(
    case: Case, prompts: Sequence[Prompt], labels: np.ndarray, slices: Sequence[int], asked: Sequence[int] | None
) -> list[int]:
    if asked is None and len(slices) == 1:
        return list(slices)
    if asked is None:
        prompted = {prompt.slice for prompt in prompts} | set(case.masked_slices)
        return [slice_index for slice_index in slices if slice_index in prompted or labels[:, :, slice_index].any()]
    for slice_index in asked:
        if slice_index not in slices:
            given = f"{slices[0]}" if len(slices) == 1 else f"{slices[0]} to {slices[-1]}"
            image = case.job.image_path
            raise UserError(f"{image}: --figure_slices {slice_index} is not among the slices worked on, {given}")
    return sorted(set(asked))


def gif_of(
    case: Case, prompts: Sequence[Prompt], labels: np.ndarray, slices: Sequence[int], pictures: Pictures
) -> bytes | None:
    """Return the GIF of a volume's predictions, or None where none is asked for; see :func:`write_figures`."""
    if pictures.gif is None:
        return None
    from pose.figures.animation import predictions_gif

    turn = pictures.turn_of(case.volume)
    look = {**case.look(prompt.object_id for prompt in prompts), "turn": turn, "edges": edges_of(case.volume, turn)}
    return predictions_gif(case.displayed, labels, slices, prompts=prompts, filled=pictures.gif == "filled", **look)
