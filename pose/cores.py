"""The cores that this process may use, and the threads of the libraries that compute: how many, and how they wait.

All of it must stand in the environment before such a library is loaded, so that nothing but Python's own is imported.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

# How threads of libgomp (PyTorch on Linux), and of the LLVM and Intel runtimes (macOS, conda), wait for work: so many
# looks, and so many milliseconds. By default they spin, and runs that share a machine take many times as long.
WAITING = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}
# what libraries read when they are loaded: OpenMP, the makers of matrix products, OpenCV
COUNTS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)


def cores(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> int:
    """Return how many cores this process may use: by its affinity, by the quota of its control groups, of which a part
    counts as a whole, and by Slurm.

    Args:
        root: where /proc and /sys lie.
        environment: where ``SLURM_CPUS_PER_TASK`` stands.
    """
    bounds = [affinity()]
    if (time := quota(root)) is not None:
        bounds.append(max(1, math.ceil(time)))
    if (asked := _first_number(environment.get("SLURM_CPUS_PER_TASK", ""))) is not None:
        bounds.append(asked)
    return min(bounds)


def affinity() -> int:
    """Return on how many cores the system lets this process run."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quota(root: Path = Path("/")) -> float | None:
    """Return the time of how many cores the control groups (version 1 and 2) leave this process; None without a bound.

    A group cannot have more than any of those round it, so that the least counts.

    Args:
        root: where /proc and /sys lie.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text(errors="replace").splitlines()
        mounts = (root / "proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:  # no Linux
        return None
    # "0::/job" of version 2, "4:cpu,cpuacct:/job" of version 1
    paths = {name: path for _, names, path in (line.split(":", 2) for line in groups) for name in names.split(",")}
    bounds = []
    for line in mounts:
        front, _, back = line.partition(" - ")
        (shown, point), (kind, _, options) = map(_unescaped, front.split(" ")[3:5]), back.split(" ")[:3]
        if kind == "cgroup2":
            path, read = paths.get(""), _quota_of_version_2
        elif kind == "cgroup" and "cpu" in options.split(","):
            path, read = paths.get("cpu"), _quota_of_version_1
        else:
            continue
        top = root / point.lstrip("/")
        for folder in _from_group_to_top(top, shown, path):
            # outside, or without a bound of its own
            with suppress(OSError, ValueError, ZeroDivisionError):
                bounds.append(read(folder))
    return min((bound for bound in bounds if 0 < bound < math.inf), default=None)


def _from_group_to_top(top: Path, shown: str, path: str | None) -> list[Path]:
    """Return the folder of a group and those round it, as far as they are seen from here.

    Args:
        top: where the hierarchy is mounted.
        shown: the group that is seen there.
        path: the group of the process.
    """
    below = PurePosixPath(path or "/")
    # in a container the path may be that of another view: then what is mounted is all that is seen
    inside = below.relative_to(shown) if below.is_relative_to(shown) else PurePosixPath()
    if ".." in inside.parts:
        inside = PurePosixPath()
    return [top / one for one in (inside, *inside.parents)]


def _quota_of_version_2(folder: Path) -> float:
    time, period = (folder / "cpu.max").read_text().split()
    return math.inf if time == "max" else int(time) / int(period)


def _quota_of_version_1(folder: Path) -> float:
    time, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
    return math.inf if time < 0 else time / period


def _unescaped(text: str) -> str:
    """Return a path of /proc/self/mountinfo, which has blanks and the like as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _first_number(text: str) -> int | None:
    """Return the first of numbers such as "4,2"; None where that is no count."""
    first = text.split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None


def prepare() -> None:
    """Say to libraries that are loaded later how their threads wait, and how many there are where this process may use
    fewer cores than the libraries will see. What users or schedulers have set stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        for name, value in WAITING.items():
            os.environ.setdefault(name, value)
    asked = _first_number(os.environ.get("OMP_NUM_THREADS", ""))
    if asked is not None:
        os.environ.setdefault("OPENCV_FOR_THREADS_NUM", str(asked))  # it would not look there
    # otherwise libraries choose by themselves: of two threads in one core, some take but one
    elif (allowed := cores()) < affinity():
        for name in COUNTS:
            os.environ.setdefault(name, str(allowed))


def use(threads: int | None) -> None:
    """Let the libraries that compute, loaded or not, and processes that are started later, take so many threads; None
    changes nothing.
    """
    if threads is None:
        return
    # else PyTorch's matrix products take no more than one in a core
    os.environ.update(dict.fromkeys(COUNTS, str(threads)), MKL_DYNAMIC="FALSE")
    if "numpy" in sys.modules:
        from threadpoolctl import threadpool_limits

        threadpool_limits(threads, "blas")
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)
    if cv2 := sys.modules.get("cv2"):
        cv2.setNumThreads(threads)


@contextmanager
def shared_by(processes: int) -> Iterator[None]:
    """Give processes that are started meanwhile, ``processes`` at once, an equal share of the cores."""
    before = {name: os.environ.get(name) for name in COUNTS}
    share = max(1, (_first_number(before["OMP_NUM_THREADS"] or "") or cores()) // processes)
    os.environ.update(dict.fromkeys(COUNTS, str(share)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
