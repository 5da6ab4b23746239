"""Tests of pose/decimal_cells.py: numbers are those of ``float``, and what is as Python writes it that of ``repr``."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pose import decimal_cells
from pose.decimal_cells import numbers, split_cells


def read(texts, counts=False):
    cells = split_cells("".join(f"{text}\n" for text in texts).encode(), 1)
    return numbers(cells, 0, counts)


def check(texts):
    values, as_written = read(texts)
    for text, value, same in zip(texts, values.tolist(), as_written.tolist(), strict=True):
        expected = float(text) if text.strip() else math.nan
        assert repr(value) == repr(expected), text
        assert same == (text == "" or repr(expected) == text), text


def like_those_of_programs(generator, count):
    """Return floats in several notations, among them the last digits of which are wrong."""
    values = 10.0 ** generator.uniform(-6, 10, count) * generator.choice([1, -1], count)
    values[: count // 4] = generator.random(count // 4)
    values[count // 4 : count // 3] = generator.integers(1, 200, count // 3 - count // 4) / 197
    values[-200:-100] = 2.0 ** generator.integers(-12, 26, 100)
    values[-100:] = np.nextafter(2.0 ** generator.integers(-12, 26, 100), generator.choice([0, 1e9], 100))
    notations = ["%r", "%r", "%.17g", "%.16g", "%.15g", "%.18f", "%.17f", "%.16f", "%.3f", "%.1f", "%.20f"]
    notations += ["%r0", "00%r"]
    texts = [str(notation % value) for notation, value in zip(generator.choice(notations, count), values.tolist())]
    texts = [text.removeprefix("00") if text.startswith("00-") else text for text in texts]
    for place in range(0, count, 7):
        if texts[place][-1].isdigit():
            texts[place] = texts[place][:-1] + str((int(texts[place][-1]) + 1) % 10)
    return texts


@pytest.mark.parametrize("seed", range(3))
def test_numbers_of_any_program(seed):
    check(like_those_of_programs(np.random.default_rng(seed), 20_000))


@pytest.mark.parametrize("low", [1e-4, 0.01, 0.1, 0.25, 0.5, 1.0, 9.0, 1000.0, 99_999_990.0])
def test_neighbouring_floats_and_decimals(low):
    """Where the last digit of a float, and whether one less would do, is closest."""
    values = low + np.arange(3000) * np.spacing(low)
    check([repr(value) for value in values.tolist()])
    check([f"{value:.17g}" for value in values.tolist()])
    check([f"{value:.16g}" for value in values.tolist()])


@given(st.lists(st.floats(allow_nan=False) | st.floats(0, 1), min_size=1, max_size=50))
@example([5e-324, 1e16, 1e22, 1.7976931348623157e308, -0.0, 0.0, 1e-4, 9.999999999999999e-05])
def test_what_python_writes_is_as_written(values):
    found, as_written = read([repr(value) for value in values])
    assert [repr(value) for value in found.tolist()] == [repr(value) for value in values] and as_written.all()


def test_scores_are_read_without_a_look_at_each(monkeypatch):
    """The quick way is quick only where hardly a cell is left to Python."""
    asked = []
    text_of = decimal_cells.Cells.text_of
    monkeypatch.setattr(decimal_cells.Cells, "text_of", lambda *place: asked.append(place) or text_of(*place))
    generator = np.random.default_rng(0)
    scores = np.concatenate([generator.random(5000), 1 - generator.random(5000) / 50, 100 * generator.random(5000)])
    check([repr(value) for value in scores.tolist() if value >= 1e-4])
    assert len(asked) < 15


@pytest.mark.parametrize(("text", "value", "as_written"), [
    ("", math.nan, True), ("0", 0.0, False), ("0.0", 0.0, True), ("-0.0", -0.0, True), ("1.0", 1.0, True),
    ("1.", 1.0, False), (".5", 0.5, False), ("0.50", 0.5, False), ("00.5", 0.5, False),
    ("10.0", 10.0, True), ("+0.5", 0.5, False),
    ("0.30000000000000004", 0.30000000000000004, True), ("0.1000000000000000055", 0.1, False), ("inf", math.inf, True),
    ("-inf", -math.inf, True), ("Infinity", math.inf, False), ("nan", math.nan, False), ("1e-05", 1e-05, True),
    ("0.00001", 1e-05, False), ("1e5", 1e5, False), ("1_0.5", 10.5, False), (" 0.5", 0.5, False),
    (" ", math.nan, False),
    ("123456789012.5", 123456789012.5, True), ("0.1234567890123456789012345", 0.12345678901234568, False),
])  # fmt: skip
def test_cells(text, value, as_written):
    (found,), (same,) = read([text])
    assert repr(found) == repr(np.float64(value)) and same == as_written


@pytest.mark.parametrize(("text", "value", "as_written"), [
    ("7", 7, True), ("0", 0, True), ("", math.nan, True), ("07", 7, False), ("7.0", 7, False), ("-3", -3, True),
    ("-0", 0, False), ("1e3", 1000, False), ("123456789", 123456789, True), ("9007199254740992", 2**53, True),
])  # fmt: skip
def test_counts(text, value, as_written):
    (found,), (same,) = read([text], counts=True)
    assert (found == value or (math.isnan(found) and math.isnan(value))) and same == as_written


@pytest.mark.parametrize("text", ["0.5", "9007199254740993.5", "18014398509481984", "inf", "x"])
def test_what_is_no_count(text):
    with pytest.raises(ValueError, match="not a whole number|could not convert"):
        read([text], counts=True)


@pytest.mark.parametrize("text", ["0..5", "0.5.5", "-", "--1.0", "1.0-", "0.5x", "x", ".", "-."])
def test_what_is_no_number(text):
    with pytest.raises(ValueError, match="could not convert"):
        read([text])


@pytest.mark.parametrize("body", [
    b"1,2", b"1\n", b"1,2,3\n", b"1,2\n\n", b"1,2\r\n", b'"1",2\n', "1,\u0661\n".encode(), b"1\n2,3,4\n",
    b"1,2\n3\n4,5,6\n",
])  # fmt: skip
def test_text_that_needs_a_closer_look(body):
    assert split_cells(body, 2) is None


def test_columns():
    cells = split_cells(b"0,0.25,\n1,-0.5,7\n", 3)
    assert cells.text_of(1, 1) == "-0.5" and cells.text_of(2, 0) == ""
    assert numbers(cells, 1, False)[0].tolist() == [0.25, -0.5] and numbers(cells, 2, True)[0][1] == 7
    assert split_cells(b"", 3) is None
