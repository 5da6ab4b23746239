"""Tell how close the networks come to what this machine can multiply: per stage, the share of its best matrix product.

A stage's multiplications are those that this project's arrangement of the network carries out, as PyTorch counts them
(two operations for each multiplication that is added up). The limit is the best matrix product reached in the same run,
before or after the networks: in bfloat16 where the device computes in it natively, in float32 elsewhere. Each network
works some slices once to count and several turns for the time, of which the fastest counts, as of the products. With
--top once more, while PyTorch's profiler tells what the time of each stage goes to. Weights of SAM 2 are random, those
of LiteMedSAM its own.

    python comparison/benchmarks/limit.py --image_size 512 1024
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any
from unittest import mock

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from comparison.benchmarks import batch
from comparison.benchmarks.memory import SIDE, MovingDisc, prompt_on
from comparison.benchmarks.random_weights import make_weights
from pose import cli
from pose.segmenters import models

if TYPE_CHECKING:
    import torch

SIDES = (1024, 2048, 4096)  # of the square matrices that are multiplied for the limit
LEAST_SECONDS = 0.5  # for each of them
ENCODER, ATTENTION, WHOLE = "image encoder", "memory attention", "whole slice"


@dataclass
class Stage:
    """What a stage of a network has done: floating-point operations of all slices, seconds and calls of each turn, and
    what the seconds went to.
    """

    operations: int = 0
    turns: list[float] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    shares: tuple[tuple[str, float], ...] = ()


class Watch:
    """Counts, times or profiles the functions that it is put round, pass after pass."""

    def __init__(self, device: torch.device, turns: int = 3, top: int | None = None):
        """Watch work on ``device``, for its time in so many turns; of a profile keep ``top`` operators."""
        self.stages: dict[str, Stage] = {}
        self._device = device
        self._mode = "count"
        self._turns = turns
        self._top = top

    def passes(self) -> Iterator[bool]:
        """Go through all passes; True where a whole slice is watched as well, as two profiles at once cannot be."""
        for mode in ("count", *["time"] * self._turns, *([] if self._top is None else ["profile"])):
            self._mode = mode
            for stage in self.stages.values():
                if mode == "time":
                    stage.turns.append(0.0)
                    stage.calls.append(0)
            yield mode != "profile"

    def over(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function``, of which each call counts for the stage ``name``."""
        stage = self.stages.setdefault(name, Stage())

        def watched(*args: Any, **kwargs: Any) -> Any:
            with self._watching(stage):
                return function(*args, **kwargs)

        return watched

    @contextlib.contextmanager
    def _watching(self, stage: Stage) -> Iterator[None]:
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        from pose.segmenters.sam_inputs import wait_for

        if self._mode == "count":
            with FlopCounterMode(display=False) as counter:
                yield
            stage.operations += counter.get_total_flops()
        elif self._mode == "time":
            wait_for(self._device)
            start = perf_counter()
            yield
            wait_for(self._device)
            stage.turns[-1] += perf_counter() - start
            stage.calls[-1] += 1
        else:
            kinds = torch.profiler.ProfilerActivity
            on_cuda = self._device.type == "cuda"
            with torch.profiler.profile(activities=[kinds.CUDA if on_cuda else kinds.CPU]) as profile:
                yield
                wait_for(self._device)
            of = "self_device_time_total" if on_cuda else "self_cpu_time_total"
            times = {one.key: float(getattr(one, of)) for one in profile.key_averages()}
            ranked = sorted(times, key=lambda key: -times[key])[: self._top]
            # of the last call alone: with a full memory
            stage.shares = tuple((name, times[name] / max(sum(times.values()), 1e-9)) for name in ranked)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="+", default=["lite_medsam", "2.1_tiny"], help="default: lite_medsam 2.1_tiny"
    )
    parser.add_argument(
        "--image_size",
        type=cli.positive_whole_number,
        nargs="+",
        default=[512, 1024],
        metavar="N",
        help="pixels a side for SAM 2 (default: 512 1024)",
    )
    parser.add_argument(
        "--slices", type=cli.positive_whole_number, default=10, metavar="N", help="default: %(default)s"
    )
    parser.add_argument("--turns", type=cli.positive_whole_number, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="default: %(default)s")
    parser.add_argument(
        "--top", type=cli.positive_whole_number, metavar="N", help="print what takes most of each stage's time"
    )
    return parser


def best_product(device: torch.device, kind: torch.dtype, sides: Sequence[int] = SIDES) -> float:
    """Return the most floating-point operations a second that a product of square matrices reaches here."""
    import torch

    from pose.segmenters.sam_inputs import wait_for

    best = 0.0
    for side in sides:
        left, right = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
        result = torch.mm(left, right)
        began = perf_counter()
        while perf_counter() - began < LEAST_SECONDS:
            wait_for(device)
            start = perf_counter()
            torch.mm(left, right, out=result)
            wait_for(device)
            best = max(best, 2 * side**3 / (perf_counter() - start))
    return best


