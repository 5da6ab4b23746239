"""Decimal numbers in the bytes of a CSV, millions at a time: their values to the last bit, and how Python writes them.

Every float that Python writes has at most 17 digits. As a whole number ``digits`` over a power of ten, its distance
from the nearest float is found exactly in pairs of floats (Dekker, Numerische Mathematik 18, 1971), and with it whether
the float is the nearest one, and whether no shorter decimal stands for the same float. What that cannot decide (an
exponent, infinity, a tie) is left to ``float`` and ``repr``, cell by cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_COMMA, _NEWLINE, _POINT, _MINUS, _ZERO, _NINE = b",\n.-09"
# Bytes before the text, so that the eight before any character can be read at once.
_PADDING = 24
_POWERS = 10.0 ** np.arange(23)  # exact up to 10^22
_WHOLE_POWERS = 10 ** np.arange(19, dtype=np.int64)
_SPLITTER = 2.0**27 + 1
_MOST_WHOLE_DIGITS, _MOST_DECIMALS = 8, 22
_SURELY_SHORTEST = 10**15  # different decimals of up to 15 digits are different floats
# The last n of eight characters, which are the high bytes of a little-endian word.
_LAST = np.array([(2**64 - 1) ^ (2 ** (64 - 8 * n) - 1) for n in range(9)], np.uint64)
_LARGEST_COUNT = 2**53


@dataclass(frozen=True)
class Cells:
    """The cells of a CSV: (columns, rows) places in ``text``, of bytes.

    Attributes:
        text: (n,) uint8, with padding before the first cell.
        starts: where each cell begins.
        ends: where the comma or line end after it is.
        points: where its decimal point is, ``ends`` without one.
        negative: whether it begins with a minus.
        odd: whether it holds anything but a minus, digits and one point.
    """

    text: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    points: np.ndarray
    negative: np.ndarray
    odd: np.ndarray

    def text_of(self, column: int, row: int) -> str:
        """Return what a cell says."""
        return self.text[self.starts[column, row] : self.ends[column, row]].tobytes().decode("ascii")


def split_cells(body: bytes, columns: int) -> Cells | None:
    """Find the cells of lines that each have ``columns`` of them, end in a newline, and hold ASCII without quotes.

    Returns:
        The cells; None for any other text.
    """
    if b'"' in body or b"\r" in body or not body.isascii():
        return None
    text = np.frombuffer(bytes([_ZERO]) * _PADDING + body, np.uint8)
    marks = np.flatnonzero(text < _ZERO)
    kinds = text[marks]
    is_end = (kinds == _COMMA) | (kinds == _NEWLINE)
    ends = marks[is_end]
    if len(ends) % columns or not body.endswith(b"\n"):
        return None
    lines = (text[ends] == _NEWLINE).reshape(-1, columns)
    if lines[:, :-1].any() or not lines[:, -1].all():
        return None
    starts = np.concatenate(([_PADDING], ends[:-1] + 1))
    points, negative, odd = ends.copy(), text[starts] == _MINUS, np.zeros(len(ends), bool)
    inside = np.flatnonzero(~is_end)
    cell, place, kind = inside - np.arange(len(inside)), marks[inside], kinds[inside]
    is_point = kind == _POINT
    points[cell[is_point]] = place[is_point]
    odd[cell[np.where(is_point, points[cell] != place, (kind != _MINUS) | (starts[cell] != place))]] = True
    if text.max() > _NINE:
        odd[np.searchsorted(ends, np.flatnonzero(text > _NINE))] = True
    return Cells(text, *(part.reshape(-1, columns).T.copy() for part in (starts, ends, points, negative, odd)))


def numbers(cells: Cells, column: int, counts: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of a column, and which of its cells are written as Python writes that number.

    Args:
        counts: whether the column holds whole numbers, written without a point.

    Returns:
        (rows,) float64, nan where a cell is empty; (rows,) bool.

    Raises:
        ValueError: a cell holds no number, or none that may stand in a column of counts.
    """
    values, proven = (_whole_numbers if counts else _decimals)(cells, column)
    values[cells.negative[column]] *= -1
    empty = cells.starts[column] == cells.ends[column]
    values[empty] = np.nan
    as_written = proven | empty
    for row in np.flatnonzero(~as_written):
        cell = cells.text_of(column, row)
        value = float(cell) if cell.strip() else np.nan
        if counts and value == value and not (value.is_integer() and abs(value) <= _LARGEST_COUNT):
            raise ValueError(f"{cell!r} is not a whole number")
        values[row] = value
        as_written[row] = value == value and (str(int(value)) if counts else repr(value)) == cell
    return values, as_written


