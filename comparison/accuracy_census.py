"""What one box on one slice finds of each object of a list of scans, by every method, and where the rest is lost.

The list is a YAML:

    methods: [chain, region_growing]
    objects:
      - {name: lungs, image: chest.nii.gz, masks: labels.nii.gz, labels: [1, 2], window: lung}

Several labels are one object, their union; without labels, all that is not 0. A window is a name or [level, width];
without one, grey levels go by percentiles. The box is the true one, on the slice with most of the object unless
prompt_slice, of an object or of the command line, says otherwise.

A method is a word that pose.load_model takes, and more of its settings behind it: "chain model=tiny
checkpoint_file_path=tiny.pt", "chain chain.margin=2".

Dice that is lost is shared out among its causes by counting voxels: each voxel that is wrong, missed or found in vain,
costs the same, one part in the voxels of truth and result together. The first cause that holds takes it:

    network   wrong in the same way slice by slice, with a true box round each connected part of every slice: no box
              could help
    early     missed before the first or after the last slice of the result, which ends too early
    late      found before the first or after the last slice of the truth, where the result ends too late
    parts     missed, of a part of the object that is connected on its slice and of which less than half is found
    missed    missed elsewhere: the mask is too small
    leak      found in vain elsewhere: the mask is too large

The six shares of a row add up to 1, or are empty where nothing is lost. Ends are in slices: above 0 too late, beyond
the true end, below 0 too early. Seconds are those of the processor, all cores together, without the loading of model
and scan. The mean of a method has the mean size of its ends, and shares of all the Dice that its rows lose.

Of the slices from the one before the result to the one after it, "bad marked" tells how many of the bad ones (Dice
below 0.7) the run marks for review, and "good marked" how many of the good ones (0.85 and more), in vain; the row of
means has the sums.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT_ROOT))

import pose
from pose import cli
from pose.files.plain_yaml import read_yaml
from pose.scores import metrics

if TYPE_CHECKING:
    import pandas as pd

    from pose.runs.model import Model
    from pose.runs.segmentation import Segmentation
    from pose.scans.intensity import GreyStack
    from pose.scans.volume import Volume
    from pose.segmenters import SliceSegmenter

METHODS = ("chain", "region_growing")
CAUSES = ("network", "early", "late", "parts", "missed", "leak")
# of a connected part of the object on a slice: with less of it found, the part is lost
LEAST_OF_PART = 0.5
OBJECT_KEYS = ("name", "image", "masks", "labels", "window", "prompt_slice")
BAD_BELOW, GOOD_FROM = 0.7, 0.85  # Dice of a slice
# settings that say how a slice is segmented, whatever carries it
SLICE_SETTINGS = ("model", "checkpoint_file_path", "image_size", "device", "precision", "embeddings_cache")


@dataclass(frozen=True)
class Listed:
    """An object of the list.

    Attributes:
        name: what rows call it.
        image, masks: files.
        labels: those of ``masks`` that are the object; None for all.
        window: a name, (level, width) or None for percentiles.
        prompt_slice: "largest", "centre" or an index.
    """

    name: str
    image: Path
    masks: Path
    labels: tuple[int, ...] | None = None
    window: str | tuple[float, float] | None = None
    prompt_slice: str | int = "largest"


@dataclass(frozen=True)
class Method:
    """A way to carry a prompt: what the list calls it, and what :func:`pose.load_model` gets."""

    name: str
    settings: dict[str, Any]

    def load(self) -> Model:
        """Return the model.

        Raises:
            UserError: a setting that there is not.
        """
        try:
            return pose.load_model(**self.settings)
        except TypeError as error:
            raise cli.UserError(f"method {self.name}: {error}") from None


@dataclass(frozen=True)
class Task:
    """An object that has been read.

    Attributes:
        scan: the scan.
        truth: (rows, columns, slices) bool.
        box: the prompt.
        window: as of :class:`Listed`.
    """

    scan: Volume
    truth: np.ndarray
    box: pose.Prompt
    window: str | tuple[float, float] | None


def make_parser(description: str | None = __doc__) -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("census_file_path", type=Path, metavar="CENSUS.yaml", help="the list of objects")
    parser.add_argument(
        "--data_folder_path",
        type=Path,
        default=os.environ.get("POSE_REAL_DATA"),
        metavar="FOLDER",
        help="where the files of the list lie (default: POSE_REAL_DATA, or else the folder of the list)",
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar='"METHOD key=value ..."',
        help=f"instead of those of the list (default: {' '.join(METHODS)})",
    )
    parser.add_argument("--names", nargs="+", metavar="NAME", help="only these objects of the list")
    parser.add_argument(
        "--prompt_slice",
        type=cli.prompt_slice,
        metavar="largest|centre|N",
        help="the slice of the box, instead of the list's",
    )
    parser.add_argument(
        "--embeddings_cache",
        type=Path,
        metavar="FOLDER",
        help="keep encoded slices there: repeats cost little, and their seconds are left out",
    )
    cli.add_output_argument(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table as Markdown, and write it as accuracy_census.csv."""
    from pose.files.tables import write_table

    arguments = make_parser().parse_args(argv)
    listed, methods = read_list(arguments)
    table = census(listed, methods)
    arguments.output_folder_path.mkdir(parents=True, exist_ok=True)
    path = arguments.output_folder_path / "accuracy_census.csv"
    write_table(path, table)
    print(as_markdown(table))
    print(f"\n{path}")
    return cli.EXIT_OK


