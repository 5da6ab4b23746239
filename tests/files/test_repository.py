"""Which commit of this code runs."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from pose.files import repository


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_git_commit_and_whether_files_differ_from_it(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "--quiet", "--template=")
    (tmp_path / "code.py").write_text("1")
    monkeypatch.setattr(repository, "REPOSITORY_FOLDER", tmp_path)
    assert repository.git_commit() is None
    git("add", "code.py")
    git("commit", "--quiet", "-m", "first")
    git("tag", "v1")
    assert repository.git_commit() == git("rev-parse", "HEAD")
    (tmp_path / "code.py").write_text("2")
    assert repository.git_commit() == git("rev-parse", "HEAD") + "-dirty"


def test_git_commit_of_a_copy_without_repository(tmp_path, monkeypatch):
    monkeypatch.setattr(repository, "REPOSITORY_FOLDER", tmp_path)
    assert repository.git_commit() is None
