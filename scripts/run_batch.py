#!/usr/bin/env python3
"""Do one batch of volumes of a data set, as scripts/Snakefile asks: one process, in which a model is loaded once.

  check     what the script that segments would do with some volumes: its flags, and the weights of its model; done
            once, before all batches
  convert   nifti_to_numpy.py for all scans and masks of the batch
  process   process_video.py or process_image.py for all its volumes, with --resume
  summary   what became of all batches: exit code 1 where a volume failed

A volume that fails does not fail its batch: it is named in the file that says that the batch is done, and in its folder
of results, for joined tables and the report to count. What stands after -- goes to the script that segments.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT_ROOT))

from pose import cli
from pose.cli import UserError
from pose.files.atomic import DiskFullError, remove_leftovers, write_atomically
from pose.runs.dataset import SCRIPTS, Volume, read_list

STEPS = ("check", "convert", "process", "summary")
CHECKED = 2


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--output_folder_path", type=Path, required=True, metavar="FOLDER", help="that of the data set")
    parser.add_argument("--batch", type=cli.positive_whole_number, metavar="N", help="which batch of volumes.csv in it")
    parser.add_argument("--script", choices=SCRIPTS, default=SCRIPTS[0], help="what segments (default: %(default)s)")
    parser.add_argument("--swap_axes", action="store_true", help="convert: swap the first two axes")
    cli.add_dicom_arguments(parser)
    parser.add_argument("--converted", action="store_true", help="process: from the working data that convert made")
    parser.add_argument("--gpu", action="store_true", help="process: on one of the GPUs that no other batch is on")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Do a step; see ``--help``."""
    words = list(sys.argv[1:] if argv is None else argv)
    end = words.index("--") if "--" in words else len(words)
    arguments, flags = make_parser().parse_args(words[:end]), words[end + 1 :]
    folder = arguments.output_folder_path
    volumes = read_list(folder / "volumes.csv")
    if arguments.step == "summary":
        return summarise(folder, volumes)
    if arguments.step == "check":
        return check(volumes, folder, arguments.script, flags)
    batch = [volume for volume in volumes if volume.batch == arguments.batch]
    if not batch:
        raise UserError(f"--batch {arguments.batch}: {folder / 'volumes.csv'} has no such batch")
    if arguments.step == "convert":
        asked = ["--swap_axes"] if arguments.swap_axes else []
        asked += [*(["--series", arguments.series] if arguments.series else []), *(["--suv"] if arguments.suv else [])]
        failed = convert(batch, folder, asked)
    else:
        if arguments.gpu:
            from pose.runs.gpus import claim_gpu

            claim_gpu()
        files = [found_files(folder, volume, arguments.converted) for volume in batch]
        failed = process(batch, files, folder, arguments.script, flags)
    write_done(done_file(folder, arguments.step, arguments.batch), batch, failed)
    return cli.EXIT_OK


def done_file(folder: Path, step: str, batch: int) -> Path:
    """Return the file that says that a batch is done."""
    return folder / "batches" / f"{step}_{batch:05}.done"


def working_data(folder: Path, volume: Volume) -> tuple[Path, Path | None]:
    """Return where the working data of a volume goes: its scan and its masks."""
    masks = folder / "working_data" / f"masks_{volume.name}.npz" if volume.masks else None
    return folder / "working_data" / f"image_{volume.name}.npz", masks


def check(volumes: Sequence[Volume], folder: Path, script: str, flags: Sequence[str]) -> int:
    """Let the script say what it would do with the first volumes of each window; a broken volume is no mistake here.

    What killed jobs left half-written outside the folders of results, which are cleared volume by volume, is removed.

    Raises:
        UserError: every volume would fail.
    """
    for place in (folder, folder / "batches", folder / "working_data"):
        remove_leftovers(place)
    for window in dict.fromkeys(volume.window for volume in volumes):
        some = [volume for volume in volumes if volume.window == window][:CHECKED]
        files = [(volume.image, volume.masks) for volume in some]
        run(script, [*volume_arguments(some, files, folder), "--dry_run", *flags])
    return cli.EXIT_OK


def convert(batch: Sequence[Volume], folder: Path, asked: Sequence[str]) -> dict[str, str]:
    """Convert scans and masks, with the arguments ``asked``; return why volumes failed, by name."""
    pairs: dict[Path, Path] = {}
    for volume in batch:
        image, masks = working_data(folder, volume)
        pairs[image] = Path(volume.image)
        if masks is not None:
            pairs[masks] = Path(volume.masks)
    for target in pairs:  # what an earlier conversion left must not pass for that of today's scan
        target.unlink(missing_ok=True)
    command = ["-i", *map(str, pairs.values()), "-o", *map(str, pairs), *asked]
    try:
        run("nifti_to_numpy", command)
    except DiskFullError:
        raise
    except UserError as error:  # that of the only file
        print(f"error: {error}", file=sys.stderr)
    missing = {target for target in pairs if not target.is_file()}
    return {
        volume.name: "could not be converted; the original file is read instead, which says why"
        for volume in batch
        if missing & set(working_data(folder, volume))
    }