def read_list(arguments: argparse.Namespace) -> tuple[list[Listed], list[Method]]:
    """Return the objects and methods that a command line asks for.

    Raises:
        UserError: a list that is none, a method or a name that is not there.
    """
    path = cli.existing_file(arguments.census_file_path)
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("objects"), list) or not content["objects"]:
        raise cli.UserError(f"{path}: holds no list of objects:")
    if unknown := sorted(str(key) for key in content.keys() - {"methods", "objects"}):
        raise cli.UserError(f"{path}: the entry {unknown[0]!r} is unknown; known are methods, objects")
    folder = Path(arguments.data_folder_path or path.parent)
    listed = [_listed(path, folder, number, entry) for number, entry in enumerate(content["objects"])]
    names = [one.name for one in listed]
    if twice := [name for name in names if names.count(name) > 1]:
        raise cli.UserError(f"{path}: two objects have the name {twice[0]}")
    for name in arguments.names or ():
        if name not in names:
            raise cli.UserError(f"--names {name}: {path} has no such object; it has {', '.join(names)}")
    if arguments.names:
        listed = [one for one in listed if one.name in arguments.names]
    if arguments.prompt_slice is not None:
        listed = [replace(one, prompt_slice=arguments.prompt_slice) for one in listed]
    words = arguments.methods or content.get("methods", list(METHODS))
    if not isinstance(words, list) or not words or not all(isinstance(one, str) and one.strip() for one in words):
        raise cli.UserError(f"{path}: methods: {words!r:.60} is not a list of words such as chain")
    cached = {} if arguments.embeddings_cache is None else {"embeddings_cache": arguments.embeddings_cache}
    return listed, [method_of(one, cached) for one in words]


def _listed(path: Path, folder: Path, number: int, entry: Any) -> Listed:
    where = f"{path}: objects[{number}]"
    if not isinstance(entry, dict):
        raise cli.UserError(f"{where} has no entries such as name: and image:")
    if unknown := sorted(str(key) for key in entry.keys() - set(OBJECT_KEYS)):
        raise cli.UserError(f"{where}: the entry {unknown[0]!r} is unknown; known are {', '.join(OBJECT_KEYS)}")
    for key in ("name", "image", "masks"):
        if not isinstance(entry.get(key), str):
            raise cli.UserError(f"{where}.{key} must be a text, got {entry.get(key)!r:.60}")
    labels, window, prompted = entry.get("labels"), entry.get("window"), entry.get("prompt_slice", "largest")
    if labels is not None:
        labels = tuple(labels) if isinstance(labels, list) else (labels,)
        if not labels or not all(type(label) is int and label > 0 for label in labels):
            raise cli.UserError(f"{where}.labels must be whole numbers above 0, got {entry['labels']!r:.60}")
    if window is not None and not isinstance(window, str):
        numbers = window if isinstance(window, list) else []
        if len(numbers) != 2 or not all(type(one) in (int, float) for one in numbers):
            raise cli.UserError(f"{where}.window must be a name or [level, width], got {window!r:.60}")
        window = float(numbers[0]), float(numbers[1])
    if not (prompted in ("largest", "centre") or (type(prompted) is int and prompted >= 0)):
        raise cli.UserError(f"{where}.prompt_slice must be largest, centre or an index, got {prompted!r:.60}")
    return Listed(entry["name"], folder / entry["image"], folder / entry["masks"], labels, window, prompted)


