"""One volume of the command line: its files, ground truth and grey slices, where its results go, and prompts given for
it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pose.cli import UserError
from pose.figures.upright import edges_of, upright
from pose.prompts.in_space import prompts_of_marks
from pose.prompts.markups import Mark
from pose.prompts.prompt import Prompt, PromptRules, check_prompts, prompts_from_mask
from pose.prompts.prompt_file import read_prompts
from pose.prompts.reach import is_pointing, within
from pose.runs.digests import hashed_name
from pose.scans.dicom import check_volumes
from pose.scans.intensity import DisplaySlices, GreySlices, GreyStack, Intensity
from pose.scans.masks import labels_of, read_mask
from pose.scans.segments import Segment, labels_of_names
from pose.scans.volume import Volume, read_volume, stem_of
from pose.scores.counted import Counted, counted

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One volume of the command line: its files, the prompts for it if they come from a file, and where its
    results go; ``anonymous`` where these tell no path.
    """

    image_path: Path
    masks_path: Path | None
    results_folder: Path
    prompts_path: Path | None = None
    anonymous: bool = False

    @property
    def name(self) -> str:
        """The name under which its results lie: one of --names, or that of the image without its suffix."""
        return self.results_folder.name or stem_of(self.image_path)


@dataclass(frozen=True)
class ShownAs:
    """How a scan is read, and what of it a model sees.

    Attributes:
        swap_axes: swap the axes of the slices of NIfTI files; None where rows then come first.
        slice_axis: the axis of NIfTI files along which the slices lie; None finds it by spacing and orientation.
        intensity: which voxel values become black and white.
        crop: "none", or "body" for the box round the body alone.
        series: of DICOM, the series to read; None for the only volume.
        suv: make standardised uptake values of a DICOM PET.
    """

    swap_axes: bool | None = None
    slice_axis: int | None = None
    intensity: Intensity = Intensity()
    crop: str = "none"
    series: str | None = None
    suv: bool = False


@dataclass(frozen=True)
class TruthRules:
    """What of the ground truth counts.

    Attributes:
        labels: the labels that are the object, by number or by name; None for all.
        allow_geometry_mismatch: take masks of another orientation or origin as their voxels lie.
        ignore_label: the label of voxels that nobody judged: they are not the object, and not scored.
        annotated_slices_only: slices without any label are not scored, as they were not annotated.
    """

    labels: tuple[int | str, ...] | None = None
    allow_geometry_mismatch: bool = False
    ignore_label: int | None = None
    annotated_slices_only: bool = False


@dataclass(frozen=True)
class Case:
    """A job whose files have been read.

    Attributes:
        truth: (rows, columns, slices) labels of the ground truth, or None.
        grey: the slices as the models see them.
        rules: what of masks counts.
        counted: the part of the volume that ``truth`` tells of, and that is scored; None for all of it.
        segments: what the labels of ``truth`` are called, where its file says so.
    """

    job: Job
    volume: Volume
    truth: np.ndarray | None
    grey: GreySlices
    rules: TruthRules = TruthRules()
    counted: Counted | None = None
    segments: tuple[Segment, ...] = ()

    @property
    def swap_axes(self) -> bool | None:
        """Whether the axes of the source were swapped; None for arrays of which nobody knows."""
        return None if self.volume.affine is None else self.volume.swap_axes

    @cached_property
    def labels(self) -> list[int]:
        """Labels of the ground truth."""
        return [] if self.truth is None else labels_of(self.truth)

    @cached_property
    def masked_slices(self) -> list[int]:
        """Slices on which the ground truth has a label."""
        return [] if self.truth is None else np.flatnonzero(self.truth.any(axis=(0, 1))).tolist()

    @cached_property
    def displayed(self) -> GreyStack:
        """The slices as pictures show them: tissue is seen whatever window the model has."""
        return DisplaySlices(self.volume)

    def look(self, object_ids: Iterable[int]) -> dict[str, Any]:
        """Return how pictures of this volume lie, and which objects they tell apart by colour."""
        turn = upright(self.volume)
        return {
            "turn": turn,
            "edges": edges_of(self.volume, turn),
            "objects": sorted(set(object_ids)),
            "spacing_mm": self.volume.spacing_mm,
        }

    def required_truth(self) -> np.ndarray:
        """Return the ground truth.

        Raises:
            UserError: there is none, so that the prompt has to come from the user.
        """
        if self.truth is None:
            raise UserError(
                f"{self.job.image_path}: no prompt; give --masks_file_path, --prompt_file_path, or --slice with "
                "--point or --box"
            )
        return self.truth


