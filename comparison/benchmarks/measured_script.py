"""Run process_video.py or process_image.py as benchmarks do: leave a record of the GPU's memory when it ends.

With --true_masks the network works as ever, but what is scored, drawn and written are the ground truth's masks, by
labels (--objects per_label). Random weights make noise, whose scores and files cost several times those of organs.

    python comparison/benchmarks/measured_script.py [--true_masks] RECORD.json SCRIPT.py …
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))


def gpu_memory() -> dict[str, float] | None:
    """Return in MB what tensors of this process took at the most, and what is taken of its card now, by all processes.

    None where this process has used no GPU with CUDA.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    free, total = torch.cuda.mem_get_info()
    return {"tensors_mb": torch.cuda.max_memory_allocated() / 1e6, "card_mb": (total - free) / 1e6}


def with_true_masks(predictions: Iterable, truth: np.ndarray) -> Iterator:
    """Yield the predictions of slices with the masks of the ground truth in place of theirs.

    Args:
        truth: (rows, columns, slices) labels; an object's id is its label.
    """
    for found in predictions:
        here = truth[:, :, found.slice]
        yield replace(found, objects={label: replace(one, mask=here == label) for label, one in found.objects.items()})


def use_true_masks() -> None:
    """Let all volumes of this process be scored and written by their ground truth."""
    from pose.runs import run

    segment = run.segment

    def with_truth(case, prompts, predictions, *args, **kwargs):
        return segment(case, prompts, with_true_masks(predictions, case.truth), *args, **kwargs)

    run.segment = with_truth


def main() -> None:
    """Run the script; ends with its exit code."""
    words = sys.argv[1:]
    if words[0] == "--true_masks":
        words = words[1:]
        use_true_masks()
    record, script = words[:2]
    sys.argv = words[1:]
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        Path(record).write_text(json.dumps(gpu_memory()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
