"""Tests of pose/files/tables.py."""

from __future__ import annotations

import math

import pytest

from pose.cli import UserError
from pose.files import tables


class TestReadTable:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "has no column 'slice'; its columns are none"),
            (b"slice,dice\n0,1\n", "has no column 'jaccard'; its columns are slice, dice"),
            (b"slice,jaccard\n0,much\n", "line 2: jaccard 'much' is not a number"),
            (b"slice,jaccard\n0,1\n1.5,1\n", "line 3: slice '1.5' is not a whole number"),
            (b"slice,jaccard\n0,1,2\n", "line 2: 3 cells under 2 columns"),
            (b"slice,jaccard\n0\n", "line 2: 1 cells under 2 columns"),
            (b"slice,jaccard\n0,\xff\xfe\n", "cannot be read as a CSV"),
        ],
    )
    def test_malformed(self, tmp_path, content, message):
        path = tmp_path / "raw_data.csv"
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            tables.read_table(path, ("slice", "jaccard"))
        assert str(caught.value).startswith(f"{path}: {message}")
        assert "\n" not in str(caught.value)

    def test_missing_infinite_and_words(self, tmp_path):
        path = tmp_path / "results.csv"
        path.write_text("metric,avg,n\njaccard,,0\nhd95_mm,inf,2\n\n")
        table = tables.read_table(path, ("metric", "avg"), text_columns=("metric",))
        assert table["metric"].tolist() == ["jaccard", "hd95_mm"]
        assert math.isnan(table["avg"][0]) and table["avg"][1] == math.inf

    def test_every_way_to_write_a_number_is_read_as_python_does(self, tmp_path):
        path = tmp_path / "raw.csv"
        cells = ["0.1", " 2.5 ", "-1e-3", "Infinity", "-inf", "1_000", "+.5", "9007199254740993", "4.9e-324"]
        path.write_text("slice,jaccard\n" + "".join(f"{index},{cell}\n" for index, cell in enumerate(cells)))
        assert tables.read_table(path, ("slice",))["jaccard"].tolist() == [float(cell) for cell in cells]

    def test_blank_cells_are_missing(self, tmp_path):
        path = tmp_path / "raw.csv"
        path.write_text("slice,jaccard\n0, \n ,1\nnan,nan\n")
        table = tables.read_table(path, ("slice",))
        assert table["slice"].isna().tolist() == [False, True, True]
        assert table["jaccard"].isna().tolist() == [True, False, True]
        assert table.dtypes.astype(str).tolist() == ["Int64", "float64"]

    def test_blank_lines_are_skipped_and_lines_counted(self, tmp_path):
        path = tmp_path / "raw.csv"
        path.write_text("slice,jaccard\n0,1\n\n\n2.5,1\n")
        with pytest.raises(UserError, match="line 5: slice '2.5' is not a whole number"):
            tables.read_table(path, ("slice",))

    def test_counts_to_the_last_that_is_exact(self, tmp_path):
        path = tmp_path / "raw.csv"
        path.write_text(f"slice,jaccard\n{2**53},1\n{-(2**53)},1\n")
        assert tables.read_table(path, ("slice",))["slice"].tolist() == [2**53, -(2**53)]
        for cell in (str(2**53 + 2), "inf", "1e300"):
            path.write_text(f"slice,jaccard\n0,1\n{cell},1\n")
            with pytest.raises(UserError, match=f"line 3: slice '{cell}' is not a whole number"):
                tables.read_table(path, ("slice",))

    def test_a_column_that_comes_twice(self, tmp_path):
        path = tmp_path / "raw.csv"
        path.write_text("slice,dice,dice\n0,1\n")
        with pytest.raises(UserError, match="two of its columns have one name; they are slice, dice, dice"):
            tables.read_table(path, ("slice",))

    def test_only_a_header(self, tmp_path):
        path = tmp_path / "raw.csv"
        path.write_text("slice,dice,image\n")
        table = tables.read_table(path, ("slice",), text_columns=("image",))
        assert len(table) == 0 and table.dtypes.astype(str).tolist() == ["Int64", "float64", "object"]
