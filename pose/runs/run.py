"""One volume from predictions to results: what process_image.py and process_video.py share."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from pose import results
from pose.files.atomic import STAMP_FORMAT, failure_named, write_atomically
from pose.prompts.prompt import Prompt
from pose.prompts.prompt_file import prompts_to_json
from pose.results.prompts_saved import VolumePrompts, prompts_saved
from pose.runs import figure_files, segments_written
from pose.runs.anonymous import without_paths
from pose.runs.batch import Finish, Written
from pose.runs.case import Case
from pose.runs.digests import sha256_of_scan
from pose.runs.figure_files import Pictures
from pose.runs.segmentation import Segmentation, mean_of
from pose.runs.summary import Warned, about_leaks, summarise
from pose.scans.intensity import Intensity
from pose.scans.masks import write_mask
from pose.scans.volume import Volume
from pose.scores import metrics
from pose.scores.likely_dice import Calibration
from pose.scores.review import REVIEW_BELOW
from pose.segmenters.loading import CHAINED

if TYPE_CHECKING:
    from pose.segmenters import Finding, SlicePredictions
    from pose.segmenters.embeddings import EmbeddingsCache


@dataclass(frozen=True)
class RunSettings:
    """What a run writes of each volume, and how it judges it.

    Attributes:
        arguments: the command line, flag by flag, as the manifest records it.
        per_label: score each label of the ground truth as the object of its number.
        review_below: a slice with a lower score of the model's is marked for review.
        debug: write an overlay and the prompt of each slice.
        pictures: further pictures.
        intensity: how the voxels became the grey levels that the model sees.
        write: further formats of the masks, see :data:`pose.runs.segments_written.FILES`.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    per_label: bool = False
    review_below: float = REVIEW_BELOW
    debug: bool = False
    pictures: Pictures = Pictures()
    intensity: Intensity = Intensity()
    write: tuple[str, ...] = ()


def slice_row(case: Case, predictions: SlicePredictions, labels: np.ndarray, per_label: bool) -> dict[str, Any]:
    """Return the row of raw_data for one slice; the SAM score of several objects is their mean."""
    truth = None if case.truth is None else case.truth[:, :, predictions.slice]
    scored = labels
    if case.counted is not None:
        truth = truth if case.counted.slices[predictions.slice] else None
        scored = case.counted.of_slice(labels, predictions.slice)
    times = predictions.set_image_time, predictions.predict_image_time
    row: dict[str, Any] = {
        "slice": predictions.slice,
        "sam_score": mean_of(prediction.score for prediction in predictions.objects.values()),
        "set_image_time": times[0],
        "predict_image_time": times[1],
        "process_image_time": None if None in times else sum(times),
        "object_score": mean_of(prediction.object_score for prediction in predictions.objects.values()),
    }
    row.update(metrics.slice_metrics(None if truth is None else truth > 0, scored > 0, case.volume.voxel_mm))
    row["predicted_voxels"] = int(np.count_nonzero(labels))
    if per_label and truth is not None:
        for label in case.labels:
            of_label = metrics.overlap(truth == label, scored == label)
            row[f"jaccard_label_{label}"], row[f"dice_label_{label}"] = of_label
    return row


def segment(
    case: Case,
    prompts: Sequence[Prompt],
    predictions: Iterator[SlicePredictions],
    slices: Sequence[int],
    settings: RunSettings,
    manifest: dict[str, Any],
    embeddings: EmbeddingsCache | None = None,
    warned: Sequence[Warned] = (),
    findings: Callable[[], Mapping[int, Finding]] = dict,
    calibration: Calibration | None = None,
) -> Finish:
    """Run ``predictions`` to their end; what is returned scores them, writes every result of the volume and prints what
    was found, and needs neither the model nor what computes for it.

    Args:
        slices: the slices that ``predictions`` will yield; they are the rows of raw_data.
        settings: what is written, and how it is judged.
        manifest: what is known of the run so far (model, device, precision).
        embeddings: the cache that the predictions use; the manifest says how often it held a slice of this volume.
        warned: what looked wrong before; it comes first among the warnings.
        findings: returns what was learnt of each object beside its masks, once ``predictions`` have come to their end.
        calibration: what makes a likely Dice of these and of the scores; None where nobody calibrated them.

    Returns:
        What gives, once called, every file written, the manifest last, and how many warnings there are.
    """
    from tqdm import tqdm

    if embeddings is not None:
        embeddings.reset_counts()
    started, start = datetime.now(), perf_counter()
    volume = case.volume
    debug_folder = case.job.results_folder / f"debug_{started:{STAMP_FORMAT}}" if settings.debug else None
    chained = manifest.get("method") in CHAINED
    segmentation = Segmentation(volume, case.grey, prompts, chained, settings.review_below, calibration)
    rows: dict[int, dict[str, Any]] = {}
    times: list[tuple[float, ...]] = []
    per_label = settings.per_label and case.truth is not None
    if debug_folder is not None:
        with failure_named(debug_folder, "pictures cannot be written here"):
            debug_folder.mkdir(parents=True, exist_ok=True)
    for found in tqdm(predictions, total=len(slices), desc=case.job.name, unit="slice"):
        segmentation.add(found)
        times += [(found.slice, number, *pair, sum(pair)) for number, pair in enumerate(found.repetitions)]
        here = segmentation.labels[:, :, found.slice]
        rows[found.slice] = slice_row(case, found, here, per_label)
        if debug_folder is not None and found.objects:
            write_debug(debug_folder, case, prompts, found, here)
    segmentation.findings = dict(findings())
    manifest = {
        **manifest,
        **({} if embeddings is None else {"embeddings_cache": embeddings.describe()}),
        "debug": None if debug_folder is None else debug_folder.name,
        "started": started.isoformat(timespec="seconds"),
        "segmentation_seconds": perf_counter() - start,
    }
    return partial(
        _score_and_write, case, prompts, segmentation, rows, times, slices, settings, manifest, warned, started
    )


