"""SAM 2's image encoder with the same layers and weights, computed in an order that suits the cache of a CPU.

The first stages work on 256 x 256 positions in windows of 8 x 8: results of 25 MB and more, most of the time spent on
moving them. But until the third stage a window never looks beyond itself, and pooling turns windows into the smaller
ones of the next stage. So each band of windows goes from the pixels to the third stage in one piece, without leaving
the cache. What the neck and the mask decoder make of these stages are two 1 x 1 convolutions in a row: one, once
multiplied.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from pose.segmenters.models import Network
from pose.segmenters.sam2.attention import Values, attend

# two rows of windows of a slice of 1024 pixels; half or twice as many are slower
POSITIONS_AT_ONCE = 4096
# longer sequences are attended to in tiles
LONGEST_WINDOW = 256


def fits(network: Network) -> bool:
    """Tell whether the network's encoder is built as all of sam2's configurations build it."""
    encoder, trunk = network.image_encoder, network.image_encoder.trunk
    sizes = [block.window_size for block in trunk.blocks[: trunk.stage_ends[1] + 2]]
    return (
        len(trunk.stage_ends) == 4
        and encoder.scalp == 1
        and list(encoder.neck.fpn_top_down_levels) == [2, 3]
        and encoder.neck.fpn_interp_model == "nearest"
        and encoder.neck.fuse_type == "sum"
        and network.use_high_res_features_in_sam
        and tuple(trunk.q_stride) == (2, 2)
        and trunk.q_pool_blocks[:2] == [end + 1 for end in trunk.stage_ends[:2]]
        and all(size == _window_at(trunk, number) for number, size in enumerate(sizes))
    )


def _window_at(trunk: Network, number: int) -> int:
    """The window that block ``number`` has if windows shrink by pooling alone."""
    pooled = sum(number > start for start in trunk.q_pool_blocks)
    return trunk.blocks[0].window_size >> pooled


class CacheFriendlyEncoder:
    """Stands for ``forward_image`` of a SAM 2 network whose encoder :func:`fits`."""

    def __init__(self, network: Network, precision: str):
        """Take over the layers of ``network``, whose encoder is not to be used any more; "bf16" casts linear layers
        once.

        Layer norms and the sums from block to block stay in float32.
        """
        self._type = torch.bfloat16 if precision == "bf16" else torch.float32
        self._trunk = network.image_encoder.trunk
        neck, decoder = network.image_encoder.neck, network.sam_mask_decoder
        convolutions = [neck.convs[len(neck.convs) - 1 - level].conv for level in range(4)]
        self._fine = [
            self._cast(*_product(second, first))
            for first, second in zip(convolutions, (decoder.conv_s0, decoder.conv_s1))
        ]
        self._coarse = [self._cast(conv.weight.flatten(1), conv.bias) for conv in convolutions[2:]]
        for block in self._trunk.blocks:
            for linear in (
                block.attn.qkv,
                block.attn.proj,
                *block.mlp.layers,
                *([block.proj] if _widens(block) else []),
            ):
                linear.to(self._type)
        self._position: dict[tuple[int, int], torch.Tensor] = {}

    def _cast(self, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return weight.to(self._type), bias.to(self._type)

    def __call__(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Encode a normalised (1, 3, size, size) float32 image.

        Returns:
            What the mask decoder takes: (1, 32, size / 4, size / 4) and (1, 64, size / 8, size / 8) in the precision of
            the encoder, (1, 256, size / 16, size / 16) in float32, for a decoder of 256 channels.
        """
        blocks, ends = self._trunk.blocks, self._trunk.stage_ends
        fine, x = self._until_third_stage(image)
        for number in range(ends[1] + 2, ends[2] + 1):
            x = self._block(blocks[number], x)
        third = F.linear(x.to(self._type), *self._coarse[0]).float()
        for number in range(ends[2] + 1, ends[3] + 1):
            x = self._block(blocks[number], x)
        fourth = F.linear(x.to(self._type), *self._coarse[1]).float()
        third = third + fourth.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
        return [level.permute(0, 3, 1, 2) for level in (*fine, third)]

    def _until_third_stage(self, image: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return the two fine levels and the positions of the third stage, all (1, rows, columns, channels)."""
        trunk = self._trunk
        projection = trunk.patch_embed.proj
        stride, (margin, _) = projection.stride[0], projection.padding
        size = image.shape[3] // stride
        window = trunk.blocks[0].window_size
        rows = window * max(1, POSITIONS_AT_ONCE // (window * size))
        padded = F.pad(image, (margin, margin, margin, margin))
        position = self._position_of(size, size)
        parts: list[list[torch.Tensor]] = [[], [], []]
        for first in range(0, size, rows):
            last = min(first + rows, size)
            below = (last - 1) * stride + projection.kernel_size[0]
            band = F.conv2d(padded[:, :, first * stride : below], projection.weight, projection.bias, stride)
            x = windows_of(band.permute(0, 2, 3, 1) + position[:, first:last], window)
            shape = (last - first, size)
            for number in range(trunk.stage_ends[1] + 2):
                x = self._window_block(trunk.blocks[number], x)
                if trunk.blocks[number].q_stride:
                    shape = (shape[0] // 2, shape[1] // 2)
                if number in trunk.stage_ends[:2]:
                    level = trunk.stage_ends.index(number)
                    parts[level].append(whole_of(F.linear(x.to(self._type), *self._fine[level]), shape))
            parts[2].append(whole_of(x, shape))
        *fine, third = (torch.cat(level, dim=1) for level in parts)
        return fine, third

    def _position_of(self, height: int, width: int) -> torch.Tensor:
        if (height, width) not in self._position:
            self._position[height, width] = self._trunk._get_pos_embed((height, width))
        return self._position[height, width]

    def _block(self, block: Network, x: torch.Tensor) -> torch.Tensor:
        """Apply a block to (1, rows, columns, channels); the windows are padded where they do not fill the slice."""
        _, rows, columns, _ = x.shape
        normed = block.norm1(x).to(self._type)
        shortcut = self._shortcut(block, x.flatten(1, 2), normed.flatten(1, 2), (rows, columns))
        after = (rows // 2, columns // 2) if block.q_stride else (rows, columns)
        if not block.window_size:
            mixed = self._attend(block, normed.flatten(1, 2), (rows, columns))
        else:
            size = block.window_size
            padded = (rows + -rows % size, columns + -columns % size)
            # what pads a slice is 0, of which the projection makes its bias
            projected = block.attn.qkv.bias.repeat(*padded, 1)[None]
            projected[:, :rows, :columns] = block.attn.qkv(normed)
            mixed = self._attend_projected(block, windows_of(projected, size), (size, size))
            if block.q_stride:
                padded = (padded[0] // 2, padded[1] // 2)
            mixed = block.attn.proj(whole_of(mixed, padded)[:, : after[0], : after[1]]).flatten(1, 2)
        return self._feed_forward(block, shortcut + mixed).view(1, *after, -1)

    def _window_block(self, block: Network, x: torch.Tensor) -> torch.Tensor:
        """Apply a block to (windows, positions of a window, channels), which fill the slice."""
        side = (block.window_size, block.window_size)
        normed = block.norm1(x).to(self._type)
        return self._feed_forward(block, self._shortcut(block, x, normed, side) + self._attend(block, normed, side))

    def _shortcut(self, block: Network, x: torch.Tensor, normed: torch.Tensor, side: tuple[int, int]) -> torch.Tensor:
        """Return what goes past the attention of (windows, positions, channels)."""
        if not _widens(block):
            return x
        projected = block.proj(normed)
        return pooled(projected, side) if block.q_stride else projected

    def _attend(self, block: Network, normed: torch.Tensor, side: tuple[int, int]) -> torch.Tensor:
        """Attend within each of (windows, positions, channels)."""
        return block.attn.proj(self._attend_projected(block, block.attn.qkv(normed), side))

    def _attend_projected(self, block: Network, projected: torch.Tensor, side: tuple[int, int]) -> torch.Tensor:
        """The same between the projections: from (windows, positions, queries and keys and values)."""
        windows, length, _ = projected.shape
        heads = block.attn.num_heads
        query, key, value = projected.view(windows, length, 3, heads, -1).unbind(2)
        if block.q_stride:
            query = pooled(query.reshape(windows, length, -1), side).unflatten(2, (heads, -1))
        query, key, value = (part.transpose(1, 2).flatten(0, 1) for part in (query, key, value))
        scale = query.shape[2] ** -0.5
        if length > LONGEST_WINDOW:
            mixed = attend(query, key, Values(value), scale).to(self._type)
        else:
            # faster here than scaled_dot_product_attention, whose kernels are made for longer sequences
            scores = torch.baddbmm(query.new_zeros(1, 1, 1), query, key.transpose(1, 2), beta=0, alpha=scale)
            mixed = torch.bmm(scores.softmax(dim=-1), value)
        return mixed.unflatten(0, (windows, heads)).transpose(1, 2).flatten(2)

    def _feed_forward(self, block: Network, x: torch.Tensor) -> torch.Tensor:
        first, second = block.mlp.layers
        flat = x.reshape(-1, x.shape[-1])
        parts = [
            part + second(block.mlp.act(first(block.norm2(part).to(self._type))))
            for part in flat.split(POSITIONS_AT_ONCE)
        ]
        return torch.cat(parts).view(x.shape) if len(parts) > 1 else parts[0].view(x.shape)


def windows_of(x: torch.Tensor, size: int) -> torch.Tensor:
    """Cut (1, rows, columns, channels) into (windows, size * size, channels)."""
    _, rows, columns, channels = x.shape
    x = x.view(rows // size, size, columns // size, size, channels)
    return x.transpose(1, 2).reshape(-1, size * size, channels)


def whole_of(windows: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Put (windows, positions, channels) together again to (1, rows, columns, channels) of ``shape``."""
    rows, columns = shape
    size = round(windows.shape[1] ** 0.5)
    x = windows.view(rows // size, columns // size, size, size, -1).transpose(1, 2)
    return x.reshape(1, rows, columns, -1)


def pooled(x: torch.Tensor, side: tuple[int, int]) -> torch.Tensor:
    """Take the largest of each 2 x 2 positions of (windows, rows * columns, channels)."""
    rows, columns = side
    x = x.view(-1, rows // 2, 2, columns // 2, 2, x.shape[2])
    x = torch.maximum(x[:, :, 0], x[:, :, 1])  # ten times as fast as amax over both axes
    return torch.maximum(x[:, :, :, 0], x[:, :, :, 1]).flatten(1, 2)


def _widens(block: Network) -> bool:
    return block.dim != block.dim_out


def _product(second: Network, first: Network) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of the 1 x 1 convolution that does what ``first`` and then ``second`` do."""
    weight, outer = first.weight.flatten(1), second.weight.flatten(1)
    return outer @ weight, outer @ first.bias + second.bias