def plan_jobs(
    images: Sequence[Path],
    results_name: str,
    *,
    masks: Sequence[Path] = (),
    prompts: Sequence[Path] = (),
    names: Sequence[str] = (),
    results_folder: Path | None = None,
    anonymous: bool = False,
) -> list[Job]:
    """Pair images with masks, prompts and results folders.

    Args:
        images: the scans.
        results_name: what the folder of results beside an image is called, where ``results_folder`` is None.
        masks: ground truth, one for each image or none.
        prompts: files of prompts, one for each image, one for all, or none.
        names: what the results of the images are called; none for the names of their files and folders; folders of one
            name, whose results would go to one place, have those of the folders above them before it.
        results_folder: where results go.
        anonymous: results are called by a hash of the image, where ``names`` does not say how.

    Raises:
        UserError: images are slices of one DICOM series; as many masks, names or files of prompts as images were not
            given (of prompts, one may serve all), a name is none, or two images would write to the same folder.
    """
    if masks and len(masks) != len(images):
        raise UserError(f"--masks_file_path: {len(masks)} files for {len(images)} images of --image_file_path")
    if names and len(names) != len(images):
        raise UserError(f"--names: {len(names)} names for {len(images)} images of --image_file_path")
    if len(prompts) not in (0, 1, len(images)):
        given = f"--prompt_file_path: {len(prompts)} files for {len(images)} images of --image_file_path"
        raise UserError(f"{given}; give one for all, or one for each")
    jobs: dict[Path, Job] = {}
    check_volumes(images)
    called = (
        names or [hashed_name(image) for image in images] if anonymous else names or names_of(images, results_folder)
    )
    for index, (image, name) in enumerate(zip(images, called, strict=True)):
        if not is_name(name):
            given = f"--names {name}: not" if names else f"{image}: {name!r} is not"
            raise UserError(f"{given} the name of a folder of results{'' if names else '; give one by --names'}")
        root = results_folder or image.parent / results_name
        folder = root / name
        if folder in jobs:
            raise UserError(f"{image}: has the same name as {jobs[folder].image_path}; both would write to {folder}")
        prompts_path = prompts[index if len(prompts) > 1 else 0] if prompts else None
        jobs[folder] = Job(image, masks[index] if masks else None, folder, prompts_path, anonymous)
    return list(jobs.values())


def names_of(images: Sequence[Path], results_folder: Path | None) -> list[str]:
    """Return what the results of images are called: by their file or folder, with those above where these are alike."""
    names = [stem_of(image) for image in images]
    places = [(results_folder or image.parent, name) for image, name in zip(images, names)]
    for depth in range(1, max((len(image.resolve().parts) for image in images), default=0)):
        twice = {place for place, count in Counter(places).items() if count > 1}
        for index, image in enumerate(images):
            if places[index] in twice and image.is_dir():
                above = image.resolve().parts[-1 - depth : -1]
                names[index] = "_".join([*(part for part in above if part != image.anchor), stem_of(image)])
        places = [(place, name) for (place, _), name in zip(places, names)]
        if not twice or len(set(images)) < len(images):
            break
    return names


def is_name(name: str) -> bool:
    """Tell whether a folder of results can be called so."""
    return name not in ("", ".", "..") and not set(name) & set("/\\\0")


def load_case(job: Job, shown: ShownAs = ShownAs(), rules: TruthRules = TruthRules()) -> Case:
    """Read the files of ``job``; the labels that do not count are removed from the ground truth."""
    volume = read_volume(job.image_path, shown.swap_axes, shown.slice_axis, shown.series, shown.suv)
    truth = part = None
    segments: tuple[Segment, ...] = ()
    if job.masks_path is not None:
        counting = None if rules.labels is None else [*rules.labels, *filter(None, [rules.ignore_label])]
        mask = read_mask(job.masks_path, volume, allow_geometry_mismatch=rules.allow_geometry_mismatch, labels=counting)
        truth, segments = mask.voxels, mask.segments
        part = counted(truth, rules.ignore_label, rules.annotated_slices_only)
        if part is not None:
            _check_counted(part, job.masks_path, rules)
            if part.ignored is not None:
                truth[part.ignored] = 0
        if rules.labels is not None:
            present, wanted = labels_of(truth), labels_of_names(rules.labels, segments, job.masks_path)
            for label in wanted:
                if label not in present:
                    raise UserError(f"{job.masks_path}: holds no label {label} (--labels); it holds {present}")
            for slice_index in range(truth.shape[2]):
                here = truth[:, :, slice_index]
                here[~np.isin(here, wanted)] = 0
    return Case(job, volume, truth, GreySlices(volume, shown.intensity), rules, part, segments)


