"""Pictures of the worst slices of a result, drawn from the scan, the ground truth and the masks that the run names."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paper.report.data import Results
from pose import results
from pose.cli import UserError, existing_file, take
from pose.figures.drawing import BOX, FILL_ALPHA, NEGATIVE, POSITIVE, TRUTH, looks_of
from pose.prompts.prompt import Prompt
from pose.prompts.prompt_file import read_prompts
from pose.runs.case import Case, Job, ShownAs, TruthRules, load_case
from pose.runs.digests import sha256_of_scan
from pose.scans.intensity import DisplaySlices, chosen_intensity
from pose.scans.masks import read_mask

if TYPE_CHECKING:
    import pandas as pd

# What a picture is made of: greys, greys below each object, and marks with their soft edges; for one object, or many.
GREYS, MANY_GREYS = 100, 80
SHADES, MANY_SHADES = 5, 2
MARKS = (TRUTH, POSITIVE, NEGATIVE, BOX)
# In points; the page shows pictures at less than half of their size.
TEXT_SIZE = 18.0
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
        numbers = [int(slice_index) for slice_index in slices]
        drawn.update(
            {(image, slice_index): made for slice_index, made in zip(numbers, _draw(one, image, numbers), strict=True)}
        )
    pictures = []
    for row in rows.to_dict("records"):
        image, slice_index = row["image"], int(row["slice"])
        distance = row.get("hd95_mm", float("nan"))
        pictures.append(
            Picture(one.name, image, slice_index, column, row[column], distance, *drawn[image, slice_index])
        )
    return pictures


def _draw(one: Results, image: str, numbers: Sequence[int]) -> list[tuple[bytes | None, str]]:
    try:
        run = one.result_set.run_files(image)
        case, prediction, prompts, word = read_drawn(run, results.read_manifest(run.run) if run.run else {})
        if outside := [slice_index for slice_index in numbers if not 0 <= slice_index < len(case.grey)]:
            raise UserError(f"{run.raw_data}: slice {outside[0]} is not one of the scan's {len(case.grey)}")
    except UserError as error:
        return [(None, f"No picture: {error}")] * len(numbers)
    draw = drawing_of(case, prediction, prompts)
    return [(draw(slice_index), word) for slice_index in numbers]


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
    # runs before version 0.2 say nothing of the axis of slices, which was the last
    read = {"series": arguments.get("series"), "suv": arguments.get("suv", False)}
    shown = ShownAs(arguments["swap_axes"], arguments.get("slice_axis", 2), chosen_intensity(*window), **read)
    rules = take(TruthRules, arguments)
    case = load_case(Job(scan, truth, run.raw_data.parent), shown, rules)
    prediction = read_mask(run.masks, case.volume).voxels
    asked = results.read_manifest(run.sam_prompts).get("prompts") if run.sam_prompts else None
    prompts = read_prompts(run.sam_prompts, like=case.volume) if asked else []
    return case, prediction, prompts, word


def recorded_file(manifest: Mapping[str, Any], kind: str, source: Path) -> Path:
    """Return the path of the file that the manifest names, which must still be the one that the run read.

    Raises:
        UserError: the manifest names none, or the file is gone or another one.
    """
    record = manifest.get(kind)
    if not isinstance(record, Mapping) or not isinstance(record.get("path"), str):
        raise UserError(f"{source}: names no {kind}")
    path = Path(record["path"])
    path = path if path.is_dir() else existing_file(path)
    if sha256_of_scan(path) != record.get("sha256"):
        raise UserError(f"{path}: is not the file that the run read, by its SHA-256")
    return path


def drawing_of(case: Case, prediction: np.ndarray, prompts: Sequence[Prompt]) -> Callable[[int], bytes]:
    """Return what draws a slice of a volume, as a PNG of few colours: upright, with the outlines of what was found and
    what is true, its prompts, and the numbers of its rows and columns.
    """
    from PIL import Image

    from pose.figures import overlays
    from pose.figures.upright import edges_of, upright

    turn, grey, objects = upright(case.volume), DisplaySlices(case.volume), overlays.objects_in(prediction)
    looks = looks_of(objects)
    colours = Image.new("P", (1, 1))
    colours.putpalette(palette(list(dict.fromkeys(look.on_slice for look in looks.values()))).tobytes())

    def draw(slice_index: int) -> bytes:
        figure = overlays.overlay(
            grey[slice_index],
            prediction=prediction[:, :, slice_index],
            legend=len(looks) > 1,
            spacing_mm=case.volume.spacing_mm,
            truth=None if case.truth is None else case.truth[:, :, slice_index],
            prompts=[prompt for prompt in prompts if prompt.slice == slice_index],
            turn=turn,
            edges=edges_of(case.volume, turn),
            objects=objects,
            text_size=TEXT_SIZE,
        )
        file = io.BytesIO()
        picture = Image.open(io.BytesIO(overlays.png_of(figure)))
        picture.quantize(palette=colours, dither=Image.Dither.NONE).save(file, format="PNG", optimize=True)
        return file.getvalue()

    return draw


def palette(tints: Sequence[str]) -> np.ndarray:
    """Return (colours, 3) uint8, at most 256, for objects of these colours; one chosen for a picture would sacrifice
    its few marks to its greys.
    """
    from matplotlib.colors import to_rgb

    greys, shades = (GREYS, SHADES) if len(tints) == 1 else (MANY_GREYS, MANY_SHADES)
    black, white, of_objects = np.zeros(3), np.ones(3), np.array([to_rgb(tint) for tint in tints])
    marks = [np.linspace(to_rgb(mark), end, shades + 1)[:-1] for mark in (*MARKS, *tints) for end in (black, white)]
    tinted = min(greys, (256 - greys - sum(map(len, marks))) // len(tints))
    below = [(1 - FILL_ALPHA) * np.linspace(black, white, tinted) + FILL_ALPHA * one for one in of_objects]
    colours = np.concatenate([np.linspace(black, white, greys), *below, *marks])
    return np.unique((255 * colours).round().astype(np.uint8), axis=0)
