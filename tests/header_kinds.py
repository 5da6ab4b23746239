"""Kinds of NIfTI headers, and where ITK and nibabel see the masks written for them: `python -m tests.header_kinds`.

Each kind is a scan with one bright block. The mask of the block is written as a run writes it, straight and through
working data, and compared with the block as the viewer sees it in the scan's own header.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

with warnings.catch_warnings():
    # of SWIG's types; as an error, which tests make of warnings, it ends the interpreter
    warnings.filterwarnings("ignore", "builtin type .* has no __module__", DeprecationWarning)
    import SimpleITK

SHAPE = (24, 20, 10)
SCANNER = np.array([[-1.5, 0, 0, 40], [0, 2, 0, -30], [0, 0, 3, -100], [0, 0, 0, 1.0]])
ELSEWHERE = SCANNER + np.array([[0, 0, 0, 10], [0, 0, 0, -5], [0, 0, 0, 3], [0, 0, 0, 0]])
SIDEWAYS = np.array([[0, 0, 3, -10], [-1.5, 0, 0, 20], [0, 2, 0, 30], [0, 0, 0, 1.0]])
HALF_TURN = np.array([0.6, 0.0, 0.8], np.float32)


def oblique() -> np.ndarray:
    """SCANNER turned by 20 degrees about x and 10 about z."""
    cosines, sines = np.cos(np.radians([20, 10])), np.sin(np.radians([20, 10]))
    about_x = np.array([[1, 0, 0], [0, cosines[0], -sines[0]], [0, sines[0], cosines[0]]])
    about_z = np.array([[cosines[1], -sines[1], 0], [sines[1], cosines[1], 0], [0, 0, 1]])
    affine = SCANNER.copy()
    affine[:3, :3] = about_z @ about_x @ SCANNER[:3, :3]
    return affine


def tilted(degrees: float) -> np.ndarray:
    """The affine of a CT whose gantry was tilted."""
    shift = 5 * np.tan(np.radians(degrees))
    return np.array([[-0.8, 0, 0, 40], [0, -0.8, shift, 30], [0, 0, 5, -100], [0, 0, 0, 1.0]])


@dataclass(frozen=True)
class Kind:
    """A kind of header.

    Attributes:
        sform, qform: (4, 4) affines and their codes; None for a form that is not given.
        units: word of nibabel.
        fields: numbers of the header that are written over it, as no library would.
        reference: what ITK is asked instead, of a header that it cannot read itself: changes of its fields.
        nifti2: the larger format.
    """

    sform: tuple[np.ndarray, int] | None = None
    qform: tuple[np.ndarray, int] | None = None
    units: str = "mm"
    fields: dict[str, object] | None = None
    reference: Callable[[nibabel.Nifti1Header], None] | None = None
    nifti2: bool = False


def _without_sform(header: nibabel.Nifti1Header) -> None:
    header["sform_code"] = 0
    for axis in "xyz":
        header[f"srow_{axis}"] = 0


def _with_nearest_qform(header: nibabel.Nifti1Header) -> None:
    header.set_qform(header.get_sform(), code=int(header["sform_code"]), strip_shears=True)


def _longer(eps: float) -> dict[str, object]:
    return dict(zip(("quatern_b", "quatern_c", "quatern_d"), (HALF_TURN.astype(float) * (1 + eps)).astype(np.float32)))


def _rows(value: object) -> dict[str, object]:
    return {f"srow_{axis}": value for axis in "xyz"} | {"sform_code": 1}


KINDS = {
    "both forms": Kind((SCANNER, 1), (SCANNER, 1)),
    "both forms, oblique": Kind((oblique(), 1), (oblique(), 1)),
    "sform alone, code 2": Kind((oblique(), 2)),
    "qform alone": Kind(None, (oblique(), 1)),
    "forms differ, codes 1 1": Kind((ELSEWHERE, 1), (SCANNER, 1)),
    "forms differ, sform 2 qform 1": Kind((ELSEWHERE, 2), (SCANNER, 1)),
    "forms differ, sform 4 qform 1": Kind((ELSEWHERE, 4), (SCANNER, 1)),
    "forms differ, codes 2 2": Kind((ELSEWHERE, 2), (SCANNER, 2)),
    "forms differ, sform 3 qform 2": Kind((ELSEWHERE, 3), (oblique(), 2)),
    "forms differ, sform 1 qform 4": Kind((ELSEWHERE, 1), (SCANNER, 4)),
    "forms alike, codes 2 4": Kind((SCANNER, 2), (SCANNER, 4)),
    "codes 0 0": Kind(fields={"pixdim": [1, 1.5, 2, 3, 0, 0, 0, 0]}),
    "codes 0 0, with offsets": Kind(
        fields={"pixdim": [1, 1.5, 2, 3, 0, 0, 0, 0], "qoffset_x": 9.0, "srow_x": [1, 0, 0, 7]}
    ),
    "metres": Kind((SCANNER / 1000 * [1, 1, 1, 1], 1), (SCANNER / 1000, 1), "meter"),
    "micrometres": Kind((np.diag([500.0, 400, 2000, 1]), 1), (np.diag([500.0, 400, 2000, 1]), 1), "micron"),
    "micrometres, forms differ": Kind((ELSEWHERE * 1000, 2), (SCANNER * 1000, 1), "micron"),
    "unit unknown": Kind((SCANNER, 1), (SCANNER, 1), "unknown"),
    "pixdim negative": Kind(None, (SIDEWAYS, 1), fields={"pixdim": [1, -1.5, 2, 3, 0, 0, 0, 0]}),
    "pixdim zero": Kind(None, (SIDEWAYS, 1), fields={"pixdim": [1, 1.5, 2, 0, 0, 0, 0, 0]}),
    "qfac 0": Kind(None, (SIDEWAYS, 1), fields={"pixdim": [0, 1.5, 2, 3, 0, 0, 0, 0]}),
    "qfac -1": Kind(None, (SIDEWAYS * [1, 1, -1, 1], 1)),
    **{
        f"quaternion {eps:g} too long": Kind(None, (SIDEWAYS, 1), fields=_longer(eps))
        for eps in (1e-7, 4e-7, 1e-6, 1e-5, 1e-4)
    },
    "sform of zeros, qform": Kind(None, (SIDEWAYS, 1), fields=_rows([0, 0, 0, 0])),
    "sform of NaN, qform": Kind(None, (SIDEWAYS, 1), fields=_rows([np.nan] * 4), reference=_without_sform),
    "sform in a plane, qform": Kind(None, (SIDEWAYS, 1), fields=_rows([1, 1, 0, 5]), reference=_without_sform),
    "qform of NaN, sform": Kind((SCANNER, 1), (SCANNER, 1), fields={"quatern_b": np.nan}),
    "sheared sform alone": Kind((tilted(20), 1), reference=_with_nearest_qform),
    "sheared sform alone, code 2": Kind((tilted(1), 2), reference=_with_nearest_qform),
    "sheared sform, qform": Kind((tilted(20), 1), (tilted(20), 1)),
    "sheared sform 2, qform 1": Kind((tilted(20), 2), (tilted(20), 1)),
    "NIfTI-2": Kind((ELSEWHERE, 2), (SCANNER, 1), nifti2=True),
}


def block() -> np.ndarray:
    """(24, 20, 10) uint8, the object of every kind."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[4:12, 5:11, 2:7] = 1
    return mask


