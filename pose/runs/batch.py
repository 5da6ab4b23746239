"""Many volumes, one after another: what is done is skipped, what fails is recorded, and the rest goes on."""

from __future__ import annotations

import gc
import logging
import shlex
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, Protocol, TypeAlias

from pose import results
from pose.cli import EXIT_OK, EXIT_VOLUME_FAILED, UserError
from pose.files.atomic import DiskFullError, remove_leftovers
from pose.files.locks import FolderBusyError, folder_lock
from pose.runs.anonymous import without_paths
from pose.runs.case import Job
from pose.runs.resume import is_done

LOGGER = logging.getLogger(__name__)


class CommandError(UserError):
    """A mistake that every volume would fail by."""


class Written(NamedTuple):
    """What a volume has become: its files by kind, and how many warnings there are about what was found."""

    files: dict[str, Path]
    warnings: int = 0


# Scores what was segmented and writes the results of the volume; another one may be segmented meanwhile.
Finish: TypeAlias = Callable[[], Written]


class Process(Protocol):
    """Segments one volume."""

    def __call__(self, job: Job, made_from: dict[str, Any], less_memory: bool) -> Finish:
        """Return what writes the results; ``less_memory`` asks for less of the device's memory, at the cost of time."""


class Work(Protocol):
    """What is done to each of many volumes; what all of them need is loaded once, when the first one asks for it."""

    def made_from(self, job: Job) -> dict[str, Any]:
        """Return what the result of a volume will be made from, see :func:`pose.runs.resume.made_from`."""

    def describe(self, job: Job) -> str:
        """Return in words what would be done to a volume; raise :class:`UserError` where it would fail."""

    def process(self, job: Job, made_from: dict[str, Any], less_memory: bool) -> Finish:
        """Segment a volume, and return what writes its results; see :class:`Process`."""

    def leaves_cpu_free(self) -> bool:
        """Tell whether what segments runs elsewhere than on the CPU; asked after a volume was segmented."""


def run_work(
    work: Work,
    jobs: Sequence[Job],
    *,
    dry_run: bool = False,
    resume: bool = False,
    record_failures: bool = False,
    strict: bool = False,
) -> int:
    """Do ``work`` on one volume after another, or say with ``dry_run`` what would be done; returns the exit code.

    Raises:
        UserError: see :func:`run_jobs` and :func:`check_jobs`.
    """
    if not dry_run:
        return run_jobs(jobs, work.process, work.made_from, resume, record_failures, strict, work.leaves_cpu_free)

    def describe(job: Job) -> str:
        if resume and is_done(job.results_folder, work.made_from(job)):
            return "done already"
        return work.describe(job)

    return check_jobs(jobs, describe)


@contextmanager
def for_all_volumes() -> Iterator[None]:
    """Let a user's mistake in this block end the whole run: it is not about the volume at hand."""
    try:
        yield
    except UserError as error:
        raise CommandError(str(error)) from error


