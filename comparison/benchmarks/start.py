"""Measure the start of a process: from the call of process_video.py until its model is loaded.

The real script on a tiny volume, ended there: what it imports, the reading of the volume, the hash of the weights and
their load. In turns, by clock and by processor seconds; with --against also another checkout of this project, such as
a git worktree of an earlier commit.

    python comparison/benchmarks/start.py --random_weights --against ../before
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from comparison.benchmarks import batch as batch_benchmark
from comparison.benchmarks.conversion import measure
from comparison.benchmarks.propagation import spread
from pose import cli
from pose.cores import cores

# the folder of the checkout comes first, then the command line
UNTIL_LOADED = """
import os, sys
root, *words = sys.argv[1:]
sys.path.insert(0, root)
sys.argv = [os.path.join(root, "process_video.py"), *words]
import process_video
from pose.runs.one_prompt import OnePrompt
load = OnePrompt.load

def load_and_end(*given):
    load(*given)
    os._exit(0)

OnePrompt.load = load_and_end
sys.exit(process_video.main(words) or 1)
"""
HEADINGS = ("model", "checkout", "seconds", "processor, s", "peak memory, MB", "times as long as the first, by clock")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models",
        nargs="+",
        default=["lite_medsam", "2.1_tiny"],
        metavar="MODEL",
        help="NAME, or NAME@PIXELS (default: lite_medsam 2.1_tiny)",
    )
    parser.add_argument("--random_weights", action="store_true", help="random weights for models of SAM 2")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout of this project, in turn")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or mps (default: %(default)s)")
    parser.add_argument("--turns", type=cli.positive_whole_number, default=5, metavar="N", help="default: %(default)s")
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="where to work (default: the temporary folder)")
    # what a volume of batch.py may have
    parser.set_defaults(script="process_video", precision="auto", size=32, slices=4)
    parser.set_defaults(image_file_path=None, masks_file_path=None)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all turns, print a table."""
    arguments = make_parser().parse_args(argv)
    if arguments.against is not None:
        cli.existing_file(arguments.against / "process_video.py")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        return measure_all(arguments, Path(folder))


def measure_all(arguments: argparse.Namespace, folder: Path) -> int:
    """Run all turns in ``folder``; see :func:`main`."""
    words = {model: batch_benchmark.model_words(model, arguments, folder) for model in arguments.models}
    scan, masks = batch_benchmark.volume_files(arguments, folder)
    roots = [PROJECT_ROOT, *([arguments.against.resolve()] if arguments.against else [])]
    plan = list(product(arguments.models, roots))
    runs: dict[tuple[str, Path], list[dict[str, float]]] = {one: [] for one in plan}
    for turn in range(arguments.turns):
        # every second turn the other way round
        for model, root in plan[:: -1 if turn % 2 else 1]:
            command = batch_benchmark.script_command(
                arguments.script, words[model], [scan], [masks], folder / "results"
            )
            found = measure([sys.executable, "-c", UNTIL_LOADED, str(root), *command[1:]])
            runs[model, root].append(found)
            what = f"turn {turn + 1}: {model}, {root.name}"
            print(f"{what}: {found['seconds']:.2f} s, processor {found['cpu_seconds']:.2f} s", file=sys.stderr)

    print(f"until the model is loaded; {cores()} cores, {arguments.turns} turn(s), median (least to most)\n")
    print(f"| {' | '.join(HEADINGS)} |\n{'|---' * len(HEADINGS)}|")
    for (model, root), own in runs.items():
        first = runs[model, PROJECT_ROOT]
        ratios = [run["seconds"] / one["seconds"] for run, one in zip(own, first, strict=True)]
        peak = statistics.median(run["peak_mb"] for run in own)
        seconds, processor = (spread([run[key] for run in own], 2) for key in ("seconds", "cpu_seconds"))
        print(f"| {model} | {root.name} | {seconds} | {processor} | {peak:.0f} | {spread(ratios, 2)} |")
    return cli.EXIT_OK


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
