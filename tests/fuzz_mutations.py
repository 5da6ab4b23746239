"""Broken inputs for the readers: valid files made in code, and what random edits make of them.

All randomness comes from the ``random.Random`` that a function is given, so that a case is made again from its seed.
"""

from __future__ import annotations

import copy
import gzip
import io
import json
import random
import struct
import zipfile
import zlib
from functools import lru_cache
from typing import Any

import nibabel
import numpy as np

Files = dict[str, bytes]

WHOLE_NUMBERS = (
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    16,
    32,
    64,
    127,
    128,
    255,
    256,
    348,
    352,
    512,
    540,
    1000,
    2**15 - 1,
    2**15,
    2**16,
    10**6,
    2**31 - 1,
    2**31,
    2**32,
    10**12,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
    10**400,
)
FLOATS = (
    0.0,
    -0.0,
    0.5,
    1.0,
    -1.0,
    1e-320,
    1e-30,
    1e10,
    1e30,
    3.4e38,
    1e300,
    float("inf"),
    -float("inf"),
    float("nan"),
)
TEXTS = (
    "",
    " ",
    "a",
    "true",
    "null",
    "sub/x",
    "./",
    "\n",
    "two\nlines",
    "\0",
    "\ud800",
    "\u202e",
    "\x1b[31m",
    "NaN",
    "1e999",
    "mask.npz",
    "mask.nii.gz",
    "case",
    "x" * 300,
    "x" * 5000 + ".npz",
    "é",
    "-1",
    "0x10",
    "1_000",
    "\u0661",
)


def whole_number(rng: random.Random) -> int:
    """A number that is often at the edge of some type."""
    number = rng.choice(WHOLE_NUMBERS) if rng.random() < 0.7 else rng.randrange(20)
    return -number if rng.random() < 0.2 else number + rng.choice((0, 0, 0, -1, 1))


def json_value(rng: random.Random, depth: int = 2) -> Any:
    """Any value that JSON can hold, now and then one that it should not."""
    kind = rng.randrange(8 if depth else 5)
    if kind == 0:
        return rng.choice((None, True, False))
    if kind == 1:
        return rng.choice(FLOATS)
    if kind == 2:
        return rng.choice(TEXTS)
    if kind in (3, 4):
        return whole_number(rng)
    if kind == 5:
        return [json_value(rng, depth - 1) for _ in range(rng.randrange(5))]
    if kind == 6:
        return {rng.choice(TEXTS): json_value(rng, depth - 1) for _ in range(rng.randrange(4))}
    nested: Any = []
    for _ in range(rng.choice((40, 70, 100))):
        nested = [nested]
    return nested


def edited_json(value: Any, rng: random.Random) -> Any:
    """A copy of ``value`` with one to three random edits."""
    root = [copy.deepcopy(value)]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places: list[tuple[Any, Any]] = []
        stack: list[Any] = [root]
        while stack and len(places) < 5000:
            holder = stack.pop()
            for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
                places.append((holder, key))
                if isinstance(holder[key], (dict, list)):
                    stack.append(holder[key])
        if not places:
            break
        holder, key = rng.choice(places)
        edit = rng.randrange(6)
        if edit <= 2:
            holder[key] = json_value(rng)
        elif edit == 3 and holder is not root:
            del holder[key]
        elif edit == 4:
            other, name = rng.choice(places)
            if name in other if isinstance(other, dict) else name < len(other):
                holder[key] = copy.deepcopy(other[name])
        elif isinstance(holder, dict):
            holder[rng.choice(TEXTS)] = json_value(rng)
        elif holder is not root:
            holder.extend([copy.deepcopy(holder[key])] * rng.choice((1, 2, 50)))
    return root[0]


def json_bytes(value: Any, rng: random.Random) -> bytes:
    """``value`` as JSON text in some encoding, sometimes with an edit that breaks the syntax."""
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.05:
        depth = rng.choice((100, 900, 3000, 100_000))
        text = text.replace("1", "[" * depth + "]" * depth, 1)
    if rng.random() < 0.02:
        text = text.replace("2", "9" * rng.choice((400, 4300, 4301, 100_000)), 1)
    content = text.encode(rng.choice(("utf-8",) * 12 + ("utf-8-sig", "utf-16", "utf-32")), "surrogatepass")
    alphabet = b'{}[]",:0123456789.-+eEntrufalsNI\\\n\t \0\xff'
    return edited_text(content, rng, alphabet) if rng.random() < 0.3 else content


def edited_text(content: bytes, rng: random.Random, alphabet: bytes) -> bytes:
    """One to four insertions, deletions, replacements or repetitions."""
    text = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(text) + 1)
        end = min(len(text), start + rng.choice((0, 1, 1, 2, 5, 20)))
        piece = bytes(rng.choice(alphabet) for _ in range(rng.choice((0, 1, 1, 2, 4))))
        if rng.random() < 0.1:
            piece = bytes(text[start:end]) * rng.choice((2, 3, 100))
        text[start:end] = piece
    return bytes(text)


