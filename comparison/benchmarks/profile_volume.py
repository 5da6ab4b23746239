"""Tell where the seconds of a volume go as process_video.py or process_image.py works it, and how many are the GPU's.

Copies of one synthetic chest CT in one process. The first volume warms up; the next ones are measured stage by stage,
the processor time of each stage beside its wall time. Distances run on a thread beside the contact sheet, so that the
two overlap. With --top one more volume is looked at: over some slices PyTorch's profiler sums up what a GPU itself was
at work, and over the rest cProfile tells which functions of Python the time was spent in.

    python comparison/benchmarks/profile_volume.py --model 2.1_tiny --random_weights
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import importlib.util
import io
import json
import pstats
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from time import perf_counter, process_time, thread_time

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from comparison.benchmarks import batch as batch_benchmark
from comparison.benchmarks.measured_script import gpu_memory, with_true_masks
from pose import cli

# stages in turn on the main thread, each the function that does it; and those inside another stage or beside it
READING = "read scan and masks"
STAGES = {
    "hash scan, masks and weights": ("pose.runs.resume", "made_from"),
    READING: ("pose.runs.case", "load_case"),
    "scores of each slice": ("pose.runs.run", "slice_row"),
    "paint objects": ("pose.runs.segmentation", "label_map"),
    "contact sheet": ("pose.runs.run", "contact_sheet_png"),
    "write all files": ("pose.results", "write_results"),
}
INNER_STAGES = {
    "(of reading) range of grey levels": ("pose.runs.case", "GreySlices"),
    "(of the network and the method) make grey slices": ("pose.scans.intensity", "GreySlices.__getitem__"),
    "(of scores) distances of slices": ("pose.scores.metrics", "hausdorff_95_of_slice"),
    "(beside the contact sheet) distances of the volume": ("pose.scores.metrics", "volume_metrics"),
    "(of writing) compress the masks": ("pose.runs.run", "write_mask"),
    "(of writing) tables": ("pose.results.files", "write_table"),
}
NETWORK = "network or method, slice after slice"
ORDER = ("hash scan, masks and weights", "read scan and masks", NETWORK)
WHOLE, REST = "whole volume", "rest"
FIRST_SEEN, LAST_SEEN = 20, 35  # slices, in the order of work, over which the GPU is watched


class Clock:
    """Adds up wall and thread time by stage, volume after volume."""

    def __init__(self) -> None:
        self.volumes: list[dict[str, list[float]]] = [defaultdict(lambda: [0.0, 0.0])]

    def timed(self, stage: str, function: Callable) -> Callable:
        """Return ``function`` with its time added to ``stage``."""

        def wrapped(*args, **kwargs):
            start, thread = perf_counter(), thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.add(stage, perf_counter() - start, thread_time() - thread)

        return wrapped

    def add(self, stage: str, wall: float, processor: float) -> None:
        """Add seconds to a stage of the volume at hand."""
        entry = self.volumes[-1][stage]
        entry[0] += wall
        entry[1] += processor

    def next_volume(self) -> None:
        """Start a new volume."""
        self.volumes.append(defaultdict(lambda: [0.0, 0.0]))


class Watch:
    """What the GPU and Python do on the slices of one volume."""

    def __init__(self, top: int) -> None:
        self.top = top
        self.gpu_busy = self.gpu_wall = 0.0
        self.gpu_slices = 0
        self.heaviest: list[tuple[str, float]] = []
        self.python = cProfile.Profile()

    def slices(self, predictions: Iterable) -> Iterator:
        """Yield ``predictions``; the GPU is watched from one slice to another, and Python from there to the end."""
        import torch

        iterator = iter(predictions)
        for _ in range(FIRST_SEEN):
            yield next(iterator)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
                start = perf_counter()
                for _ in range(LAST_SEEN - FIRST_SEEN):
                    found = next(iterator)
                    self.gpu_wall += perf_counter() - start
                    self.gpu_slices += 1
                    yield found
                    start = perf_counter()
                torch.cuda.synchronize()
            averages = profile.key_averages()
            self.gpu_busy = sum(one.self_device_time_total for one in averages) / 1e6
            ranked = sorted(averages, key=lambda one: -one.self_device_time_total)
            self.heaviest = [(one.key, one.self_device_time_total / 1e6) for one in ranked[: self.top]]
        self.python.enable()
        yield from iterator
        self.python.disable()


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    batch_benchmark.add_volume_arguments(parser)
    parser.add_argument(
        "--model", default="lite_medsam", help="NAME, NAME@PIXELS or region_growing (default: %(default)s)"
    )
    parser.add_argument(
        "--volumes", type=cli.positive_whole_number, default=3, metavar="K", help="measured (default: %(default)s)"
    )
    parser.add_argument(
        "--top",
        type=cli.positive_whole_number,
        metavar="N",
        help="watch one more volume: print the N heaviest functions of Python and, on CUDA, kernels",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="the seconds of each stage and volume")
    return parser


def load_script(name: str):
    """Import a script of the project's folder."""
    spec = importlib.util.spec_from_file_location(name, PROJECT_ROOT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_watched(script: str, words: Sequence[str], watch: Watch | None, last: int, true_masks: bool) -> Clock:
    """Run a script in this process with clocks in its stages; ``watch`` looks at the volume numbered ``last``.

    With ``true_masks`` the ground truth is scored and written, whatever the network finds.

    Raises:
        UserError: the script failed.
    """
    from importlib import import_module
    from unittest import mock

    from pose.runs import run

    clock = Clock()
    whole = {"start": (perf_counter(), process_time())}
    segment_volume = run.segment

    def segment(case, prompts, predictions, *args, **kwargs):
        def clocked() -> Iterator:
            iterator = iter(predictions)
            while True:
                start, thread = perf_counter(), thread_time()
                found = next(iterator, None)
                clock.add(NETWORK, perf_counter() - start, thread_time() - thread)
                if found is None:
                    return
                yield found

        number = len(clock.volumes) - 1
        slices = watch.slices(clocked()) if watch is not None and number == last else clocked()
        if true_masks:
            slices = with_true_masks(slices, case.truth)
        # at once, not beside the next volume: the clocks tell one from the other by their order
        written = segment_volume(case, prompts, slices, *args, **kwargs)()
        now = perf_counter(), process_time()
        clock.add(WHOLE, *(after - before for after, before in zip(now, whole["start"])))
        whole["start"] = now
        clock.next_volume()
        return lambda: written

    with mock.patch.object(run, "segment", segment):
        patches = []
        work = "pose.runs.one_prompt" if script == "process_video" else "pose.runs.every_slice"
        # the works know it by a name of their own
        reading = {READING: (work, STAGES[READING][1])}
        for stage, (module, function) in {**STAGES, **reading, **INNER_STAGES}.items():
            place = import_module(module)
            for part in function.split(".")[:-1]:
                place = getattr(place, part)
            function = function.split(".")[-1]
            patch = mock.patch.object(place, function, clock.timed(stage, getattr(place, function)))
            patch.start()
            patches.append(patch)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                code = load_script(script).main(list(words))
        finally:
            for patch in patches:
                patch.stop()
    if code:
        raise cli.UserError(f"{script}.py: ended with exit code {code}")
    clock.volumes.pop()
    return clock


def stage_table(volumes: Sequence[dict[str, Sequence[float]]]) -> list[tuple[str, float, float, float]]:
    """Return (stage, median wall seconds, share of the whole, median processor seconds) over volumes.

    The rest is what no stage of the main thread accounts for; its processor time, like that of the whole, is that of
    all threads of the process.
    """
    order = [*ORDER, *(stage for stage in STAGES if stage not in ORDER), *INNER_STAGES]
    filled = []
    for volume in volumes:
        on_main = [volume[stage][0] for stage in (NETWORK, *STAGES) if stage in volume]
        filled.append({**volume, REST: [volume[WHOLE][0] - sum(on_main), float("nan")]})
    whole = statistics.median(volume[WHOLE][0] for volume in filled)
    rows = []
    for stage in (*order, REST, WHOLE):
        pairs = [volume.get(stage, (0.0, 0.0)) for volume in filled]
        wall, processor = (statistics.median(pair[position] for pair in pairs) for position in (0, 1))
        rows.append((stage, wall, wall / whole, processor))
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table."""
    arguments = make_parser().parse_args(argv)
    if arguments.top is not None and arguments.image_file_path is None and arguments.slices <= LAST_SEEN:
        raise cli.UserError(f"--slices {arguments.slices}: with --top at least {LAST_SEEN + 1}")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        return profile(arguments, Path(folder))


def profile(arguments: argparse.Namespace, folder: Path) -> int:
    """Run all volumes in ``folder``; see :func:`main`."""
    from pose.segmenters import models

    words = batch_benchmark.model_words(arguments.model, arguments, folder)
    scan, masks = batch_benchmark.volume_files(arguments, folder)
    count = 1 + arguments.volumes + (arguments.top is not None)
    images, truths = (
        batch_benchmark.copies(path, folder / name, count) for path, name in ((scan, "images"), (masks, "masks"))
    )
    watch = None if arguments.top is None else Watch(arguments.top)
    command = batch_benchmark.script_command(arguments.script, words, images, truths, folder / "results")
    clock = run_watched(arguments.script, command[1:], watch, count - 1, "--checkpoint_file_path" in words)
    measured = clock.volumes[1 : 1 + arguments.volumes]
    device = models.choose_device(arguments.device)
    print(
        f"{arguments.script}.py --model {arguments.model} on {batch_benchmark.device_name(device)}, "
        f"{batch_benchmark.cores()} cores; median of {len(measured)} volumes, after one to warm up\n"
    )
    print("| stage | s a volume | share | CPU s of its thread |\n|---|---|---|---|")
    for stage, wall, share, processor in stage_table(measured):
        print(f"| {stage} | {wall:.2f} | {100 * share:.0f} % | {processor:.2f} |")
    memory = gpu_memory()
    if memory is not None:
        print("\nGPU memory: {tensors_mb:.0f} MB of tensors at the most, {card_mb:.0f} MB of the card".format(**memory))
    if watch is not None:
        print_watched(watch)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(clock.volumes, indent=2) + "\n", encoding="utf-8")
    return cli.EXIT_OK


def print_watched(watch: Watch) -> None:
    """Print what the GPU was at work, its heaviest kernels, and the heaviest functions of Python."""
    if watch.gpu_slices:
        busy, wall = (1000 * seconds / watch.gpu_slices for seconds in (watch.gpu_busy, watch.gpu_wall))
        share = f"{busy:.1f} ms at work of {wall:.1f} ms a slice ({100 * busy / wall:.0f} %)"
        print(f"\nGPU, while the network works: {share}, {watch.gpu_slices} slices")
        for name, seconds in watch.heaviest:
            print(f"  {1000 * seconds / watch.gpu_slices:8.3f} ms  {name[:100]}")
    text = io.StringIO()
    pstats.Stats(watch.python, stream=text).strip_dirs().sort_stats("tottime").print_stats(watch.top)
    print(text.getvalue())


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
