"""Processes that need not import the libraries first: they are forked from one that has.

A script is run as the shell would, in a process of its own, with its own working folder, streams and exit code. Only
what other people wrote is imported before; the project's modules are not. :func:`environment` is for what starts
Python itself, as the shell scripts and Snakemake do.
"""

from __future__ import annotations

import ast
import atexit
import gc
import multiprocessing
import os
import runpy
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from multiprocessing import reduction, resource_tracker
from multiprocessing.connection import wait
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

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
        paths = [said / name if said else Path(os.devnull) for name in ("out", "err")]
        streams = [os.open(path, os.O_WRONLY | os.O_CREAT) for path in paths]
        try:
            self._process = _start(command, folder, dict(environment or {}), {1: streams[0], 2: streams[1]})
        finally:
            for stream in streams:
                os.close(stream)

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


# stands for Python: what it is to run runs in a process of the server, with its own streams, folder and variables
CLIENT = """#!{python} -IS
import os, socket, sys
words = sys.argv[1:]
if not (words and words[0].endswith(".py")):
    os.execv({python!r}, [{python!r}, *words])
asked = ascii((words, os.getcwd(), dict(os.environ))).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [len(asked).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(asked)
    code = int.from_bytes(server.recv(8), "big", signed=True)
if code < 0:
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@cache
def environment() -> Path:
    """Return a folder to be named in ``POSE_VENV``: the Python in its bin/ runs scripts in processes of this module.

    Started in any other way than by a script's path, it is the Python of this process. A script whose Python is killed
    is killed a little later, so that it is nothing for tests of killing. All of it ends with this process.
    """
    folder = Path(tempfile.mkdtemp(prefix="warm_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / "server"))
    listening.listen(64)
    threading.Thread(target=_serve, args=(listening,), daemon=True).start()
    (folder / "bin").mkdir()
    python = folder / "bin" / "python"
    python.write_text(CLIENT.format(python=sys.executable, address=str(folder / "server")), encoding="utf-8")
    python.chmod(0o755)
    (folder / "pyvenv.cfg").touch()
    return folder


def _serve(listening: socket.socket) -> None:
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=_run_for, args=(connection,), daemon=True).start()


def _run_for(connection: socket.socket) -> None:
    with connection, suppress(ConnectionError):
        length, streams, _, _ = socket.recv_fds(connection, 8, 3)
        try:
            words, folder, variables = ast.literal_eval(_received(connection, int.from_bytes(length, "big")).decode())
            process = _start(words, Path(folder), variables, dict(enumerate(streams)), all_variables=True)
        finally:
            for stream in streams:
                os.close(stream)
        if process.sentinel not in wait([process.sentinel, connection]):
            process.kill()
        wait([process.sentinel])
        with _ONE_AT_A_TIME:
            process.join()
        connection.sendall((process.exitcode or 0).to_bytes(8, "big", signed=True))


def _received(connection: socket.socket, length: int) -> bytes:
    content = b""
    while len(content) < length:
        if not (piece := connection.recv(length - len(content))):
            raise ConnectionError
        content += piece
    return content


def _start(
    command: Sequence[str],
    folder: Path,
    variables: dict[str, str],
    streams: Mapping[int, int],
    all_variables: bool = False,
) -> multiprocessing.process.BaseProcess:
    """Start a script with ``streams``, file descriptors of this process by their number in the new one."""
    copies = {number: _Stream(stream) for number, stream in streams.items()}
    process = CONTEXT.Process(target=_be_script, args=(list(command), folder, variables, copies, all_variables))
    with _ONE_AT_A_TIME:
        process.start()
    return process


class _Stream:
    """A file descriptor that goes along to a process that is started."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __reduce__(self):
        return _detached, (reduction.DupFd(self.descriptor),)


def _detached(copy) -> int:
    return copy.detach()


def _be_script(
    command: list[str], folder: Path, variables: dict[str, str], streams: dict[int, int], all_variables: bool
) -> None:
    # what the libraries hold is not looked through again and again for what is no longer needed
    gc.freeze()
    for number, stream in streams.items():
        os.dup2(stream, number)
        os.close(stream)
    # of its own, which cleans up after this process where it is killed, as that of any script does
    resource_tracker._resource_tracker._fd = None
    os.chdir(folder)
    if all_variables:
        os.environ.clear()
    os.environ.update(variables)
    sys.argv = command
    # a script finds what lies beside it, not what the tests find
    sys.path[:] = [str(Path(command[0]).resolve().parent), *(path for path in sys.path if Path(path).resolve() != ROOT)]
    try:
        runpy.run_path(command[0], run_name="__main__")
    except Exception:
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