def edited_bytes(content: bytes, rng: random.Random) -> bytes:
    """Flipped bits, other bytes, a cut, an insertion, or a piece of the file in another place."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        if not data:
            break
        position = rng.randrange(len(data))
        edit = rng.randrange(7)
        if edit <= 1:
            data[position] ^= 1 << rng.randrange(8)
        elif edit == 2:
            data[position] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        elif edit == 3:
            number = rng.choice((0, 1, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF, rng.randrange(2**32)))
            data[position : position + 4] = struct.pack(rng.choice("<>") + "I", number)
        elif edit == 4:
            del data[position:]
        elif edit == 5:
            data[position:position] = bytes(rng.choice((1, 2, 16, 1000)))
        else:
            source = rng.randrange(len(data))
            data[position : position + 8] = data[source : source + rng.choice((1, 8, 64))]
    return bytes(data)


# --- NIfTI -----------------------------------------------------------------------------------------------------------


def nifti_file(
    voxels: np.ndarray, version: int = 1, endianness: str = "<", slope: float = 1, intercept: float = 0
) -> tuple[Any, bytes]:
    """Header and voxels (x, y, z) of a NIfTI file in one piece, oblique."""
    header = (nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header)(endianness=endianness)
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    affine = np.array([[-1.5, 0.25, 0, 40], [0.25, -2, 0, 60], [0, 0, 3, -100], [0, 0, 0, 1]])
    header.set_qform(affine, code=1, strip_shears=True)
    header.set_sform(affine, code=1)
    header["magic"] = header.single_magic
    header["vox_offset"] = header.single_vox_offset
    header["scl_slope"], header["scl_inter"] = slope, intercept
    return header, voxels.astype(voxels.dtype.newbyteorder(endianness)).tobytes(order="F")


def _labels(*shape: int) -> np.ndarray:
    return (np.arange(np.prod(shape)).reshape(shape) % 3).astype(np.uint8)


NIFTI_FILES = [
    nifti_file(np.arange(60, dtype=np.int16).reshape(3, 4, 5) - 7),
    nifti_file(_labels(3, 4, 5)),
    nifti_file(np.arange(60, dtype=np.int16).reshape(3, 4, 5), slope=2, intercept=-1024),
    nifti_file(np.arange(60, dtype=np.uint16).reshape(3, 4, 5), slope=0.5, intercept=0.25, endianness=">"),
    nifti_file(np.linspace(-1, 1, 60, dtype=np.float32).reshape(3, 4, 5)),
    nifti_file(np.linspace(-1, 1, 60).reshape(3, 4, 5), slope=3),
    nifti_file(_labels(4, 5)),
    nifti_file(_labels(3, 4, 5, 1)),
    nifti_file(np.arange(60, dtype=np.int64).reshape(3, 4, 5) << 40, version=2, slope=4),
    nifti_file(_labels(3, 4, 5), version=2, endianness=">"),
    nifti_file(np.zeros((3, 4, 5), np.int8), slope=2, intercept=1),
    nifti_file(np.full((3, 4, 5), 2**64 - 1, np.uint64), slope=-1, intercept=3),
]
_MAGICS = (b"n+1\0", b"ni1\0", b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n", b"\0\0\0\0", b"n+1 ", b"n+9\0")
_DATATYPES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 255, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, 4096)


def _edit_nifti_field(header: Any, rng: random.Random) -> None:
    fields = header.template_dtype.fields
    often = ("dim", "datatype", "vox_offset", "scl_slope", "scl_inter", "xyzt_units", "pixdim")
    name = rng.choice([*fields, *often * 3])
    dtype = fields[name][0]
    if name == "datatype":
        header[name] = rng.choice(_DATATYPES)
    elif name == "magic":
        header[name] = rng.choice(_MAGICS)[: dtype.itemsize]
    elif dtype.base.kind in "iu":
        limits = np.iinfo(dtype.base)
        value = min(max(whole_number(rng), limits.min), limits.max)
        if dtype.shape:
            header[name][rng.randrange(dtype.shape[0])] = value
        else:
            header[name] = value
    elif dtype.base.kind == "f":
        value = rng.choice((*FLOATS, 16.0, 348.0, 352.0, 353.0, 368.0, 544.0, -352.0, rng.uniform(-2, 2)))
        with np.errstate(over="ignore"):
            if dtype.shape:
                header[name][rng.randrange(dtype.shape[0])] = value
            else:
                header[name] = value
    else:
        header[name] = bytes(rng.randrange(256) for _ in range(dtype.itemsize))


def _extension(rng: random.Random, endianness: str) -> bytes:
    code = rng.choice((0, 2, 4, 6, 18, 32, 44, rng.randrange(2**31)))
    text = rng.choice((b"a comment", b"<CIFTI Version='2'><Matrix>", b"\0" * 40, bytes(range(60))))
    size = rng.choice((8, 16, 16, 32, 48, 0, -16, 7, 2**31 - 16, len(text) + 8))
    return struct.pack(endianness + "ii", size, code) + text + bytes(-(len(text) + 8) % 16)


def nifti_case(rng: random.Random) -> Files:
    """A NIfTI file, plain or in gzip, with fields of its header edited, bytes flipped, or both."""
    template, voxels = rng.choice(NIFTI_FILES)
    header = template.copy()
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 6))):
        _edit_nifti_field(header, rng)
    extensions, flag = b"", b"\0\0\0\0"
    if rng.random() < 0.2:
        extensions = b"".join(_extension(rng, header.endianness) for _ in range(rng.randint(1, 3)))
        flag = rng.choice((b"\1\0\0\0", b"\1\0\0\0", b"\xff\xff\xff\xff"))
        if rng.random() < 0.7 and header["vox_offset"] == header.single_vox_offset:
            header["vox_offset"] = header.single_vox_offset + len(extensions)
    content = header.binaryblock + flag + extensions + voxels
    if rng.random() < 0.25:
        content = edited_bytes(content, rng)
    packed = rng.random() < 0.5
    if packed:
        content = gzip.compress(content, 1, mtime=0)
        if rng.random() < 0.1:
            content += rng.choice((bytes(40), content, b"rest", content[:20]))
        if rng.random() < 0.25:
            content = edited_bytes(content, rng)
    if rng.random() < 0.03:
        packed = not packed
    return {"case.nii.gz" if packed else "case.nii": content}


# --- .npy and .npz ---------------------------------------------------------------------------------------------------

_DESCRIPTIONS = (
    "<i2",
    ">i2",
    "|u1",
    "|b1",
    "<f4",
    "<f8",
    ">f8",
    "<f2",
    "<f16",
    "<c16",
    "<u8",
    "<i8",
    "|O",
    "<U3",
    "|S0",
    "<U0",
    "|V0",
    "|V2147483647",
    "<M8[s]",
    "<m8",
    "",
    "i2",
    "=i4",
    "<i3",
    "f4,f4",
    "(3,)i2",
    "i2,(1000000,)f8",
    "?",
    "e",
    "g",
    "P",
    "<i2\n",
    "V",
    "object",
    [("a", "<i2")],
    [("a", "<i2", (3,))],
    [],
    [[]],
    [("a",)],
    ["<i2"],
    None,
    5,
    ("<i2", (3,)),
    ("<i2", {"x": ("<i2", 0)}),
    {"names": ["a"], "formats": ["<i2"]},
    [("", "|V2"), ("b", "<i2")],
    ("<i2",),
    True,
    b"<i2",
    [("a", "|O")],
    ("|V8", 10**12),
    ("<f8", -1),
    [("a", "<i2"), ("a", "<i2")],
    [(("t", "a"), "<i2")],
    "<i2" * 200,
)
_SHAPES = (
    (3, 4, 5),
    (4, 5),
    (60,),
    (),
    (3, 4, 5, 1),
    (0, 4, 5),
    (10**12,),
    (10**4, 10**4, 10**4),
    (2**32, 2**32),
    (-1, 4, 5),
    (-3, -4, 5),
    (2**63,),
    (10**400, 1, 1),
    (True, 60),
    [3, 4, 5],
    None,
    "345",
    (3.0, 4, 5),
    (1,) * 70,
    (3, 4, 5, 1, 1, 1),
    (-1,),
    (3, -1, 5),
    (2**31, 2**31, 4),
    (2**62, 4),
    (1, 1, 60),
)
_NPY_ALPHABET = b"{}()[]'\":,-+0123456789LTrueFalseNone\\\n\t #<>|iufV;x\xff\0"


def npy_bytes(array: np.ndarray) -> bytes:
    """An array in .npy format."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=True)
    return file.getvalue()


