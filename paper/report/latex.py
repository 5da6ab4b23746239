"""The tables of a report as LaTeX with booktabs."""

from __future__ import annotations

from collections.abc import Sequence

from paper.report.tables import Table

# A float is one page at most; longer tables run over pages.
MOST_ROWS = 40
HEAD = "% needs \\usepackage[T1]{fontenc} and \\usepackage{textcomp,booktabs,longtable}\n"
ESCAPED = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "−": "$-$",
    "∞": r"$\infty$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
}


def escape(text: str) -> str:
    """Return text that LaTeX sets as it is; a space for what ends a line."""
    pieces = " ".join(text.split()).split("--")  # which would become a dash
    return "-{}-".join("".join(ESCAPED.get(letter, letter) for letter in piece) for piece in pieces)


def latex(tables: Sequence[Table]) -> str:
    """Return a file to be read by \\input: every table that has rows."""
    return HEAD + "".join(_table(table) for table in tables if table.rows)


def _table(table: Table) -> str:
    columns = "l" * table.words + "r" * (len(table.header) - table.words)
    caption = f"\\caption{{{escape(table.caption)}}}\\label{{tab:{table.name}}}"
    header, rows = _row(table.header), "\n".join(map(_row, table.rows))
    if len(table.rows) <= MOST_ROWS:
        lines = (
            r"\begin{table}[htbp]",
            r"\centering",
            caption,
            f"\\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            header,
            r"\midrule",
            rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        )
        return "\n" + "\n".join(lines) + "\n"
    above = f"{caption}\\\\\n\\toprule\n{header}\n\\midrule\n\\endfirsthead\n\\toprule\n{header}\n\\midrule\n\\endhead"
    return f"\n\\begin{{longtable}}{{{columns}}}\n{above}\n\\bottomrule\n\\endfoot\n{rows}\n\\end{{longtable}}\n"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(map(escape, cells)) + r" \\"
