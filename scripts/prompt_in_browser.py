"""Prompt a scan with the mouse: a page opens in your browser, and runs on this machine alone.

Scroll to a slice that shows the object, click into it or drag a box round it, and its mask appears. Carry takes it
through the volume; where it is wrong, click again and carry again. Save writes what process_video.py would, and shows
the command that makes the same. It goes through an SSH tunnel too, see --no_open.

Flags of process_video.py that say how the scan is read, segmented, scored and drawn are taken as they are there:
--window, --model (default: lite_medsam), --method, --device, --crop, --slices, --results_folder_path and others.
"""

from __future__ import annotations

import argparse
import secrets
import shlex
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pose import cli

# of process_video.py, what is asked on the page, and what is of many volumes or of none
NOT_TAKEN = (
    *("slice", "point", "negative_point", "box", "prompt_slice", "dry_run", "resume", "record_failures", "debug"),
    *("seed_image_file_path", "seed_masks_file_path", "seed_prompt_file_path", "seed_memory", "save_seed_memory"),
)
TEMPORARY_CACHE_GB = 2


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the flags that are the page's own; the others are those of process_video.py."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("scan", type=Path, metavar="SCAN", help=".nii, .nii.gz, or working data (.npz, .npy)")
    parser.add_argument(
        "--masks_file_path", type=Path, metavar="FILE", help="ground truth: its contours and Dice are shown as well"
    )
    parser.add_argument("--prompt_file_path", type=Path, metavar="FILE", help="prompts to begin with")
    parser.add_argument(
        "--port", type=cli.whole_number, default=0, metavar="N", help="the port on this machine (default: a free one)"
    )
    parser.add_argument(
        "--no_open",
        action="store_true",
        help="open no browser: only print the address, for one at the other end of an SSH tunnel",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script until it is interrupted; returns its exit code."""
    parser = make_parser()
    own, others = parser.parse_known_args(argv)
    cli.configure_logging()

    import process_video

    theirs = process_video.make_parser()
    theirs.prog, theirs.usage = parser.prog, parser.format_usage().removeprefix("usage: ")
    words = ["--image_file_path", str(own.scan)]
    if own.masks_file_path is not None:
        words += ["--masks_file_path", str(own.masks_file_path)]
    given = theirs.parse_args([*words, *others])
    if given.model is None and given.sam_version is None and given.method != "region_growing":
        words += ["--model", "lite_medsam"]
    words += others
    flags = vars(theirs.parse_args(words))
    refuse_what_is_asked_on_the_page(flags, vars(theirs.parse_args(words[:2])))
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise cli.UserError(f"the page needs {error.name}: pip install starlette uvicorn") from None

    from pose.page.server import ADDRESS, bind, make_app, serve
    from pose.page.session import Session
    from pose.runs import command_line
    from pose.runs.one_prompt import OnePrompt

    (job,) = command_line.jobs_of(flags, "results_video")
    listening = bind(own.port)
    with listening, tempfile.TemporaryDirectory(prefix="pose_embeddings_") as kept:
        method_flags = flags
        if flags["embeddings_cache"] is None and flags["method"] != "region_growing":
            method_flags = {**flags, "embeddings_cache": Path(kept), "embeddings_cache_gb": TEMPORARY_CACHE_GB}
        work = OnePrompt(**command_line.settings_of_volumes(flags, 1), method=command_line.method_of(method_flags))
        session = Session(work, job, words, own.prompt_file_path)
        token = secrets.token_urlsafe(24)
        port = listening.getsockname()[1]
        address = f"http://{ADDRESS}:{port}/{token}/"
        print(f"the page: {address}", flush=True)
        if own.no_open:
            print(f"from another machine: ssh -L {port}:{ADDRESS}:{port} THIS_MACHINE, then open the page there")
        else:
            threading.Thread(target=open_browser, args=(address,), daemon=True).start()
        print("Ctrl-C ends it", flush=True)
        try:
            serve(make_app(session, token), listening)
        except KeyboardInterrupt:
            pass
        finally:
            session.close()
    if not session.is_carried and session.clicks.prompts:
        print("ended; the last clicks were not saved")
    return cli.EXIT_OK


def refuse_what_is_asked_on_the_page(flags: dict, defaults: dict) -> None:
    """Raise UserError for flags of process_video.py that have no place here."""
    for name in NOT_TAKEN:
        if flags[name] != defaults[name]:
            raise cli.UserError(f"--{name}: not here; process_video.py takes it")
    if len(flags["image_file_path"]) > 1 or flags["names"]:
        given = shlex.join(map(str, flags["image_file_path"]))
        raise cli.UserError(f"{given}: the page shows one scan, under its own name")


def open_browser(address: str) -> None:
    """Open the page, or say that it must be opened by hand."""
    if not webbrowser.open(address):
        print("no browser was found; open that address in one", flush=True)


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
