"""A prompt is looked at before a model runs: the picture that a dry run leaves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pose.files.atomic import failure_named
from pose.prompts.prompt import Prompt
from pose.runs.case import Case


def write_preview(case: Case, prompts: Sequence[Prompt]) -> Path:
    """Draw the prompted slices of a volume with what the model will be asked, or 24 slices of it; return the file.

    It lies beside the folder of results that the run would write, as NAME_prompt.png.

    Raises:
        UserError: it cannot be written.
    """
    from pose.figures.look import look_figure
    from pose.figures.overlays import save_png

    folder = case.job.results_folder.parent
    path = folder / f"{case.job.name}_prompt.png"
    figure = look_figure(case.volume, prompts=prompts, title=case.job.name)
    with failure_named(folder, "pictures cannot be written here"):
        folder.mkdir(parents=True, exist_ok=True)
    save_png(path, figure)
    return path