def _score_and_write(
    case: Case,
    prompts: Sequence[Prompt],
    segmentation: Segmentation,
    rows: dict[int, dict[str, Any]],
    times: Sequence[tuple[float, ...]],
    slices: Sequence[int],
    settings: RunSettings,
    manifest: dict[str, Any],
    warned: Sequence[Warned],
    started: datetime,
) -> Written:
    """Score a segmentation, write every result of the volume, and print what was found; see :func:`segment`.

    Args:
        rows: by slice, the row of raw_data as far as it is known.
        times: of each repetition of a slice.
        started: when the volume was begun.
    """
    begun = perf_counter()
    volume, labels, learnt = case.volume, segmentation.labels, segmentation.findings
    per_label = settings.per_label and case.truth is not None
    volume_metrics: dict[str, float | int | None] = {}
    # distances take seconds, and let another thread work meanwhile
    with ThreadPoolExecutor(1) as worker:
        measured = None
        if case.truth is not None and len(slices) == len(case.grey):
            part = case.counted
            scored = labels if part is None else part.of_volume(labels)
            counted_slices = None if part is None else part.slices
            measured = worker.submit(metrics.volume_metrics, case.truth, scored, volume.voxel_mm, counted_slices)
        contact_sheet = contact_sheet_png(case, labels, rows, prompts, segmentation.object_ids)
        volume_metrics.update(measured.result() if measured is not None else {})
    figure_files.write_figures(case, prompts, labels, slices, settings.pictures)
    animation = figure_files.gif_of(case, prompts, labels, slices, settings.pictures)
    reviews = segmentation.reviews
    for slice_index, one in reviews.items():
        rows[slice_index].update(needs_review=None if one.needed is None else int(one.needed), review_score=one.score)
    needed = [one.needed for one in reviews.values() if one.needed is not None]
    volume_metrics["slices_to_review"] = sum(needed) if needed else None
    summary = summarise(case, segmentation, per_label, settings.intensity)
    summary = replace(summary, warnings=[*warned, *summary.warnings, *about_leaks(learnt)])
    volume_metrics["warnings"] = len(summary.warnings)
    if likely := segmentation.likely_dice_of_volume:
        volume_metrics.update(likely_dice=likely.dice, likely_dice_low=likely.low, likely_dice_high=likely.high)
    volume_metrics["next_slice"] = segmentation.next_slice
    volume_metrics |= {f"ml_object_{one.object_id}": one.ml for one in summary.objects if one.ml is not None}
    given = () if "seed" in manifest else prompts  # a person gave the seed's alone
    asked = VolumePrompts(
        prompted_slices=len({prompt.slice for prompt in given}),
        masked_slices=None if case.truth is None else len(set(case.masked_slices).intersection(slices)),
        seeds=frozenset(one["slice_sha256"] for one in manifest.get("seed", {}).get("seeds", ())),
    )
    masks_path = case.job.masks_path
    manifest = {
        "status": "done",
        "command": shlex.join(sys.argv),
        "arguments": {key: _plain(value) for key, value in settings.arguments.items()},
        **manifest,
        "image": _describe_input(case.job.image_path, volume),
        "masks": None if masks_path is None else {"path": str(masks_path), "sha256": sha256_of_scan(masks_path)},
        "slices": len(slices),
        "masked_slices": asked.masked_slices,
        "prompted_slices": asked.prompted_slices,
        "prompts": len(given),
        "prompts_used": prompts_saved([asked]).used,
        "prompts_saved_percent": prompts_saved([asked]).saved_percent,
        "summary": summary.to_json(),
        **({"findings": {str(key): one.describe() for key, one in learnt.items()}} if learnt else {}),
        "total_seconds": manifest["segmentation_seconds"] + perf_counter() - begun,
        **results.environment_manifest(),
    }
    named = segments_written.segments_of(case, prompts, segmentation.object_ids, per_label)
    algorithm = segments_written.algorithm_of(manifest)
    manifest = without_paths(manifest, case.job, settings.arguments)
    files = results.write_results(
        case.job.results_folder,
        rows=[rows[slice_index] for slice_index in sorted(rows)],
        volume_metrics=volume_metrics,
        # a prompt that is a mask is the object itself, so that the masks hold it
        prompts_json=lambda masks: prompts_json(
            case, filed(prompts, masks, case.job.anonymous), case.job.results_folder
        ),
        masks_suffix=masks_suffix(volume),
        masks_writer=lambda path: write_mask(path, labels, volume),
        times=times,
        manifest=manifest,
        pictures={"contact_sheet": lambda path: path.write_bytes(contact_sheet)},
        animations={} if animation is None else {"predictions": lambda path: path.write_bytes(animation)},
        segments=segments_written.writers(case, settings.write, labels, named, algorithm, started),
    )
    for found_object in summary.objects:
        print(f"{case.job.name}: {found_object}")
    for warning in summary.warnings:
        print(f"{case.job.name}: warning: {warning.text}")
    return Written(files, len(summary.warnings))


