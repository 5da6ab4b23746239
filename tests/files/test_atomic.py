"""Tests of pose/files/atomic.py: files that appear whole or not at all, and what killed processes leave behind."""

from __future__ import annotations

import errno
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pose.cli import UserError
from pose.files.atomic import (
    DiskFullError,
    remove_leftovers,
    reserved_stamp,
    timestamp,
    write_all_atomically,
    write_atomically,
)

STAMP = "2026-11-23_10-20-30"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_timestamp():
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2}", timestamp())


class TestWriteAtomically:
    def test_writes_and_leaves_nothing_else(self, tmp_path):
        write_atomically(tmp_path / "a.txt", lambda path: path.write_text("new"))
        assert (tmp_path / "a.txt").read_text() == "new"
        assert names(tmp_path) == ["a.txt"]

    def test_an_exception_leaves_nothing(self, tmp_path):
        def fail(path):
            path.write_text("half")
            raise RuntimeError("disk on fire")

        with pytest.raises(RuntimeError, match="disk on fire"):
            write_atomically(tmp_path / "a.txt", fail)
        assert names(tmp_path) == []

    def test_an_exception_keeps_what_was_there(self, tmp_path):
        def fail(path):
            path.write_text("half")
            raise KeyboardInterrupt

        (tmp_path / "a.txt").write_text("old")
        with pytest.raises(KeyboardInterrupt):
            write_atomically(tmp_path / "a.txt", fail)
        assert (tmp_path / "a.txt").read_text() == "old"
        assert names(tmp_path) == ["a.txt"]

    def test_the_target_is_whole_or_old_while_it_is_written(self, tmp_path):
        target = tmp_path / "a.txt"
        target.write_text("old")

        def write(path):
            path.write_text("ne")
            assert path.parent == tmp_path
            assert target.read_text() == "old"
            path.write_text("new")

        write_atomically(target, write)
        assert target.read_text() == "new"

    def test_writers_that_go_by_the_suffix(self, tmp_path):
        nibabel = pytest.importorskip("nibabel")
        image = nibabel.Nifti1Image(np.ones((2, 3, 4), dtype=np.uint8), np.eye(4))
        write_atomically(tmp_path / "masks_x.nii.gz", lambda path: nibabel.save(image, path))
        write_atomically(tmp_path / "masks_x.npz", lambda path: np.savez_compressed(path, voxels=np.arange(3)))
        write_atomically(tmp_path / "a.npy", lambda path: np.save(path, np.arange(4)))
        assert names(tmp_path) == ["a.npy", "masks_x.nii.gz", "masks_x.npz"]
        assert (tmp_path / "masks_x.nii.gz").read_bytes()[:2] == b"\x1f\x8b"
        assert nibabel.load(tmp_path / "masks_x.nii.gz").shape == (2, 3, 4)
        assert np.load(tmp_path / "masks_x.npz")["voxels"].tolist() == [0, 1, 2]

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
    def test_others_may_read_what_the_umask_lets_them(self, tmp_path):
        previous = os.umask(0o022)
        try:
            write_atomically(tmp_path / "a.txt", lambda path: path.write_text("shared"))
        finally:
            os.umask(previous)
        assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644

    @pytest.mark.parametrize(
        ("error", "kind", "reason"),
        [
            (OSError(errno.EACCES, "Permission denied"), UserError, "Permission denied"),
            (OSError(errno.ENOSPC, "No space left on device"), DiskFullError, "No space left on device"),
            (OSError(errno.EDQUOT, "Disk quota exceeded"), DiskFullError, "Disk quota exceeded"),
        ],
    )
    def test_all_or_none_and_the_file_is_named(self, tmp_path, error, kind, reason):
        def fail(path):
            raise error

        with pytest.raises(UserError) as caught:
            write_all_atomically([(tmp_path / "a", lambda path: path.write_text("a")), (tmp_path / "b", fail)])
        assert type(caught.value) is kind and str(caught.value) == f"{tmp_path / 'b'}: cannot be written: {reason}"
        assert names(tmp_path) == []


class TestLeftovers:
    """What a process leaves that is killed in the middle, and what one that lives has at work."""

    WRITER = """
import sys, time
from pathlib import Path
from pose.files.atomic import reserved_stamp, write_atomically
folder, stamp = Path(sys.argv[1]), sys.argv[2]
def write(path):
    path.write_text("half")
    print("at work", flush=True)
    time.sleep(60)
with reserved_stamp(folder, stamp):
    (folder / f"raw_data_{stamp}.csv").write_text("slice")
    write_atomically(folder / f"masks_{stamp}.npz", write)
"""

    @pytest.fixture
    def writer(self, tmp_path):
        command = [sys.executable, "-c", self.WRITER, str(tmp_path), STAMP]
        root = Path(__file__).resolve().parents[2]
        with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "at work\n"
            yield process
            process.kill()

    def test_files_of_a_live_process_stay(self, tmp_path, writer):
        before = names(tmp_path)
        assert len(before) == 3 and before[0].endswith(f"masks_{STAMP}.npz") and before[1] == f".reserved_{STAMP}"
        remove_leftovers(tmp_path)
        assert names(tmp_path) == before
        with reserved_stamp(tmp_path, STAMP) as stamp:
            assert stamp == "2026-11-23_10-20-31"

    def test_those_of_a_killed_one_are_removed_with_the_run_they_began(self, tmp_path, writer):
        (tmp_path / "raw_data_2026-11-22_10-20-30.csv").write_text("another run")
        (tmp_path / ".part-of-somebody-else").mkdir()
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        assert len(names(tmp_path)) == 5
        remove_leftovers(tmp_path)
        assert names(tmp_path) == [".part-of-somebody-else", "raw_data_2026-11-22_10-20-30.csv"]

    def test_a_run_that_has_its_manifest_stays(self, tmp_path, writer):
        (tmp_path / f"run_{STAMP}.json").write_text("{}")
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        remove_leftovers(tmp_path)
        assert names(tmp_path) == [f"raw_data_{STAMP}.csv", f"run_{STAMP}.json"]

    def test_a_reservation_that_was_not_taken_yet_removes_no_file_of_its_stamp(self, tmp_path):
        (tmp_path / f"raw_data_{STAMP}.csv").write_text("of another process")
        (tmp_path / f".reserved_{STAMP}").touch()
        remove_leftovers(tmp_path)
        assert names(tmp_path) == [f"raw_data_{STAMP}.csv"]

    def test_an_error_while_files_are_moved_leaves_none_without_manifest(self, tmp_path, monkeypatch):
        replace = os.replace

        def fail_second(source, target):
            if target.name == "b":
                raise OSError(errno.EIO, "Input/output error")
            replace(source, target)

        monkeypatch.setattr(os, "replace", fail_second)
        with pytest.raises(UserError, match="Input/output error"), reserved_stamp(tmp_path, STAMP) as stamp:
            writers = [(tmp_path / name, lambda path: path.write_text("x")) for name in (f"a_{stamp}.csv", "b")]
            write_all_atomically(writers)
        assert names(tmp_path) == []