def method_of(words: str, given: dict[str, Any] | None = None) -> Method:
    """Return the method that "METHOD key=value ..." asks for; ``given`` are settings that it does not name.

    Values are read as YAML has them; PART.key=value is a field of one of the parts of
    :class:`pose.segmenters.loading.MethodChoice`, such as chain.margin=2.

    Raises:
        UserError: a word without "=", or a setting that a part has not.
    """
    import yaml

    from pose.segmenters.loading import MethodChoice

    name, *pairs = words.split()
    settings = {**(given or {}), "method": name}
    parts = {one.name: one.default for one in fields(MethodChoice)}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not (key and equals):
            raise cli.UserError(f"method {words}: {pair} is not key=value")
        value = text if key.endswith("_path") else yaml.safe_load(text)
        part, dot, field = key.partition(".")
        if dot:
            try:
                value = replace(settings.get(part, parts.get(part)), **{field: value})
            except TypeError:
                raise cli.UserError(f"method {words}: there is no setting {key}") from None
        settings[part] = value
    return Method(words, settings)


def read_task(one: Listed) -> Task:
    """Read scan and truth of an object, and take its box from the truth.

    Raises:
        UserError: files that do not fit each other, a label or a slice that is not there.
    """
    from pose.prompts.prompt import prompt_slice, prompts_from_mask

    scan, labels = read_files(one.image, one.masks)
    for label in one.labels or ():
        if not (labels == label).any():
            raise cli.UserError(f"{one.masks}: holds no label {label}, of {one.name}")
    truth = labels > 0 if one.labels is None else np.isin(labels, one.labels)
    slice_index = prompt_slice(truth, one.prompt_slice, source=one.masks)
    (prompt,) = prompts_from_mask(truth[:, :, slice_index], slice_index, use_bounding_box=True)
    return Task(scan, truth, pose.Prompt(slice_index, box=prompt.box), one.window)


@cache
def read_files(image: Path, masks: Path) -> tuple[Volume, np.ndarray]:
    """Return a scan and its labels, upright; kept, as a scan may have many objects."""
    from pose.scans.masks import read_mask

    scan = pose.read_scan(image)
    return scan, read_mask(masks, scan).voxels


def census(listed: Sequence[Listed], methods: Sequence[Method]) -> pd.DataFrame:
    """Return a row for each object and method, and one of means for each method."""
    import pandas as pd

    models = {method.name: method.load() for method in methods}
    rows = []
    for one in listed:
        task = read_task(one)
        oracles: dict[str, np.ndarray] = {}
        for method in methods:
            model = models[method.name]
            seen = 0 if model.embeddings is None else model.embeddings.hits
            began = process_time()
            found = model.segment(task.scan, task.box, window=task.window)
            result = found.labels > 0
            seconds = process_time() - began
            if model.embeddings is not None and model.embeddings.hits > seen:
                seconds = float("nan")
            of_slices = slice_method(method)
            if of_slices.name not in oracles:
                oracles[of_slices.name] = slice_by_slice(task, of_slices)
            row = {"name": one.name, "method": method.name, "prompt_slice": task.box.slice}
            row |= {**measured(task.truth, result, oracles[of_slices.name]), "seconds": seconds}
            rows.append(row | marked(task.truth, found))
            done = f"{len(rows)} of {len(listed) * len(methods)}"
            print(f"{done}: {one.name}, {method.name}: Dice {rows[-1]['volume_dice']:.3f}", file=sys.stderr)
    means = [mean_row(method.name, [row for row in rows if row["method"] == method.name]) for method in methods]
    return pd.DataFrame(rows + means)


