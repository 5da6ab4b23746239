"""Attention over many thousand tokens in tiles that stay in a CPU's cache; other devices have kernels of their own for it."""

from __future__ import annotations

import torch
from torch.nn import functional as F

# a tile of scores in bfloat16 is 2 MB: as large as the cache of a core, with few enough steps between tiles
QUERIES_AT_ONCE = 512
KEYS_AT_ONCE = 2048
# every so many keys are looked at first, to know about how large the scores of a query become
KEYS_SKIPPED = 8


class Values:
    """Values of an attention, laid out once for all layers that attend to them."""

    def __init__(self, values: torch.Tensor):
        """Take (batch, keys, channels) values."""
        self.plain = values
        self.channels = values.shape[2]
        self._weighed: torch.Tensor | None = None

    @property
    def weighed(self) -> torch.Tensor:
        """(batch, channels + 1, keys): the values transposed, and a row of ones that sums up the weights."""
        if self._weighed is None:
            ones = self.plain.new_ones(self.plain.shape[0], 1, self.plain.shape[1])
            self._weighed = torch.cat([self.plain.transpose(1, 2), ones], dim=1)
        return self._weighed


def attend(queries: torch.Tensor, keys: torch.Tensor, values: Values) -> torch.Tensor:
    """Return softmax(queries @ keys^T) @ values, each of the batch on its own.

    Args:
        queries: (batch, n, d), scaled already.
        keys: (batch, m, d).
        values: of m keys.

    Returns:
        (batch, n, channels of the values) float32.
    """
    if queries.device.type != "cpu":
        return F.scaled_dot_product_attention(queries, keys, values.plain, scale=1.0).float()
    tiles = _bfloat16_tiles if queries.dtype == torch.bfloat16 else _softmax_tiles
    mixed = queries.new_empty((*queries.shape[:2], values.channels), dtype=torch.float32)
    for index in range(queries.shape[0]):
        tiles(queries[index], keys[index], values, index, mixed[index])
    return mixed


def _softmax_tiles(queries: torch.Tensor, keys: torch.Tensor, values: Values, index: int, mixed: torch.Tensor) -> None:
    for first in range(0, len(queries), QUERIES_AT_ONCE):
        part = slice(first, first + QUERIES_AT_ONCE)
        mixed[part] = (queries[part] @ keys.t()).softmax(dim=-1) @ values.plain[index]


def _bfloat16_tiles(queries: torch.Tensor, keys: torch.Tensor, values: Values, index: int, mixed: torch.Tensor) -> None:
    """Attend with matrix products in bfloat16, of which this CPU does several times as many as in float32.

    A product rounds each score to 8 bits, which would make errors of some percent in the weights of large scores. What a
    query's largest score is about is therefore taken off inside the product, before it rounds: the scores that matter
    are near 0 then, where bfloat16 is finest. It cancels in the ratio of weighed values to the sum of weights.
    """
    weighed = values.weighed[index]
    sample = keys[::KEYS_SKIPPED].contiguous()
    for first in range(0, len(queries), QUERIES_AT_ONCE):
        part = queries[first : first + QUERIES_AT_ONCE]
        about_largest = F.linear(sample, part).amax(dim=0)
        total = mixed.new_zeros(values.channels + 1, len(part))
        for start in range(0, len(keys), KEYS_AT_ONCE):
            weights = F.linear(keys[start : start + KEYS_AT_ONCE], part, -about_largest).exp_()
            total += weighed[:, start : start + KEYS_AT_ONCE] @ weights
        result = (total[:-1] / total[-1]).t()
        if not torch.isfinite(result).all():
            # a score of e^88 times the sampled ones: rare enough to take the safe way only then
            result = (part @ keys.t()).softmax(dim=-1) @ values.plain[index]
        mixed[first : first + QUERIES_AT_ONCE] = result
