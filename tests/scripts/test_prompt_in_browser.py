"""scripts/prompt_in_browser.py as a process: what it prints, serves, takes and refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from pose.cli import UserError
from scripts.prompt_in_browser import make_parser, session_of, words_for_process_video
from tests.cases import write_two_blocks

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "prompt_in_browser.py"


@pytest.fixture
def scan(tmp_path):
    return write_two_blocks(tmp_path)[0]


def words_of(*words):
    return words_for_process_video(make_parser().parse_args(words), words)


def test_it_prints_the_address_serves_until_ctrl_c_and_says_what_is_not_saved(scan):
    command = [sys.executable, SCRIPT, scan.name, "--method", "region_growing", "--no_open"]
    with subprocess.Popen(
        command, cwd=scan.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            address = process.stdout.readline().removeprefix("the page: ").strip()
            host = address.split("/")[2]
            port = host.partition(":")[2]
            assert len(address.split("/")[3]) == 32
            tunnel = f"from another machine: ssh -L {port}:127.0.0.1:{port} THIS_MACHINE, then open the page there\n"
            assert process.stdout.readline() == tunnel
            assert process.stdout.readline() == "Ctrl-C ends it\n"
            click = '{"object": 1, "slice": 3, "row": 10, "column": 8, "inside": true}'
            sent = {"Origin": f"http://{host}"}
            assert requests.post(f"{address}do/point", data=click, headers=sent).json()["prompts"][0]["slice"] == 3
        finally:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "ended; what was clicked last is not saved\n"), err
    assert "Traceback" not in err and sorted(path.name for path in scan.parent.iterdir()) == [
        "case.nii.gz",
        "case_mask.nii.gz",
    ]


def test_the_browser_is_opened_unless_told_otherwise(scan):
    """A program in the place of a browser writes down what it is asked to open."""
    asked = scan.parent / "asked"
    browser = scan.parent / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {asked}\n')
    browser.chmod(0o755)
    command = [sys.executable, SCRIPT, scan, "--method", "region_growing"]
    environment = {**os.environ, "BROWSER": f"{browser} %s"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            address = process.stdout.readline().removeprefix("the page: ")
            end = time.monotonic() + 60
            while not (asked.exists() and asked.read_text()):
                assert time.monotonic() < end
                time.sleep(0.02)
            assert asked.read_text() == address
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
    assert process.returncode == 0


def test_the_words_of_process_video_are_what_was_said_but_for_the_page():
    model = ["--model", "lite_medsam"]
    assert words_of("a.nii") == ["--image_file_path", "a.nii", *model]
    assert words_of("a.nii", "--window", "40", "400", "--no_open", "--port", "8000") == [
        *("--image_file_path", "a.nii", *model, "--window", "40", "400")
    ]
    assert words_of("--model", "tiny", "a.nii", "--prompt_file_path", "p.json") == [
        *("--image_file_path", "a.nii", "--model", "tiny")
    ]
    assert words_of("./a.nii", "-v", "1", "-m", "m.nii") == ["--image_file_path", "./a.nii", "-v", "1", "-m", "m.nii"]
    growing = ["--method", "region_growing"]
    assert words_of("a.nii", *growing) == ["--image_file_path", "a.nii", *growing]


@pytest.mark.parametrize(
    "words, says",
    [
        (("--box", "1", "2", "3", "4", "--slice", "3"), "--slice: process_video.py takes it, the page does not"),
        (("--resume",), "--resume: process_video.py takes it, the page does not"),
        (("--names", "a"), "--names: process_video.py takes it, the page does not"),
        (("--seed_slice", "3"), "--seed_slice: process_video.py takes it, the page does not"),
        (("--prompt_file_path", "a.json", "b.json"), "--prompt_file_path b.json: the page takes one file"),
    ],
)
def test_what_the_page_does_not_take(scan, tmp_path, words, says):
    words = [str(scan), "--method", "region_growing", *words]
    with pytest.raises(UserError) as raised:
        session_of(make_parser().parse_args(words), words, tmp_path)
    assert str(raised.value) == says


def test_without_the_server_it_says_what_to_install(scan):
    blocked = "import sys; sys.modules['starlette'] = None; sys.argv[:1] = []; import runpy; "
    command = [sys.executable, "-c", blocked + "runpy.run_path(sys.argv[0], run_name='__main__')", SCRIPT, scan]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: the page needs starlette: pip install starlette uvicorn\n"
