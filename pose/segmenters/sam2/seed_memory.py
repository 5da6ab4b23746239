"""Seed memory: a prompted slice of one patient, kept so that it can serve the volumes of others.

SAM 2's memory of the slice conditions other volumes; other methods find the object there by where it lies and what it
looks like (:mod:`pose.segmenters.placement`). A small file stands for the slice and its prompt: tomorrow's patients
need neither.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pose.cli import UserError, existing_file
from pose.scans.registration import Upright
from pose.segmenters.placement import Prototypes, SeedObject, SeedPlace
from pose.segmenters.sam2.memory_attention import Memory

# version 1 had SAM 2's memory alone
FORMAT, VERSIONS = "pose_seed_memory", ("1", "2")
PLACE = "place"  # stands for an object's number in the names of tensors that belong to the scan


@dataclass(frozen=True)
class SeedMemory:
    """One prompted slice.

    Attributes:
        objects: SAM 2's memory of each object, by its number; empty for other methods.
        place: what finds the objects on other scans; None where an old file lacks it.
    """

    objects: dict[int, Memory]
    place: SeedPlace | None = None


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
        if seed.place is not None:
            arrays = _arrays_of_place(seed.place)
            tensors.update({f"{number}.{name}": torch.from_numpy(array.copy()) for name, array in arrays.items()})
    header = {"format": FORMAT, "version": VERSIONS[-1], "seeds": str(len(seeds)), "about": json.dumps(about)}
    path.write_bytes(with_sorted_metadata(save(tensors, metadata=header)))


def _arrays_of_place(place: SeedPlace) -> dict[str, np.ndarray]:
    grey = place.grey
    arrays = {
        f"{PLACE}.grey": grey.values,
        f"{PLACE}.inside": grey.inside.astype(np.uint8),
        f"{PLACE}.known": np.array([grey.known], dtype=np.uint8),
    }
    if place.clip is not None and place.hounsfield is not None:
        arrays |= {f"{PLACE}.clip": np.array(place.clip, dtype=np.float64), f"{PLACE}.hounsfield": place.hounsfield}
    for object_id, one in place.objects.items():
        arrays[f"{object_id}.centre"] = one.centre.astype(np.float64)
        if one.share is not None:
            arrays |= {f"{object_id}.share": one.share, f"{object_id}.origin": one.origin.astype(np.float64)}
        if one.prototypes is not None:
            arrays |= {f"{object_id}.inside": one.prototypes.inside, f"{object_id}.outside": one.prototypes.outside}
    return arrays


def _place_of_arrays(arrays: Mapping[str, np.ndarray]) -> SeedPlace | None:
    """Return what :func:`_arrays_of_place` made arrays of; None where there are none.

    Raises:
        KeyError, ValueError: an array is missing, or is none that finds an object.
    """
    if f"{PLACE}.grey" not in arrays:
        return None
    checked = {name: _checked(name, array) for name, array in arrays.items()}
    values, inside = checked[f"{PLACE}.grey"], checked[f"{PLACE}.inside"] > 0
    hounsfield, clip = checked.get(f"{PLACE}.hounsfield"), checked.get(f"{PLACE}.clip")
    grids = [one for one in (values, inside, hounsfield) if one is not None]
    if len({one.shape for one in grids}) != 1 or not inside.any() or (hounsfield is None) != (clip is None):
        raise ValueError(f"grids of shapes {', '.join(str(one.shape) for one in grids)} that do not fit each other")
    objects = {}
    for name in sorted(arrays):
        number, kind = name.split(".")
        if kind != "centre":
            continue
        prototypes = None
        if f"{number}.inside" in checked:
            inner, outer = checked[f"{number}.inside"], checked[f"{number}.outside"]
            if inner.shape[1] != outer.shape[1]:
                raise ValueError(f"prototypes of {inner.shape[1]} and {outer.shape[1]} channels")
            prototypes = Prototypes(inner, outer)
        origin = checked.get(f"{number}.origin", np.zeros(3))
        objects[int(number)] = SeedObject(checked[name], checked.get(f"{number}.share"), origin, prototypes)
    if not objects or min(objects) < 1:
        raise ValueError("no object is placed")
    grey = Upright(values, inside, np.eye(4), known=bool(checked[f"{PLACE}.known"][0]))
    if clip is not None and not clip[0] < clip[1]:
        raise ValueError(f"clip {clip.tolist()}")
    return SeedPlace(grey, objects, None if clip is None else (float(clip[0]), float(clip[1])), hounsfield)


def _checked(name: str, array: np.ndarray) -> np.ndarray:
    """Return an array of a place; raise ValueError where its type, shape or values are not what its name asks for."""
    number, kind = name.split(".")
    of_scan = {"grey": (np.uint8, 3), "inside": (np.uint8, 3), "hounsfield": (np.uint8, 3), "clip": (np.float64, 1)}
    of_scan["known"] = (np.uint8, 1)
    of_object = {"share": (np.uint8, 3), "inside": (np.float32, 2), "outside": (np.float32, 2)}
    of_object |= {"centre": (np.float64, 1), "origin": (np.float64, 1)}
    kinds = of_scan if number == PLACE else of_object
    lengths = {"centre": 3, "origin": 3, "clip": 2, "known": 1}
    dtype, dimensions = kinds[kind]
    right_size = array.size == lengths[kind] if kind in lengths else array.size > 0
    if array.dtype != dtype or array.ndim != dimensions or not right_size or not np.isfinite(array).all():
        raise ValueError(f"{name} of {array.dtype} has shape {array.shape}, or values that are not finite")
    return array


def with_sorted_metadata(content: bytes) -> bytes:
    """Return a safetensors file with its metadata in the order of their names: safetensors itself writes any order."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def load_seed_memory(
    path: Path,
    *,
    model: str,
    checkpoint_sha256: str | None,
    image_size: int | None,
    device: torch.device,
    method: str = "sam2_memory",
) -> tuple[list[SeedMemory], dict[str, Any]]:
    """Read memories that were made by the same method and weights at the same size.

    Returns:
        The memories on ``device``, and what was written about them.

    Raises:
        UserError: the file is missing, damaged or no seed memory, or belongs to another method or model, other weights
            or another image size.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(existing_file(path), "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a seed memory: {error}") from None
    if header.get("format") != FORMAT or header.get("version") not in VERSIONS:
        raise UserError(f"{path}: is no seed memory (format {header.get('format')}, version {header.get('version')})")
    try:
        about = json.loads(header["about"])
        if (number_of_seeds := int(header["seeds"])) > len(tensors):
            raise ValueError(f"{number_of_seeds} seeds of {len(tensors)} tensors")
        seeds: list[SeedMemory] = [SeedMemory({}) for _ in range(number_of_seeds)]
        places: list[dict[str, np.ndarray]] = [{} for _ in range(number_of_seeds)]
        for name, tensor in tensors.items():
            number, object_id, kind = name.split(".")
            if kind == "features":
                pointers = tensors[f"{number}.{object_id}.pointers"]
                if tensor.dim() != 4 or pointers.dim() != 2 or len(tensor) != len(pointers) or not pointers.numel():
                    raise ValueError(f"{name} has shape {tuple(tensor.shape)}, its pointers {tuple(pointers.shape)}")
                memory = Memory(tensor.to(device, torch.bfloat16), pointers.to(device, torch.float32))
                seeds[int(number)].objects[int(object_id)] = memory
            elif kind != "pointers":
                places[int(number)][f"{object_id}.{kind}"] = tensor.numpy()
        seeds = [SeedMemory(one.objects, _place_of_arrays(place)) for one, place in zip(seeds, places)]
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
    made_by["method"] = about.get("method", "sam2_memory")
    here = {"method": method, "model": model, "checkpoint_sha256": checkpoint_sha256, "image_size": image_size}
    for key, value in here.items():
        if made_by[key] != value:
            raise UserError(f"{path}: was made with {key} {made_by[key]}, this run has {value}")
    if not seeds or not all(seed.objects if method == "sam2_memory" else _finds_objects(seed.place) for seed in seeds):
        raise UserError(f"{path}: is a damaged seed memory (a seed without an object)")
    return seeds, about


def _finds_objects(place: SeedPlace | None) -> bool:
    return place is not None and all(one.share is not None for one in place.objects.values())


def _tells_a_slice(one: Any) -> bool:
    """Tell whether this is what a seed's own volume can be recognised by, see :class:`pose.runs.seed.Seeds`."""
    if not (isinstance(one, dict) and isinstance(one.get("slice_sha256"), str) and isinstance(one.get("shape"), list)):
        return False
    whole = [type(number) is int for number in (*one["shape"], one.get("slice"))]
    return len(whole) == 4 and all(whole) and 0 <= one["slice"] < one["shape"][2]