def npy_with_header(header: bytes, data: bytes, version: tuple[int, int] = (1, 0), length: int | None = None) -> bytes:
    """A .npy file whose header says what it is told to; ``length`` lies about how long it is."""
    header += b"\n"
    length = len(header) if length is None else length
    size = struct.pack("<H", length & 0xFFFF) if version[0] < 2 else struct.pack("<I", length & 0xFFFFFFFF)
    return b"\x93NUMPY" + bytes(version) + size + header + data


def edited_npy(array: np.ndarray, rng: random.Random) -> bytes:
    """An array in .npy format with another header, or other bytes."""
    if rng.random() < 0.15:
        return edited_bytes(npy_bytes(array), rng)
    entries = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    for _ in range(rng.choice((0, 1, 1, 2))):
        key = rng.choice(("descr", "shape", "shape", "fortran_order", "other"))
        choices = {"descr": _DESCRIPTIONS, "shape": _SHAPES, "fortran_order": (True, True, 1, None, "x")}
        entries[key] = rng.choice(choices.get(key, (1, "a", None)))
    if rng.random() < 0.1:
        entries.pop(rng.choice(list(entries)))
    header = repr(entries).encode("utf-8", "replace")
    if rng.random() < 0.3:
        header = edited_text(header, rng, _NPY_ALPHABET)
    if rng.random() < 0.03:
        depth = rng.choice((50, 190, 250, 2000, 4000, 20_000))
        opened, closed = rng.choice(((b"(", b")"), (b"[", b"]"), (b"-", b""), (b"{1:", b"}")))
        header = header.replace(b"3", opened * depth + b"3" + closed * depth, 1)
    version = rng.choice(((1, 0),) * 8 + ((2, 0), (2, 0), (3, 0), (3, 0), (0, 0), (9, 9), (1, 1)))
    length = rng.choice((0, 1, 10, 0xFFFF, 2**31 - 1, 2**32 - 1)) if rng.random() < 0.05 else None
    data = array.tobytes()
    if rng.random() < 0.1:
        data = rng.choice((b"", data[:-1], data * 2, data + b"x"))
    return npy_with_header(header, data, version, length)


