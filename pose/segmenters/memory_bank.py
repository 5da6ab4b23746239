"""Which memories a slice attends to: sam2's rules for prompted slices, the slices before it, and pointers to objects."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from pose.segmenters.memory_attention import Memory


class MemoryBank:
    """The memories of one half of a volume, for the objects of one batch; keeps what can still be reached, and no more.

    Frames count from 0 in the order in which the half is worked; prompted ones may lie ahead.
    """

    def __init__(
        self, network: torch.nn.Module, prompted: Mapping[int, Memory], frames: int, max_memories: int | None = None
    ):
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
        too_old = frame + 1 - self._features_reach
        if too_old in self._others:
            self._others[too_old].forget_features()
        self._others.pop(frame + 1 - max(self._pointers, self._features_reach + 1), None)

    def attended(self, frame: int) -> tuple[list[tuple[int, Memory]], list[tuple[int, torch.Tensor]], int]:
        """Return what ``frame`` attends to, as :class:`pose.segmenters.memory_attention.MemoryAttention` takes it."""
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
        return memories, pointers, self._pointers - 1
