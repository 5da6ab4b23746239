"""Measure what a volume costs as process_video.py or process_image.py segments it: start and load, then each volume.

Whole processes on copies of one synthetic chest CT, in turns: with one volume and with several. The difference is what
a volume costs beyond the first; what is left of the first is start and load. With --workers 1 2 the same is done by one
process and by two at once, each with volumes of its own and its share of the CPU's threads; on a GPU they share it.

A model is a name, or NAME@PIXELS for another --image_size; region_growing is the method without a network.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from comparison.benchmarks.conversion import measure
from comparison.benchmarks.propagation import spread
from pose import cli
from pose.cores import cores

MEASURED_SCRIPT = PROJECT_ROOT / "comparison" / "benchmarks" / "measured_script.py"
REGION_GROWING = "region_growing"
HEADINGS = (
    "model",
    "at once",
    "start and load, s",
    "s a volume",
    "slices/s",
    "CPU s a volume",
    "volumes an hour",
    "to the first row",
    "host MB",
    "GPU MB, tensors / card",
    "results MB",
)


@dataclass(frozen=True)
class Run:
    """Processes at once, from the start of the first to the end of the last, each with as many volumes as the others.

    Attributes:
        cpu_seconds: of all processes together.
        peak_mb: host memory of the largest process.
        gpu_tensors_mb: the most that the tensors of one process held; None without a GPU.
        gpu_card_mb: the most that was taken of the card at the end of a process, by all processes; None without a GPU.
        result_mb: what a volume left in the results folder.
    """

    workers: int
    volumes_each: int
    seconds: float
    cpu_seconds: float
    peak_mb: float
    gpu_tensors_mb: float | None
    gpu_card_mb: float | None
    result_mb: float


@dataclass(frozen=True)
class Cost:
    """A straight line through two runs: seconds = start + volume * volumes of each process."""

    start: float
    volume: float


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_volume_arguments(parser)
    parser.add_argument(
        "--models",
        nargs="+",
        default=["lite_medsam", REGION_GROWING],
        metavar="MODEL",
        help="NAME, NAME@PIXELS or region_growing (default: lite_medsam region_growing)",
    )
    parser.add_argument(
        "--volumes",
        type=cli.positive_whole_number,
        default=3,
        metavar="K",
        help="of each process in the larger run, at least 2 (default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        type=cli.positive_whole_number,
        nargs="+",
        default=[1],
        metavar="W",
        help="processes at once; ratios are to the first number (default: 1)",
    )
    parser.add_argument("--turns", type=cli.positive_whole_number, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every run, and what follows from them")
    return parser


def add_volume_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is segmented, by which script, on which device."""
    parser.add_argument(
        "--script", choices=("process_video", "process_image"), default="process_video", help="default: %(default)s"
    )
    parser.add_argument("-i", "--image_file_path", type=Path, metavar="FILE", help="a chest CT (default: a made one)")
    parser.add_argument("-m", "--masks_file_path", type=Path, metavar="FILE", help="its masks")
    parser.add_argument(
        "--size",
        type=cli.positive_whole_number,
        default=512,
        metavar="N",
        help="rows and columns of the made CT (default: %(default)s)",
    )
    parser.add_argument(
        "--slices",
        type=cli.positive_whole_number,
        default=300,
        metavar="N",
        help="of the made CT (default: %(default)s)",
    )
    parser.add_argument(
        "--random_weights",
        action="store_true",
        help="random weights for models of SAM 2; what is scored and written is then the ground truth, "
        "as noise costs more than lungs",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="default: %(default)s")
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="where to work (default: the temporary folder)")


def fit(one: float, many: float, volumes: int) -> Cost:
    """Return the line through the seconds of a run with one volume and of a run with ``volumes``, at least 2."""
    volume = (many - one) / (volumes - 1)
    return Cost(one - volume, volume)


def volumes_per_hour(workers: int, seconds: float) -> float:
    """Return how many volumes ``workers`` finish in an hour, each at ``seconds`` a volume."""
    return workers * 3600 / seconds


