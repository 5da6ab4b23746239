"""Attention over many thousand tokens in tiles that stay in a CPU's cache; other devices have kernels of their own for
it.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

# a tile of scores in bfloat16 is 2 MB: as large as the cache of a core, with few enough steps between tiles
QUERIES_AT_ONCE = 512
KEYS_AT_ONCE = 2048
# every so many keys are looked at first, to know about how large the scores of a query become
KEYS_SKIPPED = 8
LOG2_E = math.log2(math.e)


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


def attend(queries: torch.Tensor, keys: torch.Tensor, values: Values, scale: float) -> torch.Tensor:
    """Return softmax(scale * queries @ keys^T) @ values, each of the batch on its own.

    Args:
        queries: (batch, n, d) of any floating type.
        keys: (batch, m, d); their type is that of the matrix products.
        values: of m keys, of the same type.

    Returns:
        (batch, n, channels of the values) float32.
    """
    if queries.device.type != "cpu":
        return _fused(queries, keys, values.plain, scale)
    mixed = queries.new_empty((*queries.shape[:2], values.channels), dtype=torch.float32)
    for index in range(queries.shape[0]):
        if keys.dtype == torch.bfloat16:
            _bfloat16_tiles(queries[index] * (scale * LOG2_E), keys[index], values.weighed[index], mixed[index])
        else:
            _softmax_tiles(queries[index] * scale, keys[index], values.plain[index], mixed[index])
    return mixed


def _fused(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float) -> torch.Tensor:
    # with an axis for the heads: the kernels that do not write all scores to memory ask for four
    query, key, value = (part[:, None] for part in (queries.to(keys.dtype), keys, values))
    return F.scaled_dot_product_attention(query, key, value, scale=scale)[:, 0].float()


def _softmax_tiles(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mixed: torch.Tensor) -> None:
    for part, result in zip(queries.split(QUERIES_AT_ONCE), mixed.split(QUERIES_AT_ONCE)):
        torch.mm((part @ keys.t()).softmax(dim=-1), values, out=result)


def _bfloat16_tiles(queries: torch.Tensor, keys: torch.Tensor, weighed: torch.Tensor, mixed: torch.Tensor) -> None:
    """Attend with matrix products in bfloat16, of which this CPU does several times as many as in float32.

    A product rounds each score to 8 bits, which would make errors of some percent in the weights of large scores. What
    a query's largest score is about is therefore taken off inside the product, before it rounds: the scores that matter
    are near 0 then, where bfloat16 is finest. It cancels in the ratio of weighed values to the sum of weights.

    Args:
        queries: (n, d), scaled for powers of 2.
        keys: (m, d).
        weighed: (channels + 1, m), see :attr:`Values.weighed`.
        mixed: (n, channels) float32, which is filled.
    """
    queries = queries.to(torch.bfloat16)
    sample = keys[::KEYS_SKIPPED].contiguous()
    tiles = list(zip(keys.split(KEYS_AT_ONCE), weighed.split(KEYS_AT_ONCE, dim=1)))
    # made once: fresh memory of this size has to be fetched from the system page by page
    sums = weighed.new_empty(len(tiles), len(weighed), min(QUERIES_AT_ONCE, len(queries)))
    room = weighed.new_empty(min(KEYS_AT_ONCE, len(keys)) * min(QUERIES_AT_ONCE, len(queries)))
    for part, result in zip(queries.split(QUERIES_AT_ONCE), mixed.split(QUERIES_AT_ONCE)):
        about_largest = F.linear(sample, part).amax(dim=0).neg_()
        for (some_keys, some_values), some_sums in zip(tiles, sums[:, :, : len(part)]):
            weights = room[: len(some_keys) * len(part)].view(len(some_keys), len(part))
            torch.addmm(about_largest, some_keys, part.t(), out=weights).exp2_()
            torch.mm(some_values, weights, out=some_sums)
        total = sums[:, :, : len(part)].sum(dim=0, dtype=torch.float32)
        torch.div(total[:-1].t(), total[-1][:, None], out=result)
    if not torch.isfinite(mixed).all():
        # a score that is 2^128 times the sampled ones: rare enough to take the safe way only then
        for part, result in zip(queries.split(QUERIES_AT_ONCE), mixed.split(QUERIES_AT_ONCE)):
            scores = (part @ keys.t()).float() / LOG2_E
            result.copy_(scores.softmax(dim=-1).to(torch.bfloat16) @ weighed[:-1].t())
