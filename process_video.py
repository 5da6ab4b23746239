#!/usr/bin/env python3
"""Segment a whole volume from one prompt on one slice.

The prompt is taken from the ground-truth mask of one slice by the paper's rules, or given by you, and carried through
the volume by one of four methods. With --seed_image_file_path the prompt lies on a slice of another patient, and one
prompt serves a whole data set, by any of them:

  sam2_memory     SAM 2's video memory: slices are frames; the paper's method
  auto            region growing where that and the network agree on the prompted slice, else the chain
  chain           any model for slices, carried from slice to slice: the mask of one gives the prompt of the next
  region_growing  no network: grey levels like the prompted ones, connected in three dimensions
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pose import cli, cores
from pose.scores.review import REVIEW_BELOW

METHODS = ("sam2_memory", "auto", "chain", "region_growing")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    from pose.segmenters import chain_settings, region_growing

    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=chain_settings.describe_rules(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cli.add_input_arguments(parser, image_required=False)
    group = parser.add_argument_group("method")
    group.add_argument("--method", choices=METHODS, help="default: sam2_memory for SAM 2 models, auto for all others")
    group.add_argument(
        "--prompt_slice",
        type=cli.prompt_slice,
        metavar="centre|largest|N",
        help="where the prompt is taken from the ground truth: the middle of the masked slices, as in the paper "
        "(default), the one with the largest mask, or slice N",
    )
    group.add_argument(
        "-s",
        "--slice",
        type=cli.whole_number,
        metavar="N",
        help="the slice that --point, --negative_point and --box lie on",
    )
    cli.add_seed_arguments(parser)
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
    group = parser.add_argument_group("GPU")
    group.add_argument(
        "--cuda_graph",
        action="store_true",
        help="replay what SAM 2's memory does on a slice as a CUDA graph, without Python (not yet tried on a GPU)",
    )
    chain_settings.add_arguments(parser)
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
    cores.use(arguments.threads)

    from pose.runs import batch, command_line, seed
    from pose.runs.one_prompt import OnePrompt

    flags = vars(arguments)
    seeds = command_line.seeds_of(flags)
    own_prompts = "prompt_slice", "prompt_file_path", "point", "negative_point", "box", "point_mm"
    seed.check_seeds(seeds, arguments.start_slice, {name: flags[name] for name in own_prompts})
    if arguments.slice is not None and not (arguments.point or arguments.negative_point or arguments.box):
        advice = "needs --point or --box; for prompts from masks see --prompt_slice"
        raise cli.UserError(f"--slice {arguments.slice}: {advice}")
    if not arguments.image_file_path and not arguments.save_seed_memory:
        raise cli.UserError("--image_file_path: needed, unless --save_seed_memory is all that is asked for")
    jobs = command_line.jobs_of(flags, "results_video")
    work = OnePrompt(
        **command_line.settings_of_volumes(flags, len(jobs)),
        method=command_line.method_of(flags),
        prompt_slice="centre" if arguments.prompt_slice is None else arguments.prompt_slice,
        seeds=seeds,
        start_slice=arguments.start_slice,
    )
    if arguments.save_seed_memory and arguments.dry_run:
        print(f"would write the memory of {len(work.seed_cases)} seed(s) to {arguments.save_seed_memory}")
    elif arguments.save_seed_memory:
        work.load()  # asked for by itself, whatever becomes of the volumes
    return batch.run_work(work, jobs, **command_line.behaviour_of(flags))


def command() -> int:
    """Run the script as a command, its mistakes as one line; returns its exit code."""
    return cli.run_main(main)


if __name__ == "__main__":
    sys.exit(command())
