"""SUV: what turns the activity in a PET into standardised uptake values by body weight (g/ml)."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pose.cli import UserError

if TYPE_CHECKING:
    from pydicom import Dataset


def suv_factor(file: Path, header: Dataset) -> float:
    """Return what a value of a PET is multiplied by to be its SUV by body weight, as QIBA computes it.

    Activity (Units BQML) that was corrected for decay to the start of the scan, or to the injection, is divided by the
    dose that was left at that time, per gram of the patient. Values that are SUV already (GML) stay as they are.

    Args:
        file: of the header, for errors.
        header: of the first file of the series.

    Raises:
        UserError: no PET, other units, not corrected, or a tag that is missing; it names the tag.
    """
    if header.get("Modality") != "PT":
        raise UserError(f"{file}: --suv: Modality is {header.get('Modality')!r:.30}, not PT")
    units = str(header.get("Units") or "")
    if units == "GML" and str(header.get("SUVType") or "BW") == "BW":
        return 1.0
    if units != "BQML":
        raise UserError(f"{file}: --suv: Units are {units!r:.30}; SUV is computed from BQML, or is there as GML")
    corrected = [str(word) for word in header.get("CorrectedImage") or ()]
    if missing := {"ATTN", "DECY"} - set(corrected):
        raise UserError(f"{file}: --suv: CorrectedImage is {corrected}, without {' and '.join(sorted(missing))}")
    injected = (header.get("RadiopharmaceuticalInformationSequence") or [None])[0]
    if injected is None:
        raise UserError(f"{file}: --suv: RadiopharmaceuticalInformationSequence is missing")
    weight = _above_0(file, header, "PatientWeight")
    dose = _above_0(file, injected, "RadionuclideTotalDose")
    to = str(header.get("DecayCorrection") or "")
    if to == "ADMIN":
        return weight * 1000 / dose
    if to != "START":
        raise UserError(f"{file}: --suv: DecayCorrection is {to!r:.30}, not START or ADMIN")
    half_life = _above_0(file, injected, "RadionuclideHalfLife")
    scanned = _time(file, header, "SeriesDate", "SeriesTime")
    acquired = _time(file, header, "AcquisitionDate", "AcquisitionTime")
    if scanned > acquired:
        when = f"SeriesTime is later than AcquisitionTime ({scanned.time()}, {acquired.time()})"
        raise UserError(f"{file}: --suv: {when}, so that the start of the scan is unknown")
    if injected.get("RadiopharmaceuticalStartDateTime"):
        given = _time(file, injected, "RadiopharmaceuticalStartDateTime")
    else:
        given = _time(file, injected, "", "RadiopharmaceuticalStartTime", day=scanned)
        if given > scanned:  # before midnight
            given -= timedelta(days=1)
    waited = (scanned - given).total_seconds()
    if not 0 <= waited < 86400:
        raise UserError(f"{file}: --suv: the injection is {waited:.0f} s before the scan")
    return float(weight * 1000 / (dose * 2 ** (-waited / half_life)))


def _above_0(file: Path, header: Any, name: str) -> float:
    try:
        value = float(header.get(name) or 0)
    except (TypeError, ValueError):
        value = 0.0
    if not 0 < value < float("inf"):
        raise UserError(f"{file}: --suv: {name} is missing or not above 0")
    return value


def _time(file: Path, header: Any, date: str, time: str = "", day: datetime | None = None) -> datetime:
    """Return the time that a date and a time, or a value of both, say; fractions of a second and zones are left out."""
    words = [f"{day:%Y%m%d}" if day is not None else str(header.get(date) or ""), str(header.get(time) or "")]
    digits = "".join(word.split(".")[0].split("+")[0].split("-")[0] for word in words if word)
    try:
        return datetime.strptime(digits[:14], "%Y%m%d%H%M%S")
    except ValueError:
        name = " or ".join(part for part in (date, time) if part)
        raise UserError(f"{file}: --suv: {name} is missing or no time") from None