def _check_counted(part: Counted, path: Path, rules: TruthRules) -> None:
    """Say what is not scored; raise UserError where nothing is, or an ignored label is to count."""
    if rules.ignore_label is not None and rules.ignore_label in (rules.labels or ()):
        raise UserError(f"{path}: --ignore_label {rules.ignore_label}: is among --labels, which count")
    if not part.slices.any():
        flags = "--annotated_slices_only" if rules.annotated_slices_only else f"--ignore_label {rules.ignore_label}"
        raise UserError(f"{path}: {flags}: leaves no slice to score")
    if rules.ignore_label is not None and part.ignored is None:
        LOGGER.warning("%s: holds no voxel of --ignore_label %d", path, rules.ignore_label)
    if not part.slices.all():
        LOGGER.info("%s: %d of %d slices are scored", path, part.slices.sum(), part.slices.size)


def given_prompts(case: Case, typed: Prompt | Mark | None) -> list[Prompt] | None:
    """Return the prompts that the user gave as a file, or ``typed`` on the command line; None where there are none."""
    if case.job.prompts_path is not None:
        forced = case.rules.allow_geometry_mismatch
        return read_prompts(case.job.prompts_path, like=case.volume, allow_geometry_mismatch=forced)
    if typed is None:
        return None
    if isinstance(typed, Mark):
        return prompts_of_marks([typed], case.volume, "--point_mm")
    check_prompts([typed], case.volume.voxels.shape, case.job.image_path)
    return [typed]


def prompts_from_truth(case: Case, slice_index: int, rules: PromptRules) -> list[Prompt]:
    """Return the prompts of one slice, taken from its ground truth."""
    here = case.required_truth()[:, :, slice_index]
    return prompts_from_mask(here, slice_index, **asdict(rules), source=str(case.job.masks_path))


def limited(prompts: Sequence[Prompt], limits: tuple[int, int] | None, slices: int, source: Path) -> list[Prompt]:
    """Return prompts for objects that lie between two slices, as ``--slices`` says.

    Args:
        prompts: the prompts.
        limits: the first and the last slice; None for no limits.
        slices: how many the volume has.
        source: the image, for errors.

    Raises:
        UserError: no such slices, or a prompt outside of them.
    """
    if limits is None:
        return list(prompts)
    first, last = limits
    if not first <= last < slices:
        raise UserError(f"{source}: --slices {first} {last}: not a range within its slices 0 to {slices - 1}")
    kept = within(prompts, first, last)
    for prompt in kept:
        if not first <= prompt.slice <= last and is_pointing(prompt):
            raise UserError(f"{source}: --slices {first} {last}: a prompt lies on slice {prompt.slice}")
    return kept


def usable_prompts(
    prompts: Sequence[Prompt], kinds: frozenset[str], model: str, grey: GreyStack | None = None
) -> list[Prompt]:
    """Return the prompts with only what ``model`` takes of "points", "box" and "mask"; what is left out is logged once.

    Args:
        prompts: the prompts; those that say where an object is not are kept as they are.
        kinds: what the model takes.
        model: its name, for messages.
        grey: the slices: where the model takes no points, a prompt of points alone becomes a box that is grown there
            from their grey levels, see :func:`pose.segmenters.point_box.box_of_points`. None leaves that to the user.

    Raises:
        UserError: a prompt of which nothing is left.
    """
    from pose.segmenters.point_box import box_of_points

    usable = []
    left_out: set[str] = set()
    for prompt in prompts:
        if not is_pointing(prompt):
            usable.append(prompt)
            continue
        alone = bool(prompt.positive_points) and prompt.box is None and prompt.mask is None
        if alone and grey is not None and "points" not in kinds and "box" in kinds:
            prompt = replace(prompt, box=box_of_points(grey[prompt.slice], prompt))
            LOGGER.warning(
                "slice %d, object %d: %s takes no points; from their grey levels it is given the box %s: look at it",
                prompt.slice,
                prompt.object_id,
                model,
                " ".join(map(str, prompt.box or ())),
            )
        given = {
            "points": bool(prompt.positive_points or prompt.negative_points),
            "box": prompt.box is not None,
            "mask": prompt.mask is not None,
        }
        unused = {kind for kind, there in given.items() if there and kind not in kinds}
        left_out |= unused
        if not any(there and kind in kinds for kind, there in given.items()):
            advice = "; add --use_bounding_box, or give --box" if "points" not in kinds else ""
            raise UserError(
                f"slice {prompt.slice}, object {prompt.object_id}: {model} takes {' and '.join(sorted(kinds))} only, "
                f"the prompt has none{advice}"
            )
        if "points" in unused:
            prompt = replace(prompt, positive_points=(), negative_points=())
        if "box" in unused:
            prompt = replace(prompt, box=None)
        if "mask" in unused:
            prompt = replace(prompt, mask=None, mask_file_path=None)
        usable.append(prompt)
    if left_out:
        LOGGER.info("%s takes %s only: %s left out", model, " and ".join(sorted(kinds)), " and ".join(sorted(left_out)))
    return usable
