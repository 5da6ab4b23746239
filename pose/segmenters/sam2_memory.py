"""SAM 2's video memory through a volume: slices are frames, one prompted slice conditions all others.

The volume is worked in two halves that start at the prompted slice, each a video of its own, as in the paper: the half
above never sees memories of the half below. Slices are prepared when they are needed, the prompted slices are encoded
once for both halves, and what the memory attention cannot reach any more is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from pose.cli import UserError
from pose.models import ModelSpec
from pose.prompt import Prompt
from pose.segmenters import GreySlices, Prediction, SlicePredictions
from pose.segmenters.sam2_image import MEMORY_WEIGHTS, OBJECT_SCORE_WEIGHTS, build_network
from pose.segmenters.sam_inputs import autocast, box_array, cast_weights_once, point_arrays, wait_for

# mean and standard deviation of the pictures that SAM 2 was trained on, over red, green and blue
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


class Frames:
    """The slices of one half as the frames that SAM 2 sees: ``frames[i]`` is a normalised (3, size, size) float32 tensor."""

    def __init__(self, grey: GreySlices, slices: Sequence[int], size: int):
        self.grey = grey
        self.slices = slices
        self.size = size
        self._mean = torch.tensor(IMAGE_MEAN)[:, None, None]
        self._std = torch.tensor(IMAGE_STD)[:, None, None]

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, index: int) -> torch.Tensor:
        from PIL import Image

        # the same resampling as sam2's own video reader, so that a slice gives the same frame
        resized = Image.fromarray(self.grey[self.slices[index]]).resize((self.size, self.size))
        grey = torch.from_numpy(np.array(resized, dtype=np.float32) / 255.0)
        return (grey.expand(3, -1, -1) - self._mean) / self._std


def halves(prompted: Sequence[int], slices: int) -> list[tuple[list[int], int]]:
    """Return the two halves of a volume as (slices in order of work, how many at the front are only there as memory).

    A half starts at the prompted slice in the middle of all prompted ones; those on its other side are put in front of
    it, farthest first, so that every object is known in both halves. Together the halves give every slice once.
    """
    prompted = sorted(set(prompted))
    start = prompted[(len(prompted) - 1) // 2]
    below = [index for index in prompted if index < start]
    above = [index for index in prompted if index > start][::-1]
    upward = below + list(range(start, slices))
    downward = above + list(range(start, -1, -1))
    return [(upward, len(below)), (downward, len(above) + 1)]


class Sam2Memory:
    """A volume segmenter; see :class:`pose.segmenters.VolumeSegmenter`."""

    prompt_kinds = frozenset({"points", "box", "mask"})

    def __init__(self, spec: ModelSpec, checkpoint: Path, device: torch.device, precision: str = "fp32"):
        """Load the weights in ``checkpoint``.

        Raises:
            pose.cli.UserError: the checkpoint is damaged, of another model, or holds no memory weights.
        """
        network, lacking, self.checkpoint_sha256 = build_network(spec, checkpoint, device, video=True)
        if lacking.intersection(MEMORY_WEIGHTS + OBJECT_SCORE_WEIGHTS):
            raise UserError(
                f"{checkpoint}: holds no weights for SAM 2's memory ({', '.join(sorted(lacking))} missing); it can segment "
                "slices (process_image.py) or be carried from slice to slice (process_video.py --method chain)"
            )
        if precision == "bf16":
            cast_weights_once(network)
        # holes are only filled by a CUDA extension that is not built here; asking for it would warn at every slice
        network.fill_hole_area = 0
        network.sam_mask_decoder.register_forward_hook(self._keep_score)
        self.name = spec.name
        self.device = device
        self.precision = precision
        self._network = network
        self._score = 0.0
        # how far back the attention reaches: spatial memories and object pointers
        self._reach = max(network.num_maskmem, network.max_obj_ptrs_in_encoder)

    def _keep_score(self, module, inputs, outputs) -> None:
        self._score = float(outputs[1].float().max())

    @torch.inference_mode()
    def segment(self, grey: GreySlices, prompts: Sequence[Prompt]) -> Iterator[SlicePredictions]:
        """Propagate ``prompts`` through ``grey``; yields the upward half, from the prompted slice, then the downward one.

        Raises:
            pose.cli.UserError: a prompt that joins a mask with points or a box, which SAM 2's memory does not take.
        """
        for prompt in prompts:
            if prompt.mask is not None and (prompt.positive_points or prompt.negative_points or prompt.box):
                raise UserError(
                    f"prompt of object {prompt.object_id} on slice {prompt.slice}: SAM 2's memory takes a mask, or points "
                    "and a box, not both"
                )
        encoded: dict[int, tuple] = {}
        for slices, memory_only in halves([prompt.slice for prompt in prompts], len(grey)):
            if len(slices) > memory_only:
                yield from self._segment_half(grey, prompts, slices, memory_only, encoded)

    def _segment_half(
        self,
        grey: GreySlices,
        prompts: Sequence[Prompt],
        slices: list[int],
        memory_only: int,
        encoded: dict[int, tuple],
    ) -> Iterator[SlicePredictions]:
        state = self._new_state(grey, slices)
        frames = {prompt.slice: slices.index(prompt.slice) for prompt in prompts if prompt.slice in slices}
        scores: dict[tuple[int, int], float | None] = {}
        encode_times = dict.fromkeys(frames.values(), 0.0)
        with autocast(self.device, self.precision):
            for slice_index, frame in frames.items():
                if slice_index not in encoded:
                    encode_times[frame] = self._encode(state, frame)
                    encoded[slice_index] = state["cached_features"][frame]
            # sam2 looks features up here before it encodes: the prompted slices are encoded once for both halves
            prompted_features = {frame: encoded[slice_index] for slice_index, frame in frames.items()}
            state["cached_features"] = prompted_features
            for prompt in prompts:
                if prompt.slice in frames:
                    frame = frames[prompt.slice]
                    self._add(state, frame, prompt)
                    # a mask is taken as it is: there is no estimate of its IoU
                    scores[prompt.object_id, frame] = None if prompt.mask is not None else self._score
            self._network.propagate_in_video_preflight(state)
        for outputs in state["output_dict_per_obj"].values():
            for output in outputs["cond_frame_outputs"].values():
                self._match_precision(output)

        for frame, slice_index in enumerate(slices):
            with autocast(self.device, self.precision):
                if frame in prompted_features:
                    state["cached_features"] = prompted_features
                    set_image_time = encode_times[frame]
                else:
                    set_image_time = self._encode(state, frame)
                start = perf_counter()
                objects = self._predict_frame(state, frame, scores)
            if frame >= memory_only:
                yield SlicePredictions(slice_index, objects, set_image_time, perf_counter() - start)
            for outputs in state["output_dict_per_obj"].values():
                outputs["non_cond_frame_outputs"].pop(frame - self._reach, None)

    def _new_state(self, grey: GreySlices, slices: list[int]) -> dict:
        """Return sam2's inference state over a half, without reading any frame yet."""
        return {
            "images": Frames(grey, slices, self._network.image_size),
            "num_frames": len(slices),
            "offload_video_to_cpu": True,
            "offload_state_to_cpu": False,
            "video_height": grey.shape[0],
            "video_width": grey.shape[1],
            "device": self.device,
            "storage_device": self.device,
            "point_inputs_per_obj": {},
            "mask_inputs_per_obj": {},
            "cached_features": {},
            "constants": {},
            "obj_id_to_idx": {},
            "obj_idx_to_id": {},
            "obj_ids": [],
            "output_dict_per_obj": {},
            "temp_output_dict_per_obj": {},
            "frames_tracked_per_obj": {},
        }

    def _encode(self, state: dict, frame: int) -> float:
        """Encode ``frame`` into the cached features of ``state``; returns the seconds that it took."""
        start = perf_counter()
        self._network._get_image_feature(state, frame, batch_size=1)
        wait_for(self.device)
        return perf_counter() - start

    def _add(self, state: dict, frame: int, prompt: Prompt) -> None:
        if prompt.mask is not None:
            self._network.add_new_mask(state, frame, prompt.object_id, torch.from_numpy(prompt.mask))
        else:
            points, labels = point_arrays(prompt)
            self._network.add_new_points_or_box(
                state, frame, prompt.object_id, points=points, labels=labels, box=box_array(prompt)
            )

    def _match_precision(self, output: dict) -> None:
        """Give memories, which sam2 stores in bfloat16, the type of the network: without autocast it fails on bfloat16."""
        if self.precision == "fp32":
            output["maskmem_features"] = output["maskmem_features"].float()

    def _predict_frame(self, state: dict, frame: int, scores: dict[tuple[int, int], float | None]) -> dict[int, Prediction]:
        objects = {}
        for index, object_id in state["obj_idx_to_id"].items():
            outputs = state["output_dict_per_obj"][index]
            if frame in outputs["cond_frame_outputs"]:
                output = outputs["cond_frame_outputs"][frame]
                logits = output["pred_masks"]
                score = scores[object_id, frame]
            else:
                output, logits = self._network._run_single_frame_inference(
                    inference_state=state,
                    output_dict=outputs,
                    frame_idx=frame,
                    batch_size=1,
                    is_init_cond_frame=False,
                    point_inputs=None,
                    mask_inputs=None,
                    reverse=False,
                    run_mem_encoder=True,
                )
                self._match_precision(output)
                outputs["non_cond_frame_outputs"][frame] = output
                score = self._score
            _, logits = self._network._get_orig_video_res_output(state, logits)
            logits = logits[0, 0].float().cpu().numpy()
            objects[object_id] = Prediction(logits > 0, score, float(output["object_score_logits"].float()), logits)
        return objects
