"""Measure time and peak memory of join_results.py on 20, 200 and 2,000 volumes: is its time linear in their number?

The results are synthetic: each volume has a folder of its own with files as a run writes them, 8 kB of manifest among
them; its slices are drawn from 5,000 random ones, of which some are empty. The program runs as a process of its own,
soon after the files were written: they are in the memory of the system where that is large enough. Memory is that of
all processes of the program together, looked at fifty times a second (on Linux; unknown elsewhere). The exit code is 1
where a volume costs more than twice as much in the largest folder as in the one before it, and where the tables of
``--against`` differ.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from pose import cli, results
from pose.cores import cores
from pose.segmenters.models import sha256_of

STAMP = "2025-01-01_10-00-00"
DRAWN_SLICES = 5000
MOST_GROWTH = 2.0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--volumes",
        type=cli.positive_whole_number,
        nargs="+",
        default=[20, 200, 2000],
        metavar="N",
        help="sizes of the folders (default: 20 200 2000)",
    )
    parser.add_argument(
        "--slices", type=cli.positive_whole_number, default=200, metavar="N", help="of a volume (default: %(default)s)"
    )
    parser.add_argument(
        "--programs",
        choices=("join_results.py", "paper/report.py"),
        nargs="+",
        default=["join_results.py"],
        help="what is measured (default: join_results.py)",
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FOLDER",
        help="another checkout of this project: its programs run in turn with these, and its tables must be the same",
    )
    return parser


def write_volume_results(folder: Path, slices: int, generator: np.random.Generator) -> None:
    """Write what a run leaves of one volume; a fifth of its slices holds no object, and most of these stay empty."""
    truth = np.where(generator.random(slices) < 0.8, generator.integers(1, 50_000, slices), 0)
    predicted = np.where((truth > 0) | (generator.random(slices) < 0.1), generator.integers(1, 50_000, slices), 0)
    dice = np.where(truth > 0, generator.beta(8, 1, slices), np.where(predicted > 0, 0, np.nan))
    score, seconds = generator.random((2, slices))
    table = {
        "slice": range(slices),
        "jaccard": dice / (2 - dice),
        "dice": dice,
        "sam_score": score,
        "set_image_time": seconds,
        "predict_image_time": seconds / 10,
        "process_image_time": 1.1 * seconds,
        "ground_truth_voxels": truth,
        "predicted_voxels": predicted,
        "false_positive_voxels": np.where(truth > 0, 0, predicted),
        "hd95_mm": 10 * generator.random(slices),
        "needs_review": (score < 0.1).astype(int),
        "review_score": score,
    }
    names, columns = list(table), [np.asarray(values).tolist() for values in table.values()]
    masked = int(np.count_nonzero(truth))
    results.write_results(
        folder,
        rows=[dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)],
        volume_metrics={
            "volume_dice": generator.random(),
            "volume_hd95_mm": 10 * generator.random(),
            "false_positive_voxels": int(predicted[truth == 0].sum()),
            "missed_slices": 0,
            "slices_to_review": int((score < 0.1).sum()),
        },
        prompts_json=[],
        manifest={"prompted_slices": 1, "masked_slices": masked},
        stamp=STAMP,
    )


@dataclass(frozen=True)
class Material:
    """What synthetic results are made of: a header, lines of raw_data without their slice, and the other files."""

    header: str
    lines: list[str]
    results: str
    manifest: dict[str, object]


def material(generator: np.random.Generator) -> Material:
    """Return the files of one run of many slices, with a manifest as large as those of real runs."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_volume_results(folder, DRAWN_SLICES, generator)
        header, *lines = (folder / f"raw_data_{STAMP}.csv").read_text(encoding="utf-8").splitlines()
        summary = (folder / f"results_{STAMP}.csv").read_text(encoding="utf-8")
    digest = "0123456789abcdef" * 4
    manifest = {
        "timestamp": STAMP,
        "status": "done",
        "method": "sam2_memory",
        "prompted_slices": 1,
        "masked_slices": 0,
        "arguments": {f"argument_{number}": [number, None, "value"] for number in range(40)},
        "made_from": {
            "inputs": {"image": digest, "masks": digest, "weights": digest},
            "settings": {f"argument_{number}": [number, None, "value"] for number in range(40)},
        },
        "image": {"path": "/data/scans/case.nii.gz", "sha256": digest, "spacing_mm": [0.8, 0.8, 2.5]},
        **results.environment_manifest(),
    }
    return Material(header, [line.partition(",")[2] for line in lines], summary, manifest)


