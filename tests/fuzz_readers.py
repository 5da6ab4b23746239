"""Fuzzing of what reads a user's file: it must end in a value, or in a UserError of one line that names the file.

    python -m tests.fuzz_readers --minutes 10 --reader all --seed 1 --findings_folder_path /tmp/findings

A worker process reads one broken input after another under a limit of its address space; this one watches it, so that
a reader that hangs or kills its process is a finding too. A case is made again from its reader, seed and number:

    python -m tests.fuzz_readers --reader npz --seed 1 --case 4711
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pose.cli import UserError
from tests import fuzz_mutations, fuzz_segments
from tests.fuzz_mutations import SEED_FACTS, Files
from tests.warm_python import CONTEXT

# No case is larger than some 100 kB, and deflate grows by 1032 at most: none of them needs as much.
MEMORY_BYTES = 256 << 20
# torch.load asks for what a text of 2^32 bytes needs, and then finds that the file is shorter: none of it is touched
MEMORY_BYTES_OF_WEIGHTS = 9 << 30
RESIDENT_BYTES = 64 << 20
SECONDS_PER_CASE = 5.0  # of the processor: a busy machine makes no case longer
# after this by the clock the process is killed: a hang in C does not hear the alarm
SECONDS_UNTIL_KILLED = 60.0
LONGEST_MESSAGE = 4000


CASES = {**fuzz_mutations.CASES, **fuzz_segments.CASES}


class Hang(Exception):
    """A reader took longer than it may."""


class Wrong(Exception):
    """A reader returned, or said, something that it must not."""


def _check_volume(volume: Any) -> None:
    voxels = volume.voxels
    if voxels.ndim != 3 or voxels.size == 0 or voxels.dtype.kind not in "iuf" or not voxels.dtype.isnative:
        raise Wrong(f"voxels of shape {voxels.shape} and type {voxels.dtype}")
    if volume.affine is not None and not (volume.affine.shape == (4, 4) and np.isfinite(volume.affine).all()):
        raise Wrong(f"affine {volume.affine}")
    if volume.spacing_mm is not None and not all(0 < length < float("inf") for length in volume.spacing_mm):
        raise Wrong(f"spacing {volume.spacing_mm}")


def read_array_file(folder: Path, rng: random.Random) -> None:
    """Read a scan or a mask; what was read can be written back as the masks of a run are."""
    from pose.scans.masks import read_mask, write_mask
    from pose.scans.volume import Volume, read_volume

    path = next(path for path in folder.iterdir() if path.name.startswith("case.") and path.suffix != ".json")
    how, swap_axes = rng.randrange(4), rng.random() < 0.3
    like = Volume(np.zeros((3, 4, 5), np.int16), np.eye(4)) if how == 0 else None
    volume = read_volume(path, swap_axes) if how else read_mask(path, like, swap_axes)
    _check_volume(volume)
    if how == 1 and volume.affine is not None:
        write_mask(folder / "written.nii.gz", volume.voxels != 0, volume)


def read_prompts_file(folder: Path, rng: random.Random) -> None:
    """Read prompts, for an image of known or unknown shape, and write them as a run does."""
    from pose.prompts.prompt_file import prompts_to_json, read_prompts

    shape, swap_axes = rng.choice(((3, 4, 5), None)), rng.choice((None, False, True))
    prompts = read_prompts(folder / "case.json", shape, swap_axes)
    json.dumps(prompts_to_json(prompts, image_file_path="case", shape=(3, 4, 5), swap_axes=swap_axes))


def read_markups_file(folder: Path, rng: random.Random) -> None:
    """Read points and boxes in millimetres onto a scan; what was read lies within it."""
    from pose.prompts.prompt_file import read_prompts
    from tests.prompts.markup_files import SHAPE, scan

    for prompt in read_prompts(next(folder.iterdir()), like=scan()):
        if not 0 <= prompt.slice < SHAPE[2]:
            raise Wrong(f"slice {prompt.slice}")


def read_segments_file(folder: Path, rng: random.Random) -> None:
    """Read segments onto a scan."""
    from pose.scans.segmentations import kind_of, read_segments
    from tests.scans.made_series import scan

    path, like = folder / "case.bin", scan()
    kind = kind_of(path)
    if kind is None:
        return
    labels, segments = read_segments(path, kind, like)
    known = {0, *(one.label for one in segments)}
    if labels.shape != like.voxels.shape or not set(np.unique(labels).tolist()) <= known:
        raise Wrong(f"labels {np.unique(labels)} of shape {labels.shape}")


def read_results_folder(folder: Path, rng: random.Random) -> None:
    """Read the newest run of a folder as join_results.py does."""
    from pose.results import newest_run, read_table, summarise
    from pose.results.prompts_saved import prompts_saved, read_volume_prompts

    run = newest_run(folder)
    if run is None:
        return
    readers: list[Callable[[], object]] = [
        lambda: summarise(read_table(run.raw_data, ("slice", "jaccard", "dice"))),
        lambda: run.results and read_table(run.results, ("metric", "avg"), ("metric",)).set_index("metric")["avg"],
        lambda: prompts_saved([read_volume_prompts(run.run)]).sentence(),
    ]
    rng.choice(readers)()


def read_seed_memory(folder: Path, rng: random.Random) -> None:
    """Read a seed memory; its tensors have the dimensions that the network counts on."""
    import torch

    from pose.runs.seed import Seeds
    from pose.scans.volume import Volume
    from pose.segmenters.sam2.seed_memory import load_seed_memory

    seeds, about = load_seed_memory(folder / "case.safetensors", **SEED_FACTS, device=torch.device("cpu"))
    Seeds(seeds, about["seeds"]).manifest_for(Volume(np.zeros((3, 4, 5), np.int16)), None)
    about.get("shown", {}).get("window")
    for memory in (memory for seed in seeds for memory in seed.objects.values()):
        if memory.features.dim() != 4 or memory.pointers.dim() != 2 or len(memory.features) != len(memory.pointers):
            raise Wrong(f"features of shape {tuple(memory.features.shape)}, pointers {tuple(memory.pointers.shape)}")
    json.dumps(about)


def read_model_files(folder: Path, rng: random.Random) -> None:
    """Read the description of a model, or the recorded hash of a checkpoint."""
    from pose.segmenters.models import read_config, recorded_sha256

    if rng.random() < 0.3:
        recorded_sha256(folder / "weights.pt")
        return
    spec = read_config(folder / "case.yaml")
    hash(spec)
    texts = (spec.name, spec.family, spec.checkpoint, *spec.overrides)
    optional = (spec.config, spec.sha256, spec.url, spec.licence)
    if not all(isinstance(text, str) for text in (*texts, *(one for one in optional if one is not None))):
        raise Wrong(f"not text: {texts} {optional}")


def read_weights(folder: Path, rng: random.Random) -> None:
    """Load a checkpoint."""
    from pose.segmenters.models import load_weights

    state, _ = load_weights(folder / "case.pt", {})
    if not all(isinstance(name, str) for name in state):
        raise Wrong(f"names of weights: {list(state)}")


READERS = {
    "nifti": read_array_file,
    "npz": read_array_file,
    "npy": read_array_file,
    "geometry_json": read_array_file,
    "dicom": read_array_file,
    "itk": read_array_file,
    "prompts": read_prompts_file,
    "markups": read_markups_file,
    "segments": read_segments_file,
    "results": read_results_folder,
    "seed_memory": read_seed_memory,
    "models": read_model_files,
    "weights": read_weights,
}


def _resident_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _ran_out_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


def outcome_of(read: Callable[[], object], folder: Path) -> str:
    """Call a reader and return "value" or "error", as it ended.

    Raises:
        Wrong, Hang, or what the reader raised that is no clean error.
    """

    def stop(*_: object) -> None:
        raise Hang(f"longer than {SECONDS_PER_CASE} s of the processor")

    resident = _resident_bytes()
    previous = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS_PER_CASE)
    try:
        read()
        outcome = "value"
    except UserError as error:
        message, outcome = str(error), "error"
        if not message.isprintable() or len(message) > LONGEST_MESSAGE:
            raise Wrong(f"message of {len(message)} characters: {message!r:.200}") from error
        if str(folder) not in message:
            raise Wrong(f"message names no file: {message}") from error
        if _ran_out_of_memory(error) or "allocate memory" in message:
            raise Wrong(f"asked for too much memory: {message}") from error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)
    if _resident_bytes() - resident > RESIDENT_BYTES:
        raise Wrong(f"resident memory grew by {(_resident_bytes() - resident) >> 20} MB")
    return outcome


def case_rng(reader: str, seed: int, case: int) -> random.Random:
    """Return what all random choices of a case come from."""
    return random.Random(f"{reader} {seed} {case}")


def prepare_case(reader: str, seed: int, case: int, folder: Path) -> tuple[Files, Callable[[], object]]:
    """Make a case in ``folder``, which must be empty; returns its files, and what reads them."""
    rng = case_rng(reader, seed, case)
    files = CASES[reader](rng)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return files, lambda: READERS[reader](folder, rng)


def limit_memory(growth: int = MEMORY_BYTES) -> None:
    """Let the address space of this process grow by so many bytes at most (Linux; elsewhere without a limit)."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        size = int(statm.read_text().split()[0]) * resource.getpagesize() + growth
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _work(
    reader: str, seed: int, case: int, end: int | None, seconds: float, folder: Path, current: Any, channel: Any
) -> None:
    """Read from ``case`` on until ``end`` or until the time is up; findings go through ``channel``, then counts."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    # imported before the limit: libraries take much address space, and that is not what is measured
    import nibabel  # noqa: F401
    import pandas  # noqa: F401
    import yaml  # noqa: F401

    import pose.prompts.prompt_file
    import pose.results  # noqa: F401
    import pose.segmenters.models

    if reader in ("dicom", "itk"):
        import cv2  # noqa: F401
        import pydicom.pixels  # noqa: F401

        import pose.scans.dicom_volume  # noqa: F401
    if reader in ("seed_memory", "weights"):
        import torch  # noqa: F401

        import pose.segmenters.sam2.seed_memory  # noqa: F401
    counts: Counter[str] = Counter()
    for warm_up in range(50):
        with contextlib.suppress(Exception):
            outcome_of(prepare_case(reader, -1, warm_up, folder)[1], folder)
        _clear(folder)
    limit_memory(MEMORY_BYTES_OF_WEIGHTS if reader == "weights" else MEMORY_BYTES)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (end is None or case < end):
        current.value = case
        _, read = prepare_case(reader, seed, case, folder)
        try:
            counts[outcome_of(read, folder)] += 1
        except Exception as error:  # whatever it is, it is a finding
            counts["finding"] += 1
            place = traceback.extract_tb(error.__traceback__)[-1]
            channel.send(("finding", case, f"{type(error).__name__}: {error}"[:500], _signature(error), str(place)))
            del error
        _clear(folder)
        case += 1
    channel.send(("end", case, dict(counts), _resident_bytes()))


def _signature(error: BaseException) -> str:
    """What findings of the same cause have in common: the type, and the last line of this project's code."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f"{os.sep}pose{os.sep}" in frame.filename] or frames
    text = re.sub(r"[\d.]+", "N", str(error).partition(":")[0])[:40] if isinstance(error, Wrong) else ""
    return f"{type(error).__name__} {Path(own[-1].filename).name}:{own[-1].lineno} {text}".strip()


