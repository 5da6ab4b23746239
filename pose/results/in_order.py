"""Many pieces of work on all cores, with their results in the order of the work and few of them in memory."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from pose.cli import UserError

Piece = TypeVar("Piece")
Result = TypeVar("Result")

# A process takes half a second to start and 100 MB; more than this wait for the disk.
MOST_PROCESSES = 8
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class InOrder:
    """Does work in other processes, or in this one where there are none."""

    def __init__(self, pool: ProcessPoolExecutor | None, processes: int = 1):
        self._pool = pool
        self._ahead = processes + 1

    def map(self, work: Callable[[Piece], Result], pieces: Iterable[Piece]) -> Iterator[Result]:
        """Yield ``work`` of each piece in their order; so many are begun ahead that no process waits, and no more."""
        if self._pool is None:
            yield from map(work, pieces)
            return
        begun: deque[Future[Result]] = deque()
        try:
            for piece in pieces:
                begun.append(self._pool.submit(work, piece))
                if len(begun) > self._ahead:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()

    def begin(self, work: Callable[..., Result], *arguments: Any) -> Callable[[], Result]:
        """Begin a piece of work beside whatever else goes on; return how to wait for its result."""
        if self._pool is None:
            return lambda: work(*arguments)
        return self._pool.submit(work, *arguments).result


@contextmanager
def processes(wanted: int) -> Iterator[InOrder]:
    """Yield the way to do work in up to ``wanted`` processes, as many as there are cores; one is this one."""
    count = min(wanted, cores(), MOST_PROCESSES)
    if count <= 1:
        yield InOrder(None)
        return
    # Started anew: a process that is forked while threads run, such as those of a numeric library, may hang.
    with _one_thread_each(), ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as pool:
        try:
            yield InOrder(pool, count)
        except BrokenProcessPool:
            raise UserError("a process that reads results was ended from outside; did the memory run out?") from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let numeric libraries of processes that start meanwhile use one thread: the cores are taken."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def pieces_of(items: Sequence[Piece], size_of: Callable[[Piece], int], most: int) -> Iterator[Sequence[Piece]]:
    """Cut ``items`` into parts whose sizes add up to about ``most``, each of one item at least."""
    start = total = 0
    for number, item in enumerate(items):
        total += size_of(item)
        if total >= most:
            yield items[start : number + 1]
            start, total = number + 1, 0
    if start < len(items):
        yield items[start:]
