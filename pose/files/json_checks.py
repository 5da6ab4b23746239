"""JSON checks: what a file holds is compared with what it must hold, and the first difference is named.

All functions raise :class:`pose.cli.UserError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pose.cli import UserError


def check_keys(value: object, required: Sequence[str], optional: Sequence[str], where: str) -> None:
    """Refuse what is no object, lacks one of the keys or has another one; ``where`` names it in the error."""
    known = ", ".join((*required, *optional))
    if not isinstance(value, dict):
        raise UserError(f"{where} must be an object with {known}, got {value!r:.60}")
    for key in value:
        if key not in (*required, *optional):
            raise UserError(f"{where} has the unknown key {key!r}, known are {known}")
    if missing := [key for key in required if key not in value]:
        raise UserError(f"{where} has no {missing[0]!r}")


def whole_numbers(entry: Any, keys: Sequence[str], where: str, least: int = 0) -> tuple[int, ...]:
    """Return the values of an object that has just these keys, whole numbers from ``least``."""
    check_keys(entry, keys, (), where)
    return tuple(whole_number(entry[key], least, f"{where}.{key}") for key in keys)


def whole_number(value: object, least: int, where: str, most: int | None = None) -> int:
    """Return ``value`` if it is a whole number within the limits, both included."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= (most or 2**53):  # floats' last
        limits = f"from {least} to {most}" if most else f"from {least}"
        raise UserError(f"{where} must be a whole number {limits}, got {value!r:.60}")
    return value
