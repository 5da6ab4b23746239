"""SAM and SAM 2 with random weights: the real code, small enough for a fast test, or of a published model's shapes."""

from __future__ import annotations

from pathlib import Path

from pose.segmenters.models import ModelSpec
from pose.segmenters.torchvision_import import import_torchvision

TINY = ModelSpec(
    name="tiny_random",
    family="sam2",
    config="configs/sam2.1/sam2.1_hiera_t.yaml",
    checkpoint="tiny_random.pt",
    image_size=128,
    overrides=(
        "++model.image_encoder.trunk.embed_dim=16",
        "++model.image_encoder.trunk.stages=[1,1,2,1]",
        "++model.image_encoder.trunk.global_att_blocks=[3]",
        "++model.image_encoder.neck.backbone_channel_list=[128,64,32,16]",
        "++model.memory_attention.num_layers=2",
        "++model.memory_attention.layer.dim_feedforward=64",
    ),
)


def random_network(video: bool = False, seed: int = 0, spec: ModelSpec = TINY):
    """Build the network of ``spec`` with random weights, as sam2's image or video predictor builds it."""
    import torch
    from sam2.build_sam import build_sam2, build_sam2_video_predictor

    torch.manual_seed(seed)
    build = build_sam2_video_predictor if video else build_sam2
    overrides = [f"++model.image_size={spec.image_size}", *spec.overrides]
    return build(spec.config, None, device="cpu", hydra_overrides_extra=overrides)


def save_random_weights(path: Path, without: tuple[str, ...] = (), spec: ModelSpec = TINY, seed: int = 0) -> Path:
    """Write random weights of ``spec`` as a checkpoint, leaving out those whose names start with ``without``."""
    import torch

    network = random_network(seed=seed, spec=spec)
    state = {key: value for key, value in network.state_dict().items() if not key.startswith(without or ("?",))}
    torch.save({"model": state}, path)
    return path


def small_sam():
    """Build segment-anything's network with random weights and a small image encoder, at 256 pixels instead of 1024."""
    import torch

    import_torchvision()
    from segment_anything.build_sam import _build_sam
    from segment_anything.modeling import ImageEncoderViT, PromptEncoder

    torch.manual_seed(0)
    network = _build_sam(32, 1, 2, [])
    network.image_encoder = ImageEncoderViT(
        img_size=256,
        embed_dim=32,
        depth=2,
        num_heads=2,
        out_chans=256,
        use_rel_pos=True,
        window_size=14,
        global_attn_indexes=(1,),
    )
    network.prompt_encoder = PromptEncoder(256, (16, 16), (256, 256), 16)
    return network.eval()