def _some_array(rng: random.Random) -> np.ndarray:
    return rng.choice(
        (
            np.arange(60, dtype=np.int16).reshape(3, 4, 5),
            _labels(3, 4, 5),
            np.zeros((3, 4, 5), bool),
            np.linspace(0, 1, 60, dtype=np.float32).reshape(3, 4, 5),
            np.arange(60, dtype=">u4").reshape(3, 4, 5),
            _labels(4, 5),
        )
    )


GEOMETRY = {
    "shape": [3, 4, 5],
    "affine": [[-1.5, 0, 0, 40.0], [0, -2.0, 0, 60.0], [0, 0, 3.0, -100.0], [0, 0, 0, 1]],
    "spacing_mm": [2.0, 1.5, 3.0],
    "swap_axes": True,
}


def npy_case(rng: random.Random) -> Files:
    """A .npy file with an edited header, with or without its geometry."""
    files = {"case.npy": edited_npy(_some_array(rng), rng)}
    if rng.random() < 0.1:
        files["case.json"] = json.dumps(GEOMETRY).encode()
    return files


def geometry_case(rng: random.Random) -> Files:
    """A sound .npy file beside an edited .json."""
    geometry = edited_json(GEOMETRY, rng) if rng.random() < 0.9 else GEOMETRY
    return {"case.npy": npy_bytes(_labels(3, 4, 5)), "case.json": json_bytes(geometry, rng)}


_FACTS = {
    "affine": np.array(GEOMETRY["affine"], np.float64),
    "spacing_mm": np.array([2.0, 1.5, 3.0]),
    "swap_axes": np.array(True),
}
_COMPRESSION = (zipfile.ZIP_DEFLATED,) * 100 + (zipfile.ZIP_STORED,) * 60 + (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
# where numbers lie in the records of a zip archive, after the signature: (offset, bytes)
_CENTRAL = ((4, 2), (6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (34, 2), (42, 4))
_LOCAL = ((4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2))
_END = ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2))


def _edit_zip_record(data: bytearray, rng: random.Random) -> None:
    signature, fields = rng.choice(((b"PK\1\2", _CENTRAL), (b"PK\3\4", _LOCAL), (b"PK\5\6", _END)))
    starts, position = [], data.find(signature)
    while position >= 0:
        starts.append(position)
        position = data.find(signature, position + 1)
    if not starts:
        return
    offset, size = rng.choice(fields)
    start = rng.choice(starts) + offset
    old = int.from_bytes(data[start : start + size], "little")
    near = old + rng.choice((-1, 1, 8))
    number = rng.choice((whole_number(rng), near, old ^ (1 << rng.randrange(8 * size)), 2**32 - 1))
    data[start : start + size] = (number % (1 << (8 * size))).to_bytes(size, "little")


