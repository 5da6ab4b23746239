"""Functions of tensors that a GPU records as a CUDA graph, and replays without Python.

A slice of SAM 2's memory is some thousand operations, each shorter than it takes Python to ask for it. Once the
memories of a half are as many as they will be, every slice is the same operations on tensors of the same shapes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import TypeAlias

import torch

Function: TypeAlias = Callable[[Sequence[torch.Tensor]], Sequence[torch.Tensor]]
# what replays a function on the tensors that it was recorded with, and the tensors that hold its results afterwards
Recording: TypeAlias = tuple[Callable[[], None], Sequence[torch.Tensor]]

# what comes twice is computed: libraries set themselves up, and what comes no more is not recorded for nothing
SEEN_BEFORE = 2
# a recording keeps all of its intermediate results
MOST_RECORDINGS = 4


def record_on_gpu(function: Function, inputs: Sequence[torch.Tensor]) -> Recording:
    """Record ``function`` of tensors on the current GPU."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = function(inputs)
    return graph.replay, results


class Recorded:
    """Calls functions, and replays those that come again and again with inputs of the same kind."""

    def __init__(self, record: Callable[[Function, Sequence[torch.Tensor]], Recording] = record_on_gpu):
        """Record by ``record``."""
        self._record = record
        self._seen: dict[Hashable, int] = {}
        self._recordings: OrderedDict[Hashable, tuple[list[torch.Tensor], Recording]] = OrderedDict()

    def __call__(self, kind: Hashable, function: Function, inputs: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """Return ``function(inputs)``.

        Args:
            kind: all that the function depends on beside the values of its inputs; their shapes and types are added.
        """
        kind = (kind, *((tuple(one.shape), one.dtype) for one in inputs))
        if kind not in self._recordings:
            self._seen[kind] = self._seen.get(kind, 0) + 1
            if self._seen[kind] <= SEEN_BEFORE:
                return function(inputs)
            own = [one.clone(memory_format=torch.contiguous_format) for one in inputs]
            self._recordings[kind] = own, self._record(function, own)
            if len(self._recordings) > MOST_RECORDINGS:
                oldest, _ = self._recordings.popitem(last=False)
                del self._seen[oldest]
        self._recordings.move_to_end(kind)
        own, (replay, results) = self._recordings[kind]
        for mine, given in zip(own, inputs, strict=True):
            mine.copy_(given)
        replay()
        # the next replay writes over them
        return [one.clone() for one in results]
