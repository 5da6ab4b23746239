"""Measure what --embeddings_cache saves: two prompt strategies on one volume, one after the other, with and without it.

In each round both ways segment the same slices by the first strategy and then by the second; which way comes first
alternates, and the cache starts from an empty folder. Strategies are points and then a box; for a model that takes
boxes alone, one box round all labels and then a box for each label. With --method sam2_memory the prompt lies on the
centre slice, and SAM 2's memory carries it through the whole volume. A time is that of the whole segmentation: reading
a slice from the volume, encoding it or looking it up, and predicting. Ratios are taken within a round, since other work
on the machine slows both ways alike.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from pose import cli, segmenters
from pose.prompts.prompt import Prompt, prompts_from_mask
from pose.scans.intensity import WINDOWS, GreySlices, Intensity
from pose.segmenters import models


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lite_medsam", help="a model of sam2_configs/ (default: %(default)s)")
    parser.add_argument("--checkpoint_file_path", type=Path, metavar="FILE", help="its weights")
    parser.add_argument("--method", choices=("slices", "sam2_memory"), default="slices", help="default: %(default)s")
    parser.add_argument("--image_size", type=cli.whole_number, metavar="N", help="pixels a side (default: the model's)")
    parser.add_argument("-i", "--image_file_path", type=Path, metavar="FILE", help="a chest CT (default: a made one)")
    parser.add_argument("-m", "--masks_file_path", type=Path, metavar="FILE", help="its masks")
    parser.add_argument("--labels", type=cli.whole_number, nargs="+", metavar="LABEL", help="labels that count")
    parser.add_argument("--swap_axes", action="store_true", help="swap the first two axes of NIfTI files")
    parser.add_argument(
        "--slices", type=cli.whole_number, metavar="N", help="slices, evenly spread over the object (default: all)"
    )
    parser.add_argument(
        "--rounds", type=cli.whole_number, default=3, metavar="N", help="turns, at least 3 (default: %(default)s)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument(
        "--folder", type=Path, metavar="FOLDER", help="where the cache lies (default: the system's temporary folder)"
    )
    return parser


def load_volume(arguments: argparse.Namespace) -> tuple[GreySlices, np.ndarray]:
    """Return the grey slices of a volume and its labels, (rows, columns, slices).

    Raises:
        UserError: an image without masks or the reverse, or files that cannot be read.
    """
    from pose.scans.masks import read_mask
    from pose.scans.phantom import chest_ct
    from pose.scans.volume import read_volume

    if (arguments.image_file_path is None) != (arguments.masks_file_path is None):
        raise cli.UserError("--image_file_path and --masks_file_path: give both or neither")
    if arguments.image_file_path is None:
        volume, labels = chest_ct((512, 512, 24))
    else:
        volume = read_volume(arguments.image_file_path, arguments.swap_axes)
        labels = read_mask(arguments.masks_file_path, like=volume).voxels
    if arguments.labels:
        labels = np.where(np.isin(labels, arguments.labels), labels, 0)
    return GreySlices(volume, Intensity(WINDOWS["lung"])), labels


def strategies_for(
    prompt_kinds: frozenset[str], labels: np.ndarray, count: int | None
) -> dict[str, tuple[list[int], list[Prompt]]]:
    """Return two strategies by name, each as (slices, prompts): what the model takes, on the same slices.

    Raises:
        UserError: no slice shows the object.
    """
    filled = np.flatnonzero(labels.any(axis=(0, 1)))
    if not filled.size:
        raise cli.UserError("--masks_file_path: none of the labels asked for")
    count = filled.size if count is None else min(max(1, count), filled.size)
    slices = [int(filled[int((place + 0.5) * filled.size / count)]) for place in range(count)]

    def prompts(objects: str, points: bool) -> list[Prompt]:
        found = []
        for slice_index in slices:
            made = prompts_from_mask(
                labels[:, :, slice_index], slice_index, objects=objects, use_bounding_box=not points
            )
            found += made if points else [replace(one, positive_points=(), negative_points=()) for one in made]
        return found

    if "points" in prompt_kinds:
        return {"points": (slices, prompts("union", True)), "box": (slices, prompts("union", False))}
    return {"a box": (slices, prompts("union", False)), "a box per label": (slices, prompts("per_label", False))}


def segment(segmenter, grey: GreySlices, slices: list[int], prompts: list[Prompt]) -> tuple[float, list[np.ndarray]]:
    """Segment the slices, or the volume; returns the seconds that it took, and the logits of every object."""
    start = perf_counter()
    if hasattr(segmenter, "segment"):
        found = list(segmenter.segment(grey, prompts))
    else:
        found = list(segmenters.segment_slices(segmenter, grey, prompts, slices))
    took = perf_counter() - start
    found.sort(key=lambda part: part.slice)
    return took, [one.logits for part in found for one in part.objects.values()]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; exit code 1 where the cache changes a logit."""
    arguments = make_parser().parse_args(argv)
    if arguments.rounds < 3:
        raise cli.UserError(f"--rounds {arguments.rounds}: fewer than 3 say nothing about the spread")
    grey, labels = load_volume(arguments)
    import torch

    from pose.segmenters.embeddings import EmbeddingsCache

    device = models.choose_device(arguments.device)
    precision = models.choose_precision(arguments.precision, device)
    spec = models.at_image_size(models.find_model(arguments.model), arguments.image_size)
    checkpoint = models.checkpoint_path(spec, arguments.checkpoint_file_path)
    of_a_volume = arguments.method == "sam2_memory"

    def build(cache: EmbeddingsCache | None):
        if of_a_volume:
            from pose.segmenters.sam2.memory import Sam2Memory

            return Sam2Memory(spec, checkpoint, device, precision, embeddings=cache)
        return segmenters.build_slice_segmenter(spec, checkpoint, device, precision, cache)

    plain = build(None)
    strategies = strategies_for(plain.prompt_kinds, labels, 1 if of_a_volume else arguments.slices)
    seconds: dict[tuple[str, str], list[float]] = {}
    same = True
    with tempfile.TemporaryDirectory(prefix="embeddings_", dir=arguments.folder) as folder:
        cache = EmbeddingsCache(Path(folder) / "warm_up", limit_bytes=10**12)
        cached = build(cache)
        for segmenter in (plain, cached):
            for slices, prompts in strategies.values():
                segment(segmenter, grey, slices[:1], [prompt for prompt in prompts if prompt.slice == slices[0]])
        for turn in range(arguments.rounds):
            cache.folder = Path(folder) / f"round_{turn}"
            cache.folder.mkdir()
            cache.reset_counts()
            logits: dict[tuple[str, str], list[np.ndarray]] = {}
            ways = {"without": plain, "with": cached}
            for way in ways if turn % 2 else reversed(ways):
                for name, (slices, prompts) in strategies.items():
                    took, logits[name, way] = segment(ways[way], grey, slices, prompts)
                    seconds.setdefault((name, way), []).append(took)
            for name in strategies:
                pairs = zip(logits[name, "without"], logits[name, "with"], strict=True)
                same &= all(np.array_equal(one, other) for one, other in pairs)
        taken = sum(path.stat().st_size for path in cache.folder.iterdir())

    count = len(grey) if of_a_volume else len(slices)
    print(
        f"{spec.name}, {arguments.method}, {spec.image_size} px on {device}, {precision}, "
        f"{torch.get_num_threads()} threads of {os.cpu_count()} CPUs, "
        f"{count} slices of {grey.shape[0]} x {grey.shape[1]}, {arguments.rounds} rounds in turns"
    )
    print(f"the last round's cache: {cache.hits} hits, {cache.misses} misses, {taken / count / 1e6:.1f} MB a slice")
    both = {way: [sum(times) for times in zip(*(seconds[name, way] for name in strategies))] for way in ways}
    for name in (*strategies, "both"):
        without, with_cache = (both[way] if name == "both" else seconds[name, way] for way in ("without", "with"))
        ratios = [one / other for one, other in zip(without, with_cache)]
        place = {**dict(zip(strategies, ("first, ", "second, "))), "both": ""}[name]
        print(
            f"{place}{name}: {spread(without)} s without, {spread(with_cache)} s with the cache, "
            f"{spread(ratios)} times as fast"
        )
    print("logits are the same to the bit" if same else "LOGITS DIFFER")
    return cli.EXIT_OK if same else cli.EXIT_VOLUME_FAILED


def spread(values: Sequence[float]) -> str:
    """Return the median of ``values`` with their least and their greatest."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