def slice_method(method: Method) -> Method:
    """Return the method that has the slice segmenter of ``method``: a chain of its model, or region growing itself."""
    if method.settings["method"] == "region_growing":
        return Method("region_growing", {"method": "region_growing"})
    settings = {key: value for key, value in method.settings.items() if key in SLICE_SETTINGS}
    return Method(f"chain {settings}", {**settings, "method": "chain"})


_slice_segmenters: dict[str, Any] = {}


def slice_segmenter_of(method: Method) -> SliceSegmenter:
    """Return what segments single slices for a method of :func:`slice_method`; loaded once."""
    from pose.segmenters.grey_features import GreyFeatures

    if method.name not in _slice_segmenters:
        is_growing = method.settings["method"] == "region_growing"
        _slice_segmenters[method.name] = GreyFeatures() if is_growing else method.load().segmenter.slice_segmenter
    return _slice_segmenters[method.name]


def slice_by_slice(task: Task, method: Method) -> np.ndarray:
    """Return what is found with a true box round each connected part of every slice, (rows, columns, slices) bool."""
    from pose.prompts.prompt import prompts_from_mask
    from pose.scans.intensity import GreySlices, Intensity, window_of_words

    window = window_of_words([task.window]) if isinstance(task.window, str) else task.window
    grey: GreyStack = GreySlices(task.scan, Intensity(window))
    segmenter = slice_segmenter_of(method)
    found = np.zeros(task.truth.shape, bool)
    for slice_index in np.flatnonzero(task.truth.any(axis=(0, 1))).tolist():
        segmenter.set_image(grey[slice_index])
        here = task.truth[:, :, slice_index]
        boxes = prompts_from_mask(here, slice_index, objects="per_component", use_bounding_box=True)
        for prompt in boxes:
            found[:, :, slice_index] |= segmenter.predict(pose.Prompt(slice_index, box=prompt.box)).mask
    return found


def measured(truth: np.ndarray, result: np.ndarray, oracle: np.ndarray) -> dict[str, float | int]:
    """Return the numbers of a row.

    Args:
        truth, result: (rows, columns, slices) bool; ``truth`` holds something.
        oracle: the same, found slice by slice with true boxes.
    """
    dices = [metrics.dice(truth[:, :, index], result[:, :, index]) for index in range(truth.shape[2])]
    first, last = ends_of(truth)
    row: dict[str, float | int] = {
        "volume_dice": metrics.dice(truth, result),
        "mean_slice_dice": float(np.nanmean(dices)),
        "first_end": float("nan"),
        "last_end": float("nan"),
        "beyond_voxels": int(result[:, :, :first].sum() + result[:, :, last + 1 :].sum()),
    }
    if result.any():
        found_first, found_last = ends_of(result)
        row.update(first_end=first - found_first, last_end=found_last - last)
    lost = lost_voxels(truth, result, oracle)
    total = sum(lost.values())
    row.update({f"lost_{cause}": lost[cause] / total if total else float("nan") for cause in CAUSES})
    return {**row, "slice_by_slice_dice": metrics.dice(truth, oracle)}


def marked(truth: np.ndarray, found: Segmentation) -> dict[str, int]:
    """Return how many slices on and next to a result are bad or good, and how many of each are marked for review.

    Args:
        truth: (rows, columns, slices) bool.
        found: the result.
    """
    result = found.labels > 0
    first, last = ends_of(result) if result.any() else ends_of(truth)
    to_review, counts = set(found.to_review), dict.fromkeys(("bad", "bad_marked", "good", "good_marked"), 0)
    for index in range(max(first - 1, 0), min(last + 2, truth.shape[2])):
        dice = metrics.dice(truth[:, :, index], result[:, :, index])  # nan where both are empty
        for name, holds in (("bad", dice < BAD_BELOW), ("good", dice >= GOOD_FROM)):
            counts[name] += int(holds)
            counts[f"{name}_marked"] += int(holds and index in to_review)
    return counts


