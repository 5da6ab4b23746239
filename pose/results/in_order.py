"""Many pieces of work on all cores, with their results in the order of the work and few of them in memory."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import Any

from pose.cli import UserError
from pose.cores import cores, shared_by

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]

# A process takes half a second to start and 100 MB; more than this wait for the disk.
MOST_PROCESSES = 8
# Results of so many pieces may wait, for each process, where they are taken more slowly than they are made.
MOST_WAITING = 16


@contextmanager
def processes(wanted: int) -> Iterator[Map]:
    """Yield a :func:`map` that works in up to ``wanted`` processes, as many as there are cores; one is this one.

    Raises:
        UserError: a process was ended from outside.
    """
    count = min(wanted, cores(), MOST_PROCESSES)
    if count <= 1:
        yield map
        return
    # Started anew: a process that is forked while threads run, such as those of a numeric library, may hang.
    with shared_by(count), ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as pool:

        def in_order(work: Callable[[Any], Any], pieces: Iterable[Any]) -> Iterator[Any]:
            left = iter(pieces)
            while some := list(islice(left, count * MOST_WAITING)):
                yield from pool.map(work, some)

        try:
            yield in_order
        except BrokenProcessPool:
            raise UserError("a process that reads results was ended from outside; did the memory run out?") from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
