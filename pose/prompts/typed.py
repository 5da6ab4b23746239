"""The prompt that is typed on a command line: points and a box on a slice, or points in millimetres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pose.cli import UserError
from pose.prompts.markups import Mark, to_ras
from pose.prompts.prompt import Prompt, typed_prompt
from pose.scans.geometry import LARGEST_MM


def typed(flags: Mapping[str, Any], prompt_file: Path | None) -> Prompt | Mark | None:
    """Return the prompt of --point, --negative_point and --box on --slice, or the points of --point_mm; None for none.

    Raises:
        UserError: both, or one of them beside a file of prompts; or a --space of nothing.
    """
    on_slice = flags["point"], flags["negative_point"], flags["box"]
    in_space = flags["point_mm"]
    if flags["space"] is not None and not in_space:
        raise UserError(f"--space {flags['space']}: is that of --point_mm, which is not given")
    if not (any(on_slice) or in_space):
        return None
    if prompt_file is not None:
        flag = "--point_mm" if in_space else "--point, --negative_point or --box"
        raise UserError(f"--prompt_file_path {prompt_file}: not together with {flag}")
    if not in_space:
        return typed_prompt(flags["slice"], *on_slice)
    if any(on_slice):
        given = " ".join(f"{one:g}" for one in in_space[0])
        raise UserError(f"--point_mm {given}: not together with --point, --negative_point or --box")
    return typed_points(in_space, flags["space"] or "RAS")


def typed_points(points: Sequence[Sequence[float]], space: str) -> Mark:
    """Return the points of ``--point_mm X Y Z`` in the space of ``--space``.

    Raises:
        UserError: numbers that are no place.
    """
    labels = tuple(" ".join(f"{one:g}" for one in point) for point in points)
    places = np.array(points, dtype=np.float64)
    for label, place in zip(labels, places):
        if not (np.abs(place) < LARGEST_MM).all():
            raise UserError(f"--point_mm {label}: must be finite numbers of millimetres")
    return Mark("points", "", to_ras(places, space), (False,) * len(labels), labels)