@dataclass
class Report:
    """What came of fuzzing one reader."""

    reader: str
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    findings: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    peak_bytes: int = 0

    def line(self) -> str:
        """Return the report as a line for people."""
        cases = sum(self.counts.values())
        # untold: read without a finding before one that ended the process
        kinds = ", ".join(f"{self.counts[kind]} {kind}" for kind in ("value", "error", "finding", "untold"))
        return (
            f"{self.reader}: {cases} cases in {self.seconds:.0f} s ({cases / max(self.seconds, 1e-9):.0f}/s): {kinds}; "
            f"{len(self.findings)} causes; peak {self.peak_bytes >> 20} MB resident"
        )


def fuzz(
    reader: str, seconds: float, seed: int, findings_folder: Path | None = None, cases: int | None = None
) -> Report:
    """Fuzz one reader in a process of its own for as long as asked for, or until ``cases`` are read.

    Args:
        findings_folder: gets a folder of files for the first case of each cause.
    """
    shared_memory = Path("/dev/shm")
    report, start, case = Report(reader), time.monotonic(), 0
    while (left := seconds - (time.monotonic() - start)) > 0 and (cases is None or case < cases):
        # this process's, so that it is removed where the worker is killed
        temporary = tempfile.TemporaryDirectory(dir=shared_memory if os.access(shared_memory, os.W_OK) else None)
        current = CONTEXT.Value("q", -1, lock=False)
        receiver, sender = CONTEXT.Pipe(duplex=False)
        arguments = (reader, seed, case, cases, left, Path(temporary.name), current, sender)
        worker = CONTEXT.Process(target=_work, args=arguments, daemon=True)
        worker.start()
        sender.close()
        seen, since, ended = -1, time.monotonic(), False
        while worker.is_alive() or receiver.poll():
            if receiver.poll(0.2):
                try:
                    message = receiver.recv()
                except EOFError:
                    break
                if message[0] == "end":
                    ended = True
                    report.counts.update(message[2])
                    report.peak_bytes = max(report.peak_bytes, message[3])
                else:
                    _note(report, message[3], message[1], message[2], seed, findings_folder)
            if current.value != seen:
                seen, since = current.value, time.monotonic()
            # the first case waits for the imports
            elif time.monotonic() - since > SECONDS_UNTIL_KILLED * (1 if seen >= 0 else 8):
                worker.kill()
        worker.join()
        temporary.cleanup()
        if ended:
            break
        if seen < 0:
            raise RuntimeError(f"the worker of {reader} ended with {worker.exitcode} before its first case")
        report.counts["untold"] += current.value - case
        report.counts["finding"] += 1
        _note(report, f"process ended with {worker.exitcode}", current.value, "hang or crash", seed, findings_folder)
        case = current.value + 1
    report.seconds = time.monotonic() - start
    return report


