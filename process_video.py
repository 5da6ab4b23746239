#!/usr/bin/env python3
"""Segment a whole volume from one prompt on one slice.

The prompt is taken from the ground-truth mask of one slice by the paper's rules, or given by you, and carried through
the volume by one of three methods. With --seed_image_file_path the prompt lies on a slice of another patient, and one
prompt serves a whole data set:

  sam2_memory     SAM 2's video memory: slices are frames; the paper's method
  chain           any model for slices, carried from slice to slice: the mask of one gives the prompt of the next
  region_growing  no network: grey levels like the prompted ones, connected in three dimensions
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pose import cli
from pose.runs import seed
from pose.scores.review import REVIEW_BELOW

if TYPE_CHECKING:
    from pose.prompts.prompt import Prompt
    from pose.runs.case import Case
    from pose.segmenters.models import ModelSpec

METHODS = ("sam2_memory", "chain", "region_growing")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    from pose.segmenters import chain, region_growing

    parser = argparse.ArgumentParser(
        description=__doc__, epilog=chain.describe_rules(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cli.add_input_arguments(parser, image_required=False)
    group = parser.add_argument_group("method")
    group.add_argument("--method", choices=METHODS, help="default: sam2_memory for SAM 2 models, chain for all others")
    group.add_argument(
        "--prompt_slice",
        type=cli.prompt_slice,
        metavar="centre|largest|N",
        help="where the prompt is taken from the ground truth: the middle of the masked slices, as in the paper "
        "(default), "
        "the one with the largest mask, or slice N",
    )
    group.add_argument(
        "-s",
        "--slice",
        type=cli.whole_number,
        metavar="N",
        help="the slice that --point, --negative_point and --box lie on",
    )
    seed.add_arguments(parser)
    group = parser.add_argument_group("memory", "what --method sam2_memory does without, to be quicker: results change")
    group.add_argument(
        "--max_memories",
        type=cli.whole_number,
        metavar="N",
        help="attend to so many unprompted slices before the one at hand (default: SAM 2's own, 6)",
    )
    group.add_argument(
        "--stop_after",
        type=cli.positive_whole_number,
        metavar="K",
        help="end a half of the volume once every object is absent, by its object score, on K slices in a row",
    )
    chain.add_arguments(parser)
    region_growing.add_arguments(parser)
    cli.add_prompt_arguments(parser)
    cli.add_model_arguments(parser, sam_version=2)
    cli.add_embeddings_arguments(parser)
    cli.add_figure_arguments(parser)
    cli.add_run_arguments(parser, "results_video", REVIEW_BELOW)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    arguments = make_parser().parse_args(argv)
    cli.configure_logging()

    from pose.runs import batch, figure_files, resume, run
    from pose.runs.case import Job, load_case, plan_jobs, usable_prompts
    from pose.runs.crop import crop_volume
    from pose.scans.intensity import intensity_from_arguments

    seeded = seed.is_seeded(arguments)
    if arguments.slice is not None and not (arguments.point or arguments.negative_point or arguments.box):
        raise cli.UserError(
            f"--slice {arguments.slice}: needs --point or --box; for prompts from masks see --prompt_slice"
        )
    if not arguments.image_file_path and not arguments.save_seed_memory:
        raise cli.UserError("--image_file_path: needed, unless --save_seed_memory is all that is asked for")
    intensity_from_arguments(arguments)  # a mistake here is no volume's
    jobs = plan_jobs(arguments, "results_video")
    figure_files.check_figures(arguments, len(jobs))
    spec, checkpoint, method = choose_method(arguments, seeded)
    seed_cases = seed.seed_cases(arguments)

    def made_from_of(job: Job) -> dict[str, Any]:
        return resume.made_from(job, arguments, spec, checkpoint)

    def case_and_prompts(job: Job) -> tuple[Case, list[Prompt]]:
        case = load_case(job, arguments)
        last, start = len(case.grey) - 1, arguments.start_slice
        if start is not None and start > last:
            raise cli.UserError(f"{job.image_path}: --start_slice {start} is not among its slices 0 to {last}")
        return case, [] if seeded else prompts_of_volume(case, arguments)

    def describe(job: Job) -> str:
        if arguments.resume and resume.is_done(job.results_folder, made_from_of(job)):
            return "done already"
        case, prompts = case_and_prompts(job)
        where = ", ".join(str(index) for index in sorted({prompt.slice for prompt in prompts}))
        what = "the seeds" if seeded else f"{len(prompts)} prompt(s) on slice {where}"
        model = "" if spec is None else f" with {spec.name}"
        return (
            f"would carry {what} through {len(case.grey)} slices by {method}{model} and write to {job.results_folder}"
        )

    @cache
    def load(on_cpu: bool) -> tuple:
        with batch.for_all_volumes():
            segmenter, manifest, embeddings = load_segmenter(method, spec, checkpoint, arguments, on_cpu)
            seeds = seed.make_or_load(segmenter, seed_cases, arguments) if seeded else None
        return segmenter, manifest, embeddings, seeds

    def process(job: Job, made_from: dict[str, Any], less_memory: bool) -> dict[str, Path]:
        case, prompts = case_and_prompts(job)
        # SAM 2's memory can do with less of the device's memory; all else is left to the CPU
        segmenter, manifest, embeddings, seeds = load(less_memory and method != "sam2_memory")
        if method == "sam2_memory":
            segmenter.less_memory = less_memory
        prompts = usable_prompts(prompts, segmenter.prompt_kinds, segmenter.name)
        crop = crop_volume(arguments.crop, case.grey, prompts)
        manifest = {**manifest, "crop": crop.describe(), "made_from": made_from, "less_memory": less_memory}
        if seeds is None:
            predictions = segmenter.segment(crop.grey, crop.prompts(prompts))
        else:
            predictions = segmenter.segment(crop.grey, [], seeds.memories, arguments.start_slice)
            manifest["seed"] = seeds.manifest_for(case.volume, arguments.seed_memory)
        slices = range(len(case.grey))
        return run.segment_and_write(
            case, prompts, map(crop.restore, predictions), slices, arguments, manifest, embeddings
        )

    if arguments.dry_run:
        if arguments.save_seed_memory:
            print(f"would write the memory of {len(seed_cases)} seed(s) to {arguments.save_seed_memory}")
        return batch.check_jobs(jobs, describe)
    if arguments.save_seed_memory:
        load(False)  # asked for by itself, whatever becomes of the volumes
    return batch.run_jobs(jobs, process, made_from_of, arguments.resume, arguments.record_failures)


def choose_method(arguments: argparse.Namespace, seeded: bool) -> tuple:
    """Return (model or None, its weights or None, method), checked against each other."""
    from pose.segmenters import models

    if arguments.method == "region_growing":
        refuse_memory_flags(arguments, seeded, "region_growing")
        if arguments.embeddings_cache is not None:
            raise cli.UserError(f"--embeddings_cache {arguments.embeddings_cache}: region_growing has no encoder")
        if arguments.image_size is not None:
            raise cli.UserError(f"--image_size {arguments.image_size}: --method region_growing has no network")
        return None, None, arguments.method
    version = arguments.sam_version or (2 if arguments.model is None else None)
    spec = models.at_image_size(models.find_model(arguments.model, version), arguments.image_size)
    method = arguments.method or ("sam2_memory" if spec.family == "sam2" else "chain")
    if method == "sam2_memory" and spec.family != "sam2":
        raise cli.UserError(
            f"--method sam2_memory: {spec.name} has no video memory; choose a SAM 2 model, or --method chain"
        )
    if method != "sam2_memory":
        refuse_memory_flags(arguments, seeded, f"{method} with {spec.name}")
    return spec, models.checkpoint_path(spec, arguments.checkpoint_file_path), method


def refuse_memory_flags(arguments: argparse.Namespace, seeded: bool, what: str) -> None:
    """Raise UserError for flags that only SAM 2's memory understands."""
    if seeded:
        flag, value = next((name, getattr(arguments, name)) for name in seed.SEED_FLAGS if getattr(arguments, name))
        given = " ".join(map(str, value)) if isinstance(value, list) else value
        raise cli.UserError(
            f"--{flag} {given}: {what} has no memory that one patient could leave to another; choose a SAM 2 model "
            "with "
            "--method sam2_memory"
        )
    for flag in ("max_memories", "stop_after"):
        if getattr(arguments, flag) is not None:
            raise cli.UserError(
                f"--{flag} {getattr(arguments, flag)}: {what} has no such memory; it is for sam2_memory"
            )


