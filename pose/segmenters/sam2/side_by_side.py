"""Two pieces of work side by side on a CPU, each with its share of the threads.

The two halves of a volume do not look at each other. With half of the threads each they are done sooner than one after
the other with all: operations of a millisecond gain little from a second thread, two halves gain all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

import torch

Item = TypeVar("Item")
SECONDS_BETWEEN_LOOKS = 0.2


def side_by_side(generators: Sequence[Iterator[Item]], count: int) -> Iterator[Item]:
    """Take ``count`` items from each generator, all of them at work at once, and yield them as they come.

    Afterwards the generators can be used further, where they stopped. So many items and not more: with a share of
    threads that depended on when another one ends, the last bits of a result would depend on it too.

    Raises:
        Exception: the first that a generator raises; the others are stopped.
    """
    done: Queue[Item | Exception | None] = Queue(maxsize=len(generators))
    stop = Event()

    def put(item: Item | Exception | None) -> None:
        while not stop.is_set():
            try:
                return done.put(item, timeout=SECONDS_BETWEEN_LOOKS)
            except Full:
                continue

    def work(generator: Iterator[Item]) -> None:
        try:
            for _ in range(count):
                if stop.is_set():
                    return
                put(next(generator))
        except Exception as error:
            put(error)
        put(None)

    threads = torch.get_num_threads()
    # what is set here holds for threads that start later
    torch.set_num_threads(max(1, threads // len(generators)))
    workers = [Thread(target=work, args=(generator,), daemon=True) for generator in generators]
    try:
        for worker in workers:
            worker.start()
        waiting = len(workers)
        while waiting:
            item = done.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                waiting -= 1
            else:
                yield item
    finally:
        stop.set()
        for worker in workers:
            while worker.is_alive():
                try:
                    done.get(timeout=SECONDS_BETWEEN_LOOKS)
                except Empty:
                    continue
        torch.set_num_threads(threads)