def lost_voxels(truth: np.ndarray, result: np.ndarray, oracle: np.ndarray) -> dict[str, int]:
    """Return how many voxels are wrong by each of ``CAUSES``, as the head of this file defines them."""
    from scipy import ndimage

    first, last = ends_of(truth)
    found_first, found_last = ends_of(result) if result.any() else (truth.shape[2], -1)
    lost = dict.fromkeys(CAUSES, 0)
    for index in range(truth.shape[2]):
        true, found, by_box = truth[:, :, index], result[:, :, index], oracle[:, :, index]
        missed, in_vain = true & ~found, found & ~true
        lost["network"] += int((missed & ~by_box).sum() + (in_vain & by_box).sum())
        missed, in_vain = missed & by_box, in_vain & ~by_box
        lost["leak" if first <= index <= last else "late"] += int(in_vain.sum())
        if not found_first <= index <= found_last:
            lost["early"] += int(missed.sum())
            continue
        parts, count = ndimage.label(true, np.ones((3, 3)))
        shares = ndimage.mean(found, parts, range(1, count + 1)) if count else []
        gone = np.isin(parts, 1 + np.flatnonzero(np.asarray(shares) < LEAST_OF_PART))
        lost["parts"] += int((missed & gone).sum())
        lost["missed"] += int((missed & ~gone).sum())
    return lost


def ends_of(mask: np.ndarray) -> tuple[int, int]:
    """Return the first and the last slice that holds something; there must be one."""
    held = np.flatnonzero(mask.any(axis=(0, 1)))
    return int(held[0]), int(held[-1])


def mean_row(method: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the means of the rows of a method; shares are of all the Dice that they lose."""
    columns = ("volume_dice", "mean_slice_dice", "beyond_voxels", "slice_by_slice_dice", "seconds")
    means = {name: mean_of(row[name] for row in rows) for name in columns}
    means.update({name: mean_of(abs(row[name]) for row in rows) for name in ("first_end", "last_end")})
    means.update({name: sum(row[name] for row in rows) for name in ("bad", "bad_marked", "good", "good_marked")})
    weights = np.array([1 - row["volume_dice"] for row in rows])
    for cause in CAUSES:
        shares = np.nan_to_num([row[f"lost_{cause}"] for row in rows])
        means[f"lost_{cause}"] = float(weights @ shares / weights.sum()) if weights.sum() else float("nan")
    return {"name": f"mean of {len(rows)}", "method": method, **means}


def mean_of(values: Any) -> float:
    """Return the mean of the numbers that are there; nan where there is none."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def as_markdown(table: pd.DataFrame) -> str:
    """Return the table as Markdown, rows of a method together."""
    head = ["object", "method", "slice", "volume Dice", "mean Dice", "first end", "last end", "voxels beyond"]
    head += [*CAUSES, "slice by slice", "bad marked", "good marked", "seconds"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for method in dict.fromkeys(table["method"]):
        for row in table[table["method"] == method].to_dict("records"):
            is_mean = np.isnan(row["prompt_slice"])
            ends = (row["first_end"], row["last_end"])
            cells = [row["name"], method, "" if is_mean else f"{row['prompt_slice']:.0f}"]
            cells += [_cell(row["volume_dice"], ".3f"), _cell(row["mean_slice_dice"], ".3f")]
            cells += [_cell(end, ".1f" if is_mean else "+.0f") for end in ends]
            cells += [_cell(row["beyond_voxels"], ".0f"), *(_cell(row[f"lost_{cause}"], ".0%") for cause in CAUSES)]
            cells += [_cell(row["slice_by_slice_dice"], ".3f")]
            cells += [f"{row[f'{name}_marked']:.0f} of {row[name]:.0f}" for name in ("bad", "good")]
            cells += [_cell(row["seconds"], ".1f")]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(value: float, form: str) -> str:
    return "" if np.isnan(value) else format(value, form)


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