def run_jobs(
    jobs: Sequence[Job],
    process: Process,
    made_from: Callable[[Job], dict[str, Any]],
    resume: bool = False,
    record_failures: bool = False,
    strict: bool = False,
    leaves_cpu_free: Callable[[], bool] = lambda: False,
) -> int:
    """Process one volume after another; one that fails does not stop the rest, and leaves a manifest that says so.

    Where the CPU is free, a volume is written while the next one is segmented, so that a GPU does not wait for scores,
    pictures and disks: never more than two are in memory, and what is printed and recorded keeps their order. On the
    CPU both would slow each other, and the times of slices would be those of both.
    A volume on which another run is at work is put off to the end, and then waited for.

    Args:
        jobs: the volumes.
        process: does one of them.
        made_from: tells what the result of a volume will be made from, see :func:`pose.runs.resume.made_from`.
        resume: skip volumes that have this result already.
        record_failures: record a failure of the only volume as well, instead of ending with its error.
        strict: warnings about what was found count as failures.
        leaves_cpu_free: tells whether what segments runs elsewhere than on the CPU; asked after a volume was segmented.

    Returns:
        0, or 1 where a volume failed; each failure is named at the end with its reason.

    Raises:
        UserError: the only volume failed by a mistake of the user's, or every volume would.
        DiskFullError: nothing more can be written. What was finished before is kept.
    """
    batch = _Batch(len(jobs), process, made_from, resume, record_failures, leaves_cpu_free)
    queue = deque((job, False) for job in jobs)
    try:
        with batch:
            while queue:
                job, put_off = queue.popleft()
                try:
                    batch.work_on(job, wait=put_off)
                except FolderBusyError as error:
                    LOGGER.info("%s; put off", error)
                    queue.append((job, True))
            batch.wait()
    except (KeyboardInterrupt, DiskFullError):
        kept = f"{batch.finished} of {len(jobs)} volumes finished and kept"
        print(f"stopped: {kept}; the same command with --resume goes on from there", file=sys.stderr)
        raise
    if batch.skipped:
        print(f"{batch.skipped} of {len(jobs)} volumes were done already")
    if batch.failures:
        print(f"{len(batch.failures)} of {len(jobs)} volumes failed:", file=sys.stderr)
        for job, reason in batch.failures:
            print(f"  {job.image_path}: {reason}", file=sys.stderr)
        return EXIT_VOLUME_FAILED
    if strict and batch.warnings:
        print(f"{batch.warnings} warnings about what was found (--strict)", file=sys.stderr)
        return EXIT_VOLUME_FAILED
    return EXIT_OK


def check_jobs(jobs: Sequence[Job], describe: Callable[[Job], str]) -> int:
    """Print what would be done to each volume; nothing is written.

    Returns:
        0, or 1 where a volume would fail; each is named with its reason.

    Raises:
        UserError: the only volume would fail.
    """
    failed = 0
    for job in jobs:
        try:
            print(f"{job.name}: {describe(job)}")
        except UserError as error:
            if len(jobs) == 1:
                raise
            failed += 1
            print(f"error: {error}", file=sys.stderr)
    if failed:
        print(f"{failed} of {len(jobs)} volumes would fail", file=sys.stderr)
    return EXIT_VOLUME_FAILED if failed else EXIT_OK


