"""The two data sets of the paper in miniature: made-up chests under the real names, in archives like the real ones."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from pose.scans.phantom import chest_ct

CORONACASES = [f"coronacases_{number:03}" for number in range(1, 11)]
RADIOPAEDIA = [
    f"radiopaedia_{name}"
    for name in (
        "4_85506_1",
        "7_85703_0",
        "10_85902_1",
        "10_85902_3",
        "14_85914_0",
        "27_86410_0",
        "29_86490_1",
        "29_86491_1",
        "36_86526_0",
        "40_86625_0",
    )
]
COVID_ADDRESS, MONTGOMERY_ADDRESS = "/record/3757476/files/", "/imgs/collections/"
MADE = (2020, 4, 20, 12, 0, 0)


def covid_archives(names: list[str], shape: tuple[int, int, int] = (48, 52, 7)) -> dict[str, bytes]:
    """Return both archives of the COVID-19 CT data set by their path on the server.

    Volumes called coronacases_* are in Hounsfield units, the others hold their grey levels in the lung window.
    """
    scans, masks = {}, {}
    for seed, name in enumerate(names):
        volume, labels = chest_ct(shape, seed)
        voxels = volume.voxels
        if not name.startswith("coronacases"):
            voxels = np.floor((np.clip(voxels.astype(float), -1400, 100) + 1400) * 255 / 1500 + 0.5).astype(np.uint8)
        scans[f"{name}.nii.gz"], masks[f"{name}.nii.gz"] = (
            nifti_bytes(array.swapaxes(0, 1), volume.affine) for array in (voxels, labels.astype(np.uint8))
        )
    return {
        f"{COVID_ADDRESS}COVID-19-CT-Seg_20cases.zip": zip_bytes(scans),
        f"{COVID_ADDRESS}Lung_Mask.zip": zip_bytes({**masks, f"__MACOSX/._{names[0]}.nii.gz": b"shadow"}),
    }


def nifti_bytes(voxels: np.ndarray, affine: np.ndarray) -> bytes:
    """Return voxels (x, y, z) as a compressed NIfTI file."""
    return gzip.compress(nibabel.Nifti1Image(voxels, affine).to_bytes(), compresslevel=1)


def xray(seed: int, shape: tuple[int, int] = (60, 50)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a made-up X-ray, (rows, columns) uint8, and its left and right lung, bool; the lungs are dark."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    random = np.random.default_rng(seed)
    lungs = []
    for centre in (0.72, 0.28):  # the patient's left is at the right of the picture
        height, width = random.uniform(0.25, 0.35), random.uniform(0.14, 0.18)
        lungs.append(((rows / shape[0] - 0.5) / height) ** 2 + ((columns / shape[1] - centre) / width) ** 2 < 1)
    grey = np.where(lungs[0] | lungs[1], 60, 190) + random.integers(0, 20, shape)
    return grey.astype(np.uint8), *lungs


def montgomery_archive(count: int, shape: tuple[int, int] = (60, 50)) -> dict[str, bytes]:
    """Return the archive of the Montgomery set by its path on the server; the second X-ray has 16 bits."""
    files = {"__MACOSX/MontgomerySet/CXR_png/._x.png": b"shadow", "MontgomerySet/CXR_png/Thumbs.db": b"thumbs"}
    for number in range(1, count + 1):
        name = f"MCUCXR_{number:04}_{number % 2}"
        grey, left, right = xray(number, shape)
        pixels = grey.astype(np.uint16) * 16 if number == 2 else grey
        files[f"MontgomerySet/CXR_png/{name}.png"] = png_bytes(pixels)
        files[f"MontgomerySet/ManualMask/leftMask/{name}.png"] = png_bytes(left)
        files[f"MontgomerySet/ManualMask/rightMask/{name}.png"] = png_bytes(right)
        reading = f"Patient's Sex: {'MF'[number % 2]}\nPatient's Age: {20 + number:03}Y\nnormal\n"
        files[f"MontgomerySet/ClinicalReadings/{name}.txt"] = reading.encode()
    return {f"{MONTGOMERY_ADDRESS}NLM-MontgomeryCXRSet.zip": zip_bytes(files)}


def png_bytes(pixels: np.ndarray) -> bytes:
    """Return (rows, columns) bool, uint8 or uint16 as a PNG of 1, 8 or 16 bits."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def zip_bytes(files: dict[str, bytes]) -> bytes:
    """Return files by name as a zip archive, made years ago."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, MADE), content)
    return buffer.getvalue()


def write_files(folder: Path, archives: dict[str, bytes]) -> None:
    """Unpack ``archives`` into ``folder``, without a script."""
    for content in archives.values():
        zipfile.ZipFile(io.BytesIO(content)).extractall(folder)
