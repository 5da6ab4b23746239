"""One prompt for a data set: prompted slices of one patient or a few (seeds) that condition the volumes of all
others.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pose import cli
from pose.cli import UserError
from pose.files.atomic import failure_named, write_atomically

if TYPE_CHECKING:
    from pose.prompts.prompt import Prompt
    from pose.runs.case import Case
    from pose.scans.volume import Volume
    from pose.segmenters.models import ModelSpec
    from pose.segmenters.sam2.memory import Sam2Memory
    from pose.segmenters.sam2.seed_memory import SeedMemory

logger = logging.getLogger(__name__)

SEED_FLAGS = ("seed_image_file_path", "seed_memory")
# what decides how a model sees slices
SHOWN_BY = ("apply_windowing", "window", "intensity", "crop", "swap_axes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the seeds: where they come from, and where their memory goes."""
    group = parser.add_argument_group(
        "one prompt for a data set",
        "a prompted slice of one patient conditions the volumes of all others (--method sam2_memory); lists give "
        "several "
        "seeds, a list of one counts for all of them",
    )
    group.add_argument(
        "--seed_image_file_path", type=Path, nargs="+", metavar="FILE", help="the patient whose slice is prompted"
    )
    group.add_argument(
        "--seed_masks_file_path", type=Path, nargs="+", metavar="FILE", help="its masks, from which the prompt is taken"
    )
    group.add_argument(
        "--seed_slice",
        type=cli.prompt_slice,
        nargs="+",
        metavar="centre|largest|N",
        help="the slice that is prompted from its masks (default: centre, the middle of the masked slices)",
    )
    group.add_argument(
        "--seed_prompt_file_path", type=Path, nargs="+", metavar="FILE", help="JSON with the prompt, instead of masks"
    )
    group.add_argument(
        "--seed_window",
        nargs="+",
        metavar="NAME|LEVEL WIDTH",
        help="CT window that the seeds are shown with, where the volumes need another one to look alike (default: the "
        "volumes')",
    )
    group.add_argument(
        "--save_seed_memory",
        type=Path,
        metavar="FILE",
        help="write what the network remembers of the seeds to a small file; needs no --image_file_path",
    )
    group.add_argument(
        "--seed_memory",
        type=Path,
        metavar="FILE",
        help="such a file, instead of seed images and prompts; only for the model and weights that made it",
    )
    group.add_argument(
        "--start_slice",
        type=cli.whole_number,
        metavar="N",
        help="the slice of each volume from which it is worked upwards and downwards (default: its middle)",
    )


def is_seeded(arguments: argparse.Namespace) -> bool:
    """Tell whether the command line asks for one prompt for the data set; checks that its flags fit each other.

    Raises:
        UserError: flags that contradict each other, or a seed without a prompt.
    """
    images, memory = arguments.seed_image_file_path, arguments.seed_memory
    if images and memory:
        raise UserError(f"--seed_memory {memory}: not together with --seed_image_file_path")
    needed = {
        "--seed_masks_file_path": arguments.seed_masks_file_path,
        "--seed_slice": arguments.seed_slice,
        "--seed_prompt_file_path": arguments.seed_prompt_file_path,
        "--seed_window": arguments.seed_window,
        "--save_seed_memory": arguments.save_seed_memory,
    }
    if not images:
        for flag, value in needed.items():
            if value:
                shown = " ".join(map(str, value)) if isinstance(value, list) else value
                raise UserError(f"{flag} {shown}: needs --seed_image_file_path")
    elif bool(arguments.seed_masks_file_path) == bool(arguments.seed_prompt_file_path):
        raise UserError(
            f"--seed_image_file_path {images[0]}: give its prompt by either --seed_masks_file_path or "
            "--seed_prompt_file_path"
        )
    elif arguments.seed_slice and not arguments.seed_masks_file_path:
        raise UserError(f"--seed_slice {arguments.seed_slice[0]}: the slices stand in --seed_prompt_file_path already")
    if not images and not memory:
        if arguments.start_slice is not None:
            raise UserError(
                f"--start_slice {arguments.start_slice}: without seeds, volumes start at their prompted slice"
            )
        return False
    if arguments.prompt_slice is not None:
        raise UserError(
            f"--prompt_slice {arguments.prompt_slice}: volumes have no prompt of their own beside seeds; see "
            "--seed_slice"
        )
    for flag in ("prompt_file_path", "point", "negative_point", "box"):
        if getattr(arguments, flag):
            raise UserError(f"--{flag}: not together with seeds, the prompt of a data set is its seed's alone")
    if memory:
        cli.existing_file(memory)
    return True


