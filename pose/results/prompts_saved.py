"""How many prompts a folder of results used, and how many it saved against a prompt on every slice of the object.

A prompt is all that is given on one slice, for however many objects: a slice is what somebody has to find and look at.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pose.cli import UserError
from pose.results.files import read_manifest


@dataclass(frozen=True)
class VolumePrompts:
    """What the manifest of a run says of its prompts.

    Attributes:
        prompted_slices: slices of the volume that were prompted; 0 where all prompts came from seeds; None if unknown.
        masked_slices: segmented slices on which the ground truth holds the object; None without ground truth.
        seeds: SHA-256 of each prompted slice of another volume that the masks were propagated from.
        seed_patient: whether a seed is a slice of this very volume; None if unknown.
    """

    prompted_slices: int | None = None
    masked_slices: int | None = None
    seeds: frozenset[str] = frozenset()
    seed_patient: bool | None = None


def read_volume_prompts(path: Path | None) -> VolumePrompts:
    """Read the run manifest (run_*.json) of a volume; without one, as in published folders, nothing is known.

    Raises:
        UserError: the file cannot be read as JSON, or what it says of prompts is no such thing.
    """
    return VolumePrompts() if path is None else volume_prompts(read_manifest(path), path)


def volume_prompts(record: dict[str, Any], path: Path) -> VolumePrompts:
    """Return what a manifest, that of ``path``, says of prompts.

    Raises:
        UserError: it is no such thing.
    """
    prompted, masked = (_count(record, name, path) for name in ("prompted_slices", "masked_slices"))
    seed = record.get("seed")
    if seed is None:
        return VolumePrompts(prompted, masked, seed_patient=False)
    listed, is_patient = (seed.get(key) if isinstance(seed, dict) else None for key in ("seeds", "seed_patient"))
    if not (isinstance(listed, list) and listed and isinstance(is_patient, bool)):
        raise UserError(f"{path}: seed must have a list 'seeds' and 'seed_patient', true or false; got {seed!r:.60}")
    for entry in listed:
        if not (isinstance(entry, dict) and isinstance(entry.get("slice_sha256"), str)):
            raise UserError(f"{path}: each of seed.seeds must have a 'slice_sha256', got {entry!r:.60}")
    return VolumePrompts(prompted, masked, frozenset(entry["slice_sha256"] for entry in listed), is_patient)


def _count(record: dict[str, Any], name: str, path: Path) -> int | None:
    value = record.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53):
        raise UserError(f"{path}: {name} must be a whole number from 0, got {value!r:.60}")
    return value


@dataclass(frozen=True)
class PromptsSaved:
    """Prompts of a set of volumes.

    Attributes:
        volumes: how many there are.
        used: prompted slices of all volumes, and each seed slice once; None where that of one volume is unknown.
        masked_slices: of all volumes; None where that of one volume is unknown.
    """

    volumes: int
    used: int | None
    masked_slices: int | None

    @property
    def saved_percent(self) -> float | None:
        """100 * (1 - used / masked slices); None where either is unknown, or no slice is masked."""
        if self.used is None or not self.masked_slices:
            return None
        return 100 * (1 - self.used / self.masked_slices)

    def sentence(self) -> str | None:
        """Return the sum for the terminal, as far as it is known; None where nothing is."""
        if self.used is None:
            return None
        prompts = _counted(self.used, "prompt")
        volumes = _counted(self.volumes, "volume")
        if self.saved_percent is None or self.masked_slices is None:
            return f"{prompts} for {volumes}: no masked slices known to compare with"
        masked = _counted(self.masked_slices, "masked slice")
        return f"{prompts} for {masked} in {volumes}: {self.saved_percent:.2f} % saved"


def prompts_saved(volumes: Iterable[VolumePrompts]) -> PromptsSaved:
    """Sum up the prompts of ``volumes``; a seed that several share counts once."""
    volumes = list(volumes)
    prompted = _sum_if_known(one.prompted_slices for one in volumes)
    seeds = frozenset[str]().union(*(one.seeds for one in volumes))
    used = None if prompted is None else prompted + len(seeds)
    return PromptsSaved(len(volumes), used, _sum_if_known(one.masked_slices for one in volumes))


def _sum_if_known(counts: Iterable[int | None]) -> int | None:
    counts = list(counts)
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
