"""What the command lines share: the error a user can cause, exit codes, argument types, progress and logging.

Imports nothing heavy: every room may import from here, and ``--help`` must answer at once.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

EXIT_OK = 0
EXIT_VOLUME_FAILED = 1
EXIT_USER_ERROR = 2
LONGEST_ERROR = 1000
# libraries end a process without a word where the system starts no more
MOST_THREADS = 512


class UserError(Exception):
    """A mistake of the user's: one line that names the file and the value. Ends the program with exit code 2.

    Values come from files and may hold anything: what does not print is escaped, and a long line loses its middle.
    """

    def __str__(self) -> str:
        text = super().__str__()
        if len(text) > LONGEST_ERROR:
            text = f"{text[: LONGEST_ERROR - 200]} ... {text[-200:]}"
        return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def run_main(main: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """Call ``main`` and turn a :class:`UserError` into one line on stderr and exit code 2.

    Letters that the terminal cannot show, such as bytes in file names that are no text, are escaped. Anything else that
    is raised is a bug and keeps its traceback. Ctrl-C gives 130, and a request to end, such as a
    cluster's, 143, as shells expect; both leave nothing half-written. Where whoever read what is printed has gone, as
    ``head`` does, the program ends without a word, with 141.
    """
    try:
        try:
            return _run(main, argv)
        finally:
            # not at the exit of Python, which would complain of a reader that has gone; None where it was closed
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        unread = [stream for stream in (sys.stdout, sys.stderr) if stream is not None and _is_unread(stream)]
        if not unread:
            raise
        for stream in unread:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 128 + signal.SIGPIPE


def _is_unread(stream: TextIO) -> bool:
    """Tell whether a stream is a pipe whose other end was closed."""
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _run(main: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None) -> int:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _raise_terminated)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return main(argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except _Terminated:
        print("terminated", file=sys.stderr)
        return 128 + signal.SIGTERM
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


class _Terminated(KeyboardInterrupt):
    """The system asked the program to end."""


def _raise_terminated(number: int, frame: FrameType | None) -> None:
    raise _Terminated


def configure_logging() -> None:
    """Log to stderr, one plain line each: what this project has to say, and only warnings of libraries."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    logging.getLogger("pose").setLevel(logging.INFO)


def existing_file(path: Path) -> Path:
    """Return ``path``; raise :class:`UserError` unless it is a file with something in it, as far as that can
    be told.
    """
    try:
        if not path.exists():
            raise UserError(f"{path}: no such file")
        if path.is_dir():
            raise UserError(f"{path}: is a folder, not a file")
        if path.is_file() and path.stat().st_size == 0:
            raise UserError(f"{path}: is empty; get the file again")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    return path