def write_synthetic(folder: Path, slices: int, made_of: Material, generator: np.random.Generator) -> None:
    """Write the results of a volume of its own: slices drawn from the material, and metrics of the volume."""
    folder.mkdir(parents=True)
    drawn = generator.integers(len(made_of.lines), size=slices).tolist()
    lines = [f"{number},{made_of.lines[line]}" for number, line in enumerate(drawn)]
    own = {"volume_dice": generator.random(), "volume_hd95_mm": 10 * generator.random()}
    summary = [line for line in made_of.results.splitlines() if line.partition(",")[0] not in own]
    summary += [f"{name},{value!r},{value!r},{value!r},,1" for name, value in own.items()]
    prompts = {"prompts": [{"slice": slices // 2, "object_id": 1, "points": [{"row": 256, "column": 128, "label": 1}]}]}
    manifest = {**made_of.manifest, "masked_slices": int(generator.integers(1, slices + 1))}
    files = {
        f"raw_data_{STAMP}.csv": "\n".join([made_of.header, *lines, ""]),
        f"results_{STAMP}.csv": "\n".join([*summary, ""]),
        f"sam_prompts_{STAMP}.json": json.dumps(prompts, indent=2),
        f"run_{STAMP}.json": json.dumps(manifest, indent=2),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def measure(command: Sequence[str]) -> dict[str, float]:
    """Run ``command`` as a fresh process.

    Returns:
        ``seconds`` of wall time, ``cpu_seconds`` of all its processes, and ``peak_mb``, the most that these held
        together at once (pages that several share count for each; nan where the system has no /proc).

    Raises:
        RuntimeError: the command failed.
    """
    start, peak, there = time.perf_counter(), float("nan"), set[int]()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            now, there = resident_mb(process.pid, there)
            peak = np.fmax(peak, now)
            time.sleep(0.02)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            errors.seek(0)
            said = errors.read().decode(errors="replace")
            raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}: {said}")
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_mb": float(peak)}


def resident_mb(pid: int, before: set[int]) -> tuple[float, set[int]]:
    """Return the memory that a process and its descendants hold now, nan where that cannot be told, and who they are.

    Only those that were there ``before`` count: until a process starts its program, it has the memory of its parent.
    """
    total, found, there = float("nan"), [pid], set()
    while found:
        one = found.pop()
        there.add(one)
        process = Path("/proc") / str(one)
        with suppress(OSError, ValueError):  # ended meanwhile
            pages = int((process / "statm").read_text().split()[1])
            if one in before:
                total = np.nansum([total, pages * os.sysconf("SC_PAGE_SIZE") / 1e6])
            for task in (process / "task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return float(total), there


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each size once, print a table; exit code 1 where time grows faster than the number of volumes."""
    arguments = make_parser().parse_args(argv)
    generator = np.random.default_rng(0)
    made_of = material(generator)
    print(f"{arguments.slices} slices a volume, one run of each, {cores()} cores\n")
    print("| volumes | program | seconds | CPU seconds | ms a volume, beyond the first row | peak memory, MB |")
    print("|---|---|---|---|---|---|", flush=True)
    measured: list[tuple[int, float]] = []
    tables: dict[tuple[int, str], list[dict[str, str]]] = {}
    roots = [PROJECT_ROOT, *([arguments.against] if arguments.against else [])]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "results"
        for volumes in sorted(set(arguments.volumes)):
            for number in range(measured[-1][0] if measured else 0, volumes):
                write_synthetic(folder / f"case_{number:06}", arguments.slices, made_of, generator)
            for program, root in product(arguments.programs, roots):
                found = measure([sys.executable, str(root / program), "-r", str(folder)])
                cost, name = "-", program if root == PROJECT_ROOT else str(root / program)
                if name == arguments.programs[0]:
                    measured.append((volumes, found["seconds"]))
                    cost = f"{1000 * slope(measured[0], measured[-1]):.2f}" if len(measured) > 1 else cost
                times = f"{found['seconds']:.1f} | {found['cpu_seconds']:.1f} | {cost}"
                print(f"| {volumes} | {name} | {times} | {found['peak_mb']:.0f} |", flush=True)
                tables.setdefault((volumes, program), []).append(written(folder))
    if arguments.against:
        differ = [f"{program} of {volumes}" for (volumes, program), (ours, others) in tables.items() if ours != others]
        print(f"\ntables that differ: {', '.join(differ) or 'none'}")
        if differ:
            return cli.EXIT_VOLUME_FAILED
    if len(measured) < 3:
        return cli.EXIT_OK
    growth = slope(*measured[-2:]) / slope(*measured[-3:-1])
    print(f"\na volume more costs {growth:.2f} times as much in the last folder as in the one before it")
    return cli.EXIT_OK if growth <= MOST_GROWTH else cli.EXIT_VOLUME_FAILED


def written(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the tables in a folder by their names without a time stamp, and remove all files there."""
    found = {}
    for path in folder.glob("*.*"):
        if path.suffix == ".csv":
            found[path.name[: -len(f"_{STAMP}.csv")]] = sha256_of(path)
        path.unlink()
    return found


def slope(fewer: tuple[int, float], more: tuple[int, float]) -> float:
    """Return the seconds that a volume more costs, between two measurements of (volumes, seconds)."""
    return (more[1] - fewer[1]) / (more[0] - fewer[0])


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
