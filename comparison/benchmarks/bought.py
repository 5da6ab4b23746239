"""Measure what libraries do against what pose/ has: seconds, peak memory and whether the results are equal.

Components in three dimensions (connected.py), objects that meet, components of slices, and distances between surfaces
(surface.py), on a made chest CT with specks of noise. Every way runs as a process of its own, all of them in turns; its
memory is what it takes beyond its inputs. Results are compared with the first way of each job. Distances need edt,
which nothing else here does: pip install edt==3.1.2.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from unittest import mock

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from pose import cli

SPECKS = 0.05  # share of voxels that noise adds to the lungs
SPACING_MM = (0.7, 0.7, 1.0)
SHIFT = 3  # rows by which the prediction is off

# A process starts with the peak of the one that starts it: a small one comes between, which made no volume.
BETWEEN = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"

Work = Callable[[np.ndarray], np.ndarray]


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--jobs",
        nargs="+",
        choices=tuple(JOBS),
        default=list(JOBS),
        metavar="NAME",
        help=f"of {', '.join(JOBS)} (default: all)",
    )
    parser.add_argument(
        "--side", type=cli.positive_whole_number, default=512, metavar="N", help="rows, columns (default: %(default)s)"
    )
    parser.add_argument(
        "--slices", type=cli.positive_whole_number, default=100, metavar="N", help="default: %(default)s"
    )
    parser.add_argument("--turns", type=cli.positive_whole_number, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)  # job, way, lungs, result: in a process of its own
    return parser


def connected_by(label: Callable[[np.ndarray], np.ndarray]) -> Work:
    """Return the work that labels the volume as a whole, and keeps what is connected to the lungs of the middle."""

    def work(lungs: np.ndarray) -> np.ndarray:
        candidates, seed = with_specks(lungs), lungs[len(lungs) // 2] > 0
        labels = label(candidates)
        kept = np.zeros(int(labels.max()) + 1, dtype=bool)
        kept[labels[len(lungs) // 2][seed]] = True
        return kept[labels]

    return work


def connected_here(lungs: np.ndarray) -> np.ndarray:
    """Do the same as :func:`connected_by` by pose/segmenters/connected.py."""
    return grown_here(with_specks(lungs), {1: lungs[len(lungs) // 2] > 0}) > 0


def meeting_here(lungs: np.ndarray) -> np.ndarray:
    """Divide the lungs, with specks, between a seed in either, by pose/segmenters/connected.py."""
    return grown_here(with_specks(lungs), {label: lungs[len(lungs) // 2] == label for label in (1, 2)})


def grown_here(candidates: np.ndarray, seeds: dict[int, np.ndarray]) -> np.ndarray:
    """Return (slices, rows, columns) uint8 of what is connected to seeds on the middle slice, by their labels."""
    from pose.segmenters.connected import PackedMask, connected_to_seeds

    packed = PackedMask.of(np.moveaxis(candidates, 0, 2))
    middle = len(candidates) // 2
    masks = connected_to_seeds(dict.fromkeys(seeds, packed), {label: [(middle, one)] for label, one in seeds.items()})
    found = np.zeros(candidates.shape, dtype=np.uint8)
    for label, mask in masks.items():
        for slice_index in range(len(found)):
            found[slice_index][mask[slice_index]] = label
    return found


def meeting_by_watershed(lungs: np.ndarray) -> np.ndarray:
    """Divide as :func:`meeting_here` does, by scikit-image's watershed of a flat image."""
    from skimage.segmentation import watershed

    markers = np.zeros(lungs.shape, dtype=np.int32)
    middle = len(lungs) // 2
    markers[middle] = lungs[middle]
    flat = np.zeros(lungs.shape, dtype=np.uint8)
    return watershed(flat, markers, connectivity=1, mask=with_specks(lungs)).astype(np.uint8)


def slice_by_slice(label: Callable[[np.ndarray], np.ndarray]) -> Work:
    """Return the work that labels every slice by itself."""

    def work(lungs: np.ndarray) -> np.ndarray:
        return np.stack([label(one).astype(np.int32) for one in with_specks(lungs)])

    return work


