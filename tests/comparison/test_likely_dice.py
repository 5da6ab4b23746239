"""comparison/likely_dice.py: missing runs are made and added, those that are there are not made again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from comparison import likely_dice
from pose import cli
from tests.cases import write_nifti


@pytest.mark.slow
def test_missing_runs_are_gathered(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(likely_dice, "WAYS_THROUGH", (0.25,))
    rows, columns = np.ogrid[:40, :40]
    organ = ((rows - 20) ** 2 + (columns - 20) ** 2)[:, :, None] < np.array([0, 40, 60, 60, 0])
    voxels = np.where(organ, 120, 20).astype(np.int16)
    write_nifti(tmp_path / "ct.nii.gz", voxels)
    write_nifti(tmp_path / "masks.nii.gz", organ.astype(np.uint8))
    listing, runs = tmp_path / "list.yaml", tmp_path / "runs.csv"
    listing.write_text("objects: [{name: organ, image: ct.nii.gz, masks: masks.nii.gz}]\n")
    words = ["--data_folder_path", str(tmp_path), "--runs_file_path", str(runs)]
    arguments = likely_dice.make_parser().parse_args([*words, "--embeddings_cache", str(tmp_path / "cache")])
    likely_dice.gather(listing, arguments)
    first = pd.read_csv(runs)
    # the largest of slices 1 to 3, and the one a quarter of the way through them
    assert first["slice"].tolist() == [2, 2, 1, 1] and first["method"].tolist() == ["auto", "chain"] * 2
    assert first["dice"].between(0.9, 1).all() and set(first["scan"]) == {"ct.nii.gz"}
    first.drop(index=[0]).assign(dice=0.25).to_csv(runs, index=False)
    capsys.readouterr()
    likely_dice.gather(listing, arguments)
    again = pd.read_csv(runs)
    assert capsys.readouterr().err.count("Dice") == 1 and again["dice"].tolist() == [0.25] * 3 + [first["dice"][0]]
    assert cli.run_main(likely_dice.main, words) == 2
    assert capsys.readouterr().err == f"error: {runs}: runs of 1 scan(s); it takes three to judge each by the others\n"