def write_kind(path: Path, kind: Kind, voxels: np.ndarray, *, readable: bool = False) -> Path:
    """Write voxels under the header of ``kind``; ``readable`` asks for the one that ITK reads instead."""
    image_class = nibabel.Nifti2Image if kind.nifti2 and not readable else nibabel.Nifti1Image
    image = image_class(voxels, None, dtype=voxels.dtype)
    image.header.set_xyzt_units(kind.units)
    for form, setter in ((kind.qform, image.header.set_qform), (kind.sform, image.header.set_sform)):
        if form is not None:
            setter(form[0], code=form[1])
    nibabel.save(image, path)
    content, size = path.read_bytes(), image.header.template_dtype.itemsize
    header = type(image.header)(content[:size], check=False)
    for name, value in (kind.fields or {}).items():
        header[name] = value
    if readable and kind.reference is not None:
        kind.reference(header)
    path.write_bytes(header.binaryblock + content[size:])
    return path


def world_dice(truth: Path, mask: Path) -> float:
    """Return the Dice of two masks where ITK sees them in space: the second on the voxels of the first."""
    one, other = (SimpleITK.ReadImage(str(path)) for path in (truth, mask))
    resampled = SimpleITK.Resample(other, one, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0)
    here, there, whole = (SimpleITK.GetArrayFromImage(image) > 0 for image in (one, resampled, other))
    return float(2 * (here & there).sum() / (here.sum() + whole.sum()))


def nibabel_agrees(scan: Path, mask: Path) -> bool | None:
    """Tell whether nibabel has both at the same place; None where it has none for the scan."""
    try:
        affine = nibabel.load(scan).affine
    except ValueError:  # a quaternion that is too long
        return None
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine) < 4:
        return None
    return bool(np.allclose(nibabel.load(mask).affine, affine, rtol=1e-6, atol=1e-6))


def written_mask(folder: Path, kind: Kind, through: str = "", swap_axes: bool = False) -> tuple[Path, Path]:
    """Write scan and mask of a kind; ``through`` is the suffix of the working data between, if any."""
    from pose.scans.masks import write_mask
    from pose.scans.volume import read_volume, write_volume

    folder.mkdir()
    scan_path = write_kind(folder / "scan.nii", kind, block())
    scan = read_volume(scan_path, swap_axes)
    if through:
        write_volume(folder / f"scan{through}", scan)
        scan = read_volume(folder / f"scan{through}")
    write_mask(folder / "mask.nii.gz", scan.voxels, scan)
    return scan_path, folder / "mask.nii.gz"


def main() -> int:
    """Print the table; return how many kinds are wrong."""
    wrong = 0
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    logging.disable(logging.WARNING)
    print("| header | ITK, Dice in space | through .npz | through .npy, axes swapped | nibabel has both at one place |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for number, (title, kind) in enumerate(KINDS.items()):
            row = []
            for through, swap_axes in (("", False), (".npz", False), (".npy", True)):
                scan, mask = written_mask(Path(name) / f"{number}{through}", kind, through, swap_axes)
                truth = write_kind(mask.parent / "truth.nii", kind, block(), readable=True)
                row.append(world_dice(truth, mask))
                agrees = nibabel_agrees(scan, mask)
                wrong += row[-1] != 1 or agrees is False
            cells = " | ".join(f"{dice:.3f}" for dice in row)
            said = {True: "yes", False: "no", None: "it cannot read the scan"}[agrees]
            print(f"| {title}{' (*)' if kind.reference or kind.nifti2 else ''} | {cells} | {said} |")
    print(
        "\n(*) ITK cannot read the scan's own header: compared with its qform, the one nearest its sform, or NIfTI-1."
    )
    return wrong


if __name__ == "__main__":
    sys.exit(main())
