"""A results folder on a disk that runs full: a clear error, and nothing of what was finished is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kill_and_resume import command_for, joined, write_data_set
from tests.warm_python import run_script

ROOT = Path(__file__).resolve().parent.parent
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]

# What happens on the small disk is only seen in its namespace: this program works there, and prints what it saw.
INSIDE = """
import json, subprocess, sys
from pathlib import Path
from tests.kill_and_resume import joined
folder, command = Path(sys.argv[1]), sys.argv[2:]
def mount(*options):
    subprocess.run(["mount", *options, "tmpfs", str(folder)], check=True)
def listing():
    return {str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
def run():
    done = subprocess.run(command, capture_output=True, text=True)
    return {"code": done.returncode, "err": done.stderr, "files": listing()}
mount("-t", "tmpfs", "-o", "size=%s")
full = run()
mount("-o", "remount,size=64m")
resumed = run()
tables = {name: table.to_csv() for name, table in joined(folder).items()}
print(json.dumps({"full": full, "resumed": resumed, "tables": tables}))
"""


@pytest.fixture(scope="module")
def small_disks() -> None:
    if shutil.which("unshare") is None:
        pytest.skip("no unshare: a small disk needs a namespace of mounts")
    trial = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True)
    if trial.returncode:
        pytest.skip(f"no small disk can be mounted here: {trial.stderr.strip()}")


@pytest.mark.slow
def test_a_full_disk_keeps_what_is_finished_and_can_be_resumed(tmp_path, small_disks):
    images, masks = write_data_set(tmp_path / "data", 3)
    run_script(command_for(images, masks, tmp_path / "roomy"), tmp_path).check_returncode()
    volume = sum(path.stat().st_size for path in (tmp_path / "roomy" / "volume_0").iterdir())
    (tmp_path / "small").mkdir()
    command = [sys.executable, *command_for(images, masks, tmp_path / "small")]
    # room for one volume and a half, in whole pages a file
    size = f"{int(1.5 * volume) // 1024 + 24}k"
    done = subprocess.run(
        [*NAMESPACE, sys.executable, "-c", INSIDE % size, str(tmp_path / "small"), *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    full, resumed = seen["full"], seen["resumed"]

    *_, stopped, error = full["err"].splitlines()
    assert full["code"] == 2 and error.startswith(f"error: {tmp_path / 'small' / 'volume_1'}")
    assert error.endswith("No space left on device") and "Traceback" not in full["err"]
    assert stopped.startswith("stopped: 1 of 3 volumes finished and kept")
    assert {name.split("/")[0] for name in full["files"]} == {"volume_0"} and len(full["files"]) == 6
    assert not [name for name in full["files"] if "/." in name]

    assert resumed["code"] == 0 and full["files"].items() <= resumed["files"].items() and len(resumed["files"]) == 18
    assert seen["tables"] == {name: table.to_csv() for name, table in joined(tmp_path / "roomy").items()}
