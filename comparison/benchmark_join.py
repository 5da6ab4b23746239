"""Measure seconds and peak memory of join_results.py on 20, 200 and 2,000 volumes: is its time linear in their number?

The results are synthetic: random scores in files as a run writes them, 200 slices a volume, empty slices among them.
The program runs as a process of its own. The exit code is 1 where a volume costs more than twice as much in the
largest folder as in the one before it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT_ROOT))

from comparison.benchmark_conversion import measure  # noqa: E402
from pose import cli, results  # noqa: E402

STAMP = "2025-01-01_10-00-00"
MOST_GROWTH = 2.0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--volumes", type=cli.positive_whole_number, nargs="+", default=[20, 200, 2000], metavar="N",
        help="sizes of the folders (default: 20 200 2000)",
    )  # fmt: skip
    parser.add_argument(
        "--slices", type=cli.positive_whole_number, default=200, metavar="N", help="of a volume (default: %(default)s)"
    )
    return parser


def write_volume_results(folder: Path, slices: int, generator: np.random.Generator) -> None:
    """Write what a run leaves of one volume; a fifth of its slices holds no object, and most of these stay empty."""
    truth = np.where(generator.random(slices) < 0.8, generator.integers(1, 50_000, slices), 0)
    predicted = np.where((truth > 0) | (generator.random(slices) < 0.1), generator.integers(1, 50_000, slices), 0)
    dice = np.where(truth > 0, generator.beta(8, 1, slices), np.where(predicted > 0, 0, np.nan))
    score, seconds = generator.random((2, slices))
    table = {
        "slice": range(slices), "jaccard": dice / (2 - dice), "dice": dice, "sam_score": score,
        "set_image_time": seconds, "predict_image_time": seconds / 10, "process_image_time": 1.1 * seconds,
        "ground_truth_voxels": truth, "predicted_voxels": predicted,
        "false_positive_voxels": np.where(truth > 0, 0, predicted), "hd95_mm": 10 * generator.random(slices),
        "needs_review": (score < 0.1).astype(int), "review_score": score,
    }  # fmt: skip
    names, columns = list(table), [np.asarray(values).tolist() for values in table.values()]
    masked = int(np.count_nonzero(truth))
    results.write_results(
        folder,
        rows=[dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)],
        volume_metrics={
            "volume_dice": generator.random(), "volume_hd95_mm": 10 * generator.random(),
            "false_positive_voxels": int(predicted[truth == 0].sum()), "missed_slices": 0,
            "slices_to_review": int((score < 0.1).sum()),
        },
        prompts_json=[],
        manifest={"prompted_slices": 1, "masked_slices": masked},
        stamp=STAMP,
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each size once, print a table; exit code 1 where time grows faster than the number of volumes."""
    arguments = make_parser().parse_args(argv)
    generator = np.random.default_rng(0)
    print(f"{arguments.slices} slices a volume, one run of each\n")
    print("| volumes | seconds | ms a volume, beyond the first row | peak memory, MB |\n|---|---|---|---|", flush=True)
    measured: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for volumes in sorted(set(arguments.volumes)):
            folder = Path(temporary) / "results"
            for number in range(measured[-1][0] if measured else 0, volumes):
                write_volume_results(folder / f"case_{number:05}", arguments.slices, generator)
            figures = measure([sys.executable, str(PROJECT_ROOT / "join_results.py"), "-r", str(folder)])
            measured.append((volumes, figures["seconds"]))
            cost = f"{1000 * slope(measured[0], measured[-1]):.2f}" if len(measured) > 1 else "-"
            print(f"| {volumes} | {figures['seconds']:.1f} | {cost} | {figures['peak_mb']:.0f} |", flush=True)
    if len(measured) < 3:
        return cli.EXIT_OK
    growth = slope(*measured[-2:]) / slope(*measured[-3:-1])
    print(f"\na volume more costs {growth:.2f} times as much in the last folder as in the one before it")
    return cli.EXIT_OK if growth <= MOST_GROWTH else cli.EXIT_VOLUME_FAILED


def slope(fewer: tuple[int, float], more: tuple[int, float]) -> float:
    """Return the seconds that a volume more costs, between two measurements of (volumes, seconds)."""
    return (more[1] - fewer[1]) / (more[0] - fewer[0])


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