def process(
    batch: Sequence[Volume], files: Sequence[tuple[Path, Path | None]], folder: Path, script: str, flags: Sequence[str]
) -> dict[str, str]:
    """Segment the volumes from their scans and masks, ``files``; return why volumes failed, by name."""
    from pose.results import last_failure

    command = [*volume_arguments(batch, files, folder), "--resume", "--record_failures", *flags]
    if run(script, command) == cli.EXIT_OK:
        return {}
    reasons = {volume.name: last_failure(folder / "results" / volume.name) for volume in batch}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def volume_arguments(
    batch: Sequence[Volume], files: Sequence[tuple[Path | str, Path | str | None]], folder: Path
) -> list[str]:
    """Return the arguments of the script that segments that say which volumes, from which scans and masks."""
    arguments = ["--image_file_path", *(str(image) for image, _ in files)]
    if batch[0].masks:
        arguments += ["--masks_file_path", *(str(masks) for _, masks in files)]
    if batch[0].prompts:
        arguments += ["--prompt_file_path", *(volume.prompts for volume in batch)]
    arguments += ["--names", *(volume.name for volume in batch), "--results_folder_path", str(folder / "results")]
    return [*arguments, *(["--window", *batch[0].window.split()] if batch[0].window else [])]


def found_files(folder: Path, volume: Volume, converted: bool) -> tuple[Path, Path | None]:
    """Return scan and masks of a volume: ``converted`` ones, or the originals where one is missing, to the
    same result.
    """
    originals = Path(volume.image), Path(volume.masks) if volume.masks else None
    if not converted:  # what lies there is of an earlier day
        return originals
    return tuple(
        original if made is None or not made.is_file() else made
        for made, original in zip(working_data(folder, volume), originals, strict=True)
    )


def run(script: str, command: Sequence[str]) -> int:
    """Print a command as it could be given by hand, and run it in this process; return its exit code."""
    print(shlex.join(["python", f"{script}.py", *command]), flush=True)
    return import_module(script).main(command)


def write_done(path: Path, batch: Sequence[Volume], failed: dict[str, str]) -> None:
    """Write the file that says that a batch is done, and which of its volumes failed."""
    text = json.dumps({"volumes": len(batch), "failed": failed}, indent=2) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def summarise(folder: Path, volumes: Sequence[Volume]) -> int:
    """Say how many volumes were segmented, and name those that failed and how they are done again.

    Raises:
        UserError: the joined table is not of these volumes.
    """
    failed, again = {}, []
    for batch in sorted({volume.batch for volume in volumes}):
        path = done_file(folder, "process", batch)
        found = json.loads(path.read_text(encoding="utf-8"))["failed"]
        failed.update(found)
        again += [str(path)] if found else []
    check_joined(folder / "results", {volume.name for volume in volumes})
    done = f"{len(volumes) - len(failed)} of {len(volumes)} volumes segmented"
    print(f"{done}: {folder / 'results'}, {folder / 'report.html'}")
    if not failed:
        return cli.EXIT_OK
    print(f"{len(failed)} failed; joined tables and the report count them:", file=sys.stderr)
    for name, reason in failed.items():
        print(f"  {name}: {reason}", file=sys.stderr)
    print(f"when that is mended, the same command with --forcerun {shlex.join(again)}", file=sys.stderr)
    return cli.EXIT_VOLUME_FAILED


def check_joined(results: Path, names: set[str]) -> None:
    """Compare the newest joined table with the data set: a network file system may have shown the join an old folder.

    Raises:
        UserError: it lacks volumes, or has others, whose folders an earlier run left.
    """
    table = max(results.glob("joint_results_*.csv"))
    with table.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        place = next(rows).index("image")
        joined = {row[place] for row in rows}
    if missing := sorted(names - joined):
        raise UserError(f"{table}: lacks {len(missing)} volumes, such as {missing[0]}; join again: --forcerun join")
    if others := sorted(joined - names):
        raise UserError(
            f"{results / others[0]}: is of no volume of the data set, as are {len(others) - 1} others, and is in the "
            "tables; move them away, and join again: --forcerun join"
        )


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