def npz_case(rng: random.Random) -> Files:
    """An .npz archive with edited members, edited records, or both."""
    members: list[tuple[str, bytes]] = []
    array = _some_array(rng)
    if rng.random() < 0.85:
        members.append(("voxels.npy", edited_npy(array, rng) if rng.random() < 0.3 else npy_bytes(array)))
        for name, fact in _FACTS.items():
            if rng.random() < 0.8:
                members.append((f"{name}.npy", edited_npy(fact, rng) if rng.random() < 0.1 else npy_bytes(fact)))
    else:
        members.append(("arr_0.npy", edited_npy(array, rng)))
    if rng.random() < 0.15:
        name = rng.choice(("voxels.npy", "voxels", "affine", "other.npy", "a/b.npy", "../x.npy", "", "é.npy", "\n.npy"))
        content = rng.choice((b"", b"text", npy_bytes(array), npy_bytes(np.zeros(10**5)), b"\x93NUMPY", bytes(10**5)))
        members.insert(rng.randrange(len(members) + 1), (name, content))
    if rng.random() < 0.05:
        fact = rng.choice(list(_FACTS))
        members = [entry for entry in members if entry[0] != f"{fact}.npy"]
        members.append((f"{fact}.npy", npy_bytes(np.zeros(10**5))))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, rng.choice(_COMPRESSION))
    data = bytearray(file.getvalue())
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
        _edit_zip_record(data, rng)
    content = bytes(data)
    if rng.random() < 0.15:
        content = edited_bytes(content, rng)
    if rng.random() < 0.02:
        content = b"junk" * 10 + content
    return {"case.npz": content}


# --- scans of other programs -----------------------------------------------------------------------------------------