def with_specks(lungs: np.ndarray) -> np.ndarray:
    """Return the lungs as one bool mask, with noise."""
    rng = np.random.default_rng(0)
    return np.stack([(one > 0) | (rng.random(one.shape, np.float32) < SPECKS) for one in lungs])


def scipy_label(mask: np.ndarray) -> np.ndarray:
    """Label the components of a mask, connected through faces, by SciPy."""
    from scipy import ndimage

    return ndimage.label(mask)[0]


def scikit_image_label(mask: np.ndarray) -> np.ndarray:
    """Label them by scikit-image."""
    from skimage.measure import label

    return label(mask, connectivity=1)


def cc3d_label(mask: np.ndarray) -> np.ndarray:
    """Label them by connected-components-3d."""
    import cc3d

    return cc3d.connected_components(mask, connectivity=2 * mask.ndim)


def opencv_label(mask: np.ndarray) -> np.ndarray:
    """Label those of a slice by OpenCV."""
    import cv2

    return cv2.connectedComponents(mask.view(np.uint8), connectivity=4)[1]


def distances_here(lungs: np.ndarray) -> np.ndarray:
    """Measure the distances between the lungs and themselves, moved, by pose/scores/surface.py.

    Returns:
        (surface voxels of both,) millimetres, in order for each direction.
    """
    from pose.scores.metrics import surface_distances

    truth = np.moveaxis(lungs > 0, 0, 2)
    found = surface_distances(truth, np.roll(truth, SHIFT, axis=0), SPACING_MM)
    return np.concatenate([np.sort(found.truth_to_prediction), np.sort(found.prediction_to_truth)])


def distances_in_plane_by(squared: Callable[[np.ndarray], np.ndarray]) -> Work:
    """Return the work of :func:`distances_here` with another transform of slices, of squared distances in pixels."""

    def in_plane(target, first, stop, spacing_mm):
        background = np.ones(target.shape, dtype=np.uint8)
        background.ravel()[target.places[target.starts[first] : target.starts[stop]]] = 0
        return squared(background).ravel() * spacing_mm[0] ** 2

    def work(lungs: np.ndarray) -> np.ndarray:
        with mock.patch("pose.scores.surface._in_plane", in_plane):
            return distances_here(lungs)

    return work


def edt_squared(background: np.ndarray) -> np.ndarray:
    """Return squared distances to the nearest 0, in pixels, by edt: whole numbers, exact in single precision."""
    import edt

    return edt.edtsq(background).astype(np.float64)


