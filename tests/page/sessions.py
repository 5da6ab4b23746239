"""Sessions on two blocks, as scripts/prompt_in_browser.py makes them, and a server that runs in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

import numpy as np

from pose.page.server import bind, make_app, server_of
from pose.page.session import Session
from pose.prompts.prompt import Prompt
from pose.segmenters import SlicePredictions
from pose.segmenters.region_growing import RegionGrowing
from scripts.prompt_in_browser import make_parser, session_of
from tests.cases import write_two_blocks

GROWING = ("--method", "region_growing", "--window", "lung")
TOKEN = "the-token"
# of tests.cases.two_blocks, as rows and columns of the array and on which slices
FIRST, SECOND = (slice(6, 20), slice(4, 14)), (slice(8, 24), slice(22, 36))
HELD = range(2, 6)


def make_session(folder: Path, *flags: object, method: Sequence[str] = GROWING, masks: bool = False) -> Session:
    """Return a session on two blocks, 30 rows, 40 columns and 7 slices, that writes to ``folder``."""
    scan, mask = write_two_blocks(folder)
    words = [str(scan), *method, "--results_folder_path", str(folder / "results"), *map(str, flags)]
    words += ["--masks_file_path", str(mask)] if masks else []
    return session_of(make_parser().parse_args(words), words, folder / "embeddings")


def block(where: tuple[slice, slice], number: int = 1) -> np.ndarray:
    """Return (rows, columns) labels of one block."""
    labels = np.zeros((30, 40), np.uint16)
    labels[where] = number
    return labels


class Gated(RegionGrowing):
    """Region growing that waits before each slice of a volume until :meth:`let` lets it pass."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Semaphore(0)

    def let(self, slices: int) -> None:
        for _ in range(slices):
            self.gate.release()

    def segment(self, grey, prompts: Sequence[Prompt]) -> Iterator[SlicePredictions]:
        for found in super().segment(grey, prompts):
            if len(grey) > 1:
                assert self.gate.acquire(timeout=60)
            yield replace(found, objects={key: replace(one, score=0.5) for key, one in found.objects.items()})


def gate(session: Session) -> Gated:
    """Let ``session`` carry slice by slice, as the gate that is returned allows; every slice is to be reviewed."""
    session.model.segmenter = Gated()
    return session.model.segmenter


@contextmanager
def served(session: Session, token: str = TOKEN) -> Iterator[str]:
    """Serve a session from a thread; gives the address, which ends in the token and a slash."""
    with bind(0) as listening:
        port = listening.getsockname()[1]
        server = server_of(make_app(session, token))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}/{token}/"
        finally:
            server.should_exit = True
            thread.join(30)
            session.close()


def until(true: Callable[[], object]) -> None:
    """Wait until something is so; a minute without it is a failure."""
    end = monotonic() + 60
    while not true():
        assert monotonic() < end
        sleep(0.01)
