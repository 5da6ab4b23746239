"""Tests of pose/files/locks.py: one run at a time in a folder, and locks that end with their process."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pose.cli import UserError
from pose.files.locks import LOCK_NAME, FolderBusyError, folder_lock, holder_of

HOLDER = """
import sys, time
from pathlib import Path
from pose.files.locks import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
    print("let go", flush=True)
"""


def hold(folder: Path, seconds: float) -> subprocess.Popen:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", HOLDER, str(folder), str(seconds)]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_the_folder_is_made_and_goes_again_when_it_stays_empty(tmp_path):
    folder = tmp_path / "results" / "case"
    with folder_lock(folder):
        assert (folder / LOCK_NAME).read_text() == f"process {os.getpid()} on {socket.gethostname()}"
    assert not (tmp_path / "results").exists()
    with folder_lock(folder):
        (folder / "raw_data.csv").touch()
    assert [path.name for path in folder.iterdir()] == ["raw_data.csv"]


def test_a_folder_that_was_there_stays(tmp_path):
    with folder_lock(tmp_path):
        pass
    assert tmp_path.is_dir() and not any(tmp_path.iterdir())


def test_another_process_is_named_and_waited_for(tmp_path):
    with hold(tmp_path, 2) as process:
        with pytest.raises(FolderBusyError, match=f"{tmp_path}: process {process.pid} on .* is at work here"):
            with folder_lock(tmp_path):
                pass
        with folder_lock(tmp_path, wait=True):
            assert process.stdout.readline() == "let go\n"


def test_the_lock_of_a_killed_process_is_stale(tmp_path):
    with hold(tmp_path, 60) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / LOCK_NAME).exists()
    with folder_lock(tmp_path):
        assert str(os.getpid()) in (tmp_path / LOCK_NAME).read_text()
    assert not (tmp_path / LOCK_NAME).exists()


def test_never_two_at_once(tmp_path):
    """Many threads with locks of their own, each of which removes the file when it is done."""
    inside, most, done = 0, 0, 0

    def work() -> None:
        nonlocal inside, most, done
        while True:
            try:
                with folder_lock(tmp_path / "case"):
                    inside += 1
                    most = max(most, inside)
                    time.sleep(0.001)
                    inside -= 1
                    done += 1
                return
            except FolderBusyError:
                time.sleep(0.0005)

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert (most, done) == (1, 20)


@pytest.mark.parametrize("below", ["", "case"])
def test_where_nothing_can_be_written(tmp_path, below):
    (tmp_path / "results").write_text("a file")
    folder = tmp_path / "results" / below
    with pytest.raises(UserError, match=f"{folder}: results cannot be written here: (File exists|Not a directory)"):
        with folder_lock(folder):
            pass


def test_a_file_system_without_locks_is_told_and_used(tmp_path, monkeypatch, caplog):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with folder_lock(tmp_path):
        pass
    assert "no locks here (No locks available): do not start two runs" in caplog.text


def test_holder_that_cannot_be_read(tmp_path):
    assert holder_of(tmp_path / LOCK_NAME) == "another run"
