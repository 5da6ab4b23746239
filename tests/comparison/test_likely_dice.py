"""comparison/likely_dice.py: missing runs are made and added, those that are there are not made again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from comparison import likely_dice
from tests.cases import write_nifti


@pytest.mark.slow
def test_missing_runs_are_gathered(tmp_path, capsys):
    rows, columns = np.ogrid[:40, :40]
    organ = ((rows - 20) ** 2 + (columns - 20) ** 2)[:, :, None] < np.array([0, 40, 60, 60, 40, 0])
    for name, shift in (("a", 0), ("b", 30)):
        voxels = np.where(organ, 120 + shift, 20).astype(np.int16)
        voxels[:3] = -1000
        write_nifti(tmp_path / f"{name}.nii.gz", voxels)
    write_nifti(tmp_path / "masks.nii.gz", organ.astype(np.uint8))
    objects = [f"{{name: {name}, image: {name}.nii.gz, masks: masks.nii.gz}}" for name in "ab"]
    (tmp_path / "list.yaml").write_text(f"objects: [{', '.join(objects)}]\n")
    runs = tmp_path / "runs.csv"
    arguments = ["--gather", str(tmp_path / "list.yaml"), "--data_folder_path", str(tmp_path)]
    arguments += ["--runs_file_path", str(runs), "--embeddings_cache", str(tmp_path / "cache")]
    assert likely_dice.main(arguments) == 0
    first = pd.read_csv(runs)
    # the largest slice is the second that holds the organ; a quarter and three quarters of the way are the next ones
    assert first.groupby(["name", "method"]).size().to_dict() == {
        (name, method): first["slice"].nunique() for name in "ab" for method in ("auto", "chain")
    }
    assert first["dice"].between(0.8, 1).all() and first["scan"].unique().tolist() == ["a.nii.gz", "b.nii.gz"]
    first.drop(index=[0]).assign(dice=0.5).to_csv(runs, index=False)
    capsys.readouterr()
    assert likely_dice.main(arguments) == 0
    again = pd.read_csv(runs)
    assert capsys.readouterr().err.count("Dice") == 1 and (again["dice"] == 0.5).sum() == len(first) - 1
    assert again.iloc[-1]["dice"] == first.iloc[0]["dice"]
