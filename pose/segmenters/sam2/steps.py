"""What a half of a volume asks SAM 2's network on each slice, and how it is answered: by itself, or together with the
other half as one batch.

A GPU is done with one slice sooner than Python has asked for the next: two halves in one batch keep it busy.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from time import perf_counter
from typing import Generic, TypeAlias, TypeVar

import torch
from torch.nn import functional as F

from pose.segmenters.models import Network
from pose.segmenters.protocols import Prediction, SlicePredictions
from pose.segmenters.sam2.memory_attention import Attended, Memory, MemoryAttention, Tokens, for_each_object
from pose.segmenters.sam2.recorded import Function, Recorded
from pose.segmenters.sam2.slice_encoder import SliceEncoder
from pose.segmenters.sam_inputs import Share, Stopwatch


@dataclass(frozen=True)
class Outcome:
    """What the network says of the objects of a batch on one slice; tensors have one entry an object.

    Attributes:
        logits: (objects, 1, size / 4, size / 4) of the mask.
        large_logits: the same, (objects, 1, size, size).
        scores: (objects,) estimates of the IoU; None where a mask was given.
        object_scores: (objects, 1) logits of the object being there.
        pointers: (objects, hidden channels).
    """

    logits: torch.Tensor
    large_logits: torch.Tensor
    scores: torch.Tensor | None
    object_scores: torch.Tensor
    pointers: torch.Tensor


class Fetched:
    """The masks of an outcome on their way to the CPU.

    Attributes:
        seconds: what it took to send and to unpack them, but for the time that nobody waited.
    """

    def __init__(self, outcome: Outcome, shape: tuple[int, int]):
        """Let them be sent as (rows, columns) of ``shape``, without waiting for it."""
        start = perf_counter()
        logits = F.interpolate(outcome.logits, shape, mode="bilinear", align_corners=False)[:, 0]
        scores = [] if outcome.scores is None else [outcome.scores]
        self._parts = [logits, outcome.object_scores[:, 0], *scores]
        self._sent: torch.cuda.Event | None = None
        if logits.device.type == "cuda":
            self._parts = [
                torch.empty(part.shape, dtype=part.dtype, pin_memory=True).copy_(part, non_blocking=True)
                for part in self._parts
            ]
            self._sent = torch.cuda.Event()
            self._sent.record()
        self.seconds = perf_counter() - start

    def predictions(self) -> list[Prediction]:
        """Return one an object, once they are there."""
        if self._sent is not None:
            self._sent.synchronize()
        start = perf_counter()
        logits, object_scores, *scores = self._parts
        # what is sent is sent through the same few pages of memory
        masks = logits.cpu().numpy() if self._sent is None else logits.numpy().copy()
        estimates = scores[0].tolist() if scores else [None] * len(masks)
        found = [
            Prediction(one > 0, score, object_score, one)
            for one, score, object_score in zip(masks, estimates, object_scores.tolist(), strict=True)
        ]
        self.seconds += perf_counter() - start
        return found


Found = TypeVar("Found", Outcome, Memory)


class Question(Generic[Found]):
    """What a half yields, and finds answered when it goes on."""

    def __init__(self) -> None:
        self._found: Found | None = None
        self._time: Share | None = None

    @property
    def answer(self) -> Found:
        """The answer.

        Raises:
            RuntimeError: there is none yet.
        """
        if self._found is None:
            raise RuntimeError("asked for what was not answered")
        return self._found

    @property
    def time(self) -> Share:
        """What the answer took; its share where it was given together with others.

        Raises:
            RuntimeError: there is none yet.
        """
        if self._time is None:
            raise RuntimeError("asked for the time of what was not answered")
        return self._time

    def settle(self, found: Found, time: Share) -> None:
        """Give the answer."""
        self._found, self._time = found, time


class Track(Question[Outcome]):
    """Where are the objects of a batch on a slice?"""

    def __init__(self, features: list[torch.Tensor], attended: Attended):
        """Ask it by the levels of the slice, finest first, (1, channels, height, width) float32, and the memories."""
        super().__init__()
        self.features, self.attended = features, attended


class Remember(Question[Memory]):
    """What is to be kept of an outcome?"""

    def __init__(self, features: list[torch.Tensor], outcome: Outcome, prompted: bool = False):
        """Ask it of an outcome on the slice of ``features``; ``prompted``: it came of a prompt, not of memories."""
        super().__init__()
        self.features, self.outcome, self.prompted = features, outcome, prompted


Half: TypeAlias = Iterator[Track | Remember | SlicePredictions]


class Steps:
    """Answers questions with a SAM 2 network."""

    def __init__(self, network: Network, encoder: SliceEncoder, precision: str, recorded: Recorded | None = None):
        """Take ``network``, a SAM 2 in evaluation mode with its memory.

        Args:
            precision: of the attention.
            recorded: what is asked again and again is recorded by it.
        """
        self._network = network
        self._encoder = encoder
        self._attention = MemoryAttention(network, precision)
        self._recorded = recorded

    def _call(self, kind: Hashable, function: Function, inputs: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        return function(inputs) if self._recorded is None else self._recorded(kind, function, inputs)

    def track(self, asked: Sequence[Track]) -> list[Outcome]:
        """Answer several questions at once; their memories are of one number and shape (:func:`_kind`)."""
        height, width = asked[0].features[-1].shape[2:]
        tokens = [self._attention.tokens(one.attended, height, width) for one in asked]
        levels = len(asked[0].features)

        def heads(inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
            rest = iter(inputs)
            slices = [[next(rest) for _ in range(levels)] for _ in tokens]
            return self._heads(slices, [one.of(rest) for one in tokens])

        inputs = [level for one in asked for level in one.features] + [part for one in tokens for part in one.tensors]
        found = self._call(("track", tuple(one.ages for one in tokens)), heads, inputs)
        counts = [one.objects for one in tokens]
        return [Outcome(*parts) for parts in zip(*(one.split(counts) for one in found), strict=True)]

    def _heads(self, slices: Sequence[Sequence[torch.Tensor]], tokens: Sequence[Tokens]) -> list[torch.Tensor]:
        """Return what makes an outcome, of the objects of all slices."""
        network, counts = self._network, [one.objects for one in tokens]
        *fine, top = (torch.cat(level) for level in zip(*slices, strict=True))
        heads = network._forward_sam_heads(
            backbone_features=self._attention(top, self._encoder.position_of(top[:1]), tokens),
            high_res_features=[for_each_object(level, counts) for level in fine],
            multimask_output=network._use_multimask(False, None),
        )
        return [heads[3].float(), heads[4].float(), heads[2].float().amax(dim=1), heads[6].float(), heads[5].float()]

    def remember(self, asked: Sequence[Remember]) -> list[Memory]:
        """Answer several questions at once; they are all of prompted slices, or none is."""
        counts = [len(one.outcome.pointers) for one in asked]
        prompted = asked[0].prompted

        def memories(inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
            *tops, masks, scores = inputs
            top = for_each_object(torch.cat(tops), counts)
            features, _ = self._network._encode_new_memory(
                current_vision_feats=[top.flatten(2).permute(2, 0, 1)],
                feat_sizes=[tuple(top.shape[2:])],
                pred_masks_high_res=masks,
                object_score_logits=scores,
                is_mask_from_pts=prompted,
            )
            return [features.to(torch.bfloat16)]

        masks = torch.cat([one.outcome.large_logits for one in asked])
        scores = torch.cat([one.outcome.object_scores for one in asked])
        tops = [one.features[-1] for one in asked]
        (features,) = self._call(("remember", tuple(counts), prompted), memories, [*tops, masks, scores])
        parts = features.split(counts)
        return [Memory(part, one.outcome.pointers) for part, one in zip(parts, asked, strict=True)]

    def in_step(self, halves: Sequence[Half]) -> Iterator[SlicePredictions]:
        """Run halves together, and yield what they find as it comes; what can be is answered in one batch."""
        running = list(halves)
        while running:
            waiting: list[tuple[Half, Track | Remember]] = []
            for half in running:
                for item in half:
                    if not isinstance(item, SlicePredictions):
                        waiting.append((half, item))
                        break
                    yield item
            questions = [question for _, question in waiting]
            for _, group in groupby(questions, key=self._kind):
                self._answer(list(group))
            running = [half for half, _ in waiting]

    def _answer(self, asked: Sequence[Track | Remember]) -> None:
        watch = Stopwatch(self._encoder.device)
        tracks = [one for one in asked if isinstance(one, Track)]
        memories = [one for one in asked if isinstance(one, Remember)]
        outcomes = self.track(tracks) if tracks else []
        kept = self.remember(memories) if memories else []
        watch.stop()
        time = Share(watch, 1 / len(asked))
        for track, outcome in zip(tracks, outcomes, strict=True):
            track.settle(outcome, time)
        for remember, memory in zip(memories, kept, strict=True):
            remember.settle(memory, time)

    def _kind(self, question: Track | Remember) -> tuple[object, ...]:
        """Return what questions have in common that can be answered in one batch."""
        if isinstance(question, Track):
            attended = question.attended
            return "track", len(attended.memories), len(attended.pointers), question.features[-1].shape
        # where objects of a slice push each other aside, those of another slice may not
        alone = id(question) if self._network.non_overlap_masks_for_mem_enc else 0
        return "remember", question.prompted, question.features[-1].shape, alone
