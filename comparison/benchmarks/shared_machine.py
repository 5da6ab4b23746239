"""Measure what runs cost that share a machine, by how long threads look for work before they sleep.

One, two and four processes of process_video.py at once, each with all cores and a volume of its own, in turns, from the
start of the first to the end of the last: LiteMedSAM as a chain, models of SAM 2 with their memory. A run alone is the
measure of the others; n runs at once that shared the cores without loss would take n times as long, less what a run
alone leaves idle.

The spin count is that of PyTorch's threads on Linux (GOMP_SPINCOUNT): 300000 is what they take by themselves, 1000 what
importing pose sets. For the runtimes of macOS and conda it is a time (KMP_BLOCKTIME), which this sets to 200 and 1 ms.

    python comparison/benchmarks/shared_machine.py --random_weights
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from comparison.benchmarks import batch as batch_benchmark
from comparison.benchmarks.batch import Run
from comparison.benchmarks.propagation import spread
from pose import cli
from pose.cores import cores

LIBRARYS_OWN = 300000
# how many times as long as one alone so many at once may take
AIMS = {2: 1.8, 4: 3.6}
HEADINGS = ("model", "spin count", "at once", "seconds", "times one alone", "share of the first spin count's", "CPU s")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    batch_benchmark.add_volume_arguments(parser)
    parser.set_defaults(size=256, slices=12)
    parser.add_argument(
        "--models",
        nargs="+",
        default=["lite_medsam", "2.1_tiny@512"],
        metavar="MODEL",
        help="NAME, or NAME@PIXELS (default: lite_medsam 2.1_tiny@512)",
    )
    parser.add_argument(
        "--spin_counts",
        type=cli.whole_number,
        nargs="+",
        default=[LIBRARYS_OWN, 1000],
        metavar="N",
        help="the aims are about the last of them (default: 300000 1000)",
    )
    parser.add_argument(
        "--at_once",
        type=cli.positive_whole_number,
        nargs="+",
        default=[1, 2, 4],
        metavar="N",
        help="processes at once, 1 among them (default: 1 2 4)",
    )
    parser.add_argument("--turns", type=cli.positive_whole_number, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every run")
    return parser


def waiting(spin_count: int) -> dict[str, str]:
    """Return the variables that let threads look for work so many times before they sleep."""
    return {"GOMP_SPINCOUNT": str(spin_count), "KMP_BLOCKTIME": "200" if spin_count >= LIBRARYS_OWN else "1"}


Runs = Mapping[tuple[int, int], Sequence[Run]]  # by spin count and number at once, a run each turn


def times_alone(runs: Runs, spin_count: int, at_once: int) -> list[float]:
    """Return for each turn how many times as long as one alone, of the same spin count, so many at once took."""
    alone = runs[spin_count, 1]
    return [run.seconds / one.seconds for run, one in zip(runs[spin_count, at_once], alone, strict=True)]


def table_rows(model: str, runs: Runs) -> list[str]:
    """Return the rows of one model in Markdown."""
    first = next(iter(runs))[0]
    rows = []
    for (spin_count, at_once), own in runs.items():
        against = [run.seconds / other.seconds for run, other in zip(own, runs[first, at_once], strict=True)]
        cells = [
            model,
            spin_count,
            at_once,
            spread([run.seconds for run in own], 1),
            spread(times_alone(runs, spin_count, at_once), 2),
            spread(against, 2),
            spread([run.cpu_seconds for run in own], 1),
        ]
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return rows


def missed(model: str, runs: Runs) -> list[str]:
    """Return in words which aims the last spin count missed, by the median of the turns."""
    last = list(runs)[-1][0]
    found = []
    for at_once, most in AIMS.items():
        if (last, at_once) in runs:
            times = statistics.median(times_alone(runs, last, at_once))
            if times > most:
                found.append(f"{model}: {at_once} at once take {times:.2f} times one alone, aim {most}")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all turns, print a table; exit code 1 where an aim is missed."""
    arguments = make_parser().parse_args(argv)
    if 1 not in arguments.at_once:
        raise cli.UserError(f"--at_once {' '.join(map(str, arguments.at_once))}: 1 is what others are compared with")
    for name in ("spin_counts", "at_once"):
        values = getattr(arguments, name)
        if len(set(values)) < len(values):
            raise cli.UserError(f"--{name} {' '.join(map(str, values))}: a number comes twice")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        return measure_all(arguments, Path(folder))


def measure_all(arguments: argparse.Namespace, folder: Path) -> int:
    """Run all turns in ``folder``; see :func:`main`."""
    words = {model: batch_benchmark.model_words(model, arguments, folder) for model in arguments.models}
    for model, said in words.items():
        if model == "lite_medsam":
            said += ["--method", "chain"]
    scan, masks = batch_benchmark.volume_files(arguments, folder)
    count = max(arguments.at_once)
    images = batch_benchmark.copies(scan, folder / "images", count)
    truths = batch_benchmark.copies(masks, folder / "masks", count)
    runs: dict[str, dict[tuple[int, int], list[Run]]] = {
        model: {pair: [] for pair in product(arguments.spin_counts, arguments.at_once)} for model in arguments.models
    }
    plan = list(product(arguments.models, arguments.at_once, arguments.spin_counts))
    for turn in range(arguments.turns):
        # every second turn the other way round
        for model, at_once, spin_count in plan[:: -1 if turn % 2 else 1]:
            results = folder / "results"
            commands = [
                batch_benchmark.script_command(
                    arguments.script, words[model], [images[one]], [truths[one]], results / str(one)
                )
                for one in range(at_once)
            ]
            true_masks = "--checkpoint_file_path" in words[model]
            run = batch_benchmark.run_at_once(commands, 1, results, true_masks, waiting(spin_count))
            runs[model][spin_count, at_once].append(run)
            what = f"turn {turn + 1}: {model}, spin count {spin_count}, {at_once} at once"
            print(f"{what}: {run.seconds:.1f} s", file=sys.stderr, flush=True)

    print(
        f"{arguments.script}.py, {cores()} cores, a chest CT of {scan.stat().st_size / 1e6:.1f} MB, precision "
        f"{arguments.precision}, {arguments.turns} turn(s)\n"
    )
    print(f"| {' | '.join(HEADINGS)} |\n{'|---' * len(HEADINGS)}|")
    for model, own in runs.items():
        print(*table_rows(model, own), sep="\n", flush=True)
    if arguments.json is not None:
        record = [
            {"model": model, "spin_count": spin_count, "runs": [asdict(run) for run in turns]}
            for model, own in runs.items()
            for (spin_count, _), turns in own.items()
        ]
        text = json.dumps({"cores": cores(), "measured": record}, indent=2) + "\n"
        arguments.json.write_text(text, encoding="utf-8")
    short = [line for model, own in runs.items() for line in missed(model, own)]
    print(*short, sep="\n", end="\n" if short else "", file=sys.stderr)
    return cli.EXIT_VOLUME_FAILED if short else cli.EXIT_OK


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