def masks_suffix(volume: Volume) -> str:
    """Return what the name of a mask of a volume ends in: NIfTI needs a geometry."""
    return ".npz" if volume.affine is None else ".nii.gz"


def filed(prompts: Sequence[Prompt], path: Path | None, anonymous: bool = False) -> list[Prompt]:
    """Return prompts of which masks that came from no file, or from one that is not told of, are said to lie in the one
    at ``path``, by their object.
    """
    return [
        replace(prompt, mask_file_path=str(path), mask_label=prompt.object_id)
        if path is not None and prompt.mask is not None and (anonymous or prompt.mask_file_path is None)
        else prompt
        for prompt in prompts
    ]


def prompts_json(case: Case, prompts: Sequence[Prompt], folder: Path | None = None) -> dict[str, Any]:
    """Return prompts for the volume of ``case`` as its JSON files, in ``folder``, hold them."""
    return prompts_to_json(
        prompts,
        image_file_path=case.job.name if case.job.anonymous else case.job.image_path,
        shape=case.volume.voxels.shape,
        swap_axes=case.swap_axes,
        folder=folder,
        orientation=case.volume.orientation,
    )


def contact_sheet_png(
    case: Case,
    labels: np.ndarray,
    rows: dict[int, dict[str, Any]],
    prompts: Sequence[Prompt],
    object_ids: Iterable[int],
) -> bytes:
    """Draw the one picture of a volume: a grid of slices with contours, and the Dice of each slice as a curve."""
    from pose.figures import overlays

    dice, of_objects = None, {}
    if case.truth is not None:
        here = [rows.get(slice_index, {}) for slice_index in range(len(case.grey))]
        dice = [row.get("dice", np.nan) for row in here]
        for label in case.labels:
            if any(f"dice_label_{label}" in row for row in here):
                of_objects[label] = [row.get(f"dice_label_{label}") for row in here]
    figure = overlays.contact_sheet_figure(
        case.displayed,
        labels,
        case.truth,
        dice,
        prompts=prompts,
        title=case.job.name,
        dice_of_objects=of_objects,
        **case.look(object_ids),
    )
    return overlays.png_of(figure)


def write_debug(
    folder: Path, case: Case, prompts: Sequence[Prompt], found: SlicePredictions, labels: np.ndarray
) -> None:
    """Write slice_N_prediction.png and, on a prompted slice, slice_N_prompt.json to ``folder``."""
    from pose.figures import overlays

    here = [prompt for prompt in prompts if prompt.slice == found.slice]
    score = mean_of(prediction.score for prediction in found.objects.values())
    title = f"slice {found.slice}" + ("" if score is None else f", score {score:.3f}")
    overlays.save_overlay(
        folder / f"slice_{found.slice}_prediction.png",
        case.displayed[found.slice],
        prediction=labels,
        truth=None if case.truth is None else case.truth[:, :, found.slice],
        prompts=here,
        title=title,
        **case.look(found.objects),
    )
    if here:
        masks = folder / f"slice_{found.slice}_prompt_masks{masks_suffix(case.volume)}"
        told = not case.job.anonymous
        if any(prompt.mask is not None and not (told and prompt.mask_file_path) for prompt in here):
            of_slice = np.zeros(case.volume.voxels.shape, dtype=labels.dtype)
            of_slice[:, :, found.slice] = labels
            write_mask(masks, of_slice, case.volume)
        document = prompts_json(case, filed(here, masks, case.job.anonymous), folder)
        write_atomically(folder / f"slice_{found.slice}_prompt.json", lambda path: results.write_json(path, document))


def _describe_input(path: Path, volume: Volume) -> dict[str, Any]:
    return {
        "path": str(path),
        "sha256": sha256_of_scan(path),
        "shape": list(volume.voxels.shape),
        "dtype": str(volume.voxels.dtype),
        "spacing_mm": None if volume.spacing_mm is None else list(volume.spacing_mm),
        "swap_axes": volume.swap_axes,
        "slice_axis": volume.slice_axis,
    }


def _plain(value: Any) -> Any:
    """Return a command-line value as JSON can hold it."""
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value
