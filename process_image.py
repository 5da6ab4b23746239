#!/usr/bin/env python3
"""Segment every slice of a volume from a prompt of its own, with SAM, SAM 2 or LiteMedSAM.

The prompt of a slice is taken from its ground-truth mask by the paper's rules, or given by you. Each slice is scored
against the ground truth; the masks of the whole volume are written in the geometry of the scan.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pose import cli, cores
from pose.scores.review import REVIEW_BELOW


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
    cores.use(arguments.threads)

    from pose.runs import batch, command_line
    from pose.runs.every_slice import EverySlice

    flags = vars(arguments)
    if arguments.repeat is not None and arguments.embeddings_cache is not None:
        raise cli.UserError(f"--repeat {arguments.repeat}: times the encoder, so not together with --embeddings_cache")
    jobs = command_line.jobs_of(flags, "results")
    work = EverySlice(
        **command_line.settings_of_volumes(flags, len(jobs), one_slice=arguments.slice is not None),
        model=command_line.model_of(flags),
        slice_index=arguments.slice,
        multimask_output=arguments.multimask_output,
        repeat=arguments.repeat,
    )
    return batch.run_work(work, jobs, **command_line.behaviour_of(flags))


def command() -> int:
    """Run the script as a command, its mistakes as one line; returns its exit code."""
    return cli.run_main(main)


if __name__ == "__main__":
    sys.exit(command())
