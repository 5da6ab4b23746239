"""One half of a volume on its way through SAM 2's memory: what it asks of the network slice by slice, and finds."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np
import torch
from torch.nn import functional as F

from pose.segmenters.models import Network
from pose.segmenters.protocols import Prediction, SlicePredictions
from pose.segmenters.sam2.memory_attention import Memory
from pose.segmenters.sam2.memory_bank import MemoryBank, objects_together
from pose.segmenters.sam2.seed_memory import SeedMemory
from pose.segmenters.sam2.slice_encoder import EncodedSlices
from pose.segmenters.sam2.steering import Steering
from pose.segmenters.sam2.steps import Fetched, Half, Outcome, Remember, Track
from pose.segmenters.sam_inputs import Share

LOGGER = logging.getLogger(__name__)

# a logit of certain absence, as sam2 has it for objects that are not there
NO_OBJECT = 1024.0


@dataclass(frozen=True)
class Prompted:
    """An object on the slice it was prompted on: what is there, and the memory of it."""

    predicted: Prediction
    memory: Memory
    seconds: float


@dataclass(frozen=True)
class Known:
    """What both halves start with.

    Attributes:
        prompted: by object id and slice.
        seeds: of other patients, in front of both halves.
        object_ids: of all objects.
        steering: what a person says of where they are not.
    """

    prompted: Mapping[tuple[int, int], Prompted]
    seeds: Sequence[SeedMemory]
    object_ids: set[int]
    steering: Steering


@dataclass(frozen=True)
class HalfSettings:
    """How a half is worked.

    Attributes:
        max_memories, stop_after, less_memory: see :class:`pose.segmenters.sam2.memory.Sam2Memory`.
        results_behind: give the results of a slice once the next one is under way, so that nobody waits for them.
    """

    max_memories: int | None
    stop_after: int | None
    less_memory: bool
    results_behind: bool


@dataclass
class _OnSlice:
    """What was asked about a slice; it is known in time.

    Attributes:
        position: among the slices of the half.
        prompted: predictions of objects that were prompted on it.
        found: of the others, with their ids.
        times: that the network took.
        steered: seconds of taking away what is not the object.
    """

    position: int
    prompted: dict[int, Prediction] = field(default_factory=dict)
    found: list[tuple[list[int], Fetched]] = field(default_factory=list)
    times: list[Share] = field(default_factory=list)
    steered: float = 0.0


class HalfOfVolume:
    """One half, from the prompted slice to one end of the volume."""

    def __init__(
        self,
        network: Network,
        volume: EncodedSlices,
        slices: Sequence[int],
        memory_only: int,
        known: Known,
        settings: HalfSettings,
    ):
        """Lay out the memories that it starts with.

        Args:
            slices: in the order of work.
            memory_only: so many at the front are only there as memory.
        """
        self._volume = volume
        self._slices = slices
        self._memory_only = memory_only
        self._known = known
        self._settings = settings
        self._seeds = len(known.seeds)
        frame_of = {slice_index: self._seeds + position for position, slice_index in enumerate(slices)}
        known_on = {
            object_id: [n for n, seed in enumerate(known.seeds) if object_id in seed.objects]
            for object_id in known.object_ids
        }
        for object_id, slice_index in known.prompted:
            known_on[object_id].append(frame_of[slice_index])
        frames = self._seeds + len(slices)
        # the frames that objects are known on, their ids, and their memories
        self._batches = [
            (
                frames_known,
                members,
                MemoryBank(network, self._start(frames_known, members), frames, settings.max_memories),
            )
            for frames_known, members in objects_together(known_on, one_by_one=settings.less_memory)
        ]
        wanted = [known.steering.is_wanted(slice_index, known.object_ids) for slice_index in slices]
        self._last_wanted = max((position for position, is_wanted in enumerate(wanted) if is_wanted), default=-1)

    def _start(self, frames: Sequence[int], members: Sequence[int]) -> dict[int, Memory]:
        """Return the memories of objects on the frames they are known on."""
        memories = {}
        for frame in frames:
            parts = [
                self._known.seeds[frame].objects[object_id]
                if frame < self._seeds
                else self._known.prompted[object_id, self._slices[frame - self._seeds]].memory
                for object_id in members
            ]
            memories[frame] = Memory(
                torch.cat([part.features for part in parts]), torch.cat([part.pointers for part in parts])
            )
        return memories

    @torch.inference_mode()
    def run(self) -> Half:
        """Yield questions to the network, and slices as they are known."""
        waiting: deque[_OnSlice] = deque()
        absent: int | None = None  # slices in a row, once an object has been there
        asking = self._asked()
        while True:
            item = next(asking, None)
            if isinstance(item, (Track, Remember)):
                yield item
                continue
            if item is not None:
                waiting.append(item)
            while len(waiting) > (self._settings.results_behind if item is not None else 0):
                on_slice = waiting.popleft()
                position = on_slice.position
                found = self._result(on_slice)
                if self._is_there(found, position):
                    absent = 0
                elif absent is not None and position >= self._memory_only:
                    absent += 1
                if position < self._memory_only:
                    continue
                yield found
                if absent is not None and absent == self._settings.stop_after and self._ahead(position):
                    rest = self._slices[position + 1 :]
                    LOGGER.info("absent on %d slices in a row: no work from slice %d on", absent, rest[0])
                    yield from self._nothing_on(rest)
                    return
            if item is None:
                yield from self._nothing_on(self._slices[max(self._last_wanted + 1, self._memory_only) :])
                return

    def _ahead(self, position: int) -> Sequence[int]:
        """Return the slices that objects may be on, of those after ``position``."""
        return self._slices[position + 1 : self._last_wanted + 1]

    def _asked(self) -> Iterator[Track | Remember | _OnSlice]:
        """Yield what is asked about each slice, and then the slice."""
        for position, slice_index in enumerate(self._slices[: max(self._last_wanted + 1, self._memory_only)]):
            frame = self._seeds + position
            ahead = self._ahead(position)
            upcoming = [
                slice_ahead
                for frame_ahead, slice_ahead in enumerate(ahead, frame + 1)
                if any(frame_ahead not in known for known, _, _ in self._batches)
            ]
            self._volume.prepare(upcoming)
            on_slice = _OnSlice(position)
            features: list[torch.Tensor] = []
            if any(frame not in known for known, _, _ in self._batches):
                features = self._volume.features_of(slice_index, upcoming=upcoming)
            for known, members, bank in self._batches:
                if frame in known:
                    on_slice.prompted.update(
                        (object_id, self._known.prompted[object_id, slice_index].predicted) for object_id in members
                    )
                    continue
                track = Track(features, bank.attended(frame))
                yield track
                on_slice.times.append(track.time)
                if self._settings.less_memory:
                    bank.forget_keys()
                start = perf_counter()
                outcome = self._steered(track.answer, members, slice_index)
                on_slice.steered += perf_counter() - start
                if ahead:
                    remember = Remember(features, outcome)
                    yield remember
                    on_slice.times.append(remember.time)
                    bank.add(frame, remember.answer)
                on_slice.found.append((members, Fetched(outcome, self._volume.shape)))
            yield on_slice

    def _result(self, on_slice: _OnSlice) -> SlicePredictions:
        slice_index = self._slices[on_slice.position]
        objects = dict(on_slice.prompted)
        for members, fetched in on_slice.found:
            objects.update(zip(members, fetched.predictions(), strict=True))
        seconds = on_slice.steered + sum(one.seconds for one in on_slice.times)
        seconds += sum(fetched.seconds for _, fetched in on_slice.found)
        seconds += sum(one.seconds for (_, on), one in self._known.prompted.items() if on == slice_index)
        if on_slice.position < self._memory_only:
            return SlicePredictions(slice_index, objects)
        encoding = self._volume.encode_time_of(slice_index)
        return SlicePredictions(slice_index, dict(sorted(objects.items())), encoding, seconds)

    def _is_there(self, found: SlicePredictions, position: int) -> bool:
        """Tell whether an object is on a slice, or is prompted on one ahead."""
        scores = [one.object_score for one in found.objects.values() if one.object_score is not None]
        return any(score > 0 for score in scores) or any(
            max(known) > self._seeds + position for known, _, _ in self._batches
        )

    def _steered(self, outcome: Outcome, members: Sequence[int], slice_index: int) -> Outcome:
        """Take away what a person says is not the object, so that it is not remembered either."""
        steering, shape = self._known.steering, self._volume.shape
        if not steering.is_steered(members, slice_index):
            return outcome
        logits, large_logits, object_scores = (
            one.clone() for one in (outcome.logits, outcome.large_logits, outcome.object_scores)
        )
        for number, (object_id, found) in enumerate(zip(members, Fetched(outcome, shape).predictions(), strict=True)):
            kept = steering.kept(object_id, slice_index, found.mask)
            if kept is None:
                object_scores[number] = -NO_OBJECT
            elif kept is found.mask:
                continue
            removed = torch.from_numpy(np.ones(shape, bool) if kept is None else found.mask & ~kept)[None, None]
            for one in (logits, large_logits):
                there = F.interpolate(removed.to(one.device, torch.float32), one.shape[-2:], mode="bilinear") > 0
                one[number][there[0]] = -NO_OBJECT
        return replace(outcome, logits=logits, large_logits=large_logits, object_scores=object_scores)

    def _nothing_on(self, slices: Iterable[int]) -> Iterator[SlicePredictions]:
        for slice_index in slices:
            empty = np.zeros(self._volume.shape, dtype=bool)
            yield SlicePredictions(slice_index, {key: Prediction(empty) for key in sorted(self._known.object_ids)})
