"""Compare the metrics of pose/scores/metrics.py with independent implementations on random pairs of masks, and print a
table.

Two values are equal within 1e-9, or where both are nan or both infinite. Where they differ, a rule is checked on that
very pair that has to give the other value; how often each rule was needed is printed. Pairs are those of mask_pairs.py:
blobs, touching, nested, shifted, at the border, sparse, of one voxel, full or empty; in two dimensions (as a volume of
one slice) and in three; with equal, random and single-precision spacings. Ends with 1 where a difference is left
unexplained. The definition of DeepMind's surface-distance is another one: its rows tell how far apart the two are.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from pose import cli, results
from pose.files.atomic import write_atomically

if TYPE_CHECKING:
    from comparison.benchmarks.mask_pairs import Pair

LIMIT = 1e-9
SURFACE_DICE = {"surface_dice_1mm": 1.0, "surface_dice_2mm": 2.0}
METRICS = ("jaccard", "dice", "hd95_mm", "largest_distance_mm", *SURFACE_DICE)
COLUMNS = (
    "metric",
    "independent implementation",
    "pairs",
    "equal",
    "explained",
    "unexplained",
    "largest difference",
    "explanation",
)

SUBVOXELS = "surface-distance's definition, by MONAI"

BOTH_EMPTY = "both masks empty: undefined here, 1 there"
EMPTY_DISTANCE = "both masks empty: undefined here, 0 there"
ONE_EMPTY = "one mask empty: infinite here, but a percentile interpolated between infinities is nan"
SINGLE = "single precision there: value or distances from here, rounded to it, give that value"
MARGIN = "a distance above the tolerance by less than a millionth, as single-precision spacings cause, counts as within"
OTHER_DEFINITION = "another definition: elements of surface between voxels, weighted by their area"

Values = dict[str, float]


def pose_values(pair: Pair) -> Values:
    """Return what this project has for the pair, as a result for a volume; a pair of two dimensions is one slice."""
    from pose.scores import metrics

    truth, prediction, spacing = pair.truth, pair.prediction, pair.spacing_mm
    if truth.ndim == 2:
        truth, prediction, spacing = truth[:, :, None], prediction[:, :, None], (*spacing, 1.0)
    found = metrics.volume_metrics(truth, prediction, spacing)
    values = {name: found[f"volume_{name}"] for name in ("jaccard", "dice", "hd95_mm", *SURFACE_DICE)}
    together = np.concatenate(pose_distances(pair))
    return {**values, "largest_distance_mm": float(together.max()) if together.size else float("nan")}


def pose_distances(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Return this project's distances from truth to prediction, and back."""
    from pose.scores import metrics

    distances = metrics.surface_distances(pair.truth, pair.prediction, pair.spacing_mm)
    return distances.truth_to_prediction, distances.prediction_to_truth


def scipy_values(pair: Pair) -> Values:
    """Return every metric from voxels as points: each against each, without any transform of an image."""
    from scipy.spatial import distance

    flat = pair.truth.ravel(), pair.prediction.ravel()
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # its Dice of nothing is 0 / 0
        values = {"jaccard": 1 - distance.jaccard(*flat), "dice": 1 - distance.dice(*flat)}
    forth, back = distances_of_points(pair)
    values["hd95_mm"] = max(percentile_95(forth), percentile_95(back)) if forth.size and back.size else np.inf
    if not (forth.size or back.size):
        values["hd95_mm"] = np.nan
    together = np.concatenate([forth, back])
    values.update({name: within(together, tolerance) for name, tolerance in SURFACE_DICE.items()})
    return values


