"""Measure what a volume costs in this checkout of the project and in another, in turns, and compare what they write.

Whole processes on copies of one synthetic chest CT, with one volume and with several: the difference is what a volume
costs. Masks, pictures, prompts and tables must be the same, but for the columns and rows of times; the exit code is 1
where they are not.

    git worktree add /tmp/before HEAD~5
    python comparison/benchmarks/versions.py --against /tmp/before --model region_growing --slices 200
"""

from __future__ import annotations

import argparse
import csv
import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from comparison.benchmarks import batch
from comparison.benchmarks.conversion import measure
from comparison.benchmarks.propagation import spread
from pose import cli
from pose.segmenters.models import sha256_of

COMPARED = ("raw_data", "results", "masks", "sam_prompts", "contact_sheet")
_STAMPED = re.compile(r"(\w+)_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d\.")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, required=True, metavar="FOLDER", help="another checkout")
    batch.add_volume_arguments(parser)
    parser.add_argument(
        "--model", default="region_growing", help="NAME, NAME@PIXELS or region_growing (default: %(default)s)"
    )
    parser.add_argument(
        "--volumes",
        type=cli.positive_whole_number,
        default=4,
        metavar="K",
        help="of the larger run, at least 2 (default: %(default)s)",
    )
    parser.add_argument("--turns", type=cli.positive_whole_number, default=3, metavar="N", help="default: %(default)s")
    return parser


def written(folder: Path) -> dict[str, str | list[list[str]]]:
    """Return what the newest runs in the folders of ``folder`` hold, by folder and kind of file: tables without times,
    SHA-256 of all else.
    """
    found: dict[str, str | list[list[str]]] = {}
    for path in sorted(folder.rglob("*")):
        stamped = _STAMPED.match(path.name)
        if stamped is None or stamped[1] not in COMPARED:
            continue
        name = f"{path.parent.name}/{stamped[1]}"
        if path.suffix != ".csv":
            found[name] = sha256_of(path)
            continue
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        kept = [index for index, column in enumerate(header) if not column.endswith("_time")]
        found[name] = [[row[index] for index in kept] for row in [header, *rows] if not row[0].endswith("_time")]
    return found


def differing(ours: Mapping[str, object], others: Mapping[str, object]) -> list[str]:
    """Return the names of what two checkouts wrote that is not the same."""
    return sorted(name for name in ours.keys() | others.keys() if ours.get(name) != others.get(name))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all turns, print a table."""
    arguments = make_parser().parse_args(argv)
    if arguments.volumes < 2:
        raise cli.UserError(f"--volumes {arguments.volumes}: with one there is no telling start from work; at least 2")
    script = arguments.against / f"{arguments.script}.py"
    if not script.is_file():
        raise cli.UserError(f"--against {arguments.against}: holds no {script.name}")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        return measure_all(arguments, Path(folder))


def measure_all(arguments: argparse.Namespace, folder: Path) -> int:
    """Run all turns in ``folder``; see :func:`main`."""
    words = batch.model_words(arguments.model, arguments, folder)
    scan, masks = batch.volume_files(arguments, folder)
    images, truths = (
        batch.copies(path, folder / name, arguments.volumes) for path, name in ((scan, "images"), (masks, "masks"))
    )
    results = folder / "results"
    costs: dict[str, list[tuple[float, float]]] = {"before": [], "now": []}
    peaks: dict[str, list[float]] = {"before": [], "now": []}
    differences: set[str] = set()
    for turn in range(arguments.turns):
        files = {}
        # every second turn the other way round
        for name in list(costs)[:: -1 if turn % 2 else 1]:
            runs = []
            for count in (1, arguments.volumes):
                _, *rest = batch.script_command(arguments.script, words, images[:count], truths[:count], results)
                root = arguments.against if name == "before" else PROJECT_ROOT
                runs.append(measure([sys.executable, str(root / f"{arguments.script}.py"), *rest]))
                files[name] = written(results)
                shutil.rmtree(results)
            lines = [batch.fit(*(run[of] for run in runs), arguments.volumes) for of in ("seconds", "cpu_seconds")]
            costs[name].append((lines[0].volume, lines[1].volume))
            peaks[name].append(runs[1]["peak_mb"])
            print(f"turn {turn + 1}, {name}: {lines[0].volume:.2f} s a volume", file=sys.stderr, flush=True)
        differences.update(differing(files["now"], files["before"]))
    print(
        f"{arguments.script}.py --model {arguments.model}, {batch.cores()} cores; 1 and {arguments.volumes} volumes a "
        f"process, {arguments.turns} turn(s)\n"
    )
    print("| checkout | s a volume | CPU s a volume | host MB |\n|---|---|---|---|")
    for name, turns in costs.items():
        seconds, processor = zip(*turns, strict=True)
        print(f"| {name} | {spread(seconds, 2)} | {spread(processor, 2)} | {statistics.median(peaks[name]):.0f} |")
    shares = [
        [before[of] / now[of] for before, now in zip(costs["before"], costs["now"], strict=True)] for of in (0, 1)
    ]
    print(f"\ntimes as fast: {spread(shares[0], 2)}; times less of the processor: {spread(shares[1], 2)}")
    print(f"files that differ: {', '.join(sorted(differences)) or 'none'}")
    return cli.EXIT_VOLUME_FAILED if differences else cli.EXIT_OK


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
