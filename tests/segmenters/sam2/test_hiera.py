"""The encoder that stays in the cache against sam2's, on every architecture of its configurations."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from pose.segmenters.sam2 import hiera
from pose.segmenters.sam2.hiera import CacheFriendlyEncoder
from tests.networks import TINY, random_network

NARROW = ("++model.image_encoder.trunk.embed_dim=16", "++model.image_encoder.neck.backbone_channel_list=[128,64,32,16]")


def spec_of(size: str, image_size: int, *overrides: str):
    return replace(
        TINY, config=f"configs/sam2.1/sam2.1_hiera_{size}.yaml", image_size=image_size, overrides=(*NARROW, *overrides)
    )


@pytest.mark.parametrize(
    "spec",
    [
        TINY,
        spec_of("t", 256),
        spec_of("s", 96),
        spec_of("b+", 160, "++model.image_encoder.trunk.num_heads=1"),
        spec_of("l", 128),
    ],
    ids=["tiny test network", "tiny", "small", "base_plus", "large"],
)
@torch.inference_mode()
def test_levels_equal_those_of_sam2(spec, monkeypatch):
    # several bands, and tiles instead of whole windows, also for so small an image
    monkeypatch.setattr(hiera, "POSITIONS_AT_ONCE", 256)
    monkeypatch.setattr(hiera, "LONGEST_WINDOW", 200)
    network = random_network(spec=spec)
    image = torch.randn(1, 3, spec.image_size, spec.image_size, generator=torch.Generator().manual_seed(1))
    expected = network.forward_image(image)["backbone_fpn"]
    assert hiera.fits(network)
    for found, level in zip(CacheFriendlyEncoder(copy.deepcopy(network), "fp32")(image), expected, strict=True):
        torch.testing.assert_close(found, level, atol=1e-5, rtol=1e-4)
    for found, level in zip(CacheFriendlyEncoder(network, "bf16")(image), expected, strict=True):
        assert (found - level).pow(2).mean().sqrt() < 0.02 * level.std()


@pytest.mark.parametrize(
    "override",
    ["++model.image_encoder.neck.fpn_top_down_levels=[1,2,3]", "++model.image_encoder.trunk.window_spec=[8,8,14,7]"],
)
def test_another_architecture_is_left_to_sam2(override):
    assert not hiera.fits(random_network(spec=spec_of("t", 128, override)))
