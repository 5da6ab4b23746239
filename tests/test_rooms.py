"""The rooms of pose/: who may import whom stands in pyproject.toml, [tool.importlinter]; no circle, no arrow against
it.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINT = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache"]


def test_rooms_import_one_way() -> None:
    done = subprocess.run(LINT, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_an_arrow_against_the_order_is_found(tmp_path: Path) -> None:
    """What the test above relies on: a lazy import from scans to runs would fail it."""
    shutil.copytree(ROOT / "pose", tmp_path / "pose", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    module = tmp_path / "pose/scans/npy.py"
    module.write_text(module.read_text() + "\n\ndef late() -> None:\n    import pose.runs.case  # noqa: F401\n")
    done = subprocess.run(LINT, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "pose.scans.npy -> pose.runs.case" in done.stdout