def load_segmenter(
    method: str, spec: ModelSpec | None, checkpoint: Path | None, arguments: argparse.Namespace, on_cpu: bool = False
) -> tuple:
    """Return (volume segmenter, what the manifest says of it, the cache of encoded slices that it uses or None)."""
    if method == "region_growing":
        from pose.segmenters.region_growing import RegionGrowing, RegionGrowingSettings

        return RegionGrowing(RegionGrowingSettings.from_arguments(arguments)), {"method": method}, None
    from pose import segmenters
    from pose.segmenters import models
    from pose.segmenters.embeddings import embeddings_from_arguments

    device = models.choose_device("cpu" if on_cpu else arguments.device)
    precision = models.choose_precision(arguments.precision, device)
    embeddings = embeddings_from_arguments(arguments)
    if method == "sam2_memory":
        from pose.segmenters.sam2.memory import Sam2Memory

        segmenter = Sam2Memory(
            spec,
            checkpoint,
            device,
            precision,
            max_memories=arguments.max_memories,
            stop_after=arguments.stop_after,
            embeddings=embeddings,
        )
        digest = segmenter.checkpoint_sha256
    else:
        from pose.segmenters.chain import Chain, ChainSettings

        slice_segmenter = segmenters.build_slice_segmenter(spec, checkpoint, device, precision, embeddings)
        segmenter = Chain(slice_segmenter, ChainSettings.from_arguments(arguments))
        digest = slice_segmenter.checkpoint_sha256
    return segmenter, {"method": method, **models.describe(spec, checkpoint, digest, device, precision)}, embeddings


def prompts_of_volume(case: Case, arguments: argparse.Namespace) -> list[Prompt]:
    """Return the prompts for the volume, given by the user or taken from one slice of the ground truth."""
    from pose.prompts.prompt import prompt_slice
    from pose.runs.case import given_prompts, prompts_from_truth

    prompts = given_prompts(case, arguments)
    if prompts is not None:
        return prompts
    where = "centre" if arguments.prompt_slice is None else arguments.prompt_slice
    index = prompt_slice(case.required_truth(), where, source=case.job.masks_path)
    return prompts_from_truth(case, index, arguments)


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