def _note(report: Report, signature: str, case: int, text: str, seed: int, findings_folder: Path | None) -> None:
    known = report.findings.setdefault(signature, [])
    known.append((case, text))
    if len(known) > 1 or findings_folder is None:
        return
    folder = findings_folder / f"{report.reader}_{seed}_{case}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in CASES[report.reader](case_rng(report.reader, seed, case)).items():
        (folder / name).write_bytes(content)
    (folder / "finding.txt").write_text(f"{signature}\n{text}\n", encoding="utf-8", errors="backslashreplace")


def main() -> int:
    """Fuzz one reader or all in turn; exit code 1 where there were findings."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0, help="in all, for all readers (default: %(default)g)")
    parser.add_argument("--reader", choices=[*READERS, "all"], default="all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--findings_folder_path", type=Path, help="gets the files of the first case of each cause")
    parser.add_argument("--case", type=int, help="read this one case, with its traceback")
    arguments = parser.parse_args()
    readers = list(READERS) if arguments.reader == "all" else [arguments.reader]
    if arguments.case is not None:
        with tempfile.TemporaryDirectory() as folder:
            files, read = prepare_case(readers[0], arguments.seed, arguments.case, Path(folder))
            print({name: len(content) for name, content in files.items()})
            print(outcome_of(read, Path(folder)))
        return 0
    found = 0
    for reader in readers:
        report = fuzz(reader, 60 * arguments.minutes / len(readers), arguments.seed, arguments.findings_folder_path)
        found += len(report.findings)
        print(report.line(), flush=True)
        for signature, cases in sorted(report.findings.items(), key=lambda entry: -len(entry[1]))[:20]:
            print(f"  {len(cases)} x {signature}\n      case {cases[0][0]}: {cases[0][1]!r:.300}", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
