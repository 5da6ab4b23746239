"""SAM 2's video memory through a volume: slices are frames, one prompted slice conditions all others.

The volume is worked in two halves that start at the prompted slice, each a video of its own, as in the paper: the half
above never sees memories of the half below. A prompted slice of another patient (a seed) stands in front of both
halves.

The network's layers, weights and rules are sam2's, and so are the masks; the order of the work is not. Slices are
prepared when they are needed, prompted ones are encoded and prompted once for both halves, objects go through the
network together, and what the attention cannot reach any more is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch.nn import functional as F

from pose.cli import UserError
from pose.prompts.prompt import Prompt
from pose.prompts.reach import pointing
from pose.scans.intensity import GreyStack
from pose.segmenters.embeddings import EmbeddingsCache, model_key
from pose.segmenters.models import ModelSpec
from pose.segmenters.protocols import SlicePredictions
from pose.segmenters.sam2.half import HalfOfVolume, HalfSettings, Known, Prompted
from pose.segmenters.sam2.image import MEMORY_WEIGHTS, OBJECT_SCORE_WEIGHTS, build_network
from pose.segmenters.sam2.memory_bank import halves
from pose.segmenters.sam2.recorded import Recorded
from pose.segmenters.sam2.seed_memory import SeedMemory
from pose.segmenters.sam2.side_by_side import side_by_side
from pose.segmenters.sam2.slice_encoder import EncodedSlices, SliceEncoder
from pose.segmenters.sam2.steering import Steering
from pose.segmenters.sam2.steps import Fetched, Half, Outcome, Remember, Steps
from pose.segmenters.sam_inputs import box_array, compute_linear_layers_in_bfloat16, point_arrays

# slices of a GPU's batch of the encoder: it is not busy with one
SLICES_AT_ONCE = 4


class Sam2Memory:
    """A volume segmenter; see :class:`pose.segmenters.VolumeSegmenter`."""

    prompt_kinds = frozenset({"points", "box", "mask"})

    def __init__(
        self,
        spec: ModelSpec,
        checkpoint: Path,
        device: torch.device,
        precision: str = "fp32",
        *,
        max_memories: int | None = None,
        stop_after: int | None = None,
        embeddings: EmbeddingsCache | None = None,
        in_step: bool | None = None,
        recorded: Recorded | None = None,
    ):
        """Load the weights in ``checkpoint``.

        Args:
            precision: of the image encoder and the memory attention. The mask decoder and the convolutions of the
                memory encoder stay in float32: they are quick in it, on a GPU quicker than with what autocast casts,
                and no rounding decides which of the decoder's masks is the best.
            max_memories: attend to so many unprompted slices at most (sam2: 6).
            stop_after: end a half once every object is absent, by its object score, on so many slices in a row after
                one on which an object was there; the rest of the half is left empty. It does not end before prompted
                slices that lie ahead. None never ends one.
            embeddings: slices that it holds are not encoded again.
            in_step: encode slices in batches, take both halves through the network as one batch, and fetch results a
                slice behind; by default where the device is a GPU with CUDA. On a CPU that gains nothing: there the
                halves are worked side by side.
            recorded: replays what a slice asks of the network once it is always the same, where the halves are worked
                in step.

        Raises:
            pose.cli.UserError: the checkpoint is damaged, of another model, or holds no memory weights.
        """
        network, lacking, self.checkpoint_sha256 = build_network(spec, checkpoint, device, video=True)
        if lacking.intersection(MEMORY_WEIGHTS + OBJECT_SCORE_WEIGHTS):
            raise UserError(
                f"{checkpoint}: holds no weights for SAM 2's memory ({', '.join(sorted(lacking))} missing); it can "
                "segment slices (process_image.py) or be carried from slice to slice (process_video.py --method "
                "chain)"
            )
        self.name = spec.name
        self.spec = spec
        self.less_memory = False  # work on one object at a time, and keep nothing that can be computed again
        self.device = device
        self.precision = precision
        self._network = network
        self._max_memories = max_memories
        self._stop_after = stop_after
        self._embeddings = embeddings
        self._in_step = device.type == "cuda" if in_step is None else in_step
        if embeddings is not None:
            what = spec.name, self.checkpoint_sha256, spec.image_size, precision, device
            embeddings.model_key = model_key(*what, "frame", spec.config, *spec.overrides)
        with torch.inference_mode():
            self._encoder = SliceEncoder(network, device, precision)
            self._steps = Steps(network, self._encoder, precision, recorded if self._in_step else None)
        if device.type == "cpu" and precision == "bf16":
            # two thirds of the memory encoder's time, and memories are rounded to bfloat16 in any case
            compute_linear_layers_in_bfloat16(network.memory_encoder)

    @torch.inference_mode()
    def remember(self, grey: GreyStack, prompts: Sequence[Prompt]) -> list[SeedMemory]:
        """Prompt slices of a patient once, so that they can condition other volumes; in ascending order of slices."""
        check_prompts_of_memory(prompts)
        seeds = []
        for slice_index in sorted({prompt.slice for prompt in prompts}):
            here = [prompt for prompt in prompts if prompt.slice == slice_index]
            square = self._encoder.square(grey[slice_index])
            features = [level.float() for level in self._encoder.encode(square[None])]
            united = self._united(features, here, grey.shape[:2])
            found = {prompt.object_id: self._prompt(features, prompt, grey.shape[:2]) for prompt in united}
            seeds.append(SeedMemory({object_id: one.memory for object_id, one in found.items()}))
        return seeds

    @torch.inference_mode()
    def segment(
        self,
        grey: GreyStack,
        prompts: Sequence[Prompt],
        seeds: Sequence[SeedMemory] = (),
        start_slice: int | None = None,
    ) -> Iterator[SlicePredictions]:
        """Propagate through ``grey``; yields the slices of both halves, each half from the prompted slice on.

        Args:
            prompts: on slices of ``grey``; may be empty where there are seeds.
            seeds: memories of other patients' prompted slices, put in front of both halves. An object learns from the
                seeds that prompt it, and from no other.
            start_slice: where the halves start without prompts; the middle of the volume by default.

        Raises:
            pose.cli.UserError: a prompt that joins a mask with points or a box, which SAM 2's memory does not take.
        """
        check_prompts_of_memory(prompts)
        steering = Steering(prompts, len(grey))
        prompts = pointing(prompts)
        with ThreadPoolExecutor(1) as worker:
            in_step = self._in_step and not self.less_memory
            at_once = SLICES_AT_ONCE if in_step else 1
            volume = EncodedSlices(self._encoder, grey, worker, self._embeddings, at_once)
            prompted: dict[tuple[int, int], Prompted] = {}
            object_ids = {prompt.object_id for prompt in prompts}.union(*(seed.objects for seed in seeds))
            for slice_index in sorted({prompt.slice for prompt in prompts}):
                here = [prompt for prompt in prompts if prompt.slice == slice_index]
                # features are needed again for objects that this slice has no prompt of
                keep = object_ids != {prompt.object_id for prompt in here}
                features = volume.features_of(slice_index, keep)
                for prompt in self._united(features, here, volume.shape):
                    prompted[prompt.object_id, slice_index] = self._prompt(features, prompt, volume.shape)
            if prompted:
                parts = halves([slice_index for _, slice_index in prompted], len(grey))
            else:
                start = len(grey) // 2 if start_slice is None else start_slice
                parts = halves([start], len(grey))
                volume.features_of(start, keep=True)
            parts = [(slices, memory_only) for slices, memory_only in parts if len(slices) > memory_only]
            known = Known(prompted, seeds, object_ids, steering)
            settings = HalfSettings(self._max_memories, self._stop_after, self.less_memory, results_behind=in_step)
            works = [
                HalfOfVolume(self._network, volume, slices, memory_only, known, settings).run()
                for slices, memory_only in parts
            ]
            if in_step:
                yield from self._steps.in_step(works)
                return
            one_by_one = [self._by_itself(work) for work in works]
            if len(works) == 2 and self.device.type == "cpu":
                yield from side_by_side(one_by_one, min(len(slices) - memory_only for slices, memory_only in parts))
            for work in one_by_one:
                yield from work

    @torch.inference_mode()
    def _by_itself(self, half: Half) -> Iterator[SlicePredictions]:
        yield from self._steps.in_step([half])

    def _prompt(self, features: list[torch.Tensor], prompt: Prompt, shape: tuple[int, int]) -> Prompted:
        """Segment one object on a slice from its prompt, as sam2 does on a frame that no memory has reached yet."""
        start = perf_counter()
        network, size = self._network, self._network.image_size
        fine, top = features[:-1], features[-1]
        if prompt.mask is not None:
            mask = torch.from_numpy(prompt.mask[None, None]).to(self.device, torch.float32)
            if prompt.mask.shape != (size, size):
                mask = F.interpolate(mask, (size, size), mode="bilinear", align_corners=False, antialias=True) >= 0.5
            heads = network._use_mask_as_output(top, fine, mask.float())
        else:
            inputs = self._points(prompt, shape)
            heads = network._forward_sam_heads(
                backbone_features=self._unremembered(top),
                point_inputs=inputs,
                high_res_features=fine,
                multimask_output=network._use_multimask(True, inputs),
            )
        # sam2 enlarges the mask again before it remembers a prompted slice
        large = F.interpolate(heads[3].float(), (size, size), mode="bilinear", align_corners=False)
        # a mask is taken as it is: there is no estimate of its IoU
        scores = None if prompt.mask is not None else heads[2].float().amax(dim=1)
        outcome = Outcome(heads[3].float(), large, scores, heads[6].float(), heads[5].float())
        (memory,) = self._steps.remember([Remember(features, outcome, prompted=True)])
        return Prompted(Fetched(outcome, shape).predictions()[0], memory, perf_counter() - start)

    def _united(
        self, features: list[torch.Tensor], prompts: Sequence[Prompt], shape: tuple[int, int]
    ) -> Iterator[Prompt]:
        """Yield one prompt for each object on a slice: of several, the mask that they find together."""
        own: dict[int, list[Prompt]] = {}
        for prompt in prompts:
            own.setdefault(prompt.object_id, []).append(prompt)
        for object_id, several in own.items():
            if len(several) == 1:
                yield several[0]
                continue
            masks = [self._prompt(features, prompt, shape).predicted.mask for prompt in several]
            yield Prompt(several[0].slice, object_id, mask=np.any(masks, axis=0))

    def _points(self, prompt: Prompt, shape: tuple[int, int]) -> dict[str, torch.Tensor]:
        """Return the prompt as sam2's network takes it: a box is two points with labels 2 and 3, in front."""
        points, labels = point_arrays(prompt)
        box = box_array(prompt)
        coordinates = np.concatenate([part.reshape(-1, 2) for part in (box, points) if part is not None])
        labels = np.concatenate([part for part in (None if box is None else [2, 3], labels) if part is not None])
        scaled = torch.from_numpy(coordinates) / torch.tensor([shape[1], shape[0]]) * self._network.image_size
        return {
            "point_coords": scaled[None].to(self.device),
            "point_labels": torch.from_numpy(labels.astype(np.int32))[None].to(self.device),
        }

    def _unremembered(self, top: torch.Tensor) -> torch.Tensor:
        """Features of a slice that attends to no memory."""
        return self._network._prepare_memory_conditioned_features(
            frame_idx=0,
            is_init_cond_frame=True,
            current_vision_feats=[top.flatten(2).permute(2, 0, 1)],
            current_vision_pos_embeds=[self._encoder.position_of(top).flatten(2).permute(2, 0, 1)],
            feat_sizes=[tuple(top.shape[2:])],
            output_dict={},
            num_frames=1,
        )


def check_prompts_of_memory(prompts: Sequence[Prompt]) -> None:
    """Refuse what SAM 2's memory does not take.

    Raises:
        pose.cli.UserError: a prompt that joins a mask with points or a box.
    """
    for prompt in prompts:
        if prompt.mask is not None and (prompt.positive_points or prompt.negative_points or prompt.box):
            raise UserError(
                f"prompt of object {prompt.object_id} on slice {prompt.slice}: SAM 2's memory takes a mask, or points "
                "and a box, not both"
            )