def device_name(device) -> str:
    """Return what a torch device is called by its maker; "cpu" for the processor."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def volume_files(arguments: argparse.Namespace, folder: Path) -> tuple[Path, Path]:
    """Return scan and masks, made in ``folder`` where none are given; rows first once their axes are swapped.

    Raises:
        UserError: an image without masks or the reverse.
    """
    given = arguments.image_file_path, arguments.masks_file_path
    if any(given) and not all(given):
        raise cli.UserError("--image_file_path and --masks_file_path: give both or neither")
    if all(given):
        return tuple(cli.existing_file(path) for path in given)
    from pose.scans.masks import write_mask
    from pose.scans.phantom import chest_ct
    from pose.scans.volume import write_volume

    volume, labels = chest_ct((arguments.size, arguments.size, arguments.slices), seed=0)
    paths = folder / "made_ct.nii.gz", folder / "made_lungs.nii.gz"
    write_volume(paths[0], volume)
    write_mask(paths[1], labels, volume)
    return paths


def copies(source: Path, folder: Path, count: int) -> list[Path]:
    """Copy a file ``count`` times under other names: what reads one must read them all."""
    suffix = ".nii.gz" if source.name.endswith(".nii.gz") else source.suffix
    folder.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copyfile(source, folder / f"volume_{number:03}{suffix}")) for number in range(count)]


def model_words(model: str, arguments: argparse.Namespace, folder: Path) -> list[str]:
    """Return the words of the command line that choose ``model`` ("NAME", "NAME@PIXELS") and where it runs.

    Raises:
        UserError: an unknown model, pixels that are no number, or region_growing on every slice.
    """
    from pose.segmenters import models

    name, at, pixels = model.partition("@")
    if name == REGION_GROWING:
        if at or arguments.script != "process_video":
            raise cli.UserError(f"--models {model}: region_growing is a method of process_video.py, and has no pixels")
        return ["--method", REGION_GROWING]
    if at and not pixels.isdecimal():
        raise cli.UserError(f"--models {model}: {pixels!r} is not a number of pixels")
    spec = models.at_image_size(models.find_model(name), int(pixels) if at else None)
    words = ["--model", name, "--device", arguments.device, "--precision", arguments.precision]
    words += ["--image_size", pixels] if at else []
    if arguments.random_weights and spec.family == "sam2":
        from comparison.benchmarks.random_weights import make_weights

        path = folder / f"random_{name}.pt"
        words += ["--checkpoint_file_path", str(path if path.exists() else make_weights(path, spec))]
    else:
        models.checkpoint_path(spec)
    return words


def script_command(
    script: str, words: Sequence[str], images: Sequence[Path], masks: Sequence[Path], results: Path
) -> list[str]:
    """Return a script and its command line, as the paper prompts: points and a box per lung, lung window."""
    shared = ["--swap_axes", "--apply_windowing", "--use_bounding_box", "--objects", "per_label"]
    paths = ["-i", *map(str, images), "-m", *map(str, masks), "-r", str(results)]
    return [str(PROJECT_ROOT / f"{script}.py"), *words, *shared, *paths]


def run_at_once(
    commands: Sequence[Sequence[str]],
    volumes_each: int,
    folder: Path,
    true_masks: bool,
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Run a process for each command at the same time.

    Args:
        commands: scripts with their words; number N writes its results to ``folder / str(N)``.
        true_masks: score and write the ground truth, whatever the network finds.
        environment: further variables of the processes (default: an equal share of the CPU's threads).

    Raises:
        RuntimeError: a process failed.
    """
    folder.mkdir(parents=True)
    records = [folder / f"{number}.json" for number in range(len(commands))]
    if environment is None:
        environment = {"OMP_NUM_THREADS": str(max(1, cores() // len(commands)))}
    front = [sys.executable, str(MEASURED_SCRIPT), *(["--true_masks"] if true_masks else [])]
    full = [[*front, str(record), *command] for record, command in zip(records, commands, strict=True)]
    with ThreadPoolExecutor(len(full)) as pool:
        figures = list(pool.map(lambda command: measure(command, environment), full))
    gpu = [memory for record in records if (memory := json.loads(record.read_text())) is not None]
    written = [path for number in range(len(full)) for path in (folder / str(number)).rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in written)
    shutil.rmtree(folder)
    return Run(
        workers=len(full),
        volumes_each=volumes_each,
        seconds=max(one["seconds"] for one in figures),
        cpu_seconds=sum(one["cpu_seconds"] for one in figures),
        peak_mb=max(one["peak_mb"] for one in figures),
        gpu_tensors_mb=max((one["tensors_mb"] for one in gpu), default=None),
        gpu_card_mb=max((one["card_mb"] for one in gpu), default=None),
        result_mb=size / 1e6 / len(full) / volumes_each,
    )


def summarise(runs: Sequence[Run], workers: Sequence[int], volumes: int) -> dict[int, dict[str, list[float]]]:
    """Return for each number of workers what each turn gave; ``runs`` are those of one model, turn after turn.

    Returns:
        start, volume and cpu_volume (seconds; of the CPU for a volume of one process), per_hour (volumes), and ratio:
        per_hour to that of the first number of workers in the same turn.
    """
    table: dict[int, dict[str, list[float]]] = {}
    for count in workers:
        own = [run for run in runs if run.workers == count]
        ones, manies = ([run for run in own if run.volumes_each == each] for each in (1, volumes))
        lines = [fit(one.seconds, many.seconds, volumes) for one, many in zip(ones, manies, strict=True)]
        cpu = [fit(one.cpu_seconds, many.cpu_seconds, volumes) for one, many in zip(ones, manies, strict=True)]
        rates = [volumes_per_hour(count, line.volume) for line in lines]
        base = rates if not table else table[workers[0]]["per_hour"]
        table[count] = {
            "start": [line.start for line in lines],
            "volume": [line.volume for line in lines],
            "cpu_volume": [line.volume / count for line in cpu],
            "per_hour": rates,
            "ratio": [rate / first for rate, first in zip(rates, base, strict=True)],
        }
    return table


def table_rows(model: str, runs: Sequence[Run], table: dict[int, dict[str, list[float]]], slices: int) -> list[str]:
    """Return the rows of one model in Markdown, a row for each number of workers."""
    rows = []
    for count, turns in table.items():
        own = [run for run in runs if run.workers == count]
        gpu = [run for run in own if run.gpu_card_mb is not None]
        peaks = [max(getattr(run, key) for run in gpu) for key in ("gpu_tensors_mb", "gpu_card_mb")] if gpu else []
        memory = " / ".join(f"{peak:.0f}" for peak in peaks) or "-"
        cells = [
            model,
            count,
            spread(turns["start"], 1),
            spread(turns["volume"], 1),
            spread([slices / seconds for seconds in turns["volume"]], 1),
            spread(turns["cpu_volume"], 1),
            spread(turns["per_hour"], 0),
            spread(turns["ratio"], 2),
            f"{max(run.peak_mb for run in own):.0f}",
            memory,
            f"{own[0].result_mb:.1f}",
        ]
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all turns, print a table."""
    arguments = make_parser().parse_args(argv)
    if arguments.volumes < 2:
        raise cli.UserError(f"--volumes {arguments.volumes}: with one there is no telling start from work; at least 2")
    if len(set(arguments.workers)) < len(arguments.workers):
        raise cli.UserError(f"--workers {' '.join(map(str, arguments.workers))}: a number comes twice")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        return measure_all(arguments, Path(folder))


def measure_all(arguments: argparse.Namespace, folder: Path) -> int:
    """Run all turns in ``folder``; see :func:`main`."""
    from pose.scans.volume import read_volume
    from pose.segmenters import models

    device = models.choose_device(arguments.device)
    words = {model: model_words(model, arguments, folder) for model in arguments.models}
    scan, masks = volume_files(arguments, folder)
    shape = read_volume(scan, swap_axes=True).voxels.shape
    needed = max(arguments.workers) * arguments.volumes
    images, truths = copies(scan, folder / "images", needed), copies(masks, folder / "masks", needed)
    runs: dict[str, list[Run]] = {model: [] for model in arguments.models}
    plan = list(product(arguments.models, arguments.workers, (1, arguments.volumes)))
    for turn in range(arguments.turns):
        # every second turn the other way round
        for model, count, each in plan[:: -1 if turn % 2 else 1]:
            results = folder / "results"
            commands = [
                script_command(
                    arguments.script,
                    words[model],
                    images[number * each : (number + 1) * each],
                    truths[number * each : (number + 1) * each],
                    results / str(number),
                )
                for number in range(count)
            ]
            run = run_at_once(commands, each, results, "--checkpoint_file_path" in words[model])
            runs[model].append(run)
            what = f"turn {turn + 1}: {model}, {count} at once, {each} each"
            print(f"{what}: {run.seconds:.1f} s", file=sys.stderr, flush=True)

    made = device_name(device)
    sizes = [path.stat().st_size / 1e6 for path in (scan, masks)]
    print(
        f"{arguments.script}.py on {made}, {platform.machine()}, {cores()} cores; {' x '.join(map(str, shape))} voxels "
        f"(scan {sizes[0]:.1f} MB, masks {sizes[1]:.1f} MB), precision {arguments.precision}, 1 and "
        f"{arguments.volumes} volumes a process, {arguments.turns} turn(s)\n"
    )
    print(f"| {' | '.join(HEADINGS)} |\n{'|---' * len(HEADINGS)}|")
    summaries = {model: summarise(own, arguments.workers, arguments.volumes) for model, own in runs.items()}
    for model, table in summaries.items():
        print(*table_rows(model, runs[model], table, shape[2]), sep="\n", flush=True)
    if arguments.json is not None:
        record = {
            "device": made,
            "cores": cores(),
            "shape": shape,
            "scan_mb": sizes[0],
            "masks_mb": sizes[1],
            "models": summaries,
            "runs": {model: [asdict(run) for run in own] for model, own in runs.items()},
        }
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return cli.EXIT_OK


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
