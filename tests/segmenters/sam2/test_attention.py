"""Attention in tiles against attention in one piece, also where scores are large."""

from __future__ import annotations

import pytest
import torch

from pose.segmenters.sam2 import attention
from pose.segmenters.sam2.attention import Values, attend


def exact(queries, keys, values) -> torch.Tensor:
    return (queries.double() @ keys.double().transpose(1, 2)).softmax(dim=-1) @ values.double()


def relative_error(found, expected) -> float:
    return float((found - expected).pow(2).mean().sqrt() / expected.pow(2).mean().sqrt())


def some(spread: float, dtype, queries=(2, 700, 32), keys=2500, channels=8):
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(queries, generator=generator)
    k = torch.randn(queries[0], keys, queries[2], generator=generator) * spread / queries[2] ** 0.5
    v = torch.randn(queries[0], keys, channels, generator=generator)
    return q.to(dtype), k.to(dtype), v.to(dtype)


@pytest.mark.parametrize("spread", [0.1, 3.0, 30.0])
def test_float32_is_exact(spread):
    q, k, v = some(spread, torch.float32)
    assert relative_error(attend(q, k, Values(v), 1.0), exact(q, k, v)) < 2e-5


def test_the_way_of_other_devices_is_the_same():
    q, k, v = some(3.0, torch.float32)
    assert relative_error(attention._fused(q, k, v, 0.5), exact(q * 0.5, k, v)) < 2e-5


@pytest.mark.parametrize("spread", [0.1, 3.0, 8.0])
def test_bfloat16_keeps_its_precision_where_scores_are_large(spread):
    q, k, v = some(spread, torch.bfloat16)
    expected = exact(q, k, v)
    error = relative_error(attend(q, k, Values(v), 1.0), expected)
    assert error < 0.008
    if spread > 1:
        plain = (q @ k.transpose(1, 2)).softmax(dim=-1) @ v
        assert error < 0.5 * relative_error(plain, expected)


def test_scores_beyond_the_sampled_ones_take_the_safe_way():
    q, k, v = some(1.0, torch.bfloat16)
    k[:, 1] = q[:, 0] * 50
    found = attend(q, k, Values(v), 1.0)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found[:, 0], v[:, 1].float())


def test_values_are_laid_out_once(monkeypatch):
    q, k, v = some(1.0, torch.bfloat16)
    values = Values(v)
    attend(q, k, values, 1.0)
    monkeypatch.setattr(attention.torch, "cat", lambda *_, **__: pytest.fail("laid out again"))
    attend(q, k, values, 1.0)
