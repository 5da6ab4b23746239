"""Segment a volume from one prompt in the published way: two folders of JPEGs, and sam2's own video predictor.

The slices are saved as JPEG files at PIL's default quality, once for the half above the prompted slice and once for the
half below; sam2's predictor reads each folder as a video, is prompted on its first frame and propagates in float32.
This is what benchmarks compare this project with; the prompt, the grey levels and the weights are the same.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from pose import cli
from pose.prompts.prompt import Prompt, prompt_slice, prompts_from_mask
from pose.scans.intensity import WINDOWS, GreySlices, Intensity
from pose.scans.masks import read_mask
from pose.scans.volume import read_volume
from pose.segmenters import models
from pose.segmenters.torchvision_import import import_torchvision


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-i", "--image_file_path", type=Path, required=True, metavar="FILE", help="a chest CT")
    parser.add_argument("-m", "--masks_file_path", type=Path, required=True, metavar="FILE", help="its masks")
    parser.add_argument("--labels", type=int, nargs="+", metavar="LABEL", help="labels that count (default: all)")
    parser.add_argument("--swap_axes", action="store_true", help="swap the first two axes of NIfTI files")
    parser.add_argument("--model", default="2.1_tiny", help="a SAM 2 (default: %(default)s)")
    parser.add_argument("--checkpoint_file_path", type=Path, metavar="FILE", help="its weights")
    parser.add_argument("--image_size", type=int, metavar="N", help="pixels a side (default: the model's)")
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("-o", "--output_file_path", type=Path, required=True, metavar="FILE", help="masks as .npz")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Segment the volume and write its masks."""
    arguments = make_parser().parse_args(argv)
    volume = read_volume(arguments.image_file_path, arguments.swap_axes)
    truth = read_mask(arguments.masks_file_path, like=volume).voxels
    if arguments.labels:
        truth = np.where(np.isin(truth, arguments.labels), truth, 0)
    grey = GreySlices(volume, Intensity(WINDOWS["lung"]))
    start = prompt_slice(truth, "centre", source=arguments.masks_file_path)
    prompt = prompts_from_mask(truth[:, :, start], start, use_bounding_box=True)[0]

    device = models.choose_device(arguments.device)
    spec = models.find_model(arguments.model, 2)
    if arguments.image_size:
        spec = replace(spec, image_size=arguments.image_size)
    network = load_predictor(spec, models.checkpoint_path(spec, arguments.checkpoint_file_path), device)
    masks = np.zeros(volume.voxels.shape, dtype=bool)
    for slices in (range(start, len(grey)), range(start, -1, -1)):
        with tempfile.TemporaryDirectory() as folder:
            write_jpegs(Path(folder), grey, slices)
            for slice_index, mask in propagate(network, folder, slices, prompt):
                masks[:, :, slice_index] = mask
    np.savez_compressed(arguments.output_file_path, masks)
    return cli.EXIT_OK


def load_predictor(spec: models.ModelSpec, checkpoint: Path, device):
    """Build sam2's video predictor with the weights of ``checkpoint``."""
    import_torchvision()
    from sam2.build_sam import build_sam2_video_predictor

    # at each mask, where its CUDA extension is not built, it says that it leaves small holes open
    warnings.filterwarnings("ignore", "cannot import name '_C' from 'sam2'", UserWarning)
    overrides = [f"++model.image_size={spec.image_size}", *spec.overrides]
    network = build_sam2_video_predictor(spec.config, None, device=device, hydra_overrides_extra=overrides)
    models.fill_weights(network, models.load_weights(checkpoint)[0], checkpoint)
    return network


def write_jpegs(folder: Path, grey: GreySlices, slices: Sequence[int]) -> None:
    """Write slices as 00000.jpg, 00001.jpg … in the order given."""
    from PIL import Image

    for frame, slice_index in enumerate(slices):
        Image.fromarray(grey[slice_index]).convert("RGB").save(folder / f"{frame:05d}.jpg")


def propagate(network, folder: str, slices: Sequence[int], prompt: Prompt):
    """Yield (slice, mask) of each frame of a folder, prompted on its first."""
    state = network.init_state(folder)
    points = [(column, row) for row, column in prompt.positive_points + prompt.negative_points]
    labels = [1] * len(prompt.positive_points) + [0] * len(prompt.negative_points)
    row_min, column_min, row_max, column_max = prompt.box
    box = np.array([column_min, row_min, column_max, row_max], dtype=np.float32)
    network.add_new_points_or_box(state, 0, 1, points=np.array(points, np.float32), labels=np.array(labels), box=box)
    for frame, _, logits in network.propagate_in_video(state, start_frame_idx=0):
        yield slices[frame], (logits[0, 0] > 0).cpu().numpy()


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
