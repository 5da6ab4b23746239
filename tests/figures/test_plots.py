"""Tests of pose/figures/plots.py: the same plot is the same two files."""

from __future__ import annotations

import pytest
from PIL import Image

from pose.cli import UserError
from pose.figures.plots import PNG_DPI, add_caption, new_plot, save_plot


def draw(path):
    with new_plot(80, 50) as figure:
        figure.add_subplot().plot([0, 1], [0, 1])
        return save_plot(figure, path)


def test_a_pdf_and_a_png_the_same_each_time(tmp_path):
    first, second = draw(tmp_path / "new" / "a.b"), draw(tmp_path / "again")
    assert [path.name for path in first] == ["a.b.pdf", "a.b.png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert first[0].read_bytes()[:5] == b"%PDF-" and b"CreationDate" not in first[0].read_bytes()
    with Image.open(first[1]) as picture:
        assert picture.size == (int(80 / 25.4 * PNG_DPI), int(50 / 25.4 * PNG_DPI))


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "plots").write_text("")
    with pytest.raises(UserError, match="plots: cannot be written: File exists"):
        draw(tmp_path / "plots" / "a")


@pytest.mark.parametrize(
    "text", ["short", "words that go on " * 12, "a_name_without_a_blank" * 9, "two $ and $ more " * 9]
)
def test_a_caption_is_never_cut_off(text):
    with new_plot(80, 50) as figure:
        figure.add_subplot()
        add_caption(figure, text)
    figure.canvas.draw()
    extent = figure._supxlabel.get_window_extent()
    assert 0 <= extent.x0 and extent.x1 <= figure.bbox.width and 0 <= extent.y0
    shown, is_maths = figure._supxlabel._preprocess_math(figure._supxlabel.get_text())
    assert not is_maths
    assert "".join(shown.split()) == "".join(text.split())
