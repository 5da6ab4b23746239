"""Measure how long the page to click in takes from a click to its mask, and what carrying again costs.

The scan is a made-up chest. A click is a box round a lung, sent as the browser sends it, until the new state and the
mask of the slice are there; the first on a slice encodes it, the others find it encoded. The prompts are then carried,
one more click is made at the last slice that holds the object, and they are carried again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, process_time, sleep

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from pose import cli


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lite_medsam", help="default: %(default)s")
    parser.add_argument(
        "--shape", type=cli.whole_number, nargs=3, default=(512, 512, 12), metavar=("ROWS", "COLUMNS", "SLICES")
    )
    parser.add_argument("--clicks", type=cli.positive_whole_number, default=20, help="default: %(default)s")
    parser.add_argument("--carry", action="store_true", help="measure carrying too")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a line for each figure."""
    arguments = make_parser().parse_args(argv)
    import requests

    from pose.page.server import bind, make_app, server_of
    from pose.scans.phantom import RIGHT_LUNG, chest_ct
    from pose.scans.volume import write_volume
    from scripts import prompt_in_browser

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        volume, labels = chest_ct(tuple(arguments.shape), 0)
        write_volume(folder / "chest.nii.gz", volume)
        words = [str(folder / "chest.nii.gz"), "--window", "lung", "--model", arguments.model, "--method", "chain"]
        session = prompt_in_browser.session_of(
            prompt_in_browser.make_parser().parse_args(words), words, folder / "embeddings"
        )
        turned = session.clicks.shape[:2] != labels.shape[:2]
        lung = (labels.swapaxes(0, 1) if turned else labels) == RIGHT_LUNG
        held = np.flatnonzero(lung.any(axis=(0, 1)))
        listening = bind(0)
        server = server_of(make_app(session, "token"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/token/"
        browser = requests.Session()
        browser.headers["Origin"] = address.removesuffix("/token/")

        def do(action: str, **given: int) -> float:
            began = perf_counter()
            answer = browser.post(f"{address}do/{action}", data=json.dumps(given))
            answer.raise_for_status()
            if "slice" in given:
                browser.get(f"{address}labels/{given['slice']}").raise_for_status()
            return perf_counter() - began

        def click(index: int, number: int = 0) -> float:
            """Drag a box that none with another number is: what was asked before is not computed again."""
            rows, columns = np.nonzero(lung[:, :, index])
            down, across = number % 8, number // 8
            box = {"row_min": rows.min() + down, "column_min": columns.min() + across, "row_max": rows.max()}
            box = {key: int(value) for key, value in {**box, "column_max": columns.max()}.items()}
            return do("box", object=1, slice=int(index), **box)

        def carry() -> float:
            began = perf_counter()
            do("carry")
            while session.task is not None:
                sleep(0.01)
            if session.message:
                raise RuntimeError(session.message)
            return perf_counter() - began

        try:
            middle = held[held.size // 2]
            print(f"first click on a slice: {click(middle):.2f} s")
            busy = process_time()
            times = [click(middle, 1 + number) for number in range(arguments.clicks)]
            busy = (process_time() - busy) / len(times)
            low, high = min(times), max(times)
            print(f"{len(times)} further clicks: median {statistics.median(times):.3f} s ({low:.3f} to {high:.3f}),")
            print(f"  of the processor {busy:.3f} s each, which other work on the machine does not lengthen")
            if arguments.carry:
                kept = session.model.predictions
                asked = [0 if kept is None else kept.asked]
                for what in (f"carried through {session.clicks.shape[2]} slices", "corrected and carried again"):
                    busy, seconds = process_time(), carry()
                    asked.append(0 if kept is None else kept.asked)
                    busy = process_time() - busy
                    print(
                        f"{what}: {seconds:.1f} s, {busy:.1f} s of the processor, {asked[-1] - asked[-2]} predictions"
                    )
                    click(held[-1])
        finally:
            server.should_exit = True
            thread.join()
            session.close()
            listening.close()
    return cli.EXIT_OK


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
