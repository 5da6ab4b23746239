"""One prompt for a data set: prompted slices of one patient or a few (seeds) serve the volumes of all others."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pose import cli
from pose.cli import UserError
from pose.files.atomic import failure_named, write_atomically
from pose.prompts.prompt import Prompt, PromptRules, prompt_slice
from pose.prompts.prompt_file import read_prompts
from pose.runs import placing
from pose.runs.case import Case, Job, ShownAs, TruthRules, load_case, prompts_from_truth, usable_prompts
from pose.runs.crop import crop_volume
from pose.runs.run import prompts_json
from pose.scans.intensity import WINDOWS, words_of_window
from pose.scans.volume import Volume

if TYPE_CHECKING:
    from pose.runs.model import Model
    from pose.segmenters.sam2.seed_memory import SeedMemory

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeedChoice:
    """The seeds of a run, as the command line names them; of lists, one of length 1 counts for all seeds.

    Attributes:
        image_file_path: the patients whose slices are prompted.
        masks_file_path, slice, prompt_file_path: where their prompts come from.
        window: the words of ``--seed_window``.
        memory: a file of what a network remembers of seeds, instead of all these.
        save_memory: where such a file is written.
        shown: how seeds are read and shown.
        truth: what of their masks counts.
        rules: how prompts are taken from them.
    """

    image_file_path: tuple[Path, ...] | None = None
    masks_file_path: tuple[Path, ...] | None = None
    slice: tuple[str | int, ...] | None = None
    prompt_file_path: tuple[Path, ...] | None = None
    window: tuple[str, ...] | None = None
    memory: Path | None = None
    save_memory: Path | None = None
    shown: ShownAs = ShownAs()
    truth: TruthRules = TruthRules()
    rules: PromptRules = PromptRules()

    def __bool__(self) -> bool:
        return bool(self.image_file_path or self.memory)

    def flag(self) -> str:
        """Return the flag that names the seeds, with its values."""
        words = self.image_file_path or (self.memory,)
        return f"--seed_{'image_file_path' if self.image_file_path else 'memory'} {' '.join(map(str, words))}"


def check_seeds(seeds: SeedChoice, start_slice: int | str | None, own_prompts: Mapping[str, Any]) -> None:
    """Check that the flags of the seeds fit each other.

    Args:
        seeds: what was asked for.
        start_slice: the slice at which volumes start, or "auto".
        own_prompts: the flags that give volumes prompts of their own, and their values.

    Raises:
        UserError: flags that contradict each other, or a seed without a prompt.
    """
    images = seeds.image_file_path
    if images and seeds.memory:
        raise UserError(f"--seed_memory {seeds.memory}: not together with --seed_image_file_path")
    if not images:
        names = "masks_file_path", "slice", "prompt_file_path", "window"
        needs = {**{f"seed_{name}": getattr(seeds, name) for name in names}, "save_seed_memory": seeds.save_memory}
        for flag, value in needs.items():
            if value:
                shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
                raise UserError(f"--{flag} {shown}: needs --seed_image_file_path")
    elif bool(seeds.masks_file_path) == bool(seeds.prompt_file_path):
        advice = "give its prompt by either --seed_masks_file_path or --seed_prompt_file_path"
        raise UserError(f"--seed_image_file_path {images[0]}: {advice}")
    elif seeds.slice and not seeds.masks_file_path:
        raise UserError(f"--seed_slice {seeds.slice[0]}: the slices stand in --seed_prompt_file_path already")
    if not seeds:
        if start_slice is not None:
            raise UserError(f"--start_slice {start_slice}: without seeds, volumes start at their prompted slice")
        return
    if own_prompts["prompt_slice"] is not None:
        given = f"--prompt_slice {own_prompts['prompt_slice']}"
        raise UserError(f"{given}: volumes have no prompt of their own beside seeds; see --seed_slice")
    for flag, value in own_prompts.items():
        if value:
            raise UserError(f"--{flag}: not together with seeds, the prompt of a data set is its seed's alone")
    if seeds.memory:
        cli.existing_file(seeds.memory)


@dataclass(frozen=True)
class Seeds:
    """The seeds of a run.

    Attributes:
        memories: what is kept of them, in the order in which they stand in front of a volume.
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
    plane = volume.voxels[:, :, index]
    plane = plane.T if volume.swap_axes else plane
    return hashlib.sha256(np.ascontiguousarray(plane, dtype=np.float64).tobytes()).hexdigest()


def shape_in_file(volume: Volume) -> list[int]:
    """Return the shape of a volume with its axes as its source had them."""
    return [volume.voxels.shape[volume.axes.index(axis)] for axis in range(3)]


def seed_cases(seeds: SeedChoice) -> list[tuple[Case, list[Prompt]]]:
    """Read the seeds' images and their prompts, in the order of the command line; none where it names none.

    Raises:
        UserError: lists of lengths that do not fit, or what :func:`pose.runs.case.load_case` and the prompts raise.
    """
    if not seeds.image_file_path:
        return []
    lists: dict[str, Sequence[Any]] = {
        "--seed_image_file_path": seeds.image_file_path,
        "--seed_masks_file_path": seeds.masks_file_path or [None],
        "--seed_slice": seeds.slice or ["centre"],
        "--seed_prompt_file_path": seeds.prompt_file_path or [None],
    }
    count = max(len(values) for values in lists.values())
    for flag, values in lists.items():
        if len(values) not in (1, count):
            raise UserError(f"{flag}: {len(values)} given for {count} seeds; give 1 or {count}")
    loaded: dict[tuple[Path, Path | None], Case] = {}
    cases = []
    for number in range(count):
        image, masks, where, prompt_file = (values[number % len(values)] for values in lists.values())
        if (image, masks) not in loaded:
            loaded[image, masks] = load_case(Job(image, masks, Path()), seeds.shown, seeds.truth)
        case = loaded[image, masks]
        if prompt_file is not None:
            forced = seeds.truth.allow_geometry_mismatch
            prompts = read_prompts(prompt_file, like=case.volume, allow_geometry_mismatch=forced)
        else:
            prompts = prompts_from_truth(case, prompt_slice(case.required_truth(), where, source=masks), seeds.rules)
        cases.append((case, prompts))
    return cases


