"""Seed memory: a prompted slice of one patient, as SAM 2 remembers it, conditions the volumes of others.

A small file of it stands for the slice and its prompt: tomorrow's patients need neither.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pose.cli import UserError, existing_file
from pose.segmenters.sam2.memory_attention import Memory

FORMAT, VERSION = "pose_seed_memory", 1


@dataclass(frozen=True)
class SeedMemory:
    """One prompted slice: the memory of each object, by its id."""

    objects: dict[int, Memory]


def save_seed_memory(path: Path, seeds: Sequence[SeedMemory], about: Mapping[str, Any]) -> None:
    """Write memories as safetensors; ``about`` goes into the header as JSON and comes back from
    :func:`load_seed_memory`.
    """
    from safetensors.torch import save

    tensors = {}
    for number, seed in enumerate(seeds):
        for object_id, memory in seed.objects.items():
            tensors[f"{number}.{object_id}.features"] = memory.features.cpu().contiguous()
            tensors[f"{number}.{object_id}.pointers"] = memory.pointers.cpu().contiguous()
    header = {"format": FORMAT, "version": str(VERSION), "seeds": str(len(seeds)), "about": json.dumps(about)}
    path.write_bytes(with_sorted_metadata(save(tensors, metadata=header)))


def with_sorted_metadata(content: bytes) -> bytes:
    """Return a safetensors file with its metadata in the order of their names: safetensors itself writes any order."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def load_seed_memory(
    path: Path, *, model: str, checkpoint_sha256: str, image_size: int, device: torch.device
) -> tuple[list[SeedMemory], dict[str, Any]]:
    """Read memories that were made by the same weights at the same size.

    Returns:
        The memories on ``device``, and what was written about them.

    Raises:
        UserError: the file is missing, damaged or no seed memory, or belongs to another model, other weights or another
            image size.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(existing_file(path), "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a seed memory: {error}") from None
    if header.get("format") != FORMAT or header.get("version") != str(VERSION):
        raise UserError(f"{path}: is no seed memory (format {header.get('format')}, version {header.get('version')})")
    try:
        about = json.loads(header["about"])
        if (number_of_seeds := int(header["seeds"])) > len(tensors):
            raise ValueError(f"{number_of_seeds} seeds of {len(tensors)} tensors")
        seeds: list[SeedMemory] = [SeedMemory({}) for _ in range(number_of_seeds)]
        for name, features in tensors.items():
            number, object_id, kind = name.split(".")
            if kind == "features":
                pointers = tensors[f"{number}.{object_id}.pointers"]
                if features.dim() != 4 or pointers.dim() != 2 or len(features) != len(pointers) or not pointers.numel():
                    raise ValueError(f"{name} has shape {tuple(features.shape)}, its pointers {tuple(pointers.shape)}")
                memory = Memory(features.to(device, torch.bfloat16), pointers.to(device, torch.float32))
                seeds[int(number)].objects[int(object_id)] = memory
        made_by = {key: about[key] for key in ("model", "checkpoint_sha256", "image_size")}
        if not isinstance(about["seeds"], list) or len(about["seeds"]) != len(seeds):
            raise ValueError("seeds and what is said of them differ in number")
        if not (all(map(_tells_a_slice, about["seeds"])) and isinstance(about.get("shown", {}), dict)):
            raise ValueError("what is said of a seed lacks its slice")
        memories = [memory for seed in seeds for memory in seed.objects.values()]
        if len({(memory.features.shape, memory.pointers.shape) for memory in memories}) > 1:
            raise ValueError("memories of different shapes")
    except (KeyError, ValueError, IndexError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: is a damaged seed memory ({type(error).__name__}: {error})") from None
    if not all(seed.objects for seed in seeds) or not seeds:
        raise UserError(f"{path}: is a damaged seed memory (a seed without an object)")
    here = {"model": model, "checkpoint_sha256": checkpoint_sha256, "image_size": image_size}
    for key, value in here.items():
        if made_by[key] != value:
            raise UserError(f"{path}: was made with {key} {made_by[key]}, this run has {value}")
    return seeds, about


def _tells_a_slice(one: Any) -> bool:
    """Tell whether this is what a seed's own volume can be recognised by, see :class:`pose.runs.seed.Seeds`."""
    if not (isinstance(one, dict) and isinstance(one.get("slice_sha256"), str) and isinstance(one.get("shape"), list)):
        return False
    whole = [type(number) is int for number in (*one["shape"], one.get("slice"))]
    return len(whole) == 4 and all(whole) and 0 <= one["slice"] < one["shape"][2]
