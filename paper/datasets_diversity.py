#!/usr/bin/env python3
"""Tell the age and sex of the patients of the data sets: a table, and a plot of both.

Montgomery: the files of ClinicalReadings/, one for each X-ray, which name the patient's sex and age. COVID-19: a CSV of
public metadata with a row per volume or patient; its columns are found by their names. What is not known is counted.
Writes datasets_diversity.csv, datasets_diversity_patients.csv, and the plot as datasets_diversity.pdf and .png.
"""

from __future__ import annotations

import argparse
import csv
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose import cli, results

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

LOGGER = logging.getLogger("pose.datasets_diversity")

SEXES = ("female", "male", "unknown")
SEX_OF_WORD = {"f": "female", "female": "female", "w": "female", "woman": "female"} | dict.fromkeys(
    ("m", "male", "man"), "male"
)
# Ages as DICOM writes them, or bare years.
AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([YMWD]?)", re.IGNORECASE)
UNITS_A_YEAR = {"": 1.0, "Y": 1.0, "M": 12.0, "W": 365.25 / 7, "D": 365.25}
OLDEST = 120
READING = re.compile(r"patient'?s\s+(sex|age)\s*:(.*)", re.IGNORECASE)
COLUMN_NAMES = {
    "sex": ("sex", "gender", "patientsex", "patientgender"),
    "age": ("age", "patientage", "ageyears"),
    "patient": ("patientid", "patient", "subject", "case", "id"),
    "file": ("filename", "file", "volume", "image", "name"),
}