def _how_shown(shown: ShownAs) -> dict[str, Any]:
    """Return what decides how a model sees slices, in the words of the command line."""
    window = shown.intensity.window
    is_lung = window == WINDOWS["lung"]
    return {
        "apply_windowing": is_lung,
        "window": None if window is None or is_lung else words_of_window(window),
        "intensity": "per_slice" if shown.intensity.per_slice else "volume",
        "crop": shown.crop,
        "swap_axes": shown.swap_axes,
        "slice_axis": shown.slice_axis,
    }


def make_or_load(model: Model, cases: list[tuple[Case, list[Prompt]]], choice: SeedChoice, placed: bool) -> Seeds:
    """Return the seeds asked for; writes their memory where that is asked for, and empties ``cases``.

    Args:
        model: carries prompts.
        cases: the seeds' volumes and prompts.
        choice: what was asked for.
        placed: whether seeds must tell where they lie; a file of old may not.

    Raises:
        UserError: a file that cannot be read or written, or belongs to another model.
    """
    shown, objects = _how_shown(choice.shown), choice.rules.objects
    if choice.memory is not None:
        return load_seeds(choice.memory, model, shown, objects, placed)
    grown, placed = choice.prompt_file_path is not None, placed or choice.save_memory is not None
    seeds = make_seeds(model, cases, choice.shown.crop, grown, placed)
    cases.clear()  # the volumes of the seeds are not needed any more
    if choice.save_memory is not None:
        save_seeds(choice.save_memory, seeds, model, shown, objects)
        print(f"seed memory: {choice.save_memory}")
    return seeds


def make_seeds(
    model: Model,
    cases: Sequence[tuple[Case, list[Prompt]]],
    crop: str = "none",
    grown: bool = False,
    placed: bool = False,
) -> Seeds:
    """Keep of each seed what serves other volumes.

    SAM 2's memory encodes and prompts the slice. Other methods carry the prompt through the seed's volume, so that its
    mask can be laid on others.

    Args:
        model: carries prompts.
        cases: the seeds' volumes and prompts.
        crop: as :func:`pose.runs.crop.crop_volume` takes it.
        grown: whether a prompt of points becomes a box for a model that takes no points.
        placed: whether SAM 2's memory is to know where its seeds lie, too.
    """
    from pose.segmenters.sam2.seed_memory import SeedMemory

    memories: list[SeedMemory] = []
    about: list[dict[str, Any]] = []
    for case, prompts in cases:
        grey = case.grey if grown else None
        prompts = usable_prompts(prompts, model.segmenter.prompt_kinds, model.segmenter.name, grey)
        shown = crop_volume(crop, case.grey, prompts)
        if model.method == "sam2_memory":
            remembered = model.segmenter.remember(shown.grey, shown.prompts(prompts))
            places = placing.centres_of_seed(case, prompts) if placed else [None] * len(remembered)
            memories += [replace(one, place=place) for one, place in zip(remembered, places, strict=True)]
        else:
            memories += [SeedMemory({}, place) for place in placing.places_of_seed(model, case, prompts, crop)]
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


def save_seeds(path: Path, seeds: Seeds, model: Model, shown: dict[str, Any], objects: str) -> None:
    """Write the seeds as one file that names their model and weights, and how slices were shown to it."""
    from pose.segmenters.sam2.seed_memory import save_seed_memory

    about = {**_made_by(model), "shown": shown, "objects": objects, "seeds": seeds.about}
    with failure_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: save_seed_memory(temporary, seeds.memories, about))


def load_seeds(path: Path, model: Model, shown: dict[str, Any], objects: str, placed: bool = False) -> Seeds:
    """Read seeds from a file; a warning tells where slices are shown to the model in another way than the seeds' were.

    Raises:
        UserError: no such file, or not of this method, model and weights, or its objects are numbered in another way,
            or it does not know where its seeds lie, and ``placed`` asks for it.
    """
    import torch

    from pose.segmenters.sam2.seed_memory import load_seed_memory

    device = getattr(model.segmenter, "device", torch.device("cpu"))
    memories, about = load_seed_memory(path, device=device, **_made_by(model))
    if placed and not all(one.place for one in memories):
        raise UserError(f"--start_slice auto: {path} was made before seeds knew where they lie; make it again")
    if about.get("objects") != objects:
        raise UserError(f"--objects {objects}: {path} was made with --objects {about.get('objects')}")
    for key, value in shown.items():
        made_with = about.get("shown", {}).get(key)
        if made_with != value:
            LOGGER.warning("%s: was made with %s %s, this run has %s: masks may be poor", path, key, made_with, value)
    return Seeds(memories, about["seeds"])


def _made_by(model: Model) -> dict[str, Any]:
    about = model.about
    return {
        "method": model.method,
        "model": about.get("model", model.method),
        "checkpoint_sha256": about.get("checkpoint", {}).get("sha256"),
        "image_size": about.get("image_size"),
    }