def whole_number(text: str) -> int:
    """Argument type: an index or a count, 0 or more."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def label(text: str) -> int | str:
    """Argument type: the number of a label, 0 or more, or its name."""
    try:
        int(text)
    except ValueError:
        return text
    return whole_number(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def positive_number(text: str) -> float:
    """Argument type: a number above 0."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def share(text: str) -> float:
    """Argument type: a number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not within 0 to 1")
    return value


def positive_whole_number(text: str) -> int:
    """Argument type: a count, 1 or more."""
    value = whole_number(text)
    if value == 0:
        raise argparse.ArgumentTypeError("0 is not a count from 1")
    return value


def thread_count(text: str) -> int:
    """Argument type: a number of threads that a process can start."""
    value = positive_whole_number(text)
    if value > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{text} is more than {MOST_THREADS}")
    return value


def prompt_slice(text: str) -> str | int:
    """Argument type: "centre", "largest" or the index of a slice."""
    return text if text in ("centre", "largest") else whole_number(text)


def start_slice(text: str) -> str | int:
    """Argument type: "auto" or the index of a slice."""
    return text if text == "auto" else whole_number(text)


def named_folder(text: str) -> tuple[str, Path]:
    """Argument type: NAME=FOLDER, or a folder whose own name is taken."""
    name, equals, folder = text.partition("=")
    return (name, Path(folder)) if equals and name and folder else (Path(text).resolve().name, Path(text))


def take(kind: type[T], flags: Mapping[str, Any], prefix: str = "", **given: Any) -> T:
    """Make a dataclass of settings from the command line: each of its fields from the flag of that name.

    Args:
        kind: the dataclass; a field without a flag keeps its default.
        flags: the command line, flag by flag.
        prefix: what the names of the flags begin with, and those of the fields do not.
        given: fields that are not taken from flags.
    """
    taken = {one.name: flags[prefix + one.name] for one in fields(kind) if prefix + one.name in flags}
    taken = {name: tuple(value) if isinstance(value, list) else value for name, value in taken.items()}
    return kind(**{**taken, **given})


def add_output_argument(parser: argparse.ArgumentParser, folder: str = "comparison_results") -> None:
    """Add where tables and plots of results go."""
    parser.add_argument(
        "-o",
        "--output_folder_path",
        type=Path,
        default=Path(folder),
        metavar="FOLDER",
        help="where tables and plots go (default: %(default)s/)",
    )


def add_input_arguments(parser: argparse.ArgumentParser, image_required: bool = True) -> None:
    """Add the images, their masks, and how grey levels are made of them."""
    group = parser.add_argument_group("input")
    group.add_argument(
        "-i",
        "--image_file_path",
        type=Path,
        nargs="+",
        default=[],
        required=image_required,
        metavar="FILE",
        help="one or many scans: .nii, .nii.gz, working data (.npz, .npy), DICOM (a folder, a .zip or a file), .nrrd, "
        ".mha, .png and more; the model is loaded once for all of them",
    )
    group.add_argument(
        "-m",
        "--masks_file_path",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="ground-truth masks, one for each image, in the same order; not needed where prompts come from you",
    )
    group.add_argument(
        "--labels",
        "--structure",
        type=label,
        nargs="+",
        metavar="LABEL|NAME",
        help="labels of the masks that count as the object, by name where masks have names (DICOM SEG and RTSTRUCT, "
        ".seg.nrrd; default: all)",
    )
    group.add_argument(
        "--ignore_label",
        type=whole_number,
        metavar="LABEL",
        help="label of the masks for voxels that nobody judged: not the object, and not scored",
    )
    group.add_argument(
        "--annotated_slices_only",
        action="store_true",
        help="score only slices on which the masks have a label: the others were not annotated (default: they hold "
        "nothing, and what is found there is wrong)",
    )
    add_dicom_arguments(group)
    add_orientation_arguments(group)
    group.add_argument(
        "--allow_geometry_mismatch",
        action="store_true",
        help="take masks whose orientation or origin is not the scan's voxel by voxel as they lie, with a warning; "
        "their shape and spacing must be the scan's",
    )
    group.add_argument(
        "-w",
        "--apply_windowing",
        action="store_true",
        help="the paper's lung window: level -650 HU, width 1500 HU (same as --window lung)",
    )
    group.add_argument(
        "--window",
        nargs="+",
        metavar="NAME|LEVEL WIDTH",
        help="another CT window: lung, mediastinum, soft_tissue, liver, brain, bone, or a level and a width in HU",
    )
    group.add_argument(
        "--intensity",
        choices=("volume", "per_slice"),
        default="volume",
        help="without a window: percentiles 0.5 to 99.5 over the whole volume (default), or the minimum to the "
        "maximum of each slice, as in the published numbers",
    )
    group.add_argument(
        "--crop",
        choices=("none", "body"),
        default="none",
        help="body: the model sees only the box round the body, the same on every slice, and all its pixels are spent "
        "there; prompts and results stay in the whole frame (default: none)",
    )


def add_dicom_arguments(group: argparse._ActionsContainer) -> None:
    """Add what of a DICOM folder is read, and in which unit."""
    group.add_argument(
        "--series",
        metavar="NUMBER|UID",
        help="of DICOM with several series, the one to read: its SeriesNumber or SeriesInstanceUID (default: the only "
        "volume; otherwise they are listed)",
    )
    group.add_argument(
        "--suv", action="store_true", help="make standardised uptake values by body weight of a DICOM PET"
    )


def add_orientation_arguments(group: argparse._ActionsContainer) -> None:
    """Add how the slices of NIfTI files lie; by default rows come first, and slices are found."""
    swap = group.add_mutually_exclusive_group()
    swap.add_argument(
        "--swap_axes",
        action="store_true",
        default=None,
        help="swap the axes of the slices of NIfTI files; working data remembers it by itself (default: where rows "
        "then come first, by the affine)",
    )
    swap.add_argument(
        "--no_swap_axes",
        dest="swap_axes",
        action="store_false",
        default=None,
        help="take them in the order of the file",
    )
    group.add_argument(
        "--slice_axis",
        type=int,
        choices=(0, 1, 2),
        help="the axis of NIfTI files along which slices lie (default: that of the widest spacing, if it stands out)",
    )


def add_prompt_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how prompts are taken from ground truth, or given by the user."""
    group = parser.add_argument_group("prompts from ground truth")
    group.add_argument(
        "--objects",
        choices=("union", "per_label", "per_component"),
        default="union",
        help="all labels as one object, as in the paper (default); one object per label; or per connected component",
    )
    group.add_argument("-b", "--use_bounding_box", action="store_true", help="add the bounding box to the points")
    group.add_argument(
        "-c", "--use_masks_contours", action="store_true", help="one positive point per contour instead of per label"
    )
    group.add_argument(
        "--no_move_centroids",
        action="store_true",
        help="leave a centre of mass that is outside its label where it is, instead of moving it inside",
    )
    negative = group.add_mutually_exclusive_group()
    negative.add_argument("--no_negative_point", action="store_true", help="leave the negative point out")
    negative.add_argument(
        "--displace_negative_point",
        type=int,
        default=0,
        metavar="ROWS",
        help="move the negative point down by so many rows of the array (up where negative); it is left out where it "
        "then lies in a label",
    )
    parser.add_argument(
        "--slices",
        type=whole_number,
        nargs=2,
        metavar=("FIRST", "LAST"),
        help="nothing is searched or found before the slice FIRST and after the slice LAST",
    )
    group = parser.add_argument_group("prompts from you")
    group.add_argument(
        "--prompt_file_path",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="JSON with prompts, such as the sam_prompts_*.json of an earlier run; markups of 3D Slicer (.mrk.json, "
        ".fcsv); or a mask painted on a few slices; one for all images, or one for each",
    )
    add_point_mm_arguments(group)
    group.add_argument(
        "--point",
        type=whole_number,
        nargs=2,
        action="append",
        default=[],
        metavar=("ROW", "COLUMN"),
        help="a point inside the object on --slice; may be repeated",
    )
    group.add_argument(
        "--negative_point",
        type=whole_number,
        nargs=2,
        action="append",
        default=[],
        metavar=("ROW", "COLUMN"),
        help="a point outside the object; may be repeated",
    )
    group.add_argument(
        "--box",
        type=whole_number,
        nargs=4,
        metavar=("ROW_MIN", "COLUMN_MIN", "ROW_MAX", "COLUMN_MAX"),
        help="a box round the object, inclusive of its last row and column",
    )