@lru_cache
def _dicom_files() -> tuple[bytes, ...]:
    """Slices of a CT, plain and compressed, a multi-frame, an X-ray, and what is left out."""
    from tests.scans import made_dicom

    slices = [*made_dicom.series(3), *made_dicom.compressed(made_dicom.series(1)), made_dicom.multi_frame()]
    slices += [made_dicom.xray(made_dicom.stored(0)), *made_dicom.pet(1)]
    slices.append(made_dicom.with_table(made_dicom.image(0), list(range(50))))
    slices.append(made_dicom.image(1, SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4"))
    files = []
    for one in slices:
        file = io.BytesIO()
        one.save_as(file, enforce_file_format=True)
        files.append(file.getvalue())
    return tuple(files)


# (group, element) of what geometry and values are read from
_DICOM_TAGS = (
    (0x0020, 0x0032),
    (0x0020, 0x0037),
    (0x0028, 0x0002),
    (0x0028, 0x0008),
    (0x0028, 0x0010),
    (0x0028, 0x0011),
    (0x0028, 0x0030),
    (0x0028, 0x0100),
    (0x0028, 0x0101),
    (0x0028, 0x0103),
    (0x0028, 0x0120),
    (0x0028, 0x1052),
    (0x0028, 0x1053),
    (0x7FE0, 0x0010),
)


def _edited_dicom(content: bytes, rng: random.Random) -> bytes:
    """Change bytes of the header or the value of an element that counts, or anything."""
    if rng.random() < 0.3:
        return edited_bytes(content, rng)
    data = bytearray(content)
    place = data.rfind(struct.pack("<HH", *rng.choice(_DICOM_TAGS)))
    if place >= 0:
        for _ in range(rng.choice((1, 1, 2, 4))):
            position = min(place + rng.randrange(4, 24), len(data) - 1)
            data[position] = rng.choice((0, 1, 255, ord("9"), ord("e"), ord("-"), rng.randrange(256)))
    return bytes(data)


def dicom_case(rng: random.Random) -> Files:
    """A DICOM file, or some in a zip, one of them or the zip edited."""
    if rng.random() < 0.6:
        content = rng.choice(_dicom_files())
        content = _edited_dicom(content, rng) if rng.random() < 0.9 else content
        meta = 132 + 12 + int.from_bytes(content[140:144], "little")
        if (how := rng.random()) < 0.1:  # without preamble, as old files are, and without what says how it is written
            content = content[rng.choice((132, min(meta, len(content)))) :]
        elif how < 0.2 and meta < len(content):
            deflate = zlib.compressobj(wbits=-15)
            head = content[:meta].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
            head = head[:140] + (len(head) - 144).to_bytes(4, "little") + head[144:]
            head = head.replace(b"UI\x14\x001.2.840.10008.1.2.1.99", b"UI\x16\x001.2.840.10008.1.2.1.99")
            packed = deflate.compress(content[meta:]) + deflate.flush()
            content = head + (edited_bytes(packed, rng) if rng.random() < 0.3 else packed)
        return {"case.dcm": content}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number, content in enumerate(_dicom_files()[:3]):
            name = rng.choice((f"{number}.dcm",) * 9 + ("../x.dcm", "", "é", "a/b"))
            content = _edited_dicom(content, rng) if rng.random() < 0.2 else content
            archive.writestr(zipfile.ZipInfo(name), content, rng.choice(_COMPRESSION))
    data = bytearray(file.getvalue())
    for _ in range(rng.choice((0, 0, 1, 2))):
        _edit_zip_record(data, rng)
    return {"case.zip": bytes(data)}


_NRRD = (
    b"NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 3 4 5\n"
    b"space directions: (-1.5,0,0) (0,-2,0) (0,0,3)\nkinds: domain domain domain\nendian: little\nencoding: %s\n"
    b"space origin: (40,60,-100)\n%s\n"
)
_META = (
    b"ObjectType = Image\nNDims = 3\nBinaryDataByteOrderMSB = False\nCompressedData = %s\n"
    b"TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 40 60 -100\nElementSpacing = 1.5 2 3\nDimSize = 3 4 5\n"
    b"ElementType = MET_SHORT\nElementDataFile = %s\n"
)


def itk_case(rng: random.Random) -> Files:
    """NRRD, MetaImage or PNG with an edited header or edited data, in one file or two."""
    if rng.random() < 0.2:
        import cv2

        pixels = rng.choice((np.arange(20, dtype=np.uint8), np.arange(20, dtype=np.uint16))).reshape(4, 5)
        return {"case.png": edited_bytes(cv2.imencode(".png", pixels)[1].tobytes(), rng)}
    voxels, packed, detached = np.arange(60, dtype="<i2").tobytes(), rng.random() < 0.5, rng.random() < 0.3
    is_nrrd = rng.random() < 0.5
    data = (gzip.compress(voxels, mtime=0) if is_nrrd else zlib.compress(voxels)) if packed else voxels
    if rng.random() < 0.3:
        data = edited_bytes(data, rng)
    if is_nrrd:
        head = _NRRD % (b"gzip" if packed else b"raw", b"data file: data.raw\n" if detached else b"")
    else:
        head = _META % (b"True" if packed else b"False", b"data.raw" if detached else b"LOCAL")
    if rng.random() < 0.8:
        head = edited_text(head, rng, b"0123456789-.e ():=\n,ab%\xff")
    name = (
        "case."
        + {(True, True): "nhdr", (True, False): "nrrd", (False, True): "mhd", (False, False): "mha"}[is_nrrd, detached]
    )
    return {name: head, "data.raw": data} if detached else {name: head + data}


# --- prompts ---------------------------------------------------------------------------------------------------------

_PROMPTS = {
    "format": "pose_prompts",
    "version": 1,
    "image": "case.nii.gz",
    "shape": {"rows": 3, "columns": 4, "slices": 5},
    "swap_axes": False,
    "prompts": [
        {
            "slice": 2,
            "object_id": 1,
            "points": [{"row": 1, "column": 2, "label": 1}, {"row": 0, "column": 0, "label": 0}],
            "box": {"row_min": 0, "column_min": 0, "row_max": 2, "column_max": 3},
        },
        {"slice": 1, "object_id": 2, "mask_file_path": "mask.npz"},
        {"slice": 3, "mask_file_path": "mask.nii.gz"},
    ],
}


def _saved_npz(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, voxels=array)
    return file.getvalue()


_MASKS = {
    "mask.npz": _saved_npz(_labels(3, 4, 5) + 1),
    "mask.nii.gz": gzip.compress(NIFTI_FILES[1][0].binaryblock + bytes(4) + NIFTI_FILES[1][1], 1, mtime=0),
}


def prompts_case(rng: random.Random) -> Files:
    """A file of prompts, edited, beside sound masks; one of these is edited now and then."""
    document = rng.choice((_PROMPTS, _PROMPTS["prompts"], _PROMPTS["prompts"][:1]))
    document = edited_json(document, rng) if rng.random() < 0.9 else document
    files = {"case.json": json_bytes(document, rng), **_MASKS}
    if rng.random() < 0.05:
        name = rng.choice(list(_MASKS))
        files[name] = edited_bytes(files[name], rng)
    return files


# --- results ---------------------------------------------------------------------------------------------------------

_STAMP = "2024-08-01_12-00-00"
_RAW_DATA = (
    "slice,jaccard,dice,sam_score,set_image_time,predict_image_time,process_image_time,"
    "ground_truth_voxels,needs_review\n"
    "0,0.5,0.6666666666666666,0.9,1.25,0.1,1.35,100,0\n1,,,0.1,1,0.1,1.1,0,1\n2,1.0,1.0,0.99,1,0.1,1.1,7,0\n"
)
_RESULTS = "metric,min,max,avg,std,n\njaccard,0.5,1.0,0.75,0.35,2\nvolume_dice,0.8,0.8,0.8,,1\nhd95_mm,inf,inf,inf,,1\n"
_RUN = {
    "timestamp": _STAMP,
    "prompted_slices": 1,
    "masked_slices": 40,
    "seed": {"seeds": [{"slice_sha256": "0" * 64, "slice": 3}], "seed_patient": False},
    "files": {"raw_data": f"raw_data_{_STAMP}.csv"},
}
_CELLS = (
    "",
    "nan",
    "inf",
    "-inf",
    "1e308",
    "1e999",
    "1e18",
    "9223372036854775808",
    "1.5",
    "-1",
    "0x1",
    "1_0",
    '"',
    '"a\nb"',
    "\0",
    "١",
    " 3 ",
    "True",
    "None",
    "x" * 200_000,
    "slice",
    "jaccard",
    "1" * 5000,
    "=1+1",
    "é",
    "jaccard_label_1",
)


def _edited_table(text: str, rng: random.Random) -> bytes:
    lines = [line.split(",") for line in text.splitlines()]
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        line = rng.randrange(len(lines))
        edit = rng.randrange(8)
        if edit <= 3 and lines[line]:
            lines[line][rng.randrange(len(lines[line]))] = rng.choice(_CELLS)
        elif edit == 4:
            lines[line].insert(0, rng.choice(_CELLS))
        elif edit == 5:
            lines.insert(line, list(lines[rng.randrange(len(lines))]))
        elif edit == 6 and lines[line]:
            lines[line].pop()
        elif edit == 7:
            column = rng.randrange(12)
            lines = [cells[:column] + cells[column + 1 :] for cells in lines]
    content = rng.choice(("\n", "\n", "\n", "\r\n", "\r")).join(",".join(cells) for cells in lines)
    data = content.encode(rng.choice(("utf-8",) * 8 + ("utf-8-sig", "utf-16", "latin-1")), "replace")
    return edited_text(data, rng, b',"\n\r0123456789.e-+inf\0\xff ') if rng.random() < 0.3 else data


def results_case(rng: random.Random) -> Files:
    """The folder of a run: tables and manifest, each edited now and then, and files of other names."""
    run = edited_json(_RUN, rng) if rng.random() < 0.7 else _RUN
    files = {
        f"raw_data_{_STAMP}.csv": _edited_table(_RAW_DATA, rng),
        f"results_{_STAMP}.csv": _edited_table(_RESULTS, rng),
        f"run_{_STAMP}.json": json_bytes(run, rng),
    }
    if rng.random() < 0.1:
        stamp = rng.choice(("2025-01-01_00-00-00", "9999-99-99_99-99-99", "2024-8-1_0-0-0", "٢٠٢٤-01-01_00-00-00"))
        suffix = rng.choice(("csv", "json", "nii", "nii.gz", "csv.part"))
        files[f"{rng.choice(('raw_data', 'run', 'masks', 'other'))}_{stamp}.{suffix}"] = b"slice,jaccard,dice\n0,1,1\n"
    return files


# --- seed memory, models ---------------------------------------------------------------------------------------------

SEED_FACTS = {"model": "2.1_tiny", "checkpoint_sha256": "0" * 64, "image_size": 64}
_ABOUT = {
    **SEED_FACTS,
    "shown": {"window": "lung"},
    "objects": "union",
    "seeds": [{"slice_sha256": "1" * 64, "slice": 2, "shape": [3, 4, 5], "image": "case.nii.gz"}],
}
_TENSOR_DATA = struct.pack("<128H", *[0x3F80] * 128) + struct.pack("<8f", *[0.5] * 8)
_TENSORS = {
    "0.1.features": {"dtype": "BF16", "shape": [1, 8, 4, 4], "data_offsets": [0, 256]},
    "0.1.pointers": {"dtype": "F32", "shape": [1, 8], "data_offsets": [256, 288]},
}
_TENSOR_TYPES = ("F64", "F16", "F8_E4M3", "F8_E5M2", "I64", "I8", "U8", "BOOL", "U64", "C64", "F4", "X")


def safetensors_bytes(header: Any, data: bytes, length: int | None = None) -> bytes:
    """A safetensors file; ``length`` lies about how long its header is."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def seed_memory_case(rng: random.Random) -> Files:
    """A seed memory with an edited header, or edited bytes."""
    about = edited_json(_ABOUT, rng) if rng.random() < 0.4 else _ABOUT
    text = json_bytes(about, rng).decode("utf-8", "replace") if rng.random() < 0.5 else json.dumps(about)
    metadata = {"format": "pose_seed_memory", "version": "1", "seeds": "1", "about": text}
    header: dict[str, Any] = {"__metadata__": metadata, **copy.deepcopy(_TENSORS)}
    if rng.random() < 0.3:
        metadata["seeds"] = str(whole_number(rng))
    if rng.random() < 0.2:
        header[rng.choice(list(_TENSORS))]["dtype"] = rng.choice(_TENSOR_TYPES)
    if rng.random() < 0.2:
        # the same bytes in another shape
        shapes = ([128], [2, 64], [8, 4, 4], [1, 8, 16, 1], [2, 4, 4, 4], [1] * 6 + [128])
        header["0.1.features"]["shape"] = rng.choice(shapes)
    if rng.random() < 0.2:
        header["0.1.pointers"]["shape"] = rng.choice(([8], [2, 4], [1, 1, 8], [8, 1], []))
    if rng.random() < 0.2:
        name = rng.choice(list(_TENSORS))
        number, identity, kind = name.split(".")
        other = (rng.choice(("0", "1", "-1", "x", "", "9" * 5000)), rng.choice((identity, "2", "-1", "", "1.5")), kind)
        header[".".join(other)] = header.pop(name)
    if rng.random() < 0.3:
        header = edited_json(header, rng)
    length = whole_number(rng) % 2**64 if rng.random() < 0.03 else None
    content = safetensors_bytes(header, _TENSOR_DATA, length)
    return {"case.safetensors": edited_bytes(content, rng) if rng.random() < 0.15 else content}


_MODEL = """name: medsam2
family: sam2
version: "2.1"
config: configs/sam2.1/sam2.1_hiera_t.yaml
image_size: 512
checkpoint: weights.pt
url: https://example.org/weights.pt
sha256: 00000000000000000000000000000000000000000000000000000000000000ab
overrides:
  - ++model.num_maskmem=7
"""
_YAML_VALUES = (
    "",
    "~",
    "yes",
    "1",
    "1.5",
    ".inf",
    "!!int ''",
    "!!int a",
    "!!float ''",
    "!!timestamp a",
    "2001-99-99",
    "!!bool maybe",
    "!!python/object:os.system a",
    "!!binary '*'",
    "!!set {a}",
    "!!omap [a]",
    "[a, b]",
    "{a: b}",
    "{[1]: 2}",
    "{{a: 1}: 2}",
    "&a [*a]",
    "*a",
    "'two\n\n  lines'",
    "0b",
    "0x",
    "1:60:99",
    "1" * 5000,
    "<<",
    "{<<: 1}",
    "!<x> y",
    "|\n  text",
    "0o9",
    "[" * 3000,
    "{a: " * 1000,
    "- " * 3000,
    "? a",
    "sam",
    "lite_medsam",
    "!!str [a]",
    "!!merge x",
    "=",
    "\t",
    "-1",
    "10" * 200,
    "&a [x,x], b: &b [*a,*a]",
    "'\\ud800'",
    '"\\ud800"',
    '"\\0"',
    '"a\\nb"',
    "--- x",
    "%YAML 9.9",
    "!!null x",
    "!!seq x",
)


def _laughs(rng: random.Random) -> str:
    """A few lines that stand for a billion words, or for a mapping that is merged as often."""
    depth = rng.choice((3, 9, 30))
    if rng.random() < 0.5:
        lines = [f"a0: &a0 [{','.join('x' * 9)}]"]
        lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, depth)]
    else:
        lines = ["a0: &a0 {x: 1}"]
        lines += [f"a{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, depth)]
    return "\n".join(lines) + f"\nname: *a{depth - 1}\n"


def models_case(rng: random.Random) -> Files:
    """The YAML of a model and the record of a checkpoint's SHA-256, each edited."""
    lines = _MODEL.splitlines()
    for _ in range(rng.choice((0, 1, 1, 2))):
        index = rng.randrange(len(lines))
        key, _, value = lines[index].partition(":")
        number, other = str(whole_number(rng)), json.dumps(json_value(rng))
        new = rng.choice((rng.choice(_YAML_VALUES), rng.choice(TEXTS), number, other))
        lines[index] = f"{rng.choice((key,) * 8 + ('other', '? x', '<<'))}: {new}"
    text = "\n".join(lines) + "\n"
    if rng.random() < 0.05:
        text = _laughs(rng) + text if rng.random() < 0.5 else text.replace("name: medsam2\n", "") + _laughs(rng)
    content = text.encode(rng.choice(("utf-8",) * 10 + ("utf-16", "utf-8-sig")), "surrogatepass")
    if rng.random() < 0.3:
        content = edited_text(content, rng, b"{}[]:,-?&*!|>'\"%@`#\n \t\0\xffabc01.~<=")
    record = f"{zlib.crc32(content):064x}  weights.pt\n".encode()
    if rng.random() < 0.5:
        record = edited_text(record, rng, b"0123456789abcdef *\n\r\t\0\xff/weights.pt")
    return {"case.yaml": content, "weights.pt.sha256": record, "weights.pt": b""}


@lru_cache(maxsize=1)
def _checkpoints() -> list[bytes]:
    """Files of torch.save: a zip archive and the older format, in two versions of pickle."""
    import torch

    state = {"model": {"a": torch.ones(3), "b": torch.ones(2, 2).half()}}
    ways: list[dict[str, Any]] = [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}]
    files = [io.BytesIO() for _ in ways]
    for file, way in zip(files, ways):
        torch.save(state, file, **way)
    return [file.getvalue() for file in files]


def weights_case(rng: random.Random) -> Files:
    """A checkpoint with edited bytes."""
    return {"case.pt": edited_bytes(rng.choice(_checkpoints()), rng)}


CASES = {
    "nifti": nifti_case,
    "npz": npz_case,
    "npy": npy_case,
    "geometry_json": geometry_case,
    "dicom": dicom_case,
    "itk": itk_case,
    "prompts": prompts_case,
    "results": results_case,
    "seed_memory": seed_memory_case,
    "models": models_case,
    "weights": weights_case,
}
