"""From the flags that process_image.py and process_video.py share to the settings that the rooms take.

``flags`` is the parsed command line, flag by flag. Here alone its words become objects, and mistakes that are no
volume's are found.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pose.cli import UserError, take
from pose.prompts.prompt import PromptRules
from pose.prompts.typed import typed
from pose.runs.case import Job, ShownAs, TruthRules, plan_jobs
from pose.runs.figure_files import plan_pictures
from pose.runs.run import RunSettings
from pose.runs.seed import SeedChoice
from pose.runs.segments_written import OF_DICOM
from pose.scans.intensity import chosen_intensity
from pose.segmenters import chain_settings, loading
from pose.segmenters.region_growing import RegionGrowingSettings

Flags = Mapping[str, Any]


def jobs_of(flags: Flags, results_name: str) -> list[Job]:
    """Return the volumes; ``results_name`` is the folder of results beside an image."""
    return plan_jobs(
        flags["image_file_path"],
        results_name,
        masks=flags["masks_file_path"],
        prompts=flags["prompt_file_path"] or (),
        names=flags["names"] or (),
        results_folder=flags["results_folder_path"],
        anonymous=flags["anonymous"],
    )


def settings_of_volumes(flags: Flags, images: int, one_slice: bool = False) -> dict[str, Any]:
    """Return what both works of :mod:`pose.runs` take: shown, truth, rules, settings, typed and limits.

    Args:
        flags: the command line.
        images: how many volumes it names.
        one_slice: whether results are of one slice alone.
    """
    if flags["anonymous"] and (dicom := [kind for kind in flags["write"] if kind in OF_DICOM]):
        raise UserError(f"--write {dicom[0]}: holds the patient's name and id, as DICOM asks; not with --anonymous")
    turned = {name: flags[name] for name in ("gif", "rotate", "flip")}
    pictures = plan_pictures(
        flags["figure"], flags["figure_slices"], flags["figure_size"], **turned, images=images, one_slice=one_slice
    )
    intensity = _intensity(flags)
    judged = {"per_label": flags["objects"] == "per_label", "pictures": pictures, "intensity": intensity}
    return {
        "shown": take(ShownAs, flags, intensity=intensity),
        "truth": take(TruthRules, flags),
        "rules": _rules(flags),
        "settings": take(RunSettings, flags, arguments=flags, **judged),
        "typed": typed(flags, (flags["prompt_file_path"] or [None])[0]),
        "limits": None if flags["slices"] is None else tuple(flags["slices"]),
    }


def behaviour_of(flags: Flags) -> dict[str, bool]:
    """Return how :func:`pose.runs.batch.run_work` goes about the volumes."""
    return {name: flags[name] for name in ("dry_run", "resume", "record_failures", "strict")}


def model_of(flags: Flags, sam_version: int | None = None) -> loading.ModelChoice:
    """Return the model; ``sam_version`` counts where the command line names neither a model nor a version."""
    version = flags["sam_version"] or (sam_version if flags["model"] is None else None)
    where = {name: flags[name] for name in ("device", "precision", "embeddings_cache", "embeddings_cache_gb")}
    return loading.choose_model(flags["model"], version, flags["checkpoint_file_path"], flags["image_size"], **where)


def seeds_of(flags: Flags) -> SeedChoice:
    """Return the seeds, shown as the volumes are but for ``--seed_window``."""
    window = flags["seed_window"]
    intensity = _intensity(flags if window is None else {**flags, "apply_windowing": False, "window": window})
    return take(
        SeedChoice,
        flags,
        "seed_",
        save_memory=flags["save_seed_memory"],
        shown=take(ShownAs, flags, intensity=intensity),
        truth=take(TruthRules, flags),
        rules=_rules(flags),
    )


def method_of(flags: Flags) -> loading.MethodChoice:
    """Return the method with its model.

    Raises:
        UserError: a method that the model does not allow, or flags that the method does not understand.
    """
    if flags["method"] == "region_growing":
        _refuse_memory_flags(flags, "region_growing")
        if flags["embeddings_cache"] is not None:
            raise UserError(f"--embeddings_cache {flags['embeddings_cache']}: region_growing has no encoder")
        if flags["image_size"] is not None:
            raise UserError(f"--image_size {flags['image_size']}: --method region_growing has no network")
        return loading.MethodChoice(flags["method"], None, growing=_growing(flags))
    model = model_of(flags, sam_version=2)
    try:
        name = loading.choose_method(flags["method"], model.spec.family)
    except ValueError as error:
        raise UserError(f"--method {flags['method']}: {model.spec.name} {error}") from None
    if name != "sam2_memory":
        _refuse_memory_flags(flags, f"{name} with {model.spec.name}")
    return take(loading.MethodChoice, flags, name=name, model=model, chain=chain_settings.chosen(flags))


def _intensity(flags: Flags) -> Any:
    return chosen_intensity(flags["apply_windowing"], flags["window"] or (), flags["intensity"])


def _rules(flags: Flags) -> PromptRules:
    move, negative = not flags["no_move_centroids"], not flags["no_negative_point"]
    return take(PromptRules, flags, move_centroids=move, negative_point=negative)


def _growing(flags: Flags) -> RegionGrowingSettings:
    return take(RegionGrowingSettings, flags, "growing_")


def _refuse_memory_flags(flags: Flags, what: str) -> None:
    """Raise UserError for flags that only SAM 2's memory understands."""
    if flags["start_slice"] is not None:
        raise UserError(
            f"--start_slice {flags['start_slice']}: {what} finds the slice by itself; it is for sam2_memory"
        )
    if flags["cuda_graph"]:
        raise UserError(f"--cuda_graph: {what} has no such memory; it is for sam2_memory")
    for flag in ("max_memories", "stop_after"):
        if flags[flag] is not None:
            raise UserError(f"--{flag} {flags[flag]}: {what} has no such memory; it is for sam2_memory")
