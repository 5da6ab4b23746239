"""Names that matplotlib would read as formulas, hide or warn of."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from pose.figures.names import HAIR_SPACE, shown_name

NAMES = {
    "plain name": "plain name",
    "cost$a_b$c": "cost$a_b$c",
    "lung$\\frac$01": "lung$\\frac$01",
    "one $ alone": "one $ alone",
    "\\$5 and \\$6": "\\$5 and \\$6",
    "_hidden": f"{HAIR_SPACE}_hidden",
    "50 %, {{image}} #1 a^b & c~d": "50 %, {{image}} #1 a^b & c~d",
    "new\nline\ttab": "new\\nline\\ttab",
    "日本": "\\u65e5\\u672c",
    "é ü – ∞": "é ü – ∞",
    "bytes \udcff": "bytes \\udcff",
}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_drawn(name):
    text = Text(0, 0, shown_name(name))
    shown, is_maths = text._preprocess_math(text.get_text())
    assert (shown, bool(is_maths)) == (NAMES[name], False)


@pytest.mark.parametrize("name", NAMES)
def test_drawn_without_a_warning_and_in_the_legend(name):
    figure = Figure()
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], label=shown_name(name))
    axes.set_xticks([0], [shown_name(name)])
    legend = axes.legend()
    figure.canvas.draw()
    assert len(legend.get_texts()) == 1
    assert legend.get_texts()[0].get_window_extent().width > 10


def test_a_name_of_two_dollars_is_as_wide_as_its_letters():
    figure = Figure()
    as_formula = figure.text(0, 0, "cost$a_b$c").get_window_extent().width
    as_name = figure.text(0, 0, shown_name("cost$a_b$c")).get_window_extent().width
    assert as_name > as_formula + 5 and np.isfinite(as_name)