def add_point_mm_arguments(group: argparse._ActionsContainer) -> None:
    """Add points in millimetres, as viewers show them."""
    group.add_argument(
        "--point_mm",
        type=float,
        nargs=3,
        action="append",
        default=[],
        metavar=("X", "Y", "Z"),
        help="a point inside the object in millimetres, which finds its slice by itself; may be repeated",
    )
    group.add_argument(
        "--space",
        choices=("RAS", "LPS"),
        help="the space of --point_mm: RAS as 3D Slicer and NIfTI have it (default), or LPS as DICOM has it",
    )


def add_model_arguments(parser: argparse.ArgumentParser, sam_version: int) -> None:
    """Add the choice of model, weights, device and precision; ``sam_version`` is the script's default."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "-v", "--sam_version", type=int, choices=(1, 2), help=f"version of Segment Anything (default: {sam_version})"
    )
    group.add_argument(
        "--model",
        metavar="NAME",
        help="1: vit_b, vit_l (default), vit_h; 2: tiny, small, base_plus, large (default), 2.1_tiny, 2.1_small, "
        "2.1_base_plus, 2.1_large, medsam2; lite_medsam (boxes only; its weights come with its package); and whatever "
        "else has a YAML in sam2_configs/",
    )
    group.add_argument(
        "--checkpoint_file_path",
        type=Path,
        metavar="FILE",
        help="weights (default: the model's file in model_checkpoints/)",
    )
    group.add_argument(
        "--image_size",
        type=whole_number,
        metavar="N",
        help="SAM 2 only: pixels a side at which the network sees a slice, a multiple of 32 (default: the model's own)",
    )
    group.add_argument(
        "--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps (default: auto)"
    )
    group.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="auto",
        help="auto computes in bfloat16 where the device does so natively (default: auto)",
    )
    add_threads_argument(group)


def add_threads_argument(group: argparse._ActionsContainer) -> None:
    """Add how many threads compute; :func:`pose.cores.use` lets them."""
    group.add_argument(
        "--threads",
        type=thread_count,
        metavar="N",
        help="threads that compute on the processor (default: OMP_NUM_THREADS; else the cores that this process may "
        "use, by its affinity, the quota of its container and SLURM_CPUS_PER_TASK)",
    )


def add_seed_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the seeds: where they come from, and where their memory goes."""
    group = parser.add_argument_group(
        "one prompt for a data set",
        "a prompted slice of one patient (the seed) serves the volumes of all others: SAM 2's memory remembers it; "
        "other methods lay the seed's scan on each volume, and find the object where it should lie and looks alike; "
        "lists give several seeds, a list of one counts for all of them",
    )
    group.add_argument(
        "--seed_image_file_path", type=Path, nargs="+", metavar="FILE", help="the patient whose slice is prompted"
    )
    group.add_argument(
        "--seed_masks_file_path", type=Path, nargs="+", metavar="FILE", help="its masks, from which the prompt is taken"
    )
    group.add_argument(
        "--seed_slice",
        type=prompt_slice,
        nargs="+",
        metavar="centre|largest|N",
        help="the slice that is prompted from its masks (default: centre, the middle of the masked slices)",
    )
    group.add_argument(
        "--seed_prompt_file_path", type=Path, nargs="+", metavar="FILE", help="JSON with the prompt, instead of masks"
    )
    group.add_argument(
        "--seed_window",
        nargs="+",
        metavar="NAME|LEVEL WIDTH",
        help="CT window that the seeds are shown with, where the volumes need another one to look alike (default: the "
        "volumes')",
    )
    group.add_argument(
        "--save_seed_memory",
        type=Path,
        metavar="FILE",
        help="write what is kept of the seeds to a small file; needs no --image_file_path",
    )
    group.add_argument(
        "--seed_memory",
        type=Path,
        metavar="FILE",
        help="such a file, instead of seed images and prompts; only for the method, model and weights that made it",
    )
    group.add_argument(
        "--start_slice",
        type=start_slice,
        metavar="auto|N",
        help="for sam2_memory: the slice of each volume from which it is worked upwards and downwards; auto takes the "
        "one that lies where the seed's does (default: its middle)",
    )


