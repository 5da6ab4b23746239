"""Plots of results: one style, colours that the colour-blind can tell apart, and files for print and for the screen."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pose.figures.drawing import STYLE
from pose.figures.names import shown_name
from pose.files.atomic import failure_named, write_all_atomically

# Okabe and Ito's colours, for as many series; the first two are those of a prediction and of the truth.
SERIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
PNG_DPI = 200
# Letters stay letters in a PDF, so that a journal can embed them; no date, so that the same plot is the same file.
FILE_STYLE = {"pdf.fonttype": 42, "svg.hashsalt": "pose"}
PDF_FACTS = {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None}


@contextmanager
def new_plot(width_mm: float = 160.0, height_mm: float = 90.0) -> Iterator[Figure]:
    """Yield an empty figure in the style of the project, inside which axes are to be added and drawn on.

    Args:
        width_mm: width on paper; 160 is a page's text, 80 a column.
        height_mm: height on paper.
    """
    with matplotlib.rc_context({**STYLE, **FILE_STYLE}):
        figure = Figure(figsize=(width_mm / 25.4, height_mm / 25.4), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def add_caption(figure: Figure, text: str, size: float = 7.0) -> None:
    """Write ``text`` below a plot, centred, in as many lines as its width asks for; names in it are shown as they are.

    Args:
        figure: as :func:`new_plot` yields it.
        text: what is to be said of the whole plot.
        size: of letters, in points.
    """
    caption = figure.supxlabel(shown_name(text), fontsize=size)
    renderer, characters = cast(FigureCanvasAgg, figure.canvas).get_renderer(), len(text)
    while caption.get_window_extent(renderer).width > 0.97 * figure.bbox.width and characters > 8:
        characters = int(characters * 0.95)
        caption.set_text("\n".join(map(shown_name, textwrap.wrap(text, characters))))


def save_plot(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as ``path`` with .pdf and with .png appended, both or none; return the two paths.

    Raises:
        pose.cli.UserError: the folder cannot be written to.
    """
    with failure_named(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    paths = [path.with_name(f"{path.name}{suffix}") for suffix in (".pdf", ".png")]
    with matplotlib.rc_context(FILE_STYLE):
        write_all_atomically(
            [
                (paths[0], lambda temporary: figure.savefig(temporary, metadata=PDF_FACTS)),
                (paths[1], lambda temporary: figure.savefig(temporary, dpi=PNG_DPI, metadata={"Software": None})),
            ]
        )
    return paths
