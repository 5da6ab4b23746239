"""scripts/prompt_once.ipynb: runs from the first cell to the last, and is kept without outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def notebook():
    return nbformat.read(SCRIPTS / "prompt_once.ipynb", as_version=4)


def test_no_outputs_are_kept(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells and all(cell.outputs == [] and cell.execution_count is None for cell in cells)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_runs_and_shows_what_it_promises(notebook):
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(SCRIPTS.parent)}})
    client.execute()
    shown = [output.data for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    assert sum("image/png" in data for data in shown) == 1
    [scores] = [data["text/plain"] for data in shown if "volume_dice" in data["text/plain"]]
    assert 0.8 < float(scores.split("'volume_dice': ")[1].split(",")[0]) <= 1
