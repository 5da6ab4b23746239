"""What users give by mistake: a case makes its files, runs a script as a process, and knows what the error line names.

``python -m tests.bad_inputs`` runs them all and prints the table of what each said, as Markdown.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import nibabel
import numpy as np

from pose.scans.volume import Volume, read_volume, write_volume
from tests import bad_segments
from tests.cases import AFFINE, SHAPE_XYZ, two_blocks, write_nifti, write_two_blocks
from tests.warm_python import run_script

PROJECT_ROOT = Path(__file__).resolve().parent.parent
# copied before there are threads: of two, one fails where the other takes a variable away, as pytest does
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
# what a shell makes of the folder "results" in cases of a disk that does not take results
READ_ONLY = "mount --bind results results && mount -o remount,bind,ro results"
FULL = "mount -t tmpfs -o size=8k tmpfs results"
FULL_OF_RESULTS = f"cp -a results kept && {FULL} && cp -a kept/. results && rm -r kept"

CONVERT = ("nifti_to_numpy.py", "-o", "out.npz", "-i")
VIDEO = ("process_video.py", "--no_swap_axes", "--method", "region_growing", "-b", "-i")
VIDEO_OF_SCAN = (*VIDEO, "scan.nii.gz")
VIDEO_WITH_MASK = (*VIDEO_OF_SCAN, "-m")
IMAGE = ("process_image.py", "--no_swap_axes", "--model", "lite_medsam", "-b", "-i")
IMAGE_OF_SCAN = (*IMAGE, "scan.nii.gz")
IMAGE_WITH_MASK = (*IMAGE_OF_SCAN, "-m")
GOOD = ("scan.nii.gz", "-m", "scan_mask.nii.gz")


@dataclass(frozen=True)
class BadInput:
    """A mistake.

    Attributes:
        name: what is wrong, in a few words; unique.
        command: the script and its arguments; files are named as seen from the case's folder.
        says: what the error line must contain: the file or the flag first, then the value, then perhaps what to do.
        make: puts the files into the case's folder, which holds scan.nii.gz and scan_mask.nii.gz already.
        usage: True where argparse refuses it, after a usage.
        slow: True where PyTorch is needed to find the mistake.
        mount: the shell command that mounts something on the folder "results" while the script runs.
    """

    name: str
    command: tuple[str, ...]
    says: tuple[str, ...]
    make: Callable[[Path], object] = lambda folder: None
    usage: bool = False
    slow: bool = False
    mount: str | None = None

    @property
    def script(self) -> str:
        return self.command[0]


@dataclass(frozen=True)
class Outcome:
    """What a script left behind: its exit code, what it printed, and the files that are new or changed."""

    code: int
    out: str
    err: str
    changed: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """The lines of stderr; of a line that a progress bar wrote again and again, what it showed last."""
        return [line.rpartition("\r")[2] for line in self.err.split("\n") if line.strip()]

    @property
    def error_lines(self) -> list[str]:
        return [line for line in self.lines if line.startswith("error: ") or ".py: error: " in line]


def run_command(command: tuple[str, ...], folder: Path, mount: str | None = None) -> Outcome:
    """Run a script in ``folder``, as a process of its own."""
    before = contents(folder)
    script, *arguments = command
    process = [str(PROJECT_ROOT / script), *arguments]
    if mount is None:
        done = run_script(process, folder, {"OMP_NUM_THREADS": "1"})
    else:
        (folder / "results").mkdir(exist_ok=True)
        before = contents(folder)
        # what is written to the mounted folder is gone with it: the shell tells what there was
        inside = '; "$@"; code=$?; find results -mindepth 1 -newer before; exit $code'
        shell = [*NAMESPACE, "sh", "-c", f"touch before && {mount} || exit 99{inside}", "sh", sys.executable, *process]
        done = subprocess.run(shell, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    (folder / "before").unlink(missing_ok=True)
    after = contents(folder)
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if mount is not None:
        changed += [line for line in done.stdout.splitlines() if line.startswith("results/")]
    return Outcome(done.returncode, done.stdout, done.stderr, tuple(changed))


def run_case(case: BadInput, folder: Path) -> Outcome:
    """Make the files of a case in ``folder``, and run it there."""
    write_two_blocks(folder, "scan")
    case.make(folder)
    return run_command(case.command, folder, case.mount)


def contents(folder: Path) -> dict[str, str]:
    """Return a hash of each file under ``folder`` by its path; folders have none."""
    paths = sorted(folder.rglob("*"))
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in paths
    }


@cache
def namespaces_missing() -> str:
    """Return why no file system can be mounted for a process here; empty where that is possible."""
    if shutil.which(NAMESPACE[0]) is None:
        return "unshare is not installed"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "results").mkdir()
        command = [*NAMESPACE, "sh", "-c", f"{READ_ONLY} && {FULL}"]
        tried = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return "" if tried.returncode == 0 else f"no user namespace: {tried.stderr.strip()}"


# faults of files: each function writes one file to a path


def raw(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def imsave(path: Path, pixels: np.ndarray) -> None:
    import cv2

    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def array(values: np.ndarray) -> Callable[[Path], object]:
    """The array as .npy, .npz (by the name) or NIfTI."""

    def write(path: Path) -> None:
        if path.suffix == ".npy":
            np.save(path, values)
        elif path.suffix == ".npz":
            np.savez(path, values)
        else:
            nibabel.save(nibabel.Nifti1Image(values, AFFINE, dtype=values.dtype), path)

    return write


def scan_bytes(name: str) -> bytes:
    """Return the bytes of a good scan, as a file of that name would hold them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        array(np.arange(8400, dtype=np.int16).reshape(SHAPE_XYZ))(path)
        return path.read_bytes()


