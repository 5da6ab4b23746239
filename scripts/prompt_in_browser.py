"""Prompt a scan with the mouse: a page opens in your browser, and runs on this machine alone.

Scroll to a slice that shows the object, click into it or drag a box round it, and its mask appears. Carry takes it
through the volume; where it is wrong, click again and carry again. Save writes what process_video.py would, and shows
the command that makes the same. It goes through an SSH tunnel too, see --no_open.

Flags are those of process_video.py: --window says what the model sees, --model is lite_medsam unless you say otherwise,
with --masks_file_path ground truth and Dice are shown, with --prompt_file_path prompts are there to begin with.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import process_video
from pose import cli, cores

if TYPE_CHECKING:
    from pose.page.session import Session

# of process_video.py, what is asked on the page, and what is of many volumes, of seeds, or of no page
NOT_TAKEN = (
    *("image_file_path", "names", "slice", "point", "negative_point", "box", "point_mm", "space"),
    *("prompt_slice", "start_slice"),
    *("objects", "use_bounding_box", "use_masks_contours", "no_move_centroids", "no_negative_point"),
    *("displace_negative_point", "dry_run", "resume", "record_failures", "strict"),
    *("seed_image_file_path", "seed_masks_file_path", "seed_slice", "seed_window", "seed_prompt_file_path"),
    *("seed_memory", "save_seed_memory"),
)
TEMPORARY_CACHE_GB = 2.0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line: that of process_video.py without what the page asks, and its own flags."""
    parser = process_video.make_parser()
    parser.description, parser.epilog, parser.usage = (
        __doc__,
        None,
        "%(prog)s SCAN [--window NAME] [--model NAME] [...]",
    )
    parser.allow_abbrev = False
    parser.add_argument("scan", metavar="SCAN", help="the scan, as --image_file_path of process_video.py")
    add_page_arguments(parser.add_argument_group("page"))
    for action in parser._actions:
        if action.dest in NOT_TAKEN:
            action.help = argparse.SUPPRESS
    for group in parser._action_groups:
        if all(action.help is argparse.SUPPRESS for action in group._group_actions):
            group.title = group.description = None
    return parser


def add_page_arguments(parser: argparse._ActionsContainer) -> None:
    """Add what process_video.py does not know."""
    parser.add_argument(
        "--port", type=cli.whole_number, default=0, metavar="N", help="the port on this machine (default: a free one)"
    )
    parser.add_argument(
        "--no_open",
        action="store_true",
        help="open no browser: only print the address, for one at the other end of an SSH tunnel",
    )


def words_for_process_video(arguments: argparse.Namespace, argv: Sequence[str]) -> list[str]:
    """Return the command line of process_video.py that does the same, but for the prompts."""
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_page_arguments(own)
    own.add_argument("--prompt_file_path", nargs="+")
    others = own.parse_known_args(argv)[1]
    others.remove(arguments.scan)
    words = ["--image_file_path", arguments.scan]
    if arguments.model is None and arguments.sam_version is None and arguments.method != "region_growing":
        words += ["--model", "lite_medsam"]
    return [*words, *others]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script until it is interrupted; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = make_parser()
    arguments = parser.parse_args(argv)
    cli.configure_logging()
    cores.use(arguments.threads)
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise cli.UserError(f"the page needs {error.name}: pip install starlette uvicorn") from None

    from pose.page.server import ADDRESS, bind, make_app, server_of

    listening = bind(arguments.port)
    with listening, tempfile.TemporaryDirectory(prefix="pose_embeddings_") as kept:
        session = session_of(arguments, argv, Path(kept))
        token = secrets.token_urlsafe(24)
        port = listening.getsockname()[1]
        address = f"http://{ADDRESS}:{port}/{token}/"
        print(f"the page: {address}", flush=True)
        if arguments.no_open:
            print(f"from another machine: ssh -L {port}:{ADDRESS}:{port} THIS_MACHINE, then open the page there")
        else:
            threading.Thread(target=open_browser, args=(address,), daemon=True).start()
        print("Ctrl-C ends it", flush=True)
        try:
            server_of(make_app(session, token)).run(sockets=[listening])
        except KeyboardInterrupt:
            pass
        finally:
            session.close()
    if session.clicks.prompts and not session.is_saved:
        print("ended; what was clicked last is not saved")
    return cli.EXIT_OK


def session_of(arguments: argparse.Namespace, argv: Sequence[str], kept: Path) -> Session:
    """Read the scan and load the model; encoded slices lie in ``kept`` unless the user names a folder.

    Raises:
        UserError: files, flags or a model that do not serve.
    """
    from pose.page.session import Session
    from pose.runs import command_line
    from pose.runs.one_prompt import OnePrompt

    defaults = make_parser()
    for name in NOT_TAKEN:
        if getattr(arguments, name, None) != defaults.get_default(name):
            raise cli.UserError(f"--{name}: process_video.py takes it, the page does not")
    words = words_for_process_video(arguments, argv)
    flags = vars(process_video.make_parser().parse_args(words))
    (job,) = command_line.jobs_of(flags, "results_video")
    for_method = flags
    if flags["embeddings_cache"] is None and flags["method"] != "region_growing":
        for_method = {**flags, "embeddings_cache": kept, "embeddings_cache_gb": TEMPORARY_CACHE_GB}
    method = replace(command_line.method_of(for_method), keep_predictions=True)
    work = OnePrompt(**command_line.settings_of_volumes(flags, 1), method=method)
    prompts = arguments.prompt_file_path or [None]
    if len(prompts) > 1:
        raise cli.UserError(f"--prompt_file_path {prompts[1]}: the page takes one file")
    program = ROOT / "process_video.py"
    here = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program
    return Session(work, job, [str(here), *words], prompts[0])


def open_browser(address: str) -> None:
    """Open the page, or say that it must be opened by hand."""
    if not webbrowser.open(address):
        print("no browser was found; open that address in one", flush=True)


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