def _whole_numbers(cells: Cells, column: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of digits without a sign, and which of the cells are that, as Python writes them."""
    first, end = cells.starts[column], cells.ends[column]
    length = end - first
    proven = ~(cells.odd[column] | cells.negative[column]) & (cells.points[column] == end)
    proven &= (length >= 1) & (length <= 15) & ((length == 1) | (cells.text[first] != _ZERO))
    return _digits(cells.text, end, length, 1 if length.max(initial=0) <= 8 else 2).astype(np.float64), proven


def _decimals(cells: Cells, column: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of decimals without their signs, and which are surely right and as Python writes them."""
    first, end, point = cells.starts[column] + cells.negative[column], cells.ends[column], cells.points[column]
    before, decimals = point - first, end - point - 1
    proven = ~cells.odd[column] & (before >= 1) & (before <= _MOST_WHOLE_DIGITS)
    proven &= (decimals >= 1) & (decimals <= _MOST_DECIMALS)
    proven &= (before == 1) | (cells.text[np.minimum(first, end)] != _ZERO)
    decimals = np.clip(decimals, 1, _MOST_DECIMALS)
    whole = _digits(cells.text, point, before, 1)
    fraction, top = _digits(cells.text, end, decimals, 2), _digits(cells.text, end - 16, decimals - 16, 1)
    proven &= (top < 100) & ((whole == 0) | (before + decimals <= 18))  # else the digits overflow
    digits = whole * _WHOLE_POWERS[np.minimum(decimals, 18)] + fraction + top * 10**16
    power = _POWERS[decimals]
    values = digits / power  # correctly rounded up to 2^53
    last = digits % 10
    short = digits < _SURELY_SHORTEST
    values, surely = _nearest(values, digits, power, last)
    proven &= np.where(short, (last != 0) | (decimals == 1), surely)
    proven &= (values >= 1e-4) | (digits == 0)  # smaller ones are written with an exponent
    return values, proven


def _nearest(
    values: np.ndarray, digits: np.ndarray, power: np.ndarray, last: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Move floats by a last bit where another one is nearer to ``digits / power``.

    Returns:
        The floats, and which of them are surely the nearest, with ``digits`` surely the shortest decimal of the float
        and, of as many digits, the nearest one. All lengths below are in units of the last digit.
    """
    spacing = np.spacing(values)
    half = spacing * power / 2
    apart = _distance(values, digits, power)
    step = np.where(np.abs(apart) > half, np.sign(apart), 0)
    power_of_two = np.frexp(values)[0] == 0.5  # floats lie closer below it than above
    values = values + step * spacing
    apart -= 2 * half * step
    power_of_two |= np.frexp(values)[0] == 0.5
    margin = 1e-6
    surely = (np.abs(apart) < half - margin) & (np.abs(apart) < 0.5 - margin) & ~power_of_two & (last != 0)
    surely &= (np.abs(apart - last) > half + margin) & (np.abs(apart + (10 - last)) > half + margin)
    return values, surely & (digits < 10**17)


def _distance(values: np.ndarray, digits: np.ndarray, power: np.ndarray) -> np.ndarray:
    """Return ``digits - values * power``, exact but for a rounding of this small difference."""
    product = values * power
    high, low = _halves(values)
    power_high, power_low = _halves(power)
    rest = ((high * power_high - product) + high * power_low + low * power_high) + low * power_low
    whole = np.floor(product)
    return (digits - whole.astype(np.int64)) - (product - whole) - rest


def _halves(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two floats of half as many bits that add up to each value (Veltkamp)."""
    scaled = values * _SPLITTER
    high = scaled - (scaled - values)
    return high, values - high


def _digits(text: np.ndarray, end: np.ndarray, count: np.ndarray, words: int) -> np.ndarray:
    """Return the numbers that the ``count`` digits before ``end`` are, up to eight digits for each of ``words``."""
    at = np.ndarray((len(text) - 7,), "<u8", text, strides=(1,))
    total = np.zeros(len(end), np.uint64)
    for word in range(words):
        eight = at[end - 8 * (word + 1)] & np.uint64(0x0F0F0F0F0F0F0F0F)
        eight &= _LAST[np.clip(count - 8 * word, 0, 8)]
        # neighbours join: digits to pairs, pairs to fours, fours to eight
        eight = (eight * np.uint64(2561)) >> np.uint64(8) & np.uint64(0x00FF00FF00FF00FF)
        eight = (eight * np.uint64(6553601)) >> np.uint64(16) & np.uint64(0x0000FFFF0000FFFF)
        eight = (eight * np.uint64(42949672960001)) >> np.uint64(32)
        total += eight * np.uint64(10 ** (8 * word))
    return total.astype(np.int64)