def measure_lite_medsam(watch: Watch, slices: int, device: torch.device, precision: str) -> None:
    """Encode slices by LiteMedSAM, once for each pass of ``watch``."""
    from pose.segmenters.lite_medsam import LiteMedSam

    segmenter = LiteMedSam(device=device, precision=precision)
    segmenter._encoder = watch.over(ENCODER, segmenter._encoder)
    whole = watch.over(WHOLE, segmenter.set_image)
    grey = MovingDisc(slices)
    for with_whole in watch.passes():
        for slice_index in range(slices):
            (whole if with_whole else segmenter.set_image)(grey[slice_index])


def measure_memory(
    watch: Watch, slices: int, device: torch.device, precision: str, spec: models.ModelSpec, weights: Path
) -> None:
    """Carry a prompt on the first slice through the others by SAM 2's memory, once for each pass of ``watch``."""
    from pose.segmenters.sam2.memory import Sam2Memory
    from pose.segmenters.sam2.memory_attention import MemoryAttention
    from pose.segmenters.sam2.slice_encoder import SliceEncoder

    segmenter = Sam2Memory(spec, weights, device, precision)
    parts = (SliceEncoder, "encode", ENCODER), (MemoryAttention, "__call__", ATTENTION)

    def work() -> None:
        for _ in segmenter.segment(MovingDisc(slices), [prompt_on(0)]):
            pass

    with contextlib.ExitStack() as stack:
        for owner, name, stage in parts:
            plain = getattr(owner, name)
            watched = watch.over(stage, plain)
            # a function of the class, so that it is bound as the one it stands for
            stack.enter_context(mock.patch.object(owner, name, lambda *args, _do=watched, **kw: _do(*args, **kw)))
        whole = watch.over(WHOLE, work)
        for with_whole in watch.passes():
            (whole if with_whole else work)()


def rows_of(name: str, watch: Watch, slices: int, limit: float) -> list[str]:
    """Return the rows of one network in Markdown: a row for each stage, operations and seconds of a slice."""
    rows = []
    for stage_name, stage in watch.stages.items():
        seconds = min(stage.turns)
        rate = stage.operations / seconds
        cells = [
            name,
            stage_name,
            f"{stage.operations / slices / 1e9:.1f}",
            f"{1000 * seconds / slices:.1f}",
            f"{rate / 1e9:.1f}",
            f"{100 * rate / limit:.0f} %",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table."""
    arguments = make_parser().parse_args(argv)
    for name in arguments.models:
        if models.find_model(name).family == "sam":
            raise cli.UserError(f"--models {name}: is neither LiteMedSAM nor a SAM 2")
    with tempfile.TemporaryDirectory() as folder, _inference():
        return measure_all(arguments, Path(folder))


@contextlib.contextmanager
def _inference() -> Iterator[None]:
    import torch

    with torch.inference_mode():
        yield


def measure_all(arguments: argparse.Namespace, folder: Path) -> int:
    """Measure each network; weights go to ``folder``; see :func:`main`."""
    import torch

    device = models.choose_device(arguments.device)
    precision = models.choose_precision(arguments.precision, device)
    models.compute_in_whole_float32(precision, device)
    kind = torch.bfloat16 if models.choose_precision("auto", device) == "bf16" else torch.float32
    reached = [best_product(device, kind)]
    found: list[tuple[str, Watch]] = []
    for name in arguments.models:
        spec = models.find_model(name)
        if spec.family == "lite_medsam":
            watch = Watch(device, arguments.turns, arguments.top)
            measure_lite_medsam(watch, arguments.slices, device, precision)
            found.append((name, watch))
            continue
        weights = make_weights(folder / f"{name}.pt", spec)
        for size in arguments.image_size:
            watch = Watch(device, arguments.turns, arguments.top)
            sized = models.at_image_size(spec, size)
            measure_memory(watch, arguments.slices, device, precision, sized, weights)
            found.append((f"{name}, {size} px", watch))
    reached.append(best_product(device, kind))
    limit, words = max(reached), str(kind).removeprefix("torch.")
    print(
        f"{batch.device_name(device)}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}; networks in "
        f"{precision}, {arguments.slices} slices of {SIDE} x {SIDE}, "
        f"fastest of {arguments.turns} turns; the best product of matrices, in {words}: "
        f"{limit / 1e9:.1f} GFLOP/s ({min(reached) / 1e9:.1f} {'before' if reached[0] < reached[1] else 'after'})\n"
    )
    print("| network | stage | GFLOP a slice | ms a slice | GFLOP/s | share of the limit |\n|---|---|---|---|---|---|")
    for name, watch in found:
        print(*rows_of(name, watch, arguments.slices, limit), sep="\n")
    for name, watch in found:
        for stage_name, stage in watch.stages.items():
            if stage.shares:
                parts = ", ".join(f"{operator} {100 * share:.0f} %" for operator, share in stage.shares)
                print(f"\n{name}, {stage_name}: {parts}")
    return cli.EXIT_OK


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
