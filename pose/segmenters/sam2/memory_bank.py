"""The order in which slices are worked, and which memories each attends to by sam2's rules: prompted slices, those
before it, and pointers to objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pose.segmenters.models import Network
from pose.segmenters.sam2.memory_attention import Attended, Memory


def halves(prompted: Sequence[int], slices: int) -> list[tuple[list[int], int]]:
    """Return the two halves of a volume as (slices in order of work, how many at the front are only there as memory).

    A half starts at the prompted slice in the middle of all prompted ones; those on its other side are put in front of
    it, farthest first, so that every object is known in both halves. Together the halves give every slice once.
    """
    prompted = sorted(set(prompted))
    start = prompted[(len(prompted) - 1) // 2]
    below = [slice_index for slice_index in prompted if slice_index < start]
    above = [slice_index for slice_index in prompted if slice_index > start][::-1]
    upward = below + list(range(start, slices))
    downward = above + list(range(start, -1, -1))
    return [(upward, len(below)), (downward, len(above) + 1)]


def objects_together(
    known_on: Mapping[int, Sequence[int]], one_by_one: bool = False
) -> list[tuple[tuple[int, ...], list[int]]]:
    """Return the objects that can go through the network together, as (frames they are known on, object ids).

    Args:
        known_on: the frames on which each object is prompted, by object id.
        one_by_one: each object by itself, which needs less memory and more time.
    """
    together: dict[tuple, list[int]] = {}
    for object_id in sorted(known_on):
        frames = tuple(sorted(known_on[object_id]))
        together.setdefault((frames, object_id if one_by_one else None), []).append(object_id)
    return [(frames, members) for (frames, _), members in together.items()]


class MemoryBank:
    """The memories of one half of a volume, for the objects of one batch; keeps what can still be reached, and no more.

    Frames count from 0 in the order in which the half is worked; prompted ones may lie ahead.
    """

    def __init__(self, network: Network, prompted: Mapping[int, Memory], frames: int, max_memories: int | None = None):
        """Start with the memories of prompted frames.

        Args:
            network: a SAM 2, for its settings.
            prompted: memories by frame, of all objects of the batch.
            frames: how many the half has, those in front that are only there as memory included.
            max_memories: attend to so many unprompted slices before the one at hand at most; sam2 attends to
                ``num_maskmem - 1`` (6).
        """
        self._network = network
        self._prompted = dict(prompted)
        self._others: dict[int, Memory] = {}
        count = network.num_maskmem - 1
        self._memories = count if max_memories is None else min(count, max_memories)
        self._pointers = min(frames, network.max_obj_ptrs_in_encoder)
        self._features_reach = network.memory_temporal_stride_for_eval * network.num_maskmem

    def add(self, frame: int, memory: Memory) -> None:
        """Keep the memory of an unprompted frame, and drop what later frames cannot reach."""
        self._others[frame] = memory
        for other in [other for other in self._others if other <= frame + 1 - self._features_reach]:
            self._others[other].forget_features()
            if other <= frame + 1 - self._pointers:
                del self._others[other]

    def forget_keys(self) -> None:
        """Let go of what attention made of the memories; it can be made again."""
        for memory in (*self._prompted.values(), *self._others.values()):
            memory.keys = []

    def attended(self, frame: int) -> Attended:
        """Return what ``frame`` attends to."""
        from sam2.modeling.sam2_utils import select_closest_cond_frames

        network = self._network
        chosen, passed_over = select_closest_cond_frames(frame, self._prompted, network.max_cond_frames_in_attn)
        memories = [(0, memory) for memory in chosen.values()]
        stride = network.memory_temporal_stride_for_eval
        for back in range(network.num_maskmem - 1, 0, -1):
            at = frame - 1 if back == 1 else (frame - 2) // stride * stride - (back - 2) * stride
            memory = self._others.get(at) or passed_over.get(at)
            if memory is not None and back <= self._memories:
                memories.append((network.num_maskmem - back, memory))

        pointers = []
        if network.use_obj_ptrs_in_encoder:
            for at, memory in chosen.items():
                if at <= frame or not network.only_obj_ptrs_in_the_past_for_eval:
                    signed = network.use_signed_tpos_enc_to_obj_ptrs
                    pointers.append((frame - at if signed else abs(frame - at), memory.pointers))
            for distance in range(1, min(self._pointers, frame + 1)):
                memory = self._others.get(frame - distance) or passed_over.get(frame - distance)
                if memory is not None:
                    pointers.append((distance, memory.pointers))
        return Attended(memories, pointers, self._pointers - 1)
