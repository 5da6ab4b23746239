"""Exit codes, logging and argument types that the scripts share."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pose import cli
from pose.cli import UserError
from pose.files.repository import REPOSITORY_FOLDER


def test_a_user_error_is_one_line_and_exit_2(capsys):
    def main(argv):
        raise UserError("scan.nii.gz: no such file")

    assert cli.run_main(main) == 2
    assert capsys.readouterr().err == "error: scan.nii.gz: no such file\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nb.npz: no such file", "a\\nb.npz: no such file"),
        ("\x1b[31m \0 \ud800 \u202e", "\\x1b[31m \\x00 \\ud800 \\u202e"),
        ("größe.nii.gz: 体", "größe.nii.gz: 体"),
        (f"scan.npz: {'0' * 5000}; wanted: numbers", f"scan.npz: {'0' * 790} ... {'0' * 183}; wanted: numbers"),
    ],
)
def test_what_comes_from_files_cannot_break_the_line(text, line):
    assert str(UserError(text)) == line


def test_a_name_that_no_file_can_have_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="x.npz: cannot be read: File name too long"):
        cli.existing_file(tmp_path / f"{'x' * 300}.npz")


def test_a_bug_keeps_its_traceback_and_an_interrupt_gives_130(capsys):
    def bug(argv):
        raise ZeroDivisionError

    def interrupted(argv):
        raise KeyboardInterrupt

    with pytest.raises(ZeroDivisionError):
        cli.run_main(bug)
    assert cli.run_main(interrupted) == 130
    assert cli.run_main(lambda argv: 1, ["x"]) == 1


SCRIPTS = ("nifti_to_numpy", "process_image", "process_video", "join_results", "scripts/look", "scripts/make_phantom")
SCRIPTS += ("scripts/download", "scripts/montgomery_to_numpy", "scripts/prompt_in_browser", "scripts/run_batch")


def unread(command, together=False):
    """Run a command whose output nobody reads, with its errors or without: the pipe is closed before it begins."""
    reading, writing = os.pipe()
    os.close(reading)
    error = writing if together else subprocess.PIPE
    done = subprocess.run(command, stdout=writing, stderr=error, text=True, cwd=REPOSITORY_FOLDER)
    os.close(writing)
    return done.returncode, done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_script_complains_of_a_reader_that_has_gone(script):
    assert unread([sys.executable, f"{script}.py", "--help"])[1] == ""


HEAVY = ("torch", "scipy", "skimage", "matplotlib", "pandas", "pyarrow", "cv2", "nibabel", "pydicom", "highdicom")
ASK_ALL_FOR_HELP = """
import contextlib, io, runpy, sys
for script in sys.argv[1:]:
    sys.argv = [script, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        runpy.run_path(script, run_name="__main__")
    print(script, said.getvalue().startswith("usage: "), *sorted({name.split(".")[0] for name in sys.modules}))
"""


def test_no_script_loads_a_heavy_library_to_say_what_it_does():
    folders = [REPOSITORY_FOLDER / name for name in (".", "scripts", "paper", "comparison")]
    scripts = sorted(path.relative_to(REPOSITORY_FOLDER) for folder in folders for path in folder.glob("*.py"))
    words = [sys.executable, "-c", ASK_ALL_FOR_HELP, *map(str, scripts)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=REPOSITORY_FOLDER)
    answers = [line.split() for line in done.stdout.splitlines()]
    assert [(script, helped) for script, helped, *_ in answers] == [(str(one), "True") for one in scripts], done.stderr
    assert Path("process_video.py") in scripts
    assert {script: loaded for script, _, *names in answers if (loaded := set(HEAVY) & set(names))} == {}


def test_a_reader_that_has_gone_ends_a_script_as_it_ends_shell_tools_and_another_broken_pipe_is_a_fault():
    call = "from pose import cli; import sys; sys.exit(cli.run_main(main))"
    endless = f"def main(argv):\n    while True: print('x' * 100)\n{call}"
    assert unread([sys.executable, "-c", endless]) == (141, "")
    assert unread([sys.executable, "join_results.py", "-r", "nowhere"], together=True) == (141, None)
    broken = f"def main(argv):\n    raise BrokenPipeError(32, 'of a server')\n{call}"
    done = subprocess.run([sys.executable, "-c", broken], capture_output=True, text=True, cwd=REPOSITORY_FOLDER)
    assert done.returncode == 1 and done.stderr.endswith("BrokenPipeError: [Errno 32] of a server\n")


@pytest.mark.parametrize("text", ["0", "0.82", "1"])
def test_a_share_is_a_number_from_0_to_1(text):
    assert cli.share(text) == float(text)


@pytest.mark.parametrize("text", ["-0.1", "1.01", "nan", "much"])
def test_what_is_no_share_is_named(text):
    with pytest.raises(argparse.ArgumentTypeError, match=text):
        cli.share(text)


def test_existing_file(tmp_path):
    (tmp_path / "scan.npy").write_bytes(b"voxels")
    (tmp_path / "empty.npy").touch()
    assert cli.existing_file(tmp_path / "scan.npy") == tmp_path / "scan.npy"
    with pytest.raises(UserError, match=r"other\.npy: no such file"):
        cli.existing_file(tmp_path / "other.npy")
    with pytest.raises(UserError, match=r"empty\.npy: is empty"):
        cli.existing_file(tmp_path / "empty.npy")
    with pytest.raises(UserError, match="is a folder, not a file"):
        cli.existing_file(tmp_path)


def test_argument_types():
    assert cli.whole_number("12") == 12 and cli.prompt_slice("centre") == "centre" and cli.prompt_slice("7") == 7
    for text, message in (("1.5", "not a whole number"), ("-1", "negative")):
        with pytest.raises(argparse.ArgumentTypeError, match=message):
            cli.whole_number(text)
    with pytest.raises(argparse.ArgumentTypeError, match="'middle' is not a whole number"):
        cli.prompt_slice("middle")


def test_libraries_are_quiet_and_the_project_speaks():
    code = (
        "import logging; from pose import cli; cli.configure_logging(); logging.info('a library'); "
        "logging.getLogger('pose.runs.run').info('ours'); logging.warning('a library warns')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY_FOLDER)
    assert done.stderr == "INFO: ours\nWARNING: a library warns\n"


def test_a_folder_has_a_name_or_its_own(monkeypatch, tmp_path):
    assert cli.named_folder("SAM 2=results/sam2") == ("SAM 2", Path("results/sam2"))
    assert cli.named_folder("results/sam2/") == ("sam2", Path("results/sam2"))
    monkeypatch.chdir(tmp_path)
    assert cli.named_folder(".") == (tmp_path.name, Path("."))