@dataclass(frozen=True)
class Patient:
    """A patient of a data set; sex is female, male or unknown, age in years or None."""

    data_set: str
    name: str
    sex: str
    age: float | None


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--clinical_readings_folder_path",
        type=Path,
        metavar="FOLDER",
        help="ClinicalReadings/ of the Montgomery set, such as datasets/montgomery/ClinicalReadings",
    )
    parser.add_argument("--metadata_file_path", type=Path, metavar="FILE", help="CSV on the COVID-19 volumes")
    for what, words in COLUMN_NAMES.items():
        needed = "needed" if what in ("sex", "age") else "may be missing"
        parser.add_argument(
            f"--{what}_column", metavar="NAME", help=f"its column (default: one called {', '.join(words)}; {needed})"
        )
    parser.add_argument(
        "--file_contains",
        nargs="+",
        default=[],
        metavar="WORD",
        help="take only rows of the CSV whose file column holds one of these, such as coronacases radiopaedia",
    )
    parser.add_argument(
        "-o",
        "--output_folder_path",
        type=Path,
        default=Path("paper_results"),
        metavar="FOLDER",
        help="where the files go (default: %(default)s)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Write the table and the plot; see ``--help``."""
    arguments = make_parser().parse_args(argv)
    cli.configure_logging()
    readings, metadata = arguments.clinical_readings_folder_path, arguments.metadata_file_path
    if readings is None and metadata is None:
        raise cli.UserError("nothing to read: give --clinical_readings_folder_path or --metadata_file_path, or both")
    patients = [] if readings is None else read_clinical_readings(readings)
    if metadata is not None:
        columns = {what: getattr(arguments, f"{what}_column") for what in COLUMN_NAMES}
        patients += read_metadata(metadata, columns, arguments.file_contains)

    import pandas as pd

    from pose.figures.plots import save_plot
    from pose.files.atomic import failure_named, write_all_atomically

    folder = arguments.output_folder_path
    with failure_named(folder, "cannot be made a folder"):
        folder.mkdir(parents=True, exist_ok=True)
    table = table_of(patients)
    writers = {
        folder / "datasets_diversity.csv": partial(results.write_table, table=table),
        folder / "datasets_diversity_patients.csv": partial(results.write_table, table=pd.DataFrame(patients)),
    }
    write_all_atomically(writers.items())
    with plot_of(patients) as figure:
        plots = save_plot(figure, folder / "datasets_diversity")
    upright = table.set_index("data_set").astype(object).T.rename_axis(columns=None)
    print(upright.to_string(float_format="{:.1f}".format), end="\n\n")
    print(*writers, *plots, sep="\n")
    return cli.EXIT_OK


def read_clinical_readings(folder: Path, data_set: str = "Montgomery") -> list[Patient]:
    """Read the .txt files of a folder, one for each patient.

    Raises:
        UserError: there are none, one cannot be read, or one has no line on sex or age.
    """
    paths = sorted(folder.glob("*.txt"))
    if not paths:
        raise cli.UserError(f"{folder}: {'holds no .txt' if folder.is_dir() else 'no such folder'}")
    patients = []
    for path in paths:
        try:
            text = path.read_text(encoding="latin-1")
        except OSError as error:
            raise cli.UserError(f"{path}: cannot be read: {error.strerror}") from None
        found = {word.lower(): value.strip() for word, value in READING.findall(text)}
        for word in ("sex", "age"):
            if word not in found:
                raise cli.UserError(f'{path}: has no line "Patient\'s {word.capitalize()}: ..."')
        patients.append(Patient(data_set, path.stem, sex_of(found["sex"], path), age_of(found["age"], path)))
    return patients


def read_metadata(
    path: Path, columns: dict[str, str | None], file_contains: Sequence[str] = (), data_set: str = "COVID-19"
) -> list[Patient]:
    """Read a CSV with a row per volume; a patient of several rows counts once, by the first word on sex and age.

    Args:
        columns: names of the columns for sex, age, patient and file; None finds one by its usual names.
        file_contains: rows are taken whose file holds one of these words; all where it is empty.

    Raises:
        UserError: the file cannot be read, has no such column, or no such row.
    """
    try:
        with cli.existing_file(path).open(newline="", encoding="utf-8-sig") as file:
            header, *lines = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise cli.UserError(f"{path}: cannot be read as a CSV: {error}") from None
    at = {what: column_of(path, header, what, columns.get(what)) for what in COLUMN_NAMES}
    if file_contains and at["file"] is None:
        raise cli.UserError(f"{path}: has no column with files for --file_contains; name it by --file_column")
    patients: dict[str, Patient] = {}
    for number, line in enumerate(lines, start=2):
        if not line:
            continue
        if len(line) != len(header):
            raise cli.UserError(f"{path}: line {number}: {len(line)} cells under {len(header)} columns")
        if file_contains and not any(word in line[at["file"]] for word in file_contains):
            continue
        where = f"{path}: line {number}"
        name = (at["patient"] is not None and line[at["patient"]].strip()) or f"line {number}"
        sex, age = sex_of(line[at["sex"]], where), age_of(line[at["age"]], where)
        before = patients.get(name)
        if before is not None:
            sex = sex if before.sex == "unknown" else before.sex
            age = age if before.age is None else before.age
        patients[name] = Patient(data_set, name, sex, age)
    if not patients:
        which = f" with a file of {' or '.join(file_contains)}" if file_contains else ""
        raise cli.UserError(f"{path}: no row{which}")
    return list(patients.values())


def column_of(path: Path, header: Sequence[str], what: str, name: str | None) -> int | None:
    """Return which column holds ``what``; None where there is none and it may be missing."""
    there = ", ".join(header) or "none"
    if name is not None:
        if name not in header:
            raise cli.UserError(f"{path}: has no column {name!r} (--{what}_column); it has {there}")
        return header.index(name)
    plain = [re.sub(r"[^a-z]", "", column.lower()) for column in header]
    for word in COLUMN_NAMES[what]:
        if word in plain:
            return plain.index(word)
    if what in ("patient", "file"):
        return None
    usual = ", ".join(COLUMN_NAMES[what])
    raise cli.UserError(
        f"{path}: has no column called {usual}; name that of the {what} by --{what}_column, one of {there}"
    )


def sex_of(text: str, where: object) -> str:
    """Return female, male, or unknown, with a word in the log where something else is written."""
    sex = SEX_OF_WORD.get(text.strip().lower())
    if sex is None and text.strip():
        LOGGER.warning("%s: sex %r is taken as unknown", where, text.strip())
    return sex or "unknown"


def age_of(text: str, where: object) -> float | None:
    """Return years, from "027Y", "006M" or "27"; None where nothing is written or, with a word in the log, no age."""
    match = AGE.fullmatch(text.strip())
    years = float(match[1]) / UNITS_A_YEAR[match[2].upper()] if match else None
    if text.strip() and (years is None or years > OLDEST):
        LOGGER.warning("%s: age %r is taken as unknown", where, text.strip())
        return None
    return years


def table_of(patients: Sequence[Patient]) -> pd.DataFrame:
    """Return a row per data set: patients, their number by sex and the share of women in percent, statistics of age."""
    import pandas as pd

    rows = []
    for data_set in dict.fromkeys(patient.data_set for patient in patients):
        here = [patient for patient in patients if patient.data_set == data_set]
        count = {sex: sum(patient.sex == sex for patient in here) for sex in SEXES}
        known = count["female"] + count["male"]
        ages = pd.Series([patient.age for patient in here], dtype="float64")
        statistics = results.statistics_of(ages)
        quartiles = ages.quantile([0.25, 0.5, 0.75])
        rows.append(
            {
                "data_set": data_set,
                "patients": len(here),
                **count,
                "female_percent": 100 * count["female"] / known if known else float("nan"),
                "age_unknown": int(ages.isna().sum()),
                "age_min": statistics["min"],
                "age_q1": quartiles[0.25],
                "age_median": quartiles[0.5],
                "age_q3": quartiles[0.75],
                "age_max": statistics["max"],
                "age_mean": statistics["avg"],
                "age_std": statistics["std"],
            }
        )
    return pd.DataFrame(rows)


@contextmanager
def plot_of(patients: Sequence[Patient]) -> Iterator[Figure]:
    """Yield a plot: for each data set, patients by sex, and by decade of age and sex."""
    from matplotlib.ticker import MaxNLocator

    from pose.figures.names import shown_name
    from pose.figures.plots import SERIES, new_plot

    data_sets = list(dict.fromkeys(patient.data_set for patient in patients))
    colours = dict(zip(SEXES, (SERIES[1], SERIES[0], "#999999")))
    oldest = max((patient.age for patient in patients if patient.age is not None), default=0)
    decades = range(0, int(oldest // 10) * 10 + 11, 10)
    with new_plot(160.0, 62.0 * len(data_sets)) as figure:
        panels = figure.subplots(len(data_sets), 2, width_ratios=(1, 3), squeeze=False)
        for (by_sex, by_age), data_set in zip(panels, data_sets):
            here = [patient for patient in patients if patient.data_set == data_set]
            shown = [sex for sex in SEXES if any(patient.sex == sex for patient in here)]
            counts = [sum(patient.sex == sex for patient in here) for sex in shown]
            bars = by_sex.bar(shown, counts, color=[colours[sex] for sex in shown])
            by_sex.bar_label(bars)
            by_sex.margins(y=0.12)
            by_sex.set(ylabel="patients")
            by_sex.set_title(shown_name(f"{data_set}, {len(here)} patients"), loc="left")
            ages = [[one.age for one in here if one.sex == sex and one.age is not None] for sex in shown]
            known = sum(map(len, ages))
            by_age.hist(ages, bins=list(decades), stacked=True, color=[colours[sex] for sex in shown], label=shown)
            by_age.set(xlabel="age (years)", xlim=(0, decades[-1]))
            by_age.set_title(f"age known of {known}", loc="right")
            by_age.set_xticks(list(decades))
            for axes in (by_sex, by_age):
                axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        yield figure


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