def add_embeddings_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where encoded slices are kept between runs."""
    group = parser.add_argument_group("encoded slices")
    group.add_argument(
        "--embeddings_cache",
        type=Path,
        metavar="FOLDER",
        help="keep what the image encoder makes of each slice here, and use it in further runs: other prompts on the "
        "same slices cost little (2 to 17 MB a slice)",
    )
    group.add_argument(
        "--embeddings_cache_gb",
        type=positive_number,
        default=20.0,
        metavar="GB",
        help="the folder may take as much; what was not used for longest is removed (default: %(default)g)",
    )


def add_figure_arguments(parser: argparse.ArgumentParser) -> None:
    """Add pictures for print and for talks; :mod:`pose.runs.figure_files` says what they mean."""
    group = parser.add_argument_group(
        "figures", "upright where the scan's orientation is known: anterior at the top, the patient's right at the left"
    )
    group.add_argument(
        "--figure",
        nargs="+",
        action="append",
        default=[],
        metavar=("FILE.png", "WHAT"),
        help="write a square picture without frame, title or legend, with prompt, prediction, truth or none drawn "
        "(default: prompt prediction); may be repeated. {image} and {slice} in the name stand for those of the picture",
    )
    group.add_argument(
        "--figure_slices",
        type=whole_number,
        nargs="+",
        metavar="N",
        help="only these slices (default: those with a prompt, a prediction or truth, or --slice of process_image.py)",
    )
    group.add_argument(
        "--figure_size", type=positive_whole_number, default=770, metavar="PIXELS", help="side (default: %(default)s)"
    )
    group.add_argument(
        "--gif",
        nargs="?",
        choices=("filled", "contour"),
        const="filled",
        help="write the predictions slice by slice as a GIF of at most 2 MB, beside the results; contour: "
        "outlines alone",
    )
    group.add_argument(
        "--rotate",
        type=int,
        choices=(0, 90, 180, 270),
        metavar="DEGREES",
        help="turn figures and GIF by 0, 90, 180 or 270 degrees counter-clockwise instead of by the scan's orientation",
    )
    group.add_argument(
        "--flip",
        choices=("none", "vertical", "horizontal"),
        help="then mirror them: vertical swaps top and bottom, horizontal left and right",
    )


def add_run_arguments(parser: argparse.ArgumentParser, results_folder: str, review_below: float) -> None:
    """Add where results go, and how a run behaves; ``results_folder`` is the default's name beside the image,
    ``review_below`` the default of --review_below.
    """
    group = parser.add_argument_group("run")
    group.add_argument(
        "-r",
        "--results_folder_path",
        type=Path,
        metavar="FOLDER",
        help=f"where results go, a folder for each image (default: {results_folder}/ beside the image)",
    )
    group.add_argument(
        "--write",
        nargs="+",
        choices=("seg", "rtstruct", "nrrd"),
        default=[],
        help="masks in further formats, beside the NIfTI: DICOM SEG or RTSTRUCT for DICOM scans, and .seg.nrrd of 3D "
        "Slicer, with names and colours",
    )
    group.add_argument(
        "--names",
        nargs="+",
        metavar="NAME",
        help="what the folders of the images are called there, one for each image (default: the names of their files)",
    )
    group.add_argument(
        "--anonymous",
        action="store_true",
        help="where names of files and folders may tell who a patient is: results are called by a hash of the image, "
        "and hold no path (default: the name of the file or folder; what DICOM says of the patient is never written)",
    )
    group.add_argument(
        "-d",
        "--debug",
        action="store_true",
        help="write an overlay picture and the prompt of every slice to debug_*/ in the results folder of the image",
    )
    group.add_argument(
        "--review_below",
        type=share,
        default=review_below,
        metavar="SCORE",
        help="mark a slice for review (needs_review in raw_data) where the model's own estimate of its IoU is below "
        "this: the least over objects and, in a chain, on the way from the prompt, times its worst step; and where an "
        "object breaks off (default: %(default)s)",
    )
    group.add_argument(
        "--resume",
        action="store_true",
        help="skip volumes that are done: whose newest run is complete and was made from the same inputs, settings and "
        "code; the others are done (again)",
    )
    group.add_argument(
        "--record_failures",
        action="store_true",
        help="record a failure of the only volume as that of one among many: in its results folder, for joined "
        "tables to count, and with exit code 1",
    )
    group.add_argument(
        "--strict", action="store_true", help="end with exit code 1 where there are warnings about what was found"
    )
    group.add_argument(
        "-n",
        "--dry_run",
        action="store_true",
        help="say what would be done, draw the prompts as NAME_prompt.png beside the results, and do no more",
    )