def opencv_squared(background: np.ndarray) -> np.ndarray:
    """Return the same by OpenCV, whose roots in single precision are squared and rounded."""
    import cv2

    distances = cv2.distanceTransform(background, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.rint(np.square(distances, dtype=np.float64))


def distances_by(transform: Callable[[np.ndarray], np.ndarray]) -> Work:
    """Return the work that transforms the volume as a whole, in the box round both masks."""

    def work(lungs: np.ndarray) -> np.ndarray:
        from pose.scores import surface

        truth = np.moveaxis(lungs > 0, 0, 2)
        prediction = np.roll(truth, SHIFT, axis=0)
        box = surface.joint_box(truth, prediction)
        outer = [surface.outer_voxels(np.ascontiguousarray(np.moveaxis(one[box], 2, 0))) for one in (truth, prediction)]
        return np.concatenate([np.sort(transform(~target)[source]) for source, target in (outer, outer[::-1])])

    return work


def edt_transform(background: np.ndarray) -> np.ndarray:
    """Return the distance of every voxel, slices first, to the nearest False, in millimetres, by edt."""
    import edt

    return edt.edt(background, anisotropy=(SPACING_MM[2], *SPACING_MM[:2]), parallel=2)


def scipy_transform(background: np.ndarray) -> np.ndarray:
    """Return the same by SciPy."""
    from scipy import ndimage

    return ndimage.distance_transform_edt(background, sampling=(SPACING_MM[2], *SPACING_MM[:2]))


JOBS: dict[str, dict[str, Work]] = {
    "connected": {
        "scipy, whole volume": connected_by(scipy_label),
        "scikit-image, whole volume": connected_by(scikit_image_label),
        "cc3d, whole volume": connected_by(cc3d_label),
        "pose: cc3d, in slabs": connected_here,
    },
    "meeting": {"pose: fronts": meeting_here, "scikit-image: watershed": meeting_by_watershed},
    "slices": {
        "scipy": slice_by_slice(scipy_label),
        "scikit-image": slice_by_slice(scikit_image_label),
        "opencv": slice_by_slice(opencv_label),
        "pose: cc3d": slice_by_slice(cc3d_label),
    },
    "distances": {
        "scipy, whole volume": distances_by(scipy_transform),
        "edt, whole volume": distances_by(edt_transform),
        "edt, in plane": distances_in_plane_by(edt_squared),
        "opencv, in plane": distances_in_plane_by(opencv_squared),
        "pose: scipy, in plane": distances_here,
    },
}


def run_one(job: str, way: str, lungs_path: str, result_path: str) -> None:
    """Do one job in this process: write its result, print its figures as JSON."""
    work, lungs = JOBS[job][way], np.load(lungs_path, allow_pickle=False)
    corner = lungs[:4, :8, :8].copy()
    corner[:, 2:4, 2:4], corner[:, 5:7, 5:7] = 1, 2
    work(corner)  # imports what the work needs
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, processor = perf_counter(), process_time()
    result = work(lungs)
    figures = {"seconds": perf_counter() - start, "cpu_seconds": process_time() - processor}
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    figures["peak_mb"] = kib * (1 if sys.platform == "darwin" else 1024) / 1e6
    np.save(result_path, result)
    print(json.dumps(figures))


def equality(reference: np.ndarray, result: np.ndarray) -> str:
    """Say whether two results are equal, and how far apart they are where not."""
    if np.array_equal(reference, result):
        return "yes"
    if reference.dtype == np.float64:
        return f"to {np.abs(reference - result).max():.0e} mm"
    return f"no, {np.count_nonzero(reference != result)} of {np.count_nonzero(reference)} voxels differ"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure in turns, print a table."""
    arguments = make_parser().parse_args(argv)
    if arguments.one:
        run_one(*arguments.one)
        return cli.EXIT_OK
    if "distances" in arguments.jobs and importlib.util.find_spec("edt") is None:
        raise cli.UserError("--jobs distances: edt is not installed; pip install edt==3.1.2")

    from pose.scans.phantom import chest_ct

    print(f"{arguments.side} x {arguments.side} x {arguments.slices}, median of {arguments.turns} turns\n")
    print("| job | way | seconds | processor, s | peak memory, MB | equal |\n|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        labels = chest_ct((arguments.side, arguments.side, arguments.slices))[1]
        np.save(folder / "lungs.npy", np.ascontiguousarray(np.moveaxis(labels, 2, 0), dtype=np.uint8))
        for job in arguments.jobs:
            figures: dict[str, list[dict[str, float]]] = {way: [] for way in JOBS[job]}
            for turn in range(arguments.turns):
                for number, way in list(enumerate(figures))[:: -1 if turn % 2 else 1]:
                    files = [str(folder / name) for name in ("lungs.npy", f"{number}.npy")]
                    command = [sys.executable, "-c", BETWEEN, sys.executable, __file__, "--one", job, way, *files]
                    shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                    figures[way].append(json.loads(shown))
            reference = np.load(folder / "0.npy", allow_pickle=False)
            for number, (way, turns) in enumerate(figures.items()):
                cells = (median(turn[name] for turn in turns) for name in ("seconds", "cpu_seconds", "peak_mb"))
                equal = equality(reference, np.load(folder / f"{number}.npy", allow_pickle=False))
                print("| {} | {} | {:.2f} | {:.2f} | {:.0f} | {} |".format(job, way, *cells, equal), flush=True)
    return cli.EXIT_OK


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
