"""Processes that need not import the libraries first: they are forked from one that has.

A script is run as the shell would, in a process of its own, with its own working folder, streams and exit code. Only
what other people wrote is imported before; the project's modules are not.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "numpy",
        "scipy.ndimage",
        "scipy.spatial",
        "pandas",
        "nibabel",
        "cc3d",
        "skimage.filters",
        "skimage.measure",
        "yaml",
        "tqdm",
        "matplotlib.backends.backend_agg",
        "matplotlib.figure",
        "torch",
    ]
)
# starting a process looks after all others, and of two threads that read an exit code one is told 255
_ONE_AT_A_TIME = threading.Lock()


class Script:
    """A Python script that runs in a process of its own.

    Args:
        command: path of the script and its arguments.
        folder: where it runs.
        said: where its output lies, in the files "out" and "err"; None keeps none.
        environment: variables besides those that this process had when it started the first of them. Those that
            Python or a library reads when it starts come too late.
    """

    def __init__(
        self, command: list[str], folder: Path, said: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        streams = [said / name if said else Path(os.devnull) for name in ("out", "err")]
        arguments = (command, folder, dict(environment or {}), *streams)
        self._process = CONTEXT.Process(target=_be_script, args=arguments)
        with _ONE_AT_A_TIME:
            self._process.start()

    def wait(self, seconds: float | None = None) -> int | None:
        """Return the exit code, or None where it runs still after so many seconds."""
        if not wait([self._process.sentinel], seconds):
            return None
        with _ONE_AT_A_TIME:
            self._process.join()
        return self._process.exitcode

    def kill(self) -> None:
        """End it by SIGKILL, which no program can catch."""
        with _ONE_AT_A_TIME:
            self._process.kill()
            self._process.join()


def run_script(
    command: list[str], folder: Path, environment: Mapping[str, str] | None = None, seconds: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run a :class:`Script` to its end and return its exit code and what it said.

    Raises:
        subprocess.TimeoutExpired: it took longer than ``seconds``, and was killed.
    """
    with tempfile.TemporaryDirectory() as said:
        script = Script(command, folder, Path(said), environment)
        code = script.wait(seconds)
        if code is None:
            script.kill()
            raise subprocess.TimeoutExpired(command, seconds)
        out, err = ((Path(said) / name).read_text(encoding="utf-8") for name in ("out", "err"))
        return subprocess.CompletedProcess(command, code, out, err)


def _be_script(command: list[str], folder: Path, environment: dict[str, str], out: Path, err: Path) -> None:
    # what the libraries hold is not looked through again and again for what is no longer needed
    gc.freeze()
    for path, stream in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    # of its own, which cleans up after this process where it is killed, as that of any script does
    resource_tracker._resource_tracker._fd = None
    os.chdir(folder)
    os.environ.update(environment)
    sys.argv = command
    sys.path.insert(0, str(Path(command[0]).parent))
    try:
        runpy.run_path(command[0], run_name="__main__")
    except Exception:
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