class _Batch:
    """The volumes of a run, and what became of them; at its end, what is being written is finished."""

    def __init__(
        self,
        count: int,
        process: Process,
        made_from: Callable[[Job], dict[str, Any]],
        resume: bool,
        record_failures: bool,
        leaves_cpu_free: Callable[[], bool],
    ):
        self.finished = 0
        self.skipped = 0
        self.warnings = 0
        self.failures: list[tuple[Job, str]] = []
        self._count = count
        self._process = process
        self._made_from = made_from
        self._resume = resume
        self._only = count == 1 and not record_failures
        self._leaves_cpu_free = leaves_cpu_free
        self._begun = 0
        self._start = perf_counter()
        self._writer = ThreadPoolExecutor(1)
        self._written: Future[None] | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._writer.shutdown()

    def work_on(self, job: Job, wait: bool) -> None:
        """Segment one volume, unless it is done already, and hand it over to be written; record its failure. What ends
        the whole run is raised.
        """
        made_from: dict[str, Any] = {}
        with ExitStack() as held:
            try:
                held.enter_context(folder_lock(job.results_folder, wait))
                remove_leftovers(job.results_folder)
            except FolderBusyError:
                raise
            except UserError as error:
                self.wait()  # failures are told in the order of the volumes
                self._fail(job, error, None)
                return
            try:
                made_from.update(self._made_from(job))
                if self._resume and is_done(job.results_folder, made_from):
                    self.skipped += 1
                    return
                self._tell_progress(job)
                finish = self._with_second_try(job, made_from)
            except Exception as error:
                self.wait()
                self._fail(job, error, made_from)
                return
            self.wait()
            keep_out = held.pop_all()
        if self._count > 1 and self._leaves_cpu_free():
            self._written = self._writer.submit(self._finish, job, made_from, finish, keep_out)
        else:
            self._finish(job, made_from, finish, keep_out)

    def wait(self) -> None:
        """Wait until what was handed over is written; what ends the whole run is raised."""
        written, self._written = self._written, None
        if written is not None:
            written.result()

    def _finish(self, job: Job, made_from: dict[str, Any], finish: Finish, keep_out: ExitStack) -> None:
        """Write a volume, let go of its folder, and say so."""
        with keep_out:
            try:
                written = finish()
            except Exception as error:
                self._fail(job, error, made_from)
                return
        self.finished += 1
        self.warnings += written.warnings
        print(f"{job.name}: results: {job.results_folder}")

    def _fail(self, job: Job, error: Exception, made_from: dict[str, Any] | None) -> None:
        """Record the failure of a volume, in its folder unless ``made_from`` is None; raise what ends the whole run."""
        if self._ends_all(error):
            raise error
        try:
            if made_from is None:
                raise error
            reason = record_failure(job, error, made_from)
        except UserError as unwritable:
            # there is no place for a record
            LOGGER.error("%s", unwritable)
            reason = str(unwritable)
        self.failures.append((job, reason))

    def _ends_all(self, error: Exception) -> bool:
        return isinstance(error, (DiskFullError, CommandError)) or (self._only and not is_out_of_memory(error))

    def _tell_progress(self, job: Job) -> None:
        self._begun += 1
        number = self._begun + self.skipped
        if self._count == 1:
            return
        left = ""
        if self._begun > 1:
            minutes = (perf_counter() - self._start) / (self._begun - 1) * (self._count - number + 1) / 60
            left = (
                f", {minutes:.0f} min left if the others take as long" if minutes >= 1 else ", less than a minute left"
            )
        LOGGER.info("volume %d of %d: %s%s", number, self._count, job.name, left)

    def _with_second_try(self, job: Job, made_from: dict[str, Any]) -> Finish:
        try:
            return self._process(job, made_from, less_memory=False)
        except Exception as error:
            if not is_out_of_device_memory(error):
                raise
            LOGGER.warning("%s: %s; once more with less memory", job.name, first_line(error))
        # not inside the except block: the error holds on to every tensor of the first try
        free_device_memory()
        return self._process(job, made_from, less_memory=True)


def record_failure(job: Job, error: Exception, made_from: dict[str, Any]) -> str:
    """Log why a volume failed, write it to its results folder, and return the reason in one line."""
    reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {first_line(error)}"
    if is_out_of_memory(error):
        reason = f"out of memory: {first_line(error)}"
    if isinstance(error, UserError) or is_out_of_memory(error):
        LOGGER.error("%s", reason)
    else:
        LOGGER.error("%s: a bug, the other volumes go on", job.image_path, exc_info=error)
    record = {
        "command": shlex.join(sys.argv),
        "image": {"path": str(job.image_path)},
        "masks": None if job.masks_path is None else {"path": str(job.masks_path)},
        "made_from": made_from,
        "traceback": None if isinstance(error, UserError) else "".join(traceback.format_exception(error)),
        **results.environment_manifest(),
    }
    results.write_failure(job.results_folder, *without_paths((reason, record), job))
    return reason


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, or its name where it says nothing."""
    return str(error).strip().split("\n")[0] or type(error).__name__


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether there was too little memory, be it the device's or the machine's."""
    return isinstance(error, MemoryError) or is_out_of_device_memory(error)


def is_out_of_device_memory(error: Exception) -> bool:
    """Tell whether PyTorch found too little memory on the device that it computes on."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(error, RuntimeError):
        return False
    # MPS and the CPU raise no error of their own
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error) for words in ("MPS backend out of memory", "DefaultCPUAllocator: can't allocate memory")
    )


def free_device_memory() -> None:
    """Give back what PyTorch keeps of the device's memory for later use."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