@dataclass(frozen=True)
class Seeds:
    """The seeds of a run.

    Attributes:
        memories: what the network remembers of them, in the order in which they stand in front of a volume.
        about: a mapping for each: the image, its shape, the slice, a digest of its voxels, and the prompts.
    """

    memories: list[SeedMemory]
    about: list[dict[str, Any]]

    def manifest_for(self, volume: Volume, seed_memory: Path | None) -> dict[str, Any]:
        """Return what a run manifest says of the seeds and their file, and whether ``volume`` is the patient of one."""
        own = any(
            shape_in_file(volume) == one["shape"] and slice_digest(volume, one["slice"]) == one["slice_sha256"]
            for one in self.about
        )
        return {
            "seeds": self.about,
            "seed_memory": None if seed_memory is None else str(seed_memory),
            "seed_patient": own,
        }


def slice_digest(volume: Volume, index: int) -> str:
    """Return the SHA-256 of the voxel values of a slice: the same in every file format, dtype and order of axes."""
    import numpy as np

    plane = volume.voxels[:, :, index]
    plane = plane.T if volume.swap_axes else plane
    return hashlib.sha256(np.ascontiguousarray(plane, dtype=np.float64).tobytes()).hexdigest()


def shape_in_file(volume: Volume) -> list[int]:
    """Return the shape of a volume with its axes as its source had them."""
    first, second, slices = volume.voxels.shape
    return [second, first, slices] if volume.swap_axes else [first, second, slices]


def seed_cases(arguments: argparse.Namespace) -> list[tuple[Case, list[Prompt]]]:
    """Read the seeds' images and their prompts, in the order of the command line; none where it names none.

    Raises:
        UserError: lists of lengths that do not fit, or what :func:`pose.runs.case.load_case` and the prompts raise.
    """
    from pose.prompts.prompt import prompt_slice, read_prompts
    from pose.runs.case import Job, load_case, prompts_from_truth

    if not arguments.seed_image_file_path:
        return []
    lists = {
        "--seed_image_file_path": arguments.seed_image_file_path,
        "--seed_masks_file_path": arguments.seed_masks_file_path or [None],
        "--seed_slice": arguments.seed_slice or ["centre"],
        "--seed_prompt_file_path": arguments.seed_prompt_file_path or [None],
    }
    count = max(len(values) for values in lists.values())
    for flag, values in lists.items():
        if len(values) not in (1, count):
            raise UserError(f"{flag}: {len(values)} given for {count} seeds; give 1 or {count}")
    loaded: dict[tuple[Path, Path | None], Case] = {}
    cases = []
    seed_arguments = _shown_as_seeds(arguments)
    for number in range(count):
        image, masks, where, prompt_file = (values[number % len(values)] for values in lists.values())
        if (image, masks) not in loaded:
            loaded[image, masks] = load_case(Job(image, masks, Path(), Path()), seed_arguments)
        case = loaded[image, masks]
        if prompt_file is not None:
            prompts = read_prompts(prompt_file, shape=case.volume.voxels.shape, swap_axes=case.swap_axes)
        else:
            prompts = prompts_from_truth(case, prompt_slice(case.required_truth(), where, source=masks), arguments)
        cases.append((case, prompts))
    return cases


def _shown_as_seeds(arguments: argparse.Namespace) -> argparse.Namespace:
    """Return the command line as it would be if the volumes were shown as the seeds are."""
    if arguments.seed_window is None:
        return arguments
    return argparse.Namespace(**{**vars(arguments), "apply_windowing": False, "window": arguments.seed_window})


