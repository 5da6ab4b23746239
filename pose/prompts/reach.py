"""Where an object may be: what a person says of the slices and parts on which it is not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from pose.prompts.prompt import Point, Prompt


def is_pointing(prompt: Prompt) -> bool:
    """Tell whether a prompt says where the object is, rather than where it is not."""
    return not prompt.absent and bool(prompt.positive_points or prompt.box is not None or prompt.mask is not None)


def pointing(prompts: Iterable[Prompt]) -> list[Prompt]:
    """Return the prompts that say where objects are."""
    return [prompt for prompt in prompts if is_pointing(prompt)]


def objects_pointed_at(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return the prompts that say where objects are, and of an object of which none does, all: those are a mistake."""
    known = {prompt.object_id for prompt in prompts if is_pointing(prompt)}
    return [prompt for prompt in prompts if is_pointing(prompt) or prompt.object_id not in known]


def corrections(prompts: Iterable[Prompt]) -> dict[tuple[int, int], list[Point]]:
    """Return the negative points that stand alone for an object on a slice, by (object, slice).

    The part of the object in which one lies is no part of it.
    """
    prompts = list(prompts)
    pointed = {(prompt.object_id, prompt.slice) for prompt in prompts if is_pointing(prompt) or prompt.absent}
    found: dict[tuple[int, int], list[Point]] = {}
    for prompt in prompts:
        key = prompt.object_id, prompt.slice
        if prompt.negative_points and key not in pointed:
            found.setdefault(key, []).extend(prompt.negative_points)
    return found


def without_parts(mask: np.ndarray, points: Sequence[Point]) -> np.ndarray:
    """Return a (rows, columns) mask without the connected parts that hold one of the ``points``; diagonals connect."""
    from scipy import ndimage

    labels, _ = ndimage.label(mask, np.ones((3, 3), dtype=bool))
    hit = {int(labels[row, column]) for row, column in points}
    return mask & ~np.isin(labels, sorted(hit - {0}))


def stretches(prompts: Sequence[Prompt], slices: int) -> dict[int, np.ndarray]:
    """Return for each object the stretches of slices on which it may be.

    It is on no slice before its first or after its last one, as far as these are given, nor where it is absent. Between
    such slices, only what holds a prompt that points at it is searched: the way there from another one is barred.

    Args:
        prompts: on slices of one volume.
        slices: how many it has.

    Returns:
        By object, (slices,) the number of the stretch from 1, and 0 where the object is not. An object to which no
        prompt points, such as that of a seed, may be wherever nobody said that it is not.
    """
    found = {}
    for object_id in sorted({prompt.object_id for prompt in prompts}):
        own = [prompt for prompt in prompts if prompt.object_id == object_id]
        allowed = np.ones(slices, dtype=bool)
        for prompt in own:
            if prompt.first_slice is not None:
                allowed[: prompt.first_slice] = False
            if prompt.last_slice is not None:
                allowed[prompt.last_slice + 1 :] = False
            if prompt.absent:
                allowed[prompt.slice] = False
        numbers = np.where(allowed, np.cumsum(np.diff(allowed.astype(np.int8), prepend=0) > 0), 0)
        pointed = [prompt.slice for prompt in own if is_pointing(prompt)]
        if pointed:
            numbers = np.where(np.isin(numbers, numbers[pointed]), numbers, 0)
        found[object_id] = numbers
    return found


def within(prompts: Iterable[Prompt], first: int, last: int) -> list[Prompt]:
    """Return the prompts for objects that lie on the slices from ``first`` to ``last`` at the most."""
    return [
        replace(
            prompt,
            first_slice=first if prompt.first_slice is None else max(first, prompt.first_slice),
            last_slice=last if prompt.last_slice is None else min(last, prompt.last_slice),
        )
        for prompt in prompts
    ]
