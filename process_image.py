#!/usr/bin/env python3
"""Segment every slice of a volume from a prompt of its own, with SAM, SAM 2 or LiteMedSAM.

The prompt of a slice is taken from its ground-truth mask by the paper's rules, or given by you. Each slice is scored
against the ground truth; the masks of the whole volume are written in the geometry of the scan.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pose import cli
from pose.scores.review import REVIEW_BELOW

if TYPE_CHECKING:
    from pose.prompts.prompt import Prompt
    from pose.runs.case import Case


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_input_arguments(parser)
    parser.add_argument("-s", "--slice", type=cli.whole_number, metavar="N", help="work on this slice alone")
    cli.add_prompt_arguments(parser)
    cli.add_model_arguments(parser, sam_version=1)
    parser.add_argument(
        "--repeat",
        type=cli.positive_whole_number,
        metavar="N",
        help="to measure times: segment each slice once to warm up, which is not counted, and then N times; raw_data "
        "holds the medians, times_*.csv every repetition",
    )
    parser.add_argument(
        "-o",
        "--multimask_output",
        action="store_true",
        help="let the model make three masks and take the best by its score (unsafe on chests: the score misleads)",
    )
    cli.add_embeddings_arguments(parser)
    cli.add_figure_arguments(parser)
    cli.add_run_arguments(parser, "results", REVIEW_BELOW)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    arguments = make_parser().parse_args(argv)
    cli.configure_logging()

    from pose import segmenters
    from pose.runs import batch, figure_files, resume, run
    from pose.runs.case import Job, load_case, plan_jobs, usable_prompts
    from pose.runs.crop import crop_volume
    from pose.scans.intensity import intensity_from_arguments
    from pose.segmenters import models

    intensity_from_arguments(arguments)  # a mistake here is no volume's
    if arguments.repeat is not None and arguments.embeddings_cache is not None:
        raise cli.UserError(f"--repeat {arguments.repeat}: times the encoder, so not together with --embeddings_cache")
    jobs = plan_jobs(arguments, "results")
    figure_files.check_figures(arguments, len(jobs), one_slice=arguments.slice is not None)
    spec = models.at_image_size(models.find_model(arguments.model, arguments.sam_version), arguments.image_size)
    checkpoint = models.checkpoint_path(spec, arguments.checkpoint_file_path)

    def made_from_of(job: Job) -> dict[str, Any]:
        return resume.made_from(job, arguments, spec, checkpoint)

    def describe(job: Job) -> str:
        if arguments.resume and resume.is_done(job.results_folder, made_from_of(job)):
            return "done already"
        case = load_case(job, arguments)
        prompted = {prompt.slice for prompt in prompts_of_slices(case, arguments)}
        return (
            f"would prompt {spec.name} on {len(prompted)} of {len(case.grey)} slices and write to {job.results_folder}"
        )

    @cache
    def load(device_name: str) -> tuple:
        from pose.segmenters.embeddings import embeddings_from_arguments

        with batch.for_all_volumes():
            device = models.choose_device(device_name)
            precision = models.choose_precision(arguments.precision, device)
            embeddings = embeddings_from_arguments(arguments)
            segmenter = segmenters.build_slice_segmenter(spec, checkpoint, device, precision, embeddings)
        manifest = models.describe(spec, checkpoint, segmenter.checkpoint_sha256, device, precision)
        return segmenter, manifest, embeddings

    warm: set[str] = set()

    def process(job: Job, made_from: dict[str, Any], less_memory: bool) -> dict[str, Path]:
        case = load_case(job, arguments)
        prompts = prompts_of_slices(case, arguments)
        slices = range(len(case.grey)) if arguments.slice is None else [arguments.slice]
        device_name = "cpu" if less_memory else arguments.device
        segmenter, manifest, embeddings = load(device_name)
        prompts = usable_prompts(prompts, segmenter.prompt_kinds, spec.name)
        crop = crop_volume(arguments.crop, case.grey, prompts)
        predictions = segmenters.segment_slices(
            segmenter, crop.grey, crop.prompts(prompts), slices, arguments.multimask_output, arguments.repeat
        )
        manifest = {**manifest, "crop": crop.describe(), "made_from": made_from, "less_memory": less_memory}
        manifest["timing"] = describe_timing(arguments.repeat, first_of_process=device_name not in warm)
        warm.add(device_name)
        return run.segment_and_write(
            case, prompts, map(crop.restore, predictions), slices, arguments, manifest, embeddings
        )

    if arguments.dry_run:
        return batch.check_jobs(jobs, describe)
    return batch.run_jobs(jobs, process, made_from_of, arguments.resume, arguments.record_failures)


def describe_timing(repeat: int | None, first_of_process: bool) -> dict[str, Any]:
    """Return what a run manifest says of how times were taken, and of the warm-up in them.

    Args:
        repeat: how often each slice was segmented and counted; None for once, without a warm-up.
        first_of_process: whether the model had not segmented anything before this volume.
    """
    if repeat is not None:
        warm_up = "each slice was segmented once before, which is not counted in raw_data and is repetition 0 in times"
    elif first_of_process:
        warm_up = "the first slice segmented is the model's first of this process, and is counted in raw_data"
    else:
        warm_up = "none needed: other volumes were segmented before in this process"
    return {"repeat": repeat, "first_of_process": first_of_process, "warm_up": warm_up}


def prompts_of_slices(case: Case, arguments: argparse.Namespace) -> list[Prompt]:
    """Return the prompts of every slice, given by the user or taken from the ground truth."""
    from pose.prompts.prompt import prompt_slice
    from pose.runs.case import given_prompts, prompts_from_truth

    last = len(case.grey) - 1
    if arguments.slice is not None and arguments.slice > last:
        raise cli.UserError(f"{case.job.image_path}: --slice {arguments.slice} is not among its slices 0 to {last}")
    prompts = given_prompts(case, arguments)
    if prompts is None:
        where = "centre" if arguments.slice is None else arguments.slice
        prompt_slice(case.required_truth(), where, source=case.job.masks_path)  # or says what is not there to prompt on
        prompts = [prompt for index in case.masked_slices for prompt in prompts_from_truth(case, index, arguments)]
    if arguments.slice is None:
        return prompts
    here = [prompt for prompt in prompts if prompt.slice == arguments.slice]
    if not here:
        nearest = min({prompt.slice for prompt in prompts}, key=lambda index: (abs(index - arguments.slice), index))
        given = f"{case.job.prompts_path}: --slice {arguments.slice} has no prompt"
        raise cli.UserError(f"{given}, the nearest one with a prompt is {nearest}")
    return here


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
