"""Markups as 3D Slicer writes them, and a scan to draw on, for the tests of prompts in space."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pose.scans.volume import Volume

SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
# (x, y, z) to RAS: 0.5 x 2 x 3 mm, x and y run to the left and to the back, as in CT
AFFINE = np.array([[-0.5, 0, 0, 30], [0, -2.0, 0, 50], [0, 0, 3.0, -30], [0, 0, 0, 1]])
SHAPE = (20, 40, 9)  # rows, columns, slices


def scan() -> Volume:
    """A scan whose rows are y and whose columns are x."""
    return Volume(np.zeros(SHAPE, np.int16), AFFINE, (2.0, 0.5, 3.0), swap_axes=True, path=Path("scan.nii.gz"))


def place(row: float, column: float, slice_index: float, space: str = "LPS") -> list[float]:
    """Return where a place in the scan lies in millimetres."""
    x, y, z = 30 - 0.5 * column, 50 - 2.0 * row, -30 + 3.0 * slice_index
    return [x, y, z] if space == "RAS" else [-x, -y, z]


def control_points(positions: Sequence[Any], labels: Sequence[str] = (), status: str = "defined") -> list[dict]:
    return [
        {
            "id": str(number),
            "label": labels[number - 1] if labels else f"F-{number}",
            "description": "",
            "associatedNodeID": "",
            "position": position,
            "orientation": [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0],
            "selected": True,
            "locked": False,
            "visibility": True,
            "positionStatus": status,
        }
        for number, position in enumerate(positions, start=1)
    ]


def markup(kind: str, positions: Sequence[Any] = (), labels: Sequence[str] = (), **fields: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "labelFormat": "%N-%d",
        "controlPoints": control_points(positions, labels),
        "measurements": [],
        "display": {"visibility": True, "opacity": 1.0},
        **fields,
    }


def roi(low: Sequence[float], high: Sequence[float], space: str = "LPS", **fields: Any) -> dict[str, Any]:
    """A box with edges along the axes of the scan, from one (row, column, slice) to another."""
    ends = np.array([place(*low, space), place(*high, space)])
    facts = {"center": ends.mean(axis=0).tolist(), "size": np.abs(ends[1] - ends[0]).tolist(), "insideOut": False}
    return {**markup("ROI", [ends.mean(axis=0).tolist()], coordinateSystem=space, roiType="Box"), **facts, **fields}


def write_markups(path: Path, *markups: Any) -> Path:
    path.write_text(json.dumps({"@schema": SCHEMA, "markups": list(markups)}), encoding="utf-8")
    return path
