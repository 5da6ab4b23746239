"""Damage: what libraries raise on files that are cut, damaged, encrypted, no such format, or larger than the memory."""

from __future__ import annotations

import zipfile
import zlib

DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    SyntaxError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    zlib.error,
    zipfile.BadZipFile,
)
# those of them that only a file in transit suffers
BROKEN = (EOFError, zlib.error, zipfile.BadZipFile)
