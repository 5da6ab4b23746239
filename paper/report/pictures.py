"""Pictures of the worst slices of a result, drawn from the scan, the ground truth and the masks that the run names."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paper.report.data import Results
from pose import results
from pose.cli import UserError, existing_file, take
from pose.figures.drawing import BOX, FILL_ALPHA, NEGATIVE, POSITIVE, PREDICTION, TRUTH
from pose.prompts.prompt import Prompt, read_prompts
from pose.runs.case import Case, Job, ShownAs, TruthRules, load_case
from pose.runs.resume import sha256_once
from pose.scans.intensity import chosen_intensity
from pose.scans.volume import read_mask

if TYPE_CHECKING:
    import pandas as pd

# What a picture is made of: greys, greys below a prediction, and marks with their soft edges.
GREYS, SHADES = 100, 5
MARKS = (PREDICTION, TRUTH, POSITIVE, NEGATIVE, BOX)
ARGUMENTS = ("swap_axes", "allow_geometry_mismatch", "apply_windowing", "window", "intensity", "labels")


@dataclass(frozen=True)
class Picture:
    """A slice with its scores, and its picture or why there is none.

    Attributes:
        png: the picture; None where the run, or a file that it names, is not as it was.
        word: what is to be said of the picture: why there is none, or what it lacks.
    """

    name: str
    image: str
    slice: int
    score: str
    value: float
    hd95_mm: float
    png: bytes | None
    word: str = ""


def ranking(one: Results) -> str | None:
    """Return the column that tells bad slices from good ones: Dice, else the model's own score; None without either."""
    for column in ("dice", "review_score", "sam_score"):
        if column in one.slices and one.slices[column].notna().any():
            return column
    return None


def worst_slices(one: Results, count: int) -> pd.DataFrame:
    """Return the rows of raw_data with the least of :func:`ranking`, the larger object first where they are equal."""
    column = ranking(one)
    if column is None:
        return one.slices.head(0)
    scores = one.slices[column].to_numpy(dtype=np.float64, na_value=np.nan)
    scores = scores[~np.isnan(scores)]
    if not 0 < count < len(scores):
        count, worst = min(count, len(scores)), np.inf
    else:
        worst = np.partition(scores, count - 1)[count - 1]
    known = one.slices[one.slices[column] <= worst]  # to sort all slices of many volumes would take a minute
    size = [name for name in ("ground_truth_voxels", "predicted_voxels") if name in known]
    order = [column, *size, "image", "slice"]
    return known.sort_values(order, ascending=[True, *(False for _ in size), True, True], kind="stable").head(count)


def pictures_of_worst(one: Results, count: int) -> list[Picture]:
    """Draw the ``count`` worst slices, worst first; each volume is read once."""
    rows, column = worst_slices(one, count), ranking(one)
    drawn: dict[tuple[str, int], tuple[bytes | None, str]] = {}
    for image, slices in rows.groupby("image")["slice"]:
        numbers = [int(number) for number in slices]
        drawn.update({(image, number): made for number, made in zip(numbers, _draw(one, image, numbers), strict=True)})
    pictures = []
    for row in rows.to_dict("records"):
        image, number = row["image"], int(row["slice"])
        distance = row.get("hd95_mm", float("nan"))
        pictures.append(Picture(one.name, image, number, column, row[column], distance, *drawn[image, number]))
    return pictures


def _draw(one: Results, image: str, numbers: Sequence[int]) -> list[tuple[bytes | None, str]]:
    try:
        run = one.result_set.run_files(image)
        case, prediction, prompts, word = read_drawn(run, results.read_manifest(run.run) if run.run else {})
        if outside := [number for number in numbers if not 0 <= number < len(case.grey)]:
            raise UserError(f"{run.raw_data}: slice {outside[0]} is not one of the scan's {len(case.grey)}")
    except UserError as error:
        return [(None, f"No picture: {error}")] * len(numbers)
    return [(draw_slice(case, prediction, prompts, number), word) for number in numbers]


