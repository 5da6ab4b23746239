"""Digests of files and scans: the same for the same content, wherever it lies and whatever it is called."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pose.cli import existing_file
from pose.scans.dicom_files import files_in, is_dicom
from pose.segmenters.models import sha256_once


def sha256_of_scan(path: Path) -> str:
    """Return the SHA-256 of a file, or of the hashes of all DICOM files in a folder, whatever they are called.

    Raises:
        UserError: it is not there.
    """
    if not path.is_dir():
        return sha256_once(existing_file(path))
    digests = sorted(sha256_once(found.path) for found in files_in(path) if is_dicom(found.path))
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def hashed_name(image: Path) -> str:
    """Return a name of an image that tells nothing of its file's or folder's, and is the same wherever it lies."""
    return f"scan_{sha256_of_scan(image)[:12]}"