def cut(path: Path) -> None:
    content = scan_bytes(path.name)
    path.write_bytes(content[: len(content) * 2 // 3])


def flipped(position: float) -> Callable[[Path], None]:
    """Change one bit of the byte at a share of the file's length."""

    def write(path: Path) -> None:
        content = bytearray(scan_bytes(path.name))
        content[int(position * (len(content) - 1))] ^= 1
        path.write_bytes(content)

    return write


def flipped_where_only_the_checksum_tells(path: Path) -> None:
    """Change a bit of a voxel in a gzip stream that is stored, not compressed."""
    content = bytearray(gzip.compress(scan_bytes("scan.nii"), compresslevel=0))
    content[-500] ^= 1
    path.write_bytes(content)


def with_header(**fields: object) -> Callable[[Path], None]:
    """A .nii whose header says something else than is so."""

    def write(path: Path) -> None:
        header = nibabel.Nifti1Header(scan_bytes("scan.nii")[:348])
        for name, value in fields.items():
            header[name] = value
        path.write_bytes(header.binaryblock + scan_bytes("scan.nii")[348:])

    return write


def labelled(value: float | None = None, dtype: type = np.uint8, of: np.ndarray | None = None) -> np.ndarray:
    """The labels of two blocks, with one voxel of another value."""
    labels = (two_blocks()[1] if of is None else of).astype(dtype)
    if value is not None:
        labels[0, 0, 0] = value
    return labels


def moved(changes: np.ndarray | dict[tuple[int, int], float]) -> Callable[[Path], object]:
    """The mask of two blocks with another affine: a whole one, or single entries."""
    affine = AFFINE.copy()
    if isinstance(changes, dict):
        for place, value in changes.items():
            affine[place] = value
    else:
        affine = changes
    return lambda path: write_nifti(path, two_blocks()[1], affine)


def npz(**arrays: np.ndarray) -> Callable[[Path], object]:
    return lambda path: np.savez(path, **arrays)


class RunsCode:
    """Unpickling this would leave a file behind."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch code_ran",)


OBJECTS = np.array([[{"a": 1}]], dtype=object)
RGB = np.zeros((4, 3, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
PLAIN = np.zeros((4, 3, 2), np.int16)

# name of the fault -> the file, who writes it, what the error line contains beside the name of the file
FILE_FAULTS: dict[str, tuple[str, Callable[[Path], object], tuple[str, ...]]] = {
    "missing": ("bad.nii.gz", lambda path: None, ("no such file",)),
    "empty .nii.gz": ("bad.nii.gz", raw(b""), ("is empty",)),
    "empty .nii": ("bad.nii", raw(b""), ("is empty",)),
    "empty .npy": ("bad.npy", raw(b""), ("is empty",)),
    "empty .npz": ("bad.npz", raw(b""), ("is empty",)),
    "a folder": ("bad.nii.gz", lambda path: path.mkdir(), ("is a folder that holds no DICOM file",)),
    "another format": ("bad.jpg", raw(b"\xff\xd8"), ("has the suffix .jpg", ".nii.gz")),
    "no suffix": ("bad", raw(b"text"), ("has no suffix",)),
    "not gzip": ("bad.nii.gz", lambda path: path.write_bytes(scan_bytes("scan.nii")), ("not a gzip file",)),
    "text as .nii": ("bad.nii", raw(b"patient,label\n" * 40), ("cannot be read as NIfTI",)),
    "text as .npy": ("bad.npy", raw(b"patient,label\n"), ("cannot be read as .npy",)),
    "text as .npz": ("bad.npz", raw(b"patient,label\n"), ("is not an .npz archive, or is cut",)),
    "truncated .nii.gz": ("bad.nii.gz", cut, ("cannot be read as NIfTI", "cut", "get it again")),
    "truncated .nii": ("bad.nii", cut, ("cannot be read as NIfTI", "16800 bytes", "shorter", "get it again")),
    "truncated .npy": ("bad.npy", cut, ("cannot be read as .npy",)),
    "truncated .npz": ("bad.npz", cut, ("is not an .npz archive, or is cut",)),
    "a byte flipped in .nii.gz": ("bad.nii.gz", flipped(0.5), ("cannot be read as NIfTI", "Error -3")),
    "a byte flipped in the checksum of .nii.gz": ("bad.nii.gz", flipped(0.9995), ("cannot be read as NIfTI", "check")),
    "a voxel changed in stored .nii.gz": (
        "bad.nii.gz",
        flipped_where_only_the_checksum_tells,
        ("cannot be read as NIfTI", "incorrect data check"),
    ),
    "a byte flipped in .npz": ("bad.npz", flipped(0.5), ("cannot be read as .npz", "CRC-32")),
    "header of more voxels than there are": (
        "bad.nii",
        with_header(dim=[3, 4000, 4000, 300, 1, 1, 1, 1]),
        ("9600000000 bytes",),
    ),
    "negative size in the header": ("bad.nii", with_header(dim=[3, 40, -30, 7, 1, 1, 1, 1]), ("shape (40, -30, 7)",)),
    "one dimension": ("bad.npy", array(np.zeros(9)), ("shape (9,)", "(rows, columns, slices)")),
    "four dimensions": (
        "bad.nii.gz",
        array(np.zeros((4, 3, 2, 5))),
        ("shape (4, 3, 2, 5)", "one volume of the series"),
    ),
    "zero-size": ("bad.npy", array(np.zeros((4, 0, 2))), ("shape (4, 0, 2) has no voxels",)),
    "zero-size NIfTI": ("bad.nii", with_header(dim=[3, 40, 0, 7, 1, 1, 1, 1]), ("has no voxels",)),
    "complex NIfTI": ("bad.nii.gz", array(np.zeros((4, 3, 2), np.complex64)), ("voxels of type complex64",)),
    "complex .npy": ("bad.npy", array(np.zeros((4, 3, 2), np.complex128)), ("voxels of type complex128",)),
    "RGB NIfTI": ("bad.nii.gz", array(RGB), ("voxels of type ('R', 'G', 'B')",)),
    "structured .npy": (
        "bad.npy",
        array(np.zeros((4, 3), dtype=[("a", "i4"), ("b", "f8")])),
        ("voxels of type ('a', 'b')",),
    ),
    "words in .npy": ("bad.npy", array(np.array([["a", "b"]])), ("voxels of type <U1",)),
    "pickles in .npy": ("bad.npy", array(OBJECTS), ("pickled Python objects",)),
    "pickles in .npz": ("bad.npz", array(OBJECTS), ("pickled Python objects",)),
    "a pickle called .npy": ("bad.npy", raw(pickle.dumps(RunsCode())), ("cannot be read as .npy", "magic string")),
    "several unnamed arrays": (
        "bad.npz",
        lambda path: np.savez(path, PLAIN, PLAIN),
        ("arr_0, arr_1", "expected voxels"),
    ),
    "wrong keys": ("bad.npz", npz(image=PLAIN, label=PLAIN), ("image, label", "expected voxels")),
    "no arrays": ("bad.npz", npz(), ("(none)",)),
    "affine of another shape": ("bad.npz", npz(voxels=PLAIN, affine=np.eye(3)), ("affine is", "4 x 4")),
    "NaN affine": ("bad.npz", npz(voxels=PLAIN, affine=np.full((4, 4), np.nan)), ("affine is", "finite")),
    "singular affine": ("bad.npz", npz(voxels=PLAIN, affine=np.ones((4, 4))), ("affine is", "no geometry")),
    "spacing of zero": (
        "bad.npz",
        npz(voxels=PLAIN, spacing_mm=np.array([1.0, 0, 1])),
        ("spacing_mm is [1.0, 0.0, 1.0]",),
    ),
}
NIFTI_FAULTS = [
    "missing",
    "empty .nii.gz",
    "empty .nii",
    "a folder",
    "not gzip",
    "truncated .nii.gz",
    "truncated .nii",
    "a byte flipped in .nii.gz",
    "a byte flipped in the checksum of .nii.gz",
    "a voxel changed in stored .nii.gz",
    "header of more voxels than there are",
    "four dimensions",
    "zero-size NIfTI",
    "complex NIfTI",
    "RGB NIfTI",
]
FAULTS_OF_ALL = [
    "missing",
    "a folder",
    "truncated .nii.gz",
    "a voxel changed in stored .nii.gz",
    "pickles in .npy",
    "wrong keys",
]

# the same for masks, which a scan is compared with
MASK_FAULTS: dict[str, tuple[str, Callable[[Path], object], tuple[str, ...]]] = {
    "another shape": (
        "bad.nii.gz",
        array(labelled()[:, :, :6]),
        ("shape 40 x 30 x 6 differs from 40 x 30 x 7 of scan.nii.gz",),
    ),
    "another shape without geometry": (
        "bad.npy",
        array(labelled()[:30]),
        ("shape 30 x 30 x 7 differs from 40 x 30 x 7",),
    ),
    "another spacing": (
        "bad.nii.gz",
        moved({(2, 2): 5.0}),
        ("spacing 1.5 x 2 x 5 mm differs from 1.5 x 2 x 3 mm", "resample"),
    ),
    "another orientation": (
        "bad.nii.gz",
        moved({(0, 0): 1.5}),
        ("orientation RPS", "differs from LPS", "--allow_geometry_mismatch"),
    ),
    "another origin": (
        "bad.nii.gz",
        moved({(2, 3): -97.0}),
        ("origin (40, 60, -97) mm differs from (40, 60, -100) mm of scan.nii.gz", "--allow_geometry_mismatch"),
    ),
    "another orientation and origin": (
        "bad.nii.gz",
        moved({(0, 0): 1.5, (0, 3): -17.0}),
        ("orientation RPS", "origin (-17, 60, -100) mm from (40, 60"),
    ),
    "another spacing and origin": (
        "bad.nii.gz",
        moved({(2, 2): 5.0, (2, 3): 0.0}),
        ("spacing 1.5 x 2 x 5 mm", "resample"),
    ),
    "negative labels": ("bad.nii.gz", array(labelled(-1, np.int16)), ("-1", "whole numbers from 0")),
    "fractional labels": ("bad.nii.gz", array(labelled(0.5, np.float32)), ("value 0.5", "whole numbers")),
    "NaN voxels in a mask": ("bad.nii.gz", array(labelled(np.nan, np.float32)), ("1 voxels are NaN or infinite",)),
    "infinite voxels in a mask": ("bad.nii.gz", array(labelled(np.inf, np.float32)), ("1 voxels are NaN or infinite",)),
    "no label at all": ("bad.nii.gz", array(np.zeros(SHAPE_XYZ, np.uint8)), ("no slice holds a label",)),
}


# scans from where people have them: a folder of DICOM, and files of other programs


def dicom(make: Callable[[], list]) -> Callable[[Path], object]:
    """A folder of DICOM files, made where the case runs."""

    def write(path: Path) -> None:
        from tests.scans import made_dicom

        made_dicom.write(path, make())

    return write


def made_series(**fields: object) -> list:
    from tests.scans import made_dicom

    return made_dicom.series(6, **fields)


def one_more(slice_index: float, **fields: object) -> Callable[[Path], object]:
    """A series and another file of it."""

    def make() -> list:
        from tests.scans import made_dicom

        return [*made_series(), made_dicom.image(slice_index, **{"series": "series", **fields})]

    return dicom(make)


def cut_dicom(path: Path) -> None:
    dicom(made_series)(path)
    (path / "040.dcm").write_bytes((path / "040.dcm").read_bytes()[:-20])


def with_text(name: str) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        dicom(made_series)(path)
        (path / name).write_text("no scan")

    return write


def two_series(path: Path) -> None:
    dicom(made_series)(path / "a")
    dicom(lambda: made_series(series="other", SeriesNumber=4))(path / "b")


def no_decoder(path: Path) -> None:
    from pydicom.uid import UID

    from tests.scans import made_dicom

    slices = made_dicom.compressed(made_series())
    for one in slices:
        one.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.92")
    made_dicom.write(path, slices)


def zipped(name: str, content: bytes = b"x") -> Callable[[Path], object]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, content)

    return write


def zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("scan.dcm", "w", force_zip64=True) as member:
            member.write(bytes(1000))
        archive.infolist()[0].file_size = 2 << 30


def text(words: str) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(words.encode())


NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 4 5 6\nencoding: raw\nendian: little\n"
MHD = "ObjectType = Image\nNDims = 3\nDimSize = 4 5 6\nElementType = MET_SHORT\nElementDataFile = "
SCAN_FAULTS: dict[str, tuple[str, Callable[[Path], object], tuple[str, ...]]] = {
    "DICOM: a slice is missing": (
        "dicom",
        lambda path: dicom(lambda: [one for number, one in enumerate(made_series()) if number != 3])(path),
        ("1 slice is missing: 5 mm lie between", "elsewhere 2.5 mm"),
    ),
    "DICOM: a slice twice": ("dicom", one_more(2), ("two slices at the same place",)),
    "DICOM: uneven gaps": (
        "dicom",
        one_more(8, ImagePositionPatient=[-30, 12.5, -83]),
        ("slices are not evenly spaced (gaps of 2.5 to 4.5 mm)",),
    ),
    "DICOM: a series in time": (
        "dicom",
        dicom(lambda: [*made_series(), *made_series(SOPInstanceUID="1.2.3")]),
        ("12 slices at 6 places may be a series in time: give the files of one time alone",),
    ),
    "DICOM: a slope on some slices": (
        "dicom",
        one_more(6, RescaleSlope=None, RescaleIntercept=None),
        ("slices with and without RescaleSlope or RescaleIntercept",),
    ),
    "DICOM: two orientations": (
        "dicom",
        one_more(6, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]),
        ("slices of different orientation",),
    ),
    "DICOM: two sizes": ("dicom", one_more(6, pixels=np.zeros((4, 6))), ("slices of different size, 4 x 6 and 5 x 6",)),
    "DICOM: two series": ("dicom", two_series, ("holds 2 series; choose by --series NUMBER or UID: 3 'Thorax 2.5'",)),
    "DICOM: cut pixels": ("dicom", cut_dicom, ("040.dcm: cannot be read as DICOM",)),
    "DICOM: no DICOM among them": ("dicom", with_text("notes.dcm"), ("notes.dcm: is no DICOM file",)),
    "DICOM: no decoder": ("dicom", no_decoder, ("has no decoder here; decompress it, e.g. by gdcmconv",)),
    "DICOM: no positions": (
        "dicom",
        dicom(lambda: made_series(ImagePositionPatient=None)),
        ("6 pictures without ImagePositionPatient; give one of the files",),
    ),
    "DICOM: localisers alone": (
        "dicom",
        dicom(lambda: made_series(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])),
        ("holds no scan, but 1 localiser",),
    ),
    "zip: a path out of it": ("scan.zip", zipped("../../scan.dcm"), ("'../../scan.dcm', which leads out of it",)),
    "zip: a bomb": ("scan.zip", zip_bomb, ("as no scan does; unpack it yourself",)),
    "zip: none": ("scan.zip", text("PK and then nothing"), ("is no zip, or is cut; get the file again",)),
    "zip: no DICOM in it": ("scan.zip", zipped("scan.txt"), ("holds no DICOM file",)),
    "NRRD: cut": ("bad.nrrd", text(NRRD + "\n1234"), ("cannot be read as NRRD", "promises 240 bytes")),
    "NRRD: data elsewhere": (
        "bad.nhdr",
        text(NRRD + "data file: ../../secret.raw\n\n"),
        ("its voxels are said to lie in '../../secret.raw'; a single file beside it is read",),
    ),
    "NRRD: layers": (
        "bad.nrrd",
        text(NRRD.replace("4 5 6", "2 10 6 1") + "kinds: list domain domain domain\n\n" + "0" * 240),
        ("its sizes are 2 10 6 1, and axis 0 is none of space; save one volume",),
    ),
    "NRRD: no byte order": (
        "bad.nrrd",
        text(NRRD.replace("endian: little\n", "") + "\n" + "0" * 240),
        ("it has no endian: in which order its bytes are",),
    ),
    "MetaImage: numbers as text": (
        "bad.mhd",
        lambda path: (
            text("BinaryData = False\n" + MHD + "bad.raw\n")(path),
            (path.parent / "bad.raw").write_text("7 " * 120),
        ),
        ("its BinaryData is False: numbers as text are not read",),
    ),
    "MetaImage: no data": ("bad.mhd", text(MHD + "bad.raw\n"), ("bad.raw: no such file",)),
    "MetaImage: no header": ("bad.mha", text("no image"), ("cannot be read as MetaImage",)),
    "NIfTI pair: no voxels": (
        "bad.hdr",
        lambda path: path.write_bytes(scan_bytes("scan.nii")[:344] + b"ni1\0"),
        ("bad.hdr: cannot be read as NIfTI",),
    ),
    "PNG: colours": (
        "bad.png",
        lambda path: imsave(path, np.arange(300, dtype=np.uint8).reshape(10, 10, 3)),
        ("it is a colour picture",),
    ),
    "PNG: cut": (
        "bad.png",
        lambda path: (imsave(path, np.zeros((9, 9), np.uint8)), path.write_bytes(path.read_bytes()[:-9])),
        ("cannot be read as PNG", "cut"),
    ),
}
# these name a file in the folder
NAMED_INSIDE = ("bad.raw", "notes.dcm", "040.dcm")
OF_PET = ("nifti_to_numpy.py", "--suv", "-o", "out.npz", "-i", "dicom")
OF_SERIES = (
    "process_video.py",
    "--method",
    "region_growing",
    "--box",
    "1",
    "1",
    "3",
    "3",
    "--slice",
    "2",
    "-i",
    "dicom",
)


def of_file(place: str, command: tuple[str, ...], faults: dict, names: list[str] | None = None) -> Iterator[BadInput]:
    """Cases for a command that a faulty file's name is added to."""
    for name in faults if names is None else names:
        file, write, says = faults[name]
        yield BadInput(
            f"{place}: {name}",
            (*command, file),
            (file, *says),
            lambda folder, file=file, write=write: write(folder / file),
        )


# prompts


def prompt_file(document: object) -> Callable[[Path], object]:
    text = document if isinstance(document, str) else json.dumps(document)
    return lambda folder: (folder / "prompts.json").write_text(text)


def entry(**more: object) -> dict:
    return {"prompts": [{"slice": 3, "points": [{"row": 8, "column": 10, "label": 1}], **more}]}


BOX = {"row_min": 4, "column_min": 6, "row_max": 13, "column_max": 19}
SHAPE = dict(zip(("rows", "columns", "slices"), SHAPE_XYZ))
PROMPT_FAULTS: dict[str, tuple[object, tuple[str, ...]]] = {
    "malformed JSON": ("{prompts: 1}", ("cannot be read as JSON", "line 1")),
    "truncated JSON": (json.dumps(entry())[:40], ("cannot be read as JSON",)),
    "empty JSON": ("", ("is empty",)),
    "JSON of no prompts": ({"prompts": []}, ("at least one prompt", "[]")),
    "JSON of something else": ({"images": []}, ("unknown key 'images'",)),
    "JSON of another image's shape": (
        {**entry(), "shape": {**SHAPE, "slices": 9}},
        ("shape is 40 x 30 x 9", "the image's is 40 x 30 x 7"),
    ),
    "JSON of an orientation that is none": (
        {**entry(), "orientation": "XYZ"},
        ("orientation must be letters such as PLS", "got 'XYZ'"),
    ),
    "object id 0": (entry(object_id=0), ("prompts[0].object_id", "from 1 to 65535, got 0")),
    "negative object id": (entry(object_id=-2), ("prompts[0].object_id", "got -2")),
    "object id that is a word": (entry(object_id="lung"), ("prompts[0].object_id", "got 'lung'")),
    "object id above 65535": (entry(object_id=65536), ("prompts[0].object_id", "from 1 to 65535, got 65536")),
    "an object prompted where it is absent": (
        {"prompts": [*entry()["prompts"], {"slice": 3, "absent": True}]},
        ("slice 3, object 1", "absent and yet prompted"),
    ),
    "an object prompted beyond its last slice": (entry(last_slice=2), ("slices 0 to 2", "prompted on slice 3")),
    "point outside the image": (entry(points=[{"row": 40, "column": 3, "label": 1}]), ("row 40, column 3", "40 x 30")),
    "negative row": (entry(points=[{"row": -1, "column": 3, "label": 1}]), ("points[0].row", "got -1")),
    "row that is a fraction": (entry(points=[{"row": 1.5, "column": 3, "label": 1}]), ("points[0].row", "got 1.5")),
    "label 2 of a point": (entry(points=[{"row": 1, "column": 3, "label": 2}]), ("points[0].label", "got 2")),
    "only negative points": (
        entry(points=[{"row": 1, "column": 3, "label": 0}]),
        ("slice 3, object 1", "no positive point"),
    ),
    "box outside the image": (entry(box={**BOX, "column_max": 30}), ("column_max 30 reaches outside", "40 x 30")),
    "box that ends before it begins": (
        entry(box={**BOX, "row_max": 3}),
        ("row_min 4", "row_max 3", "ends before it begins"),
    ),
    "slice out of range": (entry(slice=7), ("slice 7", "0 to 6")),
    "mask file that is missing": (entry(mask_file_path="gone.nii.gz"), ("gone.nii.gz", "no such file")),
    "mask file of another size": (entry(mask_file_path="small.npy"), ("small.npy", "4 x 3", "40 x 30")),
}


def of_prompts(command: tuple[str, ...]) -> Iterator[BadInput]:
    for name, (document, says) in PROMPT_FAULTS.items():

        def make(folder: Path, document: object = document) -> None:
            np.save(folder / "small.npy", np.ones((4, 3, 1), np.uint8))
            prompt_file(document)(folder)

        file = () if says[0].endswith((".npy", ".nii.gz")) else ("prompts.json",)
        yield BadInput(f"prompts: {name}", (*command, "--prompt_file_path", "prompts.json"), (*file, *says), make)


def of_segments() -> Iterator[BadInput]:
    """Files of other programs, as prompts and as masks, and flags about them."""
    for command, faults in (
        ((*VIDEO_OF_SCAN, "--prompt_file_path"), bad_segments.PROMPTS),
        (VIDEO_WITH_MASK, bad_segments.MASKS),
    ):
        for name, (file, content, says) in faults.items():

            def make(folder: Path, file: str = file, content: bytes = content) -> object:
                return raw(content)(folder / file)

            yield BadInput(f"other programs: {name}", (*command, file), (file, *says), make)
    for scan, faults in (("series.nii.gz", bad_segments.SPACE_MASKS), ("series", bad_segments.DICOM_MASKS)):
        for name, (file, content, says) in faults.items():

            def make_series(folder: Path, file: str = file, content: bytes = content) -> object:
                bad_segments.write_series(folder)
                return raw(content)(folder / file)

            command = ("process_video.py", "--method", "region_growing", "-b", "-i", scan, "-m", file)
            yield BadInput(f"other programs: {name}", command, (file, *says), make_series)
    video = (*VIDEO_WITH_MASK, "scan_mask.nii.gz")
    yield BadInput(
        "a structure that is not there",
        (
            "process_video.py",
            "--method",
            "region_growing",
            "-i",
            "series.nii.gz",
            "-m",
            "rt.dcm",
            "--structure",
            "heart",
        ),
        ("rt.dcm", "holds no 'heart' (--labels)", "it holds GTV (1)"),
        lambda folder: bad_segments.write_structures(folder),
    )
    yield BadInput(
        "a label by a name that is not there",
        (*VIDEO_WITH_MASK, "m.seg.nrrd", "--labels", "spleen"),
        ("m.seg.nrrd", "no 'spleen' (--labels)", "liver (3)"),
        lambda folder: raw(bad_segments.segmentation())(folder / "m.seg.nrrd"),
    )
    yield BadInput(
        "a label by name of a file without names",
        (*video, "--structure", "liver"),
        ("scan_mask.nii.gz", "no 'liver' (--labels)", "no names"),
    )
    yield BadInput(
        "DICOM of what is none", (*video, "--write", "seg"), ("scan.nii.gz", "--write seg", "no DICOM series")
    )
    yield BadInput(
        "DICOM without a name", (*video, "--write", "seg", "--anonymous"), ("--write seg", "not with --anonymous")
    )
    yield BadInput("a format that is not written", (*video, "--write", "mha"), ("--write", "'mha'"), usage=True)
    yield BadInput(
        "a point in millimetres off the scan",
        (*VIDEO_OF_SCAN, "--point_mm", "28", "40", "-110"),
        ("--point_mm: 28 40 -110", "lies 10 mm off", "1.5 mm"),
    )
    yield BadInput(
        "a point in the other space",
        (*VIDEO_OF_SCAN, "--space", "RAS", "--point_mm", "-28", "-40", "-91"),
        ("--point_mm: -28 -40 -91", "LPS or RAS?"),
    )
    yield BadInput(
        "a point at no place",
        (*VIDEO_OF_SCAN, "--point_mm", "nan", "0", "0"),
        ("--point_mm nan 0 0", "finite numbers of millimetres"),
    )
    yield BadInput("a space of nothing", (*video, "--space", "LPS"), ("--space LPS", "which is not given"))
    yield BadInput(
        "points in voxels and in millimetres",
        (*VIDEO_OF_SCAN, "--slice", "3", "--point", "8", "10", "--point_mm", "28", "40", "-91"),
        ("--point_mm 28 40 -91", "not together with --point"),
    )


# the rest


def checkpoint(save: Callable[[Path], object], name: str = "weights.pth") -> Callable[[Path], object]:
    return lambda folder: save(folder / name)


def torch_saved(value: object) -> Callable[[Path], object]:
    def save(path: Path) -> None:
        import torch

        torch.save({"weight": torch.zeros(3)} if value is None else value, path)

    return save


def working_data(folder: Path) -> None:
    """Two .npy files of the same shape with their .json, of which one then lies beside the other's array."""
    scan = read_volume(folder / "scan.nii.gz")
    write_volume(folder / "a.npy", scan)
    write_volume(folder / "b.npy", replace(scan, voxels=scan.voxels + 1))
    shutil.copy(folder / "b.json", folder / "a.json")


def weights_and_another_record(folder: Path) -> None:
    torch_saved(None)(folder / "weights.pth")
    (folder / "weights.pth.sha256").write_text("0" * 64 + "  weights.pth\n")


def damaged_npy(folder: Path) -> None:
    write_volume(folder / "a.npy", read_volume(folder / "scan.nii.gz"))
    content = bytearray((folder / "a.npy").read_bytes())
    content[-1] ^= 1
    (folder / "a.npy").write_bytes(content)


def json_of(text: str) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        write_volume(folder / "a.npy", read_volume(folder / "scan.nii.gz"))
        (folder / "a.json").write_text(text)

    return make


def same_stem(folder: Path) -> None:
    for name in ("scan.npz", "scan.npy"):
        write_volume(folder / name, Volume(two_blocks()[0]))


def results_of_a_run(folder: Path, table: str | bytes, run: str = "results/case") -> None:
    path = folder / run / "raw_data_2025-01-01_10-00-00.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(table.encode() if isinstance(table, str) else table)


def joined(name: str, table: str | bytes, *says: str) -> BadInput:
    """A table of a run that join_results.py cannot read."""
    file = "results/case/raw_data_2025-01-01_10-00-00.csv"
    command = ("join_results.py", "-r", "results")
    return BadInput(f"join: {name}", command, (file, *says), lambda folder: results_of_a_run(folder, table))


def a_file_called_results(folder: Path) -> None:
    (folder / "results").write_text("notes")


def all_cases() -> Iterator[BadInput]:
    yield from of_file("convert", CONVERT, FILE_FAULTS, NIFTI_FAULTS)
    yield from of_file("video, image", VIDEO, FILE_FAULTS)
    yield from of_file("video, masks", VIDEO_WITH_MASK, FILE_FAULTS, FAULTS_OF_ALL)
    yield from of_file("image, image", IMAGE, FILE_FAULTS, FAULTS_OF_ALL)
    yield from of_file("video, masks", VIDEO_WITH_MASK, MASK_FAULTS)
    some_of_masks = ["another shape", "another origin", "no label at all"]
    yield from of_file("image, masks", IMAGE_WITH_MASK, MASK_FAULTS, some_of_masks)
    yield from of_prompts(VIDEO_OF_SCAN)
    yield from of_segments()
    video, image, forced = (*VIDEO, *GOOD), (*IMAGE, *GOOD), "--allow_geometry_mismatch"
    for name in ("another shape", "another spacing"):
        file, write, says = MASK_FAULTS[name]
        command = (*VIDEO_WITH_MASK, file, forced)
        yield BadInput(
            f"allowed mismatch: {name}", command, (file, *says), lambda folder, f=file, w=write: w(folder / f)
        )

    for name in SCAN_FAULTS:
        file, write, says = SCAN_FAULTS[name]
        named = () if any(word.startswith(NAMED_INSIDE) for word in says) else (file,)
        make = lambda folder, file=file, write=write: write(folder / file)  # noqa: E731
        yield BadInput(name, (*CONVERT, file), (*named, *says), make)
    yield BadInput(
        "DICOM: no SUV to be had",
        OF_PET,
        ("--suv: Modality is 'CT', not PT",),
        lambda folder: dicom(made_series)(folder / "dicom"),
    )
    yield BadInput(
        "DICOM: no such series",
        (*OF_SERIES, "--series", "9"),
        ("dicom: --series 9: no such series; there are 3 'Thorax 2.5'",),
        lambda folder: two_series(folder / "dicom"),
    )
    yield BadInput("--series of NIfTI", (*CONVERT, "scan.nii.gz", "--series", "3"), ("--series is for DICOM",))
    yield BadInput("convert: working data", (*CONVERT, "scan.npz"), ("scan.npz", "is working data already"), same_stem)
    yield BadInput(
        "convert: to a format it does not write",
        ("nifti_to_numpy.py", "-i", "scan.nii.gz", "-o", "out.mat"),
        ("out.mat", ".npz or .npy"),
    )
    yield BadInput(
        "convert: into a file as folder",
        ("nifti_to_numpy.py", "-i", "scan.nii.gz", "-o", "results/out.npz"),
        ("results", "cannot be made a folder"),
        a_file_called_results,
    )
    yield BadInput(
        "convert: onto a folder",
        ("nifti_to_numpy.py", "-i", "scan.nii.gz", "-o", "out.npz"),
        ("out.npz", "cannot be written"),
        lambda folder: (folder / "out.npz").mkdir(),
    )
    yield BadInput(
        "convert: beside a .json of something else",
        ("nifti_to_numpy.py", "-i", "scan.nii.gz", "-o", "a.npy"),
        ("a.json", "is no geometry"),
        lambda folder: (folder / "a.json").write_text("[1]"),
    )
    yield BadInput(
        "convert: read-only folder",
        ("nifti_to_numpy.py", "-i", "scan.nii.gz", "-o", "results/out.npz"),
        ("results/out.npz", "Read-only"),
        mount=READ_ONLY,
    )
    yield BadInput(
        "convert: full disk",
        ("nifti_to_numpy.py", "-i", "scan.nii.gz", "-o", "results/out.npy"),
        ("results/out.npy", "No space left"),
        mount=FULL,
    )

    yield BadInput(
        "convert: full disk, into a new folder",
        ("nifti_to_numpy.py", "-i", "scan.nii.gz", "-o", "results/a/b/out.npy"),
        ("results/a/b/out.npy", "No space left"),
        mount=FULL,
    )

    two_scans = ("scan.nii.gz", "scan_mask.nii.gz")
    yield BadInput(
        "convert: a file without a place to go",
        (*CONVERT, *two_scans),
        ("--output_file_path", "1 files for 2 of --input_file_path"),
    )
    yield BadInput(
        "convert: two files into one",
        (*CONVERT, *two_scans, "-o", "a.npz", "a.npz"),
        ("a.npz", "both scan.nii.gz and scan_mask.nii.gz would go there"),
    )
    yield BadInput("video: as many names", (*video, "--names", "a", "b"), ("--names", "2 names for 1 images"))
    yield BadInput(
        "image: a name with a folder", (*image, "--names", "a/b"), ("--names a/b", "not the name of a folder")
    )
    yield BadInput("video: no name", (*video, "--names", ".."), ("--names ..", "not the name of a folder"))
    yield BadInput(
        "video: as many prompts",
        (*VIDEO_OF_SCAN, "--prompt_file_path", "a.json", "b.json"),
        ("--prompt_file_path", "2 files for 1 images", "one for all"),
    )

    yield BadInput(
        "image: slice without a label",
        (*image, "--slice", "0"),
        ("scan_mask.nii.gz", "slice 0 holds no label", "nearest one with a label is 2"),
    )
    yield BadInput(
        "video: prompted slice without a label",
        (*video, "--prompt_slice", "6"),
        ("scan_mask.nii.gz", "slice 6 holds no label", "is 5"),
    )
    yield BadInput("image: slice out of range", (*image, "--slice", "7"), ("scan.nii.gz", "--slice 7", "0 to 6"))
    yield BadInput(
        "video: slice out of range", (*video, "--prompt_slice", "7"), ("scan_mask.nii.gz", "slice 7", "0 to 6", "is 5")
    )
    yield BadInput(
        "image: slice that the prompts leave out",
        (*IMAGE_OF_SCAN, "--prompt_file_path", "prompts.json", "--slice", "1"),
        ("prompts.json", "--slice 1", "nearest one with a prompt is 3"),
        prompt_file(entry(box=BOX)),
    )
    yield BadInput(
        "labels that are not there", (*video, "--labels", "1", "9"), ("scan_mask.nii.gz", "no label 9", "[1, 2]")
    )
    yield BadInput(
        "labels too large for objects",
        (*VIDEO_WITH_MASK, "big.nii.gz", "--objects", "per_label"),
        ("big.nii.gz", "slice 4", "label 70000", "1 to 65535"),
        lambda folder: array(labelled(dtype=np.int32) * 35000)(folder / "big.nii.gz"),
    )
    yield BadInput(
        "the scan given as its masks", (*VIDEO_WITH_MASK, "scan.nii.gz"), ("scan.nii.gz", "values from -800 to 40")
    )
    yield BadInput("no prompt", VIDEO_OF_SCAN, ("scan.nii.gz", "no prompt", "--masks_file_path"))
    yield BadInput(
        "more masks than images", (*video, "scan_mask.nii.gz"), ("--masks_file_path", "2 files for 1 images")
    )
    yield BadInput(
        "two inputs of the same stem",
        (*VIDEO, "scan.npz", "scan.npy", "--slice", "3", "--point", "8", "9"),
        ("scan.npy", "same name as scan.npz", "results_video/scan"),
        same_stem,
    )

    here = (*VIDEO_OF_SCAN, "--slice", "3")
    yield BadInput(
        "command line: point outside the image",
        (*here, "--point", "8", "30"),
        ("scan.nii.gz", "row 8, column 30", "40 x 30"),
    )
    yield BadInput(
        "command line: box outside the image",
        (*here, "--box", "4", "6", "40", "19"),
        ("scan.nii.gz", "row_max 40", "40 x 30"),
    )
    yield BadInput(
        "command line: box that ends before it begins",
        (*here, "--box", "9", "6", "4", "19"),
        ("command line", "row_min 9", "row_max 4", "ends before it begins"),
    )
    yield BadInput(
        "command line: only negative points",
        (*here, "--negative_point", "1", "2"),
        ("command line: slice 3", "no positive point"),
    )
    yield BadInput(
        "command line: point on no slice", (*VIDEO_OF_SCAN, "--point", "1", "2"), ("--point", "need --slice")
    )
    yield BadInput(
        "command line: slice out of range",
        (*VIDEO_OF_SCAN, "--slice", "70", "--point", "1", "2"),
        ("scan.nii.gz", "slice 70", "0 to 6"),
    )
    yield BadInput("command line: negative row", (*here, "--point", "-8", "3"), ("--point",), usage=True)
    yield BadInput("command line: a word for a row", (*here, "--point", "top", "3"), ("--point", "'top'"), usage=True)
    yield BadInput(
        "prompts from two places",
        (*here, "--point", "1", "2", "--prompt_file_path", "prompts.json"),
        ("--prompt_file_path prompts.json", "not together"),
        prompt_file(entry()),
    )
    yield BadInput(
        "seed and prompt",
        (*video, "--seed_image_file_path", "scan.nii.gz", "--seed_masks_file_path", "scan_mask.nii.gz", "-s", "3")
        + ("--point", "4", "4"),
        ("--point", "not together with seeds"),
    )
    yield BadInput(
        "seed and a start slice without a memory",
        (*video, "--seed_image_file_path", "scan.nii.gz", "--seed_masks_file_path", "scan_mask.nii.gz")
        + ("--start_slice", "3"),
        ("--start_slice 3", "region_growing finds the slice by itself"),
    )
    yield BadInput(
        "seed without a prompt",
        (*video, "--seed_image_file_path", "scan.nii.gz"),
        ("--seed_image_file_path scan.nii.gz", "--seed_masks_file_path"),
    )
    yield BadInput(
        "seed slice without a seed", (*video, "--seed_slice", "3"), ("--seed_slice 3", "needs --seed_image_file_path")
    )

    seeded = ("process_video.py", "-i", "scan.nii.gz", "--model", "tiny", "--checkpoint_file_path", "weights.pth")
    seed_image, seed_masks = ("--seed_image_file_path", "scan.nii.gz"), ("--seed_masks_file_path", "scan_mask.nii.gz")
    some = checkpoint(raw(b"weights"))
    yield BadInput(
        "seeds of lists that do not fit",
        (*seeded, *seed_image, "scan.nii.gz", *seed_masks, "--seed_slice", "2", "3", "4"),
        ("--seed_image_file_path: 2 given for 3 seeds", "1 or 3"),
        some,
    )
    yield BadInput(
        "seed slice without a label",
        (*seeded, *seed_image, *seed_masks, "--seed_slice", "0"),
        ("scan_mask.nii.gz", "slice 0 holds no label", "is 2"),
        some,
    )
    yield BadInput(
        "seed image and seed memory",
        (*seeded, *seed_image, *seed_masks, "--seed_memory", "weights.pth"),
        ("--seed_memory weights.pth", "--seed_image_file_path"),
        some,
    )
    yield BadInput(
        "seed memory that is missing",
        (*seeded, "--seed_memory", "gone.safetensors"),
        ("gone.safetensors", "no such file"),
        some,
    )
    yield BadInput(
        "seeds and a prompt of the volume",
        (*seeded, *seed_image, *seed_masks, "--prompt_slice", "3"),
        ("--prompt_slice 3", "--seed_slice"),
        some,
    )

    yield BadInput(
        "unknown model",
        ("process_image.py", "-i", *GOOD, "--model", "huge"),
        ("--model huge", "unknown", "lite_medsam"),
    )
    yield BadInput(
        "model of the other version",
        ("process_image.py", "-i", *GOOD, "--model", "vit_b", "-v", "2"),
        ("--model vit_b", "--sam_version 1"),
    )
    yield BadInput("unknown window", (*video, "--window", "moon"), ("--window moon", "lung"))
    yield BadInput("window of a word", (*video, "--window", "40", "wide"), ("--window 40 wide", "a level and a width"))
    yield BadInput("window that is NaN", (*video, "--window", "nan", "40"), ("--window nan 40", "finite"))
    yield BadInput("two windows", (*video, "-w", "--window", "bone"), ("--window bone", "--apply_windowing"))
    yield BadInput("levels above 255", (*video, "--growing_levels", "9", "300"), ("--growing_levels 9 300", "0 to 255"))
    yield BadInput("share above 1", (*video, "--review_below", "2"), ("--review_below", "2 is not"), usage=True)
    yield BadInput(
        "image size of a model that has one",
        (*image, "--image_size", "512"),
        ("--image_size 512", "lite_medsam", "256"),
    )
    yield BadInput(
        "image size between steps",
        ("process_image.py", "-i", *GOOD, "--model", "tiny", "--image_size", "500"),
        ("--image_size 500", "multiple of 32"),
    )
    yield BadInput(
        "cache without an encoder", (*video, "--embeddings_cache", "cache"), ("--embeddings_cache cache", "no encoder")
    )
    yield BadInput("window of no width", (*video, "--window", "40", "0"), ("--window 40 0", "above 0"))
    yield BadInput(
        "unknown method", ("process_video.py", "-i", *GOOD, "--method", "magic"), ("--method", "'magic'"), usage=True
    )
    yield BadInput(
        "weights not downloaded",
        ("process_image.py", "-i", *GOOD, "--model", "vit_b"),
        ("sam_vit_b_01ec64.pth", "--model vit_b", "scripts/download_model_checkpoints.sh vit_b"),
    )
    weights = (*image, "--checkpoint_file_path", "weights.pth")
    yield BadInput("checkpoint missing", weights, ("weights.pth", "no such file"))
    yield BadInput(
        "checkpoint is a folder", weights, ("weights.pth", "is a folder"), checkpoint(lambda path: path.mkdir())
    )
    yield BadInput("checkpoint empty", weights, ("weights.pth", "is empty"), checkpoint(raw(b"")))
    yield BadInput(
        "checkpoint truncated",
        weights,
        ("weights.pth", "damaged"),
        checkpoint(lambda path: (torch_saved(None)(path), path.write_bytes(path.read_bytes()[:600]))),
        slow=True,
    )
    yield BadInput(
        "checkpoint of text",
        weights,
        ("weights.pth", "not a checkpoint"),
        checkpoint(raw(b"<html>404 Not Found</html>")),
        slow=True,
    )
    yield BadInput(
        "checkpoint of another model",
        weights,
        ("weights.pth", "of another model"),
        checkpoint(torch_saved(None)),
        slow=True,
    )
    yield BadInput(
        "checkpoint that is a pickle of code",
        weights,
        ("weights.pth", "could run code"),
        checkpoint(raw(pickle.dumps(RunsCode()))),
        slow=True,
    )
    yield BadInput(
        "checkpoint with code inside",
        weights,
        ("weights.pth", "could run code"),
        checkpoint(torch_saved({"model": RunsCode()})),
        slow=True,
    )
    yield BadInput(
        "checkpoint without tensors",
        weights,
        ("weights.pth", "no dictionary of tensors"),
        checkpoint(torch_saved({"a": 1})),
        slow=True,
    )
    yield BadInput(
        "checkpoint tampered with",
        ("process_image.py", "-i", *GOOD, "--model", "vit_b", "--checkpoint_file_path", "sam_vit_b_01ec64.pth"),
        ("sam_vit_b_01ec64.pth", "SHA-256", "ec2df62732614e57", "download it again"),
        checkpoint(torch_saved(None), "sam_vit_b_01ec64.pth"),
        slow=True,
    )
    yield BadInput(
        "checkpoint other than recorded",
        weights,
        ("weights.pth", "SHA-256", "weights.pth.sha256", "remove the record"),
        weights_and_another_record,
        slow=True,
    )
    yield BadInput(
        "cuda without CUDA",
        (*image, "--device", "cuda"),
        ("--device cuda", "no such device", "--device cpu"),
        slow=True,
    )
    yield BadInput("unknown device", (*image, "--device", "abacus"), ("--device abacus", "cpu, cuda"), slow=True)
    for threads, why in (("0", "is not a count"), ("two", "is not a whole number"), ("513", "is more than 512")):
        yield BadInput(f"{threads} threads", (*image, "--threads", threads), ("--threads", threads, why), usage=True)

    yield BadInput(
        "working data with another's .json",
        (*VIDEO, "a.npy", "-m", "scan_mask.nii.gz"),
        ("a.json", "a.npy", "crc32", "remove a.json"),
        working_data,
    )
    yield BadInput(
        "working data, a byte flipped",
        (*VIDEO, "a.npy", "-m", "scan_mask.nii.gz"),
        ("a.json", "a.npy", "crc32", "convert the scan again"),
        damaged_npy,
    )
    yield BadInput(
        "working data with a .json of another shape",
        (*VIDEO, "a.npy"),
        ("a.json", "shape [1, 2, 3]", "[40, 30, 7]"),
        json_of('{"shape": [1, 2, 3], "affine": null, "spacing_mm": null, "swap_axes": false}'),
    )
    yield BadInput(
        "working data with a truncated .json",
        (*VIDEO, "a.npy"),
        ("a.json", "cannot be read as JSON"),
        json_of('{"shape": [1, 2'),
    )
    yield BadInput(
        "working data with a .json of wrong values",
        (*VIDEO, "a.npy"),
        ("a.json", "swap_axes is 3"),
        json_of('{"shape": [40, 30, 7], "affine": null, "spacing_mm": null, "swap_axes": 3}'),
    )

    into = ("-r", "results")
    yield BadInput("video: results folder is a file", (*video, *into), ("results",), a_file_called_results)
    yield BadInput("image: results folder is a file", (*image, *into), ("results",), a_file_called_results, slow=True)
    yield BadInput("video: results folder in a file", (*video, "-r", "scan.nii.gz/results"), ("scan.nii.gz",))
    yield BadInput("video: results folder not writable", (*video, *into), ("results", "Read-only"), mount=READ_ONLY)
    yield BadInput("video: results folder on a full disk", (*video, *into), ("results", "No space left"), mount=FULL)

    yield BadInput(
        "image: cache that is a file", (*image, "--embeddings_cache", "scan.nii.gz"), ("scan.nii.gz",), slow=True
    )

    join = ("join_results.py", "-r")
    table = "slice,jaccard,dice,sam_score\n0,0.5,0.6,0.7\n"
    yield BadInput("join: missing folder", (*join, "gone"), ("gone", "no such folder"))
    yield BadInput("join: a file", (*join, "scan.nii.gz"), ("scan.nii.gz", "is not a folder"))
    yield BadInput("join: no results", (*join, "."), (".", "no folder in it holds a raw_data_*.csv"))
    yield BadInput(
        "join: folder of one volume",
        (*join, "results/case"),
        ("results/case", "give the folder above"),
        lambda folder: results_of_a_run(folder, table),
    )
    yield joined("empty table", "", "has no column 'slice'")
    yield joined("table without a column", "slice,jaccard\n0,1\n", "has no column 'dice'", "slice, jaccard")
    yield joined("truncated table", table[:-5], "line 2", "3 cells under 4 columns")
    yield joined("a word for a number", table.replace("0.5", "good"), "line 2", "jaccard 'good'")
    yield joined("fraction of a slice", table.replace("0,0.5", "0.5,0.5"), "line 2", "slice '0.5'", "whole number")
    yield joined("slice that comes twice", table + table.splitlines()[1] + "\n", "slice 0 comes twice")
    yield joined("not text", b"\xff\xfe\x00slice", "cannot be read as a CSV")
    yield BadInput(
        "join: read-only folder",
        (*join, "results"),
        ("results", "Read-only"),
        lambda folder: results_of_a_run(folder, table),
        mount=READ_ONLY,
    )

    yield BadInput(
        "join: full disk",
        (*join, "results"),
        ("results", "No space left"),
        lambda folder: results_of_a_run(folder, table),
        mount=FULL_OF_RESULTS,
    )
    for name, manifest in (("truncated", '{"prompted_slices": 1'), ("foreign", '{"prompted_slices": "one"}')):

        def make(folder: Path, manifest: str = manifest) -> None:
            results_of_a_run(folder, table)
            (folder / "results/case/run_2025-01-01_10-00-00.json").write_text(manifest)

        yield BadInput(
            f"join: {name} manifest", (*join, "results"), ("results/case/run_2025-01-01_10-00-00.json",), make
        )

    page = ("scripts/prompt_in_browser.py", "scan.nii.gz", "--no_open", "--method", "region_growing")
    yield BadInput("page: no such scan", (page[0], "no.nii.gz", *page[2:]), ("no.nii.gz", "no such file"))
    yield BadInput("page: a prompt on the command line", (*page, "--slice", "3"), ("--slice", "the page does not"))
    yield BadInput("page: no such port", (*page, "--port", "70000"), ("--port 70000", "65535"))
    yield BadInput(
        "page: prompts of no JSON",
        (*page, "--prompt_file_path", "p.json"),
        ("p.json", "cannot be read as JSON"),
        lambda folder: (folder / "p.json").write_text("{"),
    )

    phantom = ("scripts/make_phantom.py", "-o")
    yield BadInput(
        "phantom: into a file", (*phantom, "results"), ("results", "cannot be made a folder"), a_file_called_results
    )
    yield BadInput(
        "phantom: too small",
        (*phantom, "out", "--shape", "8", "8", "2"),
        ("shape (8, 8, 2) is too small", "at least (32, 32, 3)"),
    )
    yield BadInput("phantom: name with a folder", (*phantom, "out", "--name", "a/b"), ("--name", "'a/b'"))
    yield BadInput(
        "phantom: full disk",
        (*phantom, "results", "--shape", "64", "64", "6"),
        ("results/chest_phantom_ct.nii.gz", "No space left"),
        mount=FULL,
    )


CASES = list(all_cases())


# what is odd and no mistake: a word in the log, and defined results


@dataclass(frozen=True)
class OddInput:
    """Something unusual that a script takes.

    Attributes:
        name, command, make: as for :class:`BadInput`.
        logs: lines of the log, complete, in their order; no others may be there.
        result: reads from the case's folder what came out.
        expected: what it must be.
    """

    name: str
    command: tuple[str, ...]
    logs: tuple[str, ...]
    result: Callable[[Path], object]
    expected: object
    make: Callable[[Path], object] = lambda folder: None

    @property
    def script(self) -> str:
        return self.command[0]


def written(folder: Path, pattern: str) -> Path:
    """Return the one file that a run wrote under this name."""
    (path,) = folder.glob(f"results_video/*/{pattern}")
    return path


def predicted_voxels(folder: Path) -> list[int]:
    with written(folder, "raw_data_*.csv").open() as file:
        return [int(row["predicted_voxels"]) for row in csv.DictReader(file)]


def dice_of_slices(folder: Path) -> list[str]:
    with written(folder, "raw_data_*.csv").open() as file:
        return [row["dice"] for row in csv.DictReader(file)]


def converted(folder: Path) -> tuple:
    with np.load(folder / "out.npz") as archive:
        return archive["voxels"].shape, str(archive["voxels"].dtype), "affine" in archive.files


def mismatch_in_manifest(folder: Path) -> tuple:
    manifest = json.loads(written(folder, "run_*.json").read_text())
    return manifest["arguments"]["allow_geometry_mismatch"], dice_of_slices(folder)


def scan_with(**places: float) -> Callable[[Path], object]:
    """The scan of two blocks as floating numbers, with a value at voxel "x_y_z" of each name."""

    def make(folder: Path) -> None:
        voxels = two_blocks()[0].astype(np.float32)
        for name, value in places.items():
            voxels[tuple(int(index) for index in name.strip("v").split("_"))] = value
        array(voxels)(folder / "odd.nii.gz")

    return make


def scan_of(change: Callable[[np.ndarray], np.ndarray], affine: np.ndarray = AFFINE) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        scan, labels = two_blocks()
        write_nifti(folder / "odd.nii.gz", change(scan), affine)
        if change(labels).shape != labels.shape:
            write_nifti(folder / "scan_mask.nii.gz", change(labels), affine)

    return make


def middle_slice_alone(voxels: np.ndarray) -> np.ndarray:
    return voxels[:, :, 3:4]


ODD = (*VIDEO, "odd.nii.gz", "-m", "scan_mask.nii.gz")
ODD_WINDOWED = (*ODD, "-w")
FLAT_ENDS = "INFO: {}: slice(s) 0 to 1, 6 are of one grey level each"
WHOLE = [0, 0, 364, 364, 364, 364, 0]
RIGHT = ["", "", "1.0", "1.0", "1.0", "1.0", ""]
NAN_AFFINE, FLAT_AFFINE = AFFINE.copy(), AFFINE.copy()
NAN_AFFINE[0, 3] = np.nan
FLAT_AFFINE[:3, 1] = FLAT_AFFINE[:3, 0]
AS_IT_LIES = "of scan.nii.gz; taken voxel by voxel as it lies (--allow_geometry_mismatch)"
FORCED = (*VIDEO_WITH_MASK, "odd.nii.gz", "--allow_geometry_mismatch")

ODD_CASES = [
    OddInput(
        "four dimensions, the last of them one",
        (*CONVERT, "odd.nii.gz"),
        (),
        converted,
        (SHAPE_XYZ, "int16", True),
        scan_of(lambda scan: scan[..., np.newaxis]),
    ),
    OddInput(
        "two dimensions",
        (*CONVERT, "odd.nii.gz"),
        (),
        converted,
        ((40, 30, 1), "int16", True),
        scan_of(lambda scan: scan[:, :, 3]),
    ),
    OddInput(
        "NaN voxels, converted",
        (*CONVERT, "odd.nii.gz"),
        ("WARNING: odd.nii.gz: 2 of 8400 voxels are NaN or infinite; kept as they are",),
        converted,
        (SHAPE_XYZ, "float32", True),
        scan_with(v0_0_0=np.nan, v8_8_3=np.inf),
    ),
    OddInput(
        "NaN and infinite voxels",
        ODD_WINDOWED,
        (
            "WARNING: odd.nii.gz: 3 of 8400 voxels are NaN or infinite; they count as air",
            FLAT_ENDS.format("odd.nii.gz"),
        ),
        predicted_voxels,
        WHOLE,
        scan_with(v0_0_0=np.nan, v39_29_1=np.nan, v0_0_6=-np.inf),
    ),
    OddInput(
        "NaN affine",
        ODD_WINDOWED,
        (
            "WARNING: odd.nii.gz: its affine [-1.5 0 0 nan; 0 -2 0 60; 0 0 3 -100] is not finite; the geometry is "
            "taken as unknown, so that no distances are measured in mm",
            FLAT_ENDS.format("odd.nii.gz"),
        ),
        lambda folder: (written(folder, "masks_*").suffix, dice_of_slices(folder)),
        (".npz", RIGHT),
        scan_of(lambda scan: scan, NAN_AFFINE),
    ),
    OddInput(
        "singular affine",
        ODD_WINDOWED,
        (
            "WARNING: odd.nii.gz: its affine [-1.5 -1.5 0 40; 0 0 0 60; 0 0 3 -100] is singular; the geometry is taken "
            "as unknown, so that no distances are measured in mm",
            FLAT_ENDS.format("odd.nii.gz"),
        ),
        lambda folder: (written(folder, "masks_*").suffix, dice_of_slices(folder)),
        (".npz", RIGHT),
        scan_of(lambda scan: scan, FLAT_AFFINE),
    ),
    OddInput("constant slices", (*VIDEO, *GOOD), (FLAT_ENDS.format("scan.nii.gz"),), predicted_voxels, WHOLE),
    OddInput(
        "constant slices, each stretched by itself",
        (*VIDEO, *GOOD, "--intensity", "per_slice"),
        (FLAT_ENDS.format("scan.nii.gz"),),
        dice_of_slices,
        RIGHT,
    ),
    OddInput(
        "constant volume",
        ODD,
        ("WARNING: odd.nii.gz: every slice is of one grey level, its voxels go from 0 to 0",),
        predicted_voxels,
        [1200] * 7,
        scan_of(lambda scan: scan * 0),
    ),
    OddInput(
        "volume outside the window",
        (*ODD, "--window", "4000", "10"),
        ("WARNING: odd.nii.gz: every slice is of one grey level, its voxels go from -800 to 40",),
        predicted_voxels,
        [1200] * 7,
        scan_of(lambda scan: scan),
    ),
    OddInput(
        "one slice",
        ODD_WINDOWED,
        ("INFO: odd.nii.gz: is a volume of one slice",),
        dice_of_slices,
        ["1.0"],
        scan_of(middle_slice_alone),
    ),
    OddInput(
        "mask of another origin, allowed",
        FORCED,
        (
            f"WARNING: odd.nii.gz: origin (40, 60, -97) mm differs from (40, 60, -100) mm {AS_IT_LIES}",
            FLAT_ENDS.format("scan.nii.gz"),
        ),
        mismatch_in_manifest,
        (True, RIGHT),
        lambda folder: moved({(2, 3): -97.0})(folder / "odd.nii.gz"),
    ),
    OddInput(
        "mask of another orientation, allowed",
        FORCED,
        (
            "WARNING: odd.nii.gz: orientation RPS [1 0 0; 0 -1 0; 0 0 1] differs from LPS [-1 0 0; 0 -1 0; 0 0 1] "
            + AS_IT_LIES,
            FLAT_ENDS.format("scan.nii.gz"),
        ),
        mismatch_in_manifest,
        (True, RIGHT),
        lambda folder: moved({(0, 0): 1.5})(folder / "odd.nii.gz"),
    ),
    OddInput(
        "box of a single pixel",
        (*VIDEO_OF_SCAN, "--slice", "3", "--box", "8", "10", "8", "10"),
        (FLAT_ENDS.format("scan.nii.gz"),),
        lambda folder: json.loads(written(folder, "sam_prompts_*.json").read_text())["prompts"][0]["box"],
        {"row_min": 8, "column_min": 10, "row_max": 8, "column_max": 10},
    ),
]


def run_odd(case: OddInput, folder: Path) -> Outcome:
    """Make the files of a case in ``folder``, and run it there."""
    write_two_blocks(folder, "scan")
    case.make(folder)
    return run_command(case.command, folder)


def main() -> int:
    """Run all cases, two at a time; print a row each."""

    def row(case: BadInput) -> str:
        if case.mount is not None and namespaces_missing():
            return f"| {case.name} | `{case.script}` | | skipped: {namespaces_missing()} |"
        with tempfile.TemporaryDirectory() as folder:
            outcome = run_case(case, Path(folder))
        said = " ".join(line.replace("|", "\\|") for line in outcome.error_lines)
        return f"| {case.name} | `{case.script}` | {outcome.code} | {said} |"

    print("| case | script | exit code | what it printed |\n|---|---|---|---|")
    with ThreadPoolExecutor(2) as workers:
        for line in workers.map(row, CASES):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
