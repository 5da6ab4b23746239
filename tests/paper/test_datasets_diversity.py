"""Age and sex of patients, from files as the data sets have them."""

from __future__ import annotations

import pandas as pd
import pytest

from paper import datasets_diversity
from pose.cli import UserError

METADATA = """patientid,offset,sex,age,filename
12,0,M,42,coronacases_org_001.nii.gz
12,3,M,42,coronacases_org_002.nii.gz
13,0,,61,coronacases_org_003.nii.gz
13,1,F,,radiopaedia_10_85902_1.nii.gz
14,0,F,,radiopaedia_10_85902_3.nii.gz
15,0,M,30,some_xray.png
"""


@pytest.fixture
def readings(tmp_path):
    folder = tmp_path / "ClinicalReadings"
    folder.mkdir()
    for number, (sex, age) in enumerate((("F", "027Y"), ("M", "058Y"), ("M ", "006M"), ("O", "033Y"))):
        text = f"Patient's Sex: {sex}\nPatient's Age: {age}\r\nnormal \n"
        (folder / f"MCUCXR_{number:04d}_0.txt").write_text(text)
    return folder


def test_table_and_plot_of_both_data_sets(tmp_path, readings, capsys):
    metadata = tmp_path / "metadata.csv"
    metadata.write_text(METADATA)
    flags = ["--clinical_readings_folder_path", str(readings), "--metadata_file_path", str(metadata)]
    output = tmp_path / "out"
    words = ["--file_contains", "coronacases", "radiopaedia"]
    assert datasets_diversity.main([*flags, *words, "-o", str(output)]) == 0
    table = pd.read_csv(output / "datasets_diversity.csv").set_index("data_set")
    counts = table[["patients", "female", "male", "unknown", "age_unknown"]]
    assert counts.loc["Montgomery"].tolist() == [4, 1, 2, 1, 0]
    assert counts.loc["COVID-19"].tolist() == [3, 2, 1, 0, 1]
    assert table.loc["Montgomery", "female_percent"] == pytest.approx(100 / 3)
    assert table.loc["Montgomery", ["age_min", "age_median", "age_max"]].tolist() == [0.5, 30, 58]
    assert table.loc["Montgomery", "age_mean"] == pytest.approx((27 + 58 + 0.5 + 33) / 4)
    assert table.loc["COVID-19", ["age_q1", "age_median", "age_q3"]].tolist() == [46.75, 51.5, 56.25]
    patients = pd.read_csv(output / "datasets_diversity_patients.csv")
    # the patient of two rows counts once, with what either of them tells
    assert patients[patients["name"] == "13"][["sex", "age"]].values.tolist() == [["female", 61.0]]
    assert {path.name for path in output.iterdir()} == {
        "datasets_diversity.csv",
        "datasets_diversity_patients.csv",
        "datasets_diversity.pdf",
        "datasets_diversity.png",
    }
    assert "COVID-19" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "years"),
    [("027Y", 27), ("27", 27), (" 61 ", 61), ("006M", 0.5), ("365.25D", 1), ("", None), ("070Z", None), ("470", None)],
)
def test_ages(text, years):
    assert datasets_diversity.age_of(text, "here") == years


def test_what_is_no_age_or_sex_is_said(caplog):
    datasets_diversity.age_of("old", "a.txt")
    datasets_diversity.sex_of("X", "b.txt")
    assert [record.getMessage() for record in caplog.records] == [
        "a.txt: age 'old' is taken as unknown",
        "b.txt: sex 'X' is taken as unknown",
    ]


def test_columns_are_found_by_name_or_named(tmp_path):
    path = tmp_path / "metadata.csv"
    path.write_text("Geschlecht,Patient Age\nw,50\n")
    columns = dict.fromkeys(datasets_diversity.COLUMN_NAMES)
    with pytest.raises(
        UserError, match=r"metadata.csv: has no column called sex, .*--sex_column, one of Geschlecht, Pat"
    ):
        datasets_diversity.read_metadata(path, columns)
    found = datasets_diversity.read_metadata(path, {**columns, "sex": "Geschlecht"})
    assert [(one.name, one.sex, one.age) for one in found] == [("line 2", "female", 50)]
    with pytest.raises(UserError, match=r"has no column 'sex' \(--sex_column\); it has Geschlecht"):
        datasets_diversity.read_metadata(path, {**columns, "sex": "sex"})
    with pytest.raises(UserError, match="has no column with files"):
        datasets_diversity.read_metadata(path, {**columns, "sex": "Geschlecht"}, ["corona"])


def test_mistakes_are_named(tmp_path, readings):
    with pytest.raises(UserError, match="nothing to read"):
        datasets_diversity.main([])
    with pytest.raises(UserError, match="nowhere: no such folder"):
        datasets_diversity.read_clinical_readings(tmp_path / "nowhere")
    (readings / "MCUCXR_0009_0.txt").write_text("Patient's Age: 027Y\n")
    with pytest.raises(UserError, match=r"MCUCXR_0009_0.txt: has no line \"Patient's Sex: ...\""):
        datasets_diversity.read_clinical_readings(readings)
    path = tmp_path / "metadata.csv"
    path.write_text("sex,age,filename\nM,40\n")
    with pytest.raises(UserError, match="metadata.csv: line 2: 2 cells under 3 columns"):
        datasets_diversity.read_metadata(path, {})
    path.write_text("sex,age,filename\nM,40,a.png\n")
    with pytest.raises(UserError, match="no row with a file of corona"):
        datasets_diversity.read_metadata(path, {}, ["corona"])
