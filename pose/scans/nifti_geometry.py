"""The fields of a NIfTI header that say where voxels lie: what viewers make of them, and how they are carried along.

A header may state two places, the sform (a matrix) and the qform (a quaternion, an offset and pixdim), each with a code
that says what it is worth. Viewers choose differently where these differ, so a mask is only sure to overlay its scan
with the same fields. The names are those of nifti1.h.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pose.scans.geometry import Reading, affine_text, is_geometry, is_sheared, spacing_of

if TYPE_CHECKING:
    import nibabel

# by the code for metres, millimetres and micrometres; other codes mean nothing
MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}
# How much longer than 1 a unit quaternion may be, squared: more is no rounding, even of three decimals.
LONGEST_QUATERNION = 1.002
# nibabel refuses a quaternion longer than this, squared; 3 times the rounding of single precision.
LONGEST_OF_NIBABEL = 1 + 3.5e-7
# Below this share of the real part, squared, NIfTI's own library takes a turn by 180 degrees.
HALF_TURN = 1e-7
# what working data calls the fields, and how many numbers each has
FACT_PREFIX = "nifti_"
FACTS: dict[str, tuple[int, ...]] = {
    "qform_code": (),
    "sform_code": (),
    "quatern": (3,),
    "qoffset": (3,),
    "srow": (3, 4),
    "pixdim": (8,),
    "xyzt_units": (),
}
# the codes above which a header has no room, and the numbers beyond single precision
LARGEST = {"qform_code": 2**15 - 1, "sform_code": 2**15 - 1, "xyzt_units": 255}
LARGEST_NUMBER = 1e38
FACT_KEYS = tuple(FACT_PREFIX + name for name in FACTS)


@dataclass(frozen=True)
class NiftiGeometry:
    """The geometry fields of a NIfTI header, lengths in its own unit.

    Attributes:
        qform_code, sform_code: what each form is worth; 0 where it is not given.
        quatern: (b, c, d) of the unit quaternion of the qform; its real part is what is missing to length 1.
        qoffset: (x, y, z) of the first voxel in the qform.
        srow: three rows of four, from voxel indices to the space of the sform.
        pixdim: eight numbers: the sign of the third axis (qfac), then the distances along the axes.
        xyzt_units: codes of the units of length and time.
    """

    qform_code: int
    sform_code: int
    quatern: tuple[float, ...]
    qoffset: tuple[float, ...]
    srow: tuple[tuple[float, ...], ...]
    pixdim: tuple[float, ...]
    xyzt_units: int

    @classmethod
    def of_header(cls, header: nibabel.Nifti1Header) -> NiftiGeometry:
        """Return the fields as they stand in a header; a code that a header of masks has no room for is 0."""
        codes = {name: int(header[name]) for name in LARGEST}
        codes = {name: code if 0 <= code <= LARGEST[name] else 0 for name, code in codes.items()}
        return cls(
            codes["qform_code"],
            codes["sform_code"],
            tuple(float(header[f"quatern_{name}"]) for name in "bcd"),
            tuple(float(header[f"qoffset_{name}"]) for name in "xyz"),
            tuple(tuple(map(float, header[f"srow_{name}"])) for name in "xyz"),
            tuple(map(float, header["pixdim"])),
            codes["xyzt_units"],
        )

    @classmethod
    def of_affine(cls, affine: np.ndarray) -> NiftiGeometry:
        """Return fields that state a (4, 4) affine in millimetres, as scanner coordinates, in both forms."""
        import nibabel

        header = nibabel.Nifti1Header()
        header.set_xyzt_units("mm")
        header.set_sform(affine, code="scanner")
        # What is sheared has no quaternion. ITK reads the nearest one all the same, and nothing without one.
        header.set_qform(affine, code="scanner", strip_shears=True)
        return cls.of_header(header)

    @classmethod
    def of_facts(cls, facts: dict[str, Any]) -> NiftiGeometry | None:
        """Return the fields as working data records them; None where it has none.

        Raises:
            ValueError: some are missing, or are not as many finite numbers as they should be.
        """
        if not any(key in facts for key in FACT_KEYS):
            return None
        fields: dict[str, Any] = {}
        for name, shape in FACTS.items():
            value = facts.get(key := FACT_PREFIX + name)
            try:
                numbers = np.array(value, dtype=np.float64)
            except (TypeError, ValueError, OverflowError):
                numbers = np.empty(0)
            fits = value is not None and numbers.shape == shape and bool((np.abs(numbers) < LARGEST_NUMBER).all())
            if fits and shape == ():
                fits = float(numbers).is_integer() and 0 <= float(numbers) <= LARGEST[name]
            if not fits:
                size = " x ".join(map(str, shape)) + " numbers" if shape else f"a code from 0 to {LARGEST[name]}"
                raise ValueError(f"{key} is {value!r:.60}; expected {size}")
            fields[name] = _plain(numbers.tolist()) if shape else int(numbers)
        return cls(**fields)

    def facts(self) -> dict[str, Any]:
        """Return the fields under the names that working data has for them."""
        return {FACT_PREFIX + name: value for name, value in asdict(self).items()}

    @property
    def millimetres(self) -> float:
        """Millimetres of its unit of length, 1 where that is unknown."""
        return MILLIMETRES.get(self.xyzt_units & 7, 1.0)

    @property
    def has_unit(self) -> bool:
        """Whether it says what its lengths are."""
        return self.xyzt_units & 7 in MILLIMETRES

    def sform(self) -> np.ndarray:
        """Return the (4, 4) affine of the sform, in millimetres."""
        return self._in_millimetres(np.array([*self.srow, (0, 0, 0, 1)], dtype=np.float64))

    def qform(self, as_itk: bool = False) -> np.ndarray:
        """Return the (4, 4) affine of the qform, in millimetres.

        Args:
            as_itk: read as ITK does, for which a negative pixdim turns its axis round and a quaternion within a
                rounding of length 1 is a turn by 180 degrees; else as nibabel does.
        """
        from nibabel.quaternions import quat2mat

        b, c, d = self.quatern
        with np.errstate(over="ignore", invalid="ignore"):
            real = 1 - (b * b + c * c + d * d)
            real = 0.0 if as_itk and real < HALF_TURN else np.sqrt(max(real, 0.0))
            steps = np.array([step or 1.0 for step in self.pixdim[1:4]])
            if not as_itk:
                steps = np.abs(steps)
            steps[2] *= -1 if self.pixdim[0] == -1 or (as_itk and self.pixdim[0] < 0) else 1
            affine = np.eye(4)
            affine[:3, :3] = quat2mat((real, b, c, d)) * steps
        affine[:3, 3] = self.qoffset
        return self._in_millimetres(affine)

    def affine(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return the (4, 4) affine in millimetres that nibabel reads: the sform, else the qform, else the middle as 0.

        Args:
            shape: of the array in the file, at least three axes.
        """
        if self.sform_code > 0:
            return self.sform()
        if self.qform_code > 0:
            return self.qform()
        steps = np.abs([step or 1.0 for step in self.pixdim[1:4]]) * (-1, 1, 1)
        affine = np.diag([*steps, 1.0])
        affine[:3, 3] = -(np.array(shape[:3]) - 1) / 2 * steps
        return self._in_millimetres(affine)

    def readings(self, shape: tuple[int, ...]) -> list[Reading]:
        """Return the places that viewers may see for the voxels of ``shape``, the one of this project first."""
        readings = [Reading("", self.affine(shape))]
        if self.sform_code > 0:
            steps = np.abs([step or 1.0 for step in self.pixdim[1:4]]) * self.millimetres
            affine = readings[0].affine / [*spacing_of(readings[0].affine) / steps, 1.0]
            readings.append(Reading("the directions of its sform and the distances of its pixdim", affine))
        if self.qform_code > 0:
            readings.append(Reading("its qform", self.qform(as_itk=True)))
        elif self.sform_code == 0:
            steps = np.abs([step or 1.0 for step in self.pixdim[1:4]]) * (-1, -1, 1)
            affine = self._in_millimetres(np.diag([*steps, 1.0]))
            readings.append(Reading("the place ITK gives a header whose qform_code and sform_code are 0", affine))
        return [reading for reading in readings if is_geometry(reading.affine)]

    def usable(self, warn: Callable[[str], None]) -> NiftiGeometry | None:
        """Return the fields without what viewers stumble over; None where no form that is given places voxels.

        A form that places no voxels is dropped where the other one does; a quaternion that is a rounding too long, at
        which nibabel gives up, gets length 1.

        Args:
            warn: is called with what was dropped.
        """
        fields = replace(self, pixdim=tuple(step if np.isfinite(step) else 0.0 for step in self.pixdim))
        square = sum(part * part for part in self.quatern)
        if LONGEST_OF_NIBABEL < square <= LONGEST_QUATERNION:
            fields = replace(fields, quatern=tuple(part / square**0.5 for part in self.quatern))
        sform_read = fields.sform_code > 0 and is_geometry(fields.sform())
        qform_read = fields.qform_code > 0 and square <= LONGEST_QUATERNION and is_geometry(fields.qform())
        if not sform_read and not qform_read and (fields.sform_code > 0 or fields.qform_code > 0):
            return None
        if fields.sform_code > 0 and not sform_read:
            rows = affine_text(np.array(self.srow))
            warn(f"sform_code is {self.sform_code}, but its rows {rows} place no voxels; the qform is taken")
            fields = replace(fields, sform_code=0, srow=((0.0,) * 4,) * 3)
        if fields.qform_code > 0 and not qform_read:
            warn(f"qform_code is {self.qform_code}, but the qform places no voxels; the sform is taken")
            fields = replace(fields, qform_code=0, quatern=(0.0,) * 3, qoffset=(0.0,) * 3)
        # of a form that is not given too, as working data holds finite numbers alone
        if not np.isfinite(fields.srow).all():
            fields = replace(fields, srow=((0.0,) * 4,) * 3)
        if not np.isfinite((*fields.quatern, *fields.qoffset)).all():
            fields = replace(fields, quatern=(0.0,) * 3, qoffset=(0.0,) * 3)
        return fields

    def fill(self, header: nibabel.Nifti1Header) -> None:
        """Put the fields into a header; a sheared sform gets the nearest qform where it has none.

        ITK refuses a sheared sform alone ("No orthonormal definition found"), and reads the qform where there is one.
        """
        header["qform_code"], header["sform_code"] = self.qform_code, self.sform_code
        for name, value in zip("bcd", self.quatern, strict=True):
            header[f"quatern_{name}"] = value
        for name, value, row in zip("xyz", self.qoffset, self.srow, strict=True):
            header[f"qoffset_{name}"], header[f"srow_{name}"] = value, row
        header["pixdim"], header["xyzt_units"] = self.pixdim, self.xyzt_units
        if self.sform_code > 0 and self.qform_code == 0 and is_sheared(self.sform()):
            header.set_qform(header.get_sform(), code="scanner", strip_shears=True)
            header["qform_code"] = self.sform_code  # whatever it is: nibabel takes the codes that it knows alone

    def _in_millimetres(self, affine: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            affine[:3] *= self.millimetres
        return affine


def _plain(value: Any) -> Any:
    return tuple(map(_plain, value)) if isinstance(value, list) else value
