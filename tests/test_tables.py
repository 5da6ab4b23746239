"""Tests of pose/tables.py."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pose import tables
from pose.cli import UserError


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
