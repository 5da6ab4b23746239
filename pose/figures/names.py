"""Names: text from files and folders, so that matplotlib draws it as it stands.

matplotlib reads two dollar signs as the ends of a formula, leaves labels that begin with an underscore out of legends,
and warns of letters that its font lacks.
"""

from __future__ import annotations

from functools import lru_cache

HAIR_SPACE = "\u200a"


def shown_name(text: str) -> str:
    """Return ``text`` as a title, a label or an entry of a legend is to be given it, one line.

    Letters that do not print, or that the figures' font has not, become what Python writes for them: ``\\n``,
    ``\\u65e5``.
    """
    text = "".join(letter if _is_drawn(letter) else ascii(letter)[1:-1] for letter in text).replace("$", r"\$")
    return f"{HAIR_SPACE}{text}" if text.startswith("_") else text


def _is_drawn(letter: str) -> bool:
    return letter.isascii() and letter.isprintable() or letter.isprintable() and ord(letter) in _letters_of_font()


@lru_cache(maxsize=1)
def _letters_of_font() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    from pose.figures.drawing import STYLE

    return frozenset(get_font(findfont(STYLE["font.sans-serif"][0])).get_charmap())