def distances_of_points(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances from each point of the surface of one mask to the nearest of the other, and back."""
    from scipy.ndimage import binary_erosion
    from scipy.spatial.distance import cdist

    points = []
    for mask in (pair.truth, pair.prediction):
        surface = mask & ~binary_erosion(mask, border_value=0)
        points.append(np.argwhere(surface) * np.array(pair.spacing_mm))
    if not all(len(one) for one in points):
        forth, back = (np.full(len(one), np.inf) for one in points)
        return forth, back
    table = cdist(*points)
    return table.min(axis=1), table.min(axis=0)


def percentile_95(distances: np.ndarray) -> float:
    """Return the 95th percentile by hand: linear between the two values on either side of 0.95 (n - 1)."""
    ordered = np.sort(distances)
    below, share = divmod(0.95 * (len(ordered) - 1), 1)
    lower, upper = ordered[int(below)], ordered[min(int(below) + 1, len(ordered) - 1)]
    return float(lower + share * (upper - lower))


def within(distances: np.ndarray, tolerance: float) -> float:
    """Return the share of distances that are at most ``tolerance``; nan where there are none."""
    return float(np.mean(distances <= tolerance)) if distances.size else float("nan")


def monai_values(pair: Pair) -> Values:
    """Return what MONAI's public functions give: Jaccard in double precision, the others in single."""
    import torch

    metrics = import_monai().metrics
    masks = [torch.from_numpy(mask)[None, None].double() for mask in (pair.prediction, pair.truth)]
    values = {
        "jaccard": metrics.compute_iou(*masks, ignore_empty=False).item(),
        "dice": metrics.compute_dice(*masks, ignore_empty=False).item(),
    }
    with warnings.catch_warnings():
        silence_monai()
        distance = metrics.compute_hausdorff_distance(
            *masks, include_background=True, percentile=95, spacing=pair.spacing_mm
        )
    return {**values, "hd95_mm": distance.item(), **monai_surface_dice(pair)}


def monai_surface_dice(pair: Pair, use_subvoxels: bool = False) -> Values:
    """Return MONAI's surface Dice; ``use_subvoxels`` takes the definition of DeepMind's surface-distance."""
    import torch

    monai = import_monai()
    # a channel for each tolerance
    masks = [
        torch.from_numpy(mask)[None, None].repeat(1, len(SURFACE_DICE), *(1 for _ in mask.shape))
        for mask in (pair.prediction, pair.truth)
    ]
    with warnings.catch_warnings():
        silence_monai()
        found = monai.metrics.compute_surface_dice(
            *masks,
            list(SURFACE_DICE.values()),
            include_background=True,
            spacing=pair.spacing_mm,
            use_subvoxels=use_subvoxels,
        )
    return dict(zip(SURFACE_DICE, found[0].tolist()))


def monai_double_values(pair: Pair) -> Values:
    """Return metrics from what MONAI has in double precision: the Dice of a channel, edges, distance transform."""
    import torch

    monai = import_monai()
    masks = torch.from_numpy(pair.prediction), torch.from_numpy(pair.truth).double()
    values = {"dice": monai.metrics.DiceHelper(ignore_empty=False).compute_channel(*masks).item()}
    if not (pair.prediction.any() and pair.truth.any()):
        return values
    with warnings.catch_warnings():
        silence_monai()
        prediction, truth = monai.metrics.utils.get_mask_edges(pair.prediction, pair.truth, always_return_as_numpy=True)
    transform, sampling = monai.transforms.utils.distance_transform_edt, list(pair.spacing_mm)
    forth, back = (
        torch.from_numpy(transform(~target[None], sampling=sampling)[0][source])
        for source, target in ((truth, prediction), (prediction, truth))
    )
    values["hd95_mm"] = max(torch.quantile(one, 0.95).item() for one in (forth, back))
    together = torch.cat([forth, back]).numpy()
    return {**values, **{name: within(together, tolerance) for name, tolerance in SURFACE_DICE.items()}}


@cache
def import_monai() -> ModuleType:
    """Import MONAI without what PyTorch says of how it is written."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        import monai.metrics.utils
        import monai.transforms.utils
    return monai


def silence_monai() -> None:
    """Keep MONAI from warning of empty masks, and of an argument that it gives itself."""
    warnings.filterwarnings("ignore", message="the (ground truth|prediction) of class")
    warnings.filterwarnings("ignore", category=FutureWarning, message="(?s).*always_return_as_numpy")


def scikit_image_values(pair: Pair) -> Values:
    """Return the largest distance, which scikit-image has for spacings of 1 alone."""
    from skimage.metrics import hausdorff_distance
    from skimage.segmentation import find_boundaries

    if set(pair.spacing_mm) != {1.0}:
        return {}
    # padded, because the border of the array is none to find_boundaries
    edges = [find_boundaries(np.pad(mask, 1), mode="inner", connectivity=1) for mask in (pair.truth, pair.prediction)]
    return {"largest_distance_mm": float(hausdorff_distance(*edges))}


def monai_subvoxel_values(pair: Pair) -> Values:
    """Return the surface Dice of DeepMind's surface-distance, as MONAI has it."""
    return monai_surface_dice(pair, use_subvoxels=True)


IMPLEMENTATIONS: dict[str, Callable[[Pair], Values]] = {
    "scipy, point by point": scipy_values,
    "MONAI": monai_values,
    "MONAI's parts, double precision": monai_double_values,
    "scikit-image, spacing 1": scikit_image_values,
    SUBVOXELS: monai_subvoxel_values,
}


@dataclass
class Outcome:
    """How one metric of one implementation compared.

    Attributes:
        equal: how many pairs have equal values.
        largest_difference: of all pairs on which both values are finite, those with an explained difference included.
        reasons: how many pairs each reason explains.
        unexplained: numbers of the pairs on which nothing explains the difference.
    """

    metric: str
    implementation: str
    equal: int = 0
    largest_difference: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    unexplained: list[int] = field(default_factory=list)

    @property
    def pairs(self) -> int:
        """How many pairs were compared."""
        return self.equal + self.reasons.total() + len(self.unexplained)

    def cells(self) -> list[str]:
        """Return the row of the table."""
        reasons = "; ".join(f"{count} x {reason}" for reason, count in self.reasons.most_common())
        counts = self.pairs, self.equal, self.reasons.total(), len(self.unexplained)
        return [self.metric, self.implementation, *map(str, counts), f"{self.largest_difference:.1e}", reasons]


def compare(
    pairs: Iterable[Pair], implementations: Mapping[str, Callable[[Pair], Values]] = IMPLEMENTATIONS
) -> list[Outcome]:
    """Measure every pair by every implementation; returns an outcome per metric and implementation."""
    outcomes: dict[tuple[str, str], Outcome] = {}
    for number, pair in enumerate(pairs):
        ours = pose_values(pair)
        for implementation, measure in implementations.items():
            for metric, theirs in measure(pair).items():
                outcome = outcomes.setdefault((metric, implementation), Outcome(metric, implementation))
                difference = abs(ours[metric] - theirs)
                if np.isfinite(difference):
                    outcome.largest_difference = max(outcome.largest_difference, difference)
                if is_equal(ours[metric], theirs):
                    outcome.equal += 1
                elif reason := explanation(metric, implementation, pair, ours[metric], theirs):
                    outcome.reasons[reason] += 1
                else:
                    outcome.unexplained.append(number)
    return sorted(outcomes.values(), key=lambda one: METRICS.index(one.metric))


def is_equal(ours: float, theirs: float, limit: float = LIMIT) -> bool:
    """Tell whether two values are equal: both nan, or the same infinity, or within ``limit``."""
    if np.isnan(ours) or np.isnan(theirs):
        return bool(np.isnan(ours) and np.isnan(theirs))
    return ours == theirs or abs(ours - theirs) <= limit


def explanation(metric: str, implementation: str, pair: Pair, ours: float, theirs: float) -> str | None:
    """Return why two values of a pair differ, checked on the pair itself; None where no rule gives the other value."""
    empty = [not mask.any() for mask in (pair.truth, pair.prediction)]
    if all(empty) and np.isnan(ours):
        if metric in ("jaccard", "dice") and theirs == 1:
            return BOTH_EMPTY
        return EMPTY_DISTANCE if metric == "largest_distance_mm" and theirs == 0 else None
    if any(empty):
        return ONE_EMPTY if metric == "hd95_mm" and ours == np.inf and np.isnan(theirs) else None
    if implementation == SUBVOXELS:
        return OTHER_DEFINITION
    if implementation == "MONAI" and abs(in_single_precision(metric, pair, ours) - theirs) <= 2**-22 * theirs:
        return SINGLE
    if metric in SURFACE_DICE:
        together, tolerance = np.concatenate(pose_distances(pair)), SURFACE_DICE[metric]
        least = within(together, tolerance * (1 - 1e-12))
        return MARGIN if least - LIMIT <= theirs < ours <= within(together, tolerance * (1 + 1e-6)) + LIMIT else None
    return None


def in_single_precision(metric: str, pair: Pair, ours: float) -> float:
    """Return a metric as MONAI would have it in single precision, from this project's distances or value."""
    import torch

    if metric == "dice":
        return float(np.float32(ours))
    forth, back = (torch.from_numpy(one).float() for one in pose_distances(pair))
    if metric == "hd95_mm":
        return max(torch.quantile(one, 0.95).item() for one in (forth, back))
    return float(np.float32(within(torch.cat([forth, back]).numpy(), SURFACE_DICE[metric])))


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--pairs",
        type=cli.positive_whole_number,
        default=1000,
        metavar="N",
        help="how many pairs (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=cli.whole_number, default=0, metavar="N", help="of the pairs (default: %(default)s)"
    )
    parser.add_argument("-o", "--output_file_path", type=Path, metavar="FILE", help="write the table as CSV, too")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table as Markdown, and write it where asked to."""
    arguments = make_parser().parse_args(argv)
    path = arguments.output_file_path
    if path is not None and not path.parent.is_dir():
        raise cli.UserError(f"--output_file_path {path}: there is no folder {path.parent}")

    from comparison.benchmarks.mask_pairs import mask_pairs

    outcomes = compare(mask_pairs(arguments.pairs, arguments.seed))
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    for outcome in outcomes:
        print("| " + " | ".join(outcome.cells()) + " |")
    if path is not None:
        import pandas as pd

        table = pd.DataFrame([outcome.cells() for outcome in outcomes], columns=COLUMNS)
        write_atomically(path, lambda temporary: results.write_table(temporary, table))
    lying = [outcome for outcome in outcomes if outcome.unexplained]
    for outcome in lying:
        numbers = ", ".join(map(str, outcome.unexplained))
        print(f"{outcome.metric}, {outcome.implementation}: unexplained on pairs {numbers}", file=sys.stderr)
    return cli.EXIT_VOLUME_FAILED if lying else cli.EXIT_OK


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
