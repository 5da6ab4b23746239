"""The settings that runs were made with, as far as their manifests tell, and in what those of one table differ."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

# Where files lie, how a run behaves, and what belongs to one volume alone, such as the place of its prompt.
_NOT_COMPARED = frozenset(
    (
        "allow_geometry_mismatch",
        "anonymous",
        "box",
        "checkpoint_file_path",
        "debug",
        "device",
        "dry_run",
        "embeddings_cache",
        "embeddings_cache_gb",
        "figure",
        "figure_size",
        "figure_slices",
        "flip",
        "gif",
        "image_file_path",
        "masks_file_path",
        "model_description",
        "names",
        "negative_point",
        "point",
        "point_mm",
        "prompt_file_path",
        "record_failures",
        "results_folder_path",
        "resume",
        "rotate",
        "sam_version",
        "save_seed_memory",
        "seed_image_file_path",
        "seed_masks_file_path",
        "seed_memory",
        "seed_prompt_file_path",
        "seed_slice",
        "series",
        "slice",
        "slices",
        "space",
        "start_slice",
        "strict",
        "threads",
        "write",
    )
)
# So many settings are named in a message; where more differ, these tell enough.
MOST_NAMED = 12


def settings_of(record: Mapping[str, Any]) -> str | None:
    """Return the settings in the manifest of a run as JSON, the same text for the same settings; None without any.

    What no flag set is left out, so that manifests from before there was a flag agree with later ones.
    """
    arguments = record.get("arguments")
    if not isinstance(arguments, dict):
        return None
    found: dict[str, Any] = {
        "method": record.get("method") or "a prompt on every slice",
        "model": record.get("model") or arguments.get("model"),
        "weights": _inside(record, "checkpoint", "sha256"),
        "prompts": _prompts(record, arguments),
        "window": _window(arguments),
    }
    left = sorted(name for name in arguments if name not in _NOT_COMPARED and name not in ("apply_windowing", "window"))
    for name in left:
        resolved = record.get(name) if name in ("precision", "image_size") else None
        found.setdefault(name, arguments[name] if resolved is None else resolved)
    if isinstance(found.get("prompt_slice"), int):
        found["prompt_slice"] = "one of its own"
    found["code"] = _inside(record, "made_from", "code", "pose")
    return json.dumps(
        {name: value for name, value in found.items() if not (value is None or value is False or value == [])}
    )


def _prompts(record: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    seeds = _inside(record, "seed", "seeds")
    if isinstance(seeds, list):
        return f"seeds {' '.join(str(_inside(one, 'slice_sha256'))[:8] for one in seeds)}"
    if arguments.get("prompt_file_path"):
        return "a file"
    if any(arguments.get(name) for name in ("point", "negative_point", "box", "point_mm")):
        return "typed"
    return "ground truth"


def _window(arguments: Mapping[str, Any]) -> str | None:
    if arguments.get("apply_windowing"):
        return "lung"
    window = arguments.get("window")
    return " ".join(map(str, window)) if isinstance(window, list) and window else None


def _inside(record: Any, *keys: str) -> Any:
    for key in keys:
        record = record.get(key) if isinstance(record, dict) else None
    return record


def differing(settings: Iterable[str]) -> dict[str, Counter[str]]:
    """Return the settings in which runs differ, and how many runs have each value; a weight or a code by its hash.

    Args:
        settings: of each run, as :func:`settings_of` returns them.
    """
    counted = [(json.loads(text), number) for text, number in Counter(settings).items()]
    found: dict[str, Counter[str]] = {}
    for name in dict.fromkeys(name for record, _ in counted for name in record):
        values: Counter[str] = Counter()
        for record, number in counted:
            values[_shown(name, record.get(name))] += number
        if len(values) > 1:
            found[name] = values
    return found


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text[:8] if name in ("weights", "code") else text


def sentence(differences: Mapping[str, Counter[str]]) -> str:
    """Say in what runs differ: each setting, with its values and how many volumes have them."""
    parts = []
    for name, values in list(differences.items())[:MOST_NAMED]:
        shown = [f"{value} ({number})" for value, number in values.most_common(4)]
        parts.append(f"{name}: {', '.join(shown)}{' and others' if len(values) > 4 else ''}")
    more = len(differences) - MOST_NAMED
    return "; ".join(parts) + (f"; and {more} more" if more > 0 else "")