def _how_shown(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what decides how a model sees slices; the lung window, which has two flags, by one of them."""
    shown = {key: getattr(arguments, key) for key in SHOWN_BY}
    if shown["window"] and [word.lower() for word in shown["window"]] == ["lung"]:
        shown.update(apply_windowing=True, window=None)
    return shown


def make_or_load(segmenter: Sam2Memory, cases: list[tuple[Case, list[Prompt]]], arguments: argparse.Namespace) -> Seeds:
    """Return the seeds that the command line asks for; writes their memory where it asks for that, and empties
    ``cases``.

    Raises:
        UserError: a file that cannot be read or written, or belongs to another model.
    """
    shown = _how_shown(_shown_as_seeds(arguments))
    if arguments.seed_memory is not None:
        return load_seeds(arguments.seed_memory, segmenter, shown, arguments.objects)
    seeds = make_seeds(segmenter, cases, arguments.crop)
    cases.clear()  # the volumes of the seeds are not needed any more
    if arguments.save_seed_memory is not None:
        save_seeds(arguments.save_seed_memory, seeds, segmenter, shown, arguments.objects)
        print(f"seed memory: {arguments.save_seed_memory}")
    return seeds


def make_seeds(segmenter: Sam2Memory, cases: Sequence[tuple[Case, list[Prompt]]], crop: str = "none") -> Seeds:
    """Encode and prompt each seed slice once; ``crop`` as :func:`pose.runs.crop.crop_volume` takes it."""
    from pose.runs.case import usable_prompts
    from pose.runs.crop import crop_volume
    from pose.runs.run import prompts_json

    memories: list[SeedMemory] = []
    about: list[dict[str, Any]] = []
    for case, prompts in cases:
        prompts = usable_prompts(prompts, segmenter.prompt_kinds, segmenter.name)
        shown = crop_volume(crop, case.grey, prompts)
        memories += segmenter.remember(shown.grey, shown.prompts(prompts))
        for index in sorted({prompt.slice for prompt in prompts}):
            about.append(
                {
                    "image": str(case.job.image_path),
                    "shape": shape_in_file(case.volume),
                    "slice": index,
                    "slice_sha256": slice_digest(case.volume, index),
                    "grey_limits": case.grey.limits,
                    "crop": shown.describe(),
                    "prompts": prompts_json(case, [prompt for prompt in prompts if prompt.slice == index])["prompts"],
                }
            )
    return Seeds(memories, about)


def save_seeds(path: Path, seeds: Seeds, segmenter: Sam2Memory, shown: dict[str, Any], objects: str) -> None:
    """Write the seeds as one file, naming the model and weights that they belong to, and how slices were shown
    to it.
    """
    from pose.segmenters.sam2.seed_memory import save_seed_memory

    about = {**_made_by(segmenter.spec, segmenter.checkpoint_sha256), "shown": shown, "objects": objects}
    about["seeds"] = seeds.about
    with failure_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: save_seed_memory(temporary, seeds.memories, about))


def load_seeds(path: Path, segmenter: Sam2Memory, shown: dict[str, Any], objects: str) -> Seeds:
    """Read seeds from a file; a warning tells where slices are shown to the model in another way than the seeds' were.

    Raises:
        UserError: no such file, or not of this model and these weights, or its objects are numbered in another way.
    """
    from pose.segmenters.sam2.seed_memory import load_seed_memory

    made_by = _made_by(segmenter.spec, segmenter.checkpoint_sha256)
    memories, about = load_seed_memory(path, device=segmenter.device, **made_by)
    if about.get("objects") != objects:
        raise UserError(f"--objects {objects}: {path} was made with --objects {about.get('objects')}")
    for key, value in shown.items():
        made_with = about.get("shown", {}).get(key)
        if made_with != value:
            logger.warning("%s: was made with %s %s, this run has %s: masks may be poor", path, key, made_with, value)
    return Seeds(memories, about["seeds"])


def _made_by(spec: ModelSpec, checkpoint_sha256: str) -> dict[str, Any]:
    return {"model": spec.name, "checkpoint_sha256": checkpoint_sha256, "image_size": spec.image_size}
