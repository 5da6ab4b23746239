"""Clicks: the prompts of a scan as a person makes them, one after the other, with a way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pose.cli import UserError
from pose.prompts.prompt import Box, Point, Prompt, check_prompts, shape_text
from pose.prompts.reach import is_pointing

MOST_STEPS_BACK = 200


@dataclass
class Clicks:
    """Prompts that grow click by click.

    Of an object on a slice there is one prompt, with its points and its box, and one more for each further box, or for
    each mask of a file.

    Attributes:
        shape: (rows, columns, slices) of the scan.
        prompts: what was clicked, by object and slice.
    """

    shape: tuple[int, int, int]
    prompts: list[Prompt] = field(default_factory=list)
    _before: list[list[Prompt]] = field(default_factory=list)

    def at(self, slice_index: int, object_id: int | None = None) -> list[Prompt]:
        """Return the prompts on a slice, of one object or of all."""
        return [one for one in self.prompts if one.slice == slice_index and object_id in (None, one.object_id)]

    def add_point(self, object_id: int, slice_index: int, point: Point, inside: bool) -> None:
        """Add a point inside the object, or outside of it.

        Raises:
            UserError: it lies outside the scan.
        """
        first, *others = self._pointed(object_id, slice_index)
        kept = [one for one in (*first.positive_points, *first.negative_points) if one != point]
        positive = [one for one in kept if one in first.positive_points] + [point] * inside
        negative = [one for one in kept if one in first.negative_points] + [point] * (not inside)
        first = replace(first, positive_points=tuple(positive), negative_points=tuple(negative))
        self._set(object_id, slice_index, [first, *others])

    def add_box(self, object_id: int, slice_index: int, box: Box, further: bool = False) -> None:
        """Set the box of the object, or add a further one: boxes of an object on a slice are united.

        Raises:
            UserError: it lies outside the scan.
        """
        first, *others = self._pointed(object_id, slice_index)
        if further and first.box is not None:
            others.append(Prompt(slice_index, object_id, box=box))
        else:
            first = replace(first, box=box)
            others = [one for one in others if one.box is None] if not further else others
        self._set(object_id, slice_index, [first, *others])

    def set_absent(self, object_id: int, slice_index: int, absent: bool) -> None:
        """Say that the object is not on a slice nor beyond it, in place of what was clicked there; or take it back."""
        self._set(object_id, slice_index, [Prompt(slice_index, object_id, absent=True)] if absent else [])

    def clear(self, object_id: int, slice_index: int) -> None:
        """Remove what was said of an object on a slice."""
        self._set(object_id, slice_index, [])

    def remove_object(self, object_id: int) -> None:
        """Remove all prompts of an object."""
        self._replace([one for one in self.prompts if one.object_id != object_id])

    def undo(self) -> list[int]:
        """Take the last step back; return the slices that it concerned."""
        if not self._before:
            return []
        now, self.prompts = self.prompts, self._before.pop()
        return sorted({one.slice for one in (*now, *self.prompts) if self.at(one.slice) != _at(now, one.slice)})

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return bool(self._before)

    def to_carry(self, name: str) -> list[Prompt]:
        """Return the prompts as a model takes them.

        Raises:
            UserError: there is none, or what :func:`pose.prompts.prompt.check_prompts` refuses; ``name`` is the scan's.
        """
        if not any(map(is_pointing, self.prompts)):
            raise UserError(f"{name}: nothing says where an object is; click into it, or drag a box round it")
        check_prompts(self.prompts, self.shape, name)
        return list(self.prompts)

    def _pointed(self, object_id: int, slice_index: int) -> list[Prompt]:
        """Return the prompts of an object on a slice that may take a point or a box; a new one if there are none."""
        here = [one for one in self.at(slice_index, object_id) if not one.absent]
        return here if here and here[0].mask is None else [Prompt(slice_index, object_id), *here]

    def _set(self, object_id: int, slice_index: int, here: list[Prompt]) -> None:
        rows, columns, slices = self.shape
        if not 0 <= slice_index < slices:
            raise UserError(f"slice {slice_index}: no such slice, they count from 0 to {slices - 1}")
        for one in here:
            corners = [(one.box[0], one.box[1]), (one.box[2], one.box[3])] if one.box is not None else []
            for row, column in (*one.positive_points, *one.negative_points, *corners):
                if not (0 <= row < rows and 0 <= column < columns):
                    size = shape_text(self.shape[:2])
                    raise UserError(f"row {row}, column {column}: outside the image of {size} (rows x columns)")
            if one.box is not None and (one.box[0] > one.box[2] or one.box[1] > one.box[3]):
                raise UserError(f"the box {one.box} ends before it begins")
        rest = [one for one in self.prompts if (one.object_id, one.slice) != (object_id, slice_index)]
        self._replace(sorted([*rest, *here], key=lambda one: (one.object_id, one.slice)))

    def _replace(self, prompts: list[Prompt]) -> None:
        if prompts != self.prompts:
            self._before = [*self._before[-MOST_STEPS_BACK:], self.prompts]
            self.prompts = prompts


def _at(prompts: Sequence[Prompt], slice_index: int) -> list[Prompt]:
    return [one for one in prompts if one.slice == slice_index]