def read_drawn(run: results.RunFiles, manifest: Mapping[str, Any]) -> tuple[Case, np.ndarray, list[Prompt], str]:
    """Read the scan, ground truth, masks and prompts of a run, if they are what the run was made from.

    Returns:
        The scan with its ground truth; the masks that the run found, (rows, columns, slices) labels; the prompts; and a
        word where the ground truth cannot be shown.

    Raises:
        UserError: a file is not recorded, not there, or not the one that the run read.
    """
    if run.masks is None or run.run is None:
        raise UserError("the run left no masks, or no manifest")
    arguments = manifest.get("arguments")
    if not isinstance(arguments, Mapping) or any(name not in arguments for name in ARGUMENTS):
        raise UserError(f"{run.run}: does not say how the slices were shown")
    scan, truth, word = recorded_file(manifest, "image", run.run), None, ""
    if manifest.get("masks") is not None:
        try:
            truth = recorded_file(manifest, "masks", run.run)
        except UserError as error:
            word = f"Without ground truth: {error}"
    window = arguments["apply_windowing"], arguments["window"] or (), arguments["intensity"]
    shown = ShownAs(arguments["swap_axes"], chosen_intensity(*window))
    rules = take(TruthRules, arguments)
    case = load_case(Job(scan, truth, run.raw_data.parent, run.raw_data.parent), shown, rules)
    prediction = read_mask(run.masks, case.volume).voxels
    shape = case.volume.voxels.shape
    asked = results.read_manifest(run.sam_prompts).get("prompts") if run.sam_prompts else None
    prompts = read_prompts(run.sam_prompts, shape=shape, swap_axes=case.swap_axes) if asked else []
    return case, prediction, prompts, word


def recorded_file(manifest: Mapping[str, Any], kind: str, source: Path) -> Path:
    """Return the path of the file that the manifest names, which must still be the one that the run read.

    Raises:
        UserError: the manifest names none, or the file is gone or another one.
    """
    record = manifest.get(kind)
    if not isinstance(record, Mapping) or not isinstance(record.get("path"), str):
        raise UserError(f"{source}: names no {kind}")
    path = existing_file(Path(record["path"]))
    if sha256_once(path) != record.get("sha256"):
        raise UserError(f"{path}: is not the file that the run read, by its SHA-256")
    return path


def draw_slice(case: Case, prediction: np.ndarray, prompts: Sequence[Prompt], number: int) -> bytes:
    """Return a slice with the outlines of what was found and what is true, and its prompts, as a PNG of few colours."""
    from PIL import Image

    from pose.figures import overlays

    figure = overlays.overlay(
        case.grey[number],
        prediction=prediction[:, :, number],
        legend=False,
        spacing_mm=case.volume.spacing_mm,
        truth=None if case.truth is None else case.truth[:, :, number],
        prompts=[prompt for prompt in prompts if prompt.slice == number],
    )
    file = io.BytesIO()
    picture = Image.open(io.BytesIO(overlays.png_of(figure)))
    colours = Image.new("P", (1, 1))
    colours.putpalette(palette().tobytes())
    picture.quantize(palette=colours, dither=Image.Dither.NONE).save(file, format="PNG", optimize=True)
    return file.getvalue()


def palette() -> np.ndarray:
    """Return (colours, 3) uint8, at most 256; one chosen for a picture would sacrifice its few marks to its greys."""
    from matplotlib.colors import to_rgb

    black, white = np.zeros(3), np.ones(3)
    greys = np.linspace(black, white, GREYS)
    under_prediction = (1 - FILL_ALPHA) * greys + FILL_ALPHA * np.array(to_rgb(PREDICTION))
    marks = [np.linspace(to_rgb(mark), end, SHADES + 1)[:-1] for mark in MARKS for end in (black, white)]
    return np.unique((255 * np.concatenate([greys, under_prediction, *marks])).round().astype(np.uint8), axis=0)
