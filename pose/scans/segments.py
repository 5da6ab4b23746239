"""Segments: the labels of a mask by name, chosen, and laid on the voxels of a scan."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pose.cli import UserError
from pose.scans.geometry import TOLERANCE_MM, Reorientation


@dataclass(frozen=True)
class Segment:
    """A label of a mask.

    Attributes:
        label: its number.
        name: what it is called; empty where nobody said.
        colour: (red, green, blue), each 0 to 255; None where nobody said.
    """

    label: int
    name: str = ""
    colour: tuple[int, int, int] | None = None


class Block(NamedTuple):
    """A piece of a segment on the voxels of a scan.

    Attributes:
        label: of the segment.
        place: index of the piece in an array of the scan's shape.
        inside: bool, of the piece's shape.
    """

    label: int
    place: tuple[slice, ...]
    inside: np.ndarray


class Segmented(NamedTuple):
    """What a file of segments holds, on the voxels of a scan.

    Attributes:
        segments: in the order of the file.
        blocks: yields the pieces of the segments whose labels it is given.
    """

    segments: tuple[Segment, ...]
    blocks: Callable[[Container[int]], Iterator[Block]]


class Placement(NamedTuple):
    """How an array lies on the voxels of a scan: turned, and then at ``place``."""

    turn: Reorientation
    place: tuple[slice, ...]


def labels_of_names(wanted: Sequence[int | str], segments: Sequence[Segment], path: Path | str) -> tuple[int, ...]:
    """Return the labels that are asked for by number or by name, in ascending order.

    Of a name, upper and lower case are alike, and so are one space and several.

    Raises:
        UserError: a name that no segment has.
    """
    labels: set[int] = set()
    for one in wanted:
        named = [segment.label for segment in segments if _spoken(segment.name) == _spoken(str(one))]
        if isinstance(one, int) and not named:
            labels.add(one)
        elif named:
            labels.update(named)
        else:
            holds = names_text(segments) if any(segment.name for segment in segments) else "its labels have no names"
            raise UserError(f"{path}: holds no {one!r} (--labels); {holds}")
    return tuple(sorted(labels))


def _spoken(name: str) -> str:
    return " ".join(name.split()).casefold()


def names_text(segments: Sequence[Segment]) -> str:
    """Return what segments are there, as errors say it."""
    shown = [f"{one.name or 'without a name'} ({one.label})" for one in segments[:12]]
    return "it holds " + ", ".join(shown) + (f" and {len(segments) - 12} more" if len(segments) > 12 else "")


def placement(
    of_block: np.ndarray, block_shape: Sequence[int], of_scan: np.ndarray, scan_shape: Sequence[int]
) -> Placement | None:
    """Return how the voxels of an array lie on voxels of a scan, to a thousandth of a millimetre; None where not.

    Args:
        of_block, of_scan: (4, 4) affines from the indices of each to the same millimetres.
        block_shape, scan_shape: lengths of their three axes; along an axis of length 1, the step does not count.
    """
    steps = np.linalg.solve(of_scan[:3, :3], of_block[:3, :3])
    single = [axis for axis in range(3) if block_shape[axis] == 1]
    whole = np.rint(steps)
    if len(single) == 1:  # its step is what the others leave
        free = [axis for axis in range(3) if not whole[axis, [i for i in range(3) if i != single[0]]].any()]
        if len(free) != 1:
            return None
        whole[:, single[0]] = 0
        whole[free[0], single[0]] = 1 if steps[free[0], single[0]] >= 0 else -1
    sizes = np.abs(whole)
    if not ((sizes.sum(axis=0) == 1).all() and (sizes.sum(axis=1) == 1).all()):
        return None
    axes = tuple(sizes.argmax(axis=1).tolist())
    turn = Reorientation(axes, tuple(bool(whole[axis, source] < 0) for axis, source in enumerate(axes)))
    turned = turn.affine(of_block, tuple(block_shape))
    shape = [block_shape[source] for source in axes]
    start = np.rint(np.linalg.solve(of_scan[:3, :3], turned[:3, 3] - of_scan[:3, 3]))
    # the corners of the array are where the scan has them
    for corner in np.ndindex(2, 2, 2):
        place = np.array(corner) * (np.array(shape) - 1)
        apart = turned[:3, :3] @ place + turned[:3, 3] - of_scan[:3, :3] @ (start + place) - of_scan[:3, 3]
        if np.linalg.norm(apart) > TOLERANCE_MM * 10:
            return None
    if (start < 0).any() or (start + shape > np.array(scan_shape)).any():
        return None
    ends = (start + shape).astype(int).tolist()
    return Placement(turn, tuple(slice(first, end) for first, end in zip(start.astype(int).tolist(), ends)))


def painted(blocks: Iterable[Block], shape: Sequence[int], segments: Sequence[Segment], path: Path | str) -> np.ndarray:
    """Return the label map of segments on a scan.

    Args:
        blocks: the pieces of the segments.
        shape: (rows, columns, slices) of the scan.
        segments: what may be painted.
        path: the file, for errors.

    Returns:
        ``shape``, in the smallest unsigned dtype that holds the labels.

    Raises:
        UserError: two segments share a voxel.
    """
    names = {one.label: one.name or str(one.label) for one in segments}
    labels = np.zeros(tuple(shape), np.min_scalar_type(max(names, default=0)))
    for label, place, inside in blocks:
        here = labels[place]
        if (clash := here[inside & (here != 0) & (here != label)]).size:
            both = f"{names[int(clash[0])]!r} and {names[label]!r} overlap, and a voxel has one label"
            raise UserError(f"{path}: {both}; choose among them with --labels; {names_text(segments)}")
        here[inside] = label
    return labels
