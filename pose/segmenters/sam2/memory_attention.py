"""SAM 2's memory attention: a slice looks at the memories of others; what does not change of them is computed once.

The same layers and weights as sam2's, in another order:

- A memory's keys are a projection, turned by the position in the slice, of its features plus an encoding of how long
  ago it was. Projection and turn are linear: the keys of the features are kept with the memory, those of the encoding
  with the network, and only their sum is new on each slice.
- Values are a projection from 64 to 256 channels, and a weighted sum of projections is the projection of the weighted
  sum: attention mixes the 64 channels, and the projection is done once for each position instead of once for each
      memory.
- The first self-attention does not look at memories: all objects share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch.nn import functional as F

from pose.segmenters.models import Network
from pose.segmenters.sam2.attention import Values, attend


@dataclass
class Memory:
    """What one slice left behind, for the objects of one batch.

    Attributes:
        features: (objects, channels, height, width) bfloat16, as sam2 stores them.
        pointers: (objects, hidden channels) float32, one vector for what each object is.
        keys: of ``features``, (objects, height * width, hidden channels) for each layer; made when first attended to.
    """

    features: torch.Tensor
    pointers: torch.Tensor
    keys: list[torch.Tensor] = field(default_factory=list, repr=False)

    def forget_features(self) -> None:
        """Keep the pointers alone."""
        self.features, self.keys = self.features.new_empty((*self.features.shape[:2], 0, 0)), []


@dataclass(frozen=True)
class Attended:
    """What the objects of a batch attend to on one slice.

    Attributes:
        memories: with how old they are as sam2 counts: 0 for a prompted slice, else from 1, the newest has the
            largest number.
        pointers: (objects, hidden channels) with how many slices ago they were made.
        longest: the distance at which pointers are too old.
    """

    memories: Sequence[tuple[int, Memory]]
    pointers: Sequence[tuple[int, torch.Tensor]]
    longest: int


@dataclass(frozen=True)
class Tokens:
    """Memories and pointers of one slice as the layers take them: tensors alone, and how old they are.

    Attributes:
        ages: of the memories.
        features: of each memory, (objects, channels, height, width) bfloat16.
        keys: of each memory, for each layer.
        pointers: none; or (objects, tokens, channels), and what encodes their age, (objects or 1, tokens, channels).
    """

    ages: tuple[int, ...]
    features: list[torch.Tensor]
    keys: list[list[torch.Tensor]]
    pointers: list[torch.Tensor]

    @property
    def objects(self) -> int:
        """How many objects there are."""
        return self.features[0].shape[0]

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All tensors, in one order."""
        return [*self.features, *(key for keys in self.keys for key in keys), *self.pointers]

    def of(self, tensors: Iterator[torch.Tensor]) -> Tokens:
        """Return the same with the next of ``tensors`` instead."""
        return Tokens(
            self.ages,
            [next(tensors) for _ in self.features],
            [[next(tensors) for _ in keys] for keys in self.keys],
            [next(tensors) for _ in self.pointers],
        )


class MemoryAttention:
    """sam2's ``memory_attention`` with what leads to it (``_prepare_memory_conditioned_features``).

    Raises:
        NotImplementedError: an architecture that no configuration of sam2 has.
    """

    def __init__(self, network: Network, precision: str):
        """Take the layers of ``network``, a SAM 2 in evaluation mode, which stays as it is."""
        module = network.memory_attention
        self._network = network
        self._norm = module.norm
        self._adds_position = module.pos_enc_at_input
        self._type = torch.bfloat16 if precision == "bf16" else torch.float32
        self._layers = [_Layer(layer, self._type) for layer in module.layers]
        self._pointer_parts = network.hidden_dim // network.mem_dim
        self._turns: dict[tuple[int, int], torch.Tensor] = {}
        self._ages: dict[tuple[int, int], list[list[torch.Tensor]]] = {}
        self._positions: dict[tuple[int, int], torch.Tensor] = {}

    def tokens(self, attended: Attended, height: int, width: int) -> Tokens:
        """Lay out what a slice of (height, width) positions attends to; keys of memories are made once."""
        turns = self._turns_of(height, width, attended.memories[0][1].features.device)
        for _, memory in attended.memories:
            if not memory.keys:
                memory.keys = self._keys_of(memory, turns)
        memories = [memory for _, memory in attended.memories]
        return Tokens(
            tuple(age for age, _ in attended.memories),
            [memory.features for memory in memories],
            [memory.keys for memory in memories],
            [*self._pointer_tokens(attended.pointers, attended.longest)] if attended.pointers else [],
        )

    def __call__(self, features: torch.Tensor, position: torch.Tensor, attended: Sequence[Tokens]) -> torch.Tensor:
        """Return the features of slices as their memories make them.

        Args:
            features: (slices, hidden channels, height, width), from the image encoder.
            position: (1, hidden channels, height, width): the encoder's encoding of positions.
            attended: for each slice, of as many memories and as many pointers.

        Returns:
            (objects of all slices, hidden channels, height, width) float32.
        """
        height, width = features.shape[2:]
        turns = self._turns_of(height, width, features.device)
        ages = self._ages_of(height, width, features.device)
        counts = [one.objects for one in attended]
        mixable, placed = [], []
        for one in attended:
            tokens = [memory.flatten(2).transpose(1, 2).to(self._type) for memory in one.features]
            if one.pointers:
                cut, encodings = one.pointers
                tokens.append(cut.to(self._type))
                placed.append(cut + encodings)
            mixable.append(torch.cat(tokens, dim=1))
        values = Values(torch.cat(mixable) if len(mixable) > 1 else mixable[0])
        pointed = torch.cat(placed) if placed else None

        x = features.flatten(2).transpose(1, 2).float()
        if self._adds_position:
            x = x + 0.1 * position.flatten(2).transpose(1, 2)
        keys = values.plain.new_empty(*values.plain.shape[:2], attended[0].keys[0][0].shape[2])
        for number, layer in enumerate(self._layers):
            x = x + layer.look_at_itself(x, turns)
            if number == 0:
                # until here all objects on a slice share it
                x = for_each_object(x, counts)
            for one, own in zip(attended, keys.split(counts), strict=True):
                # pointers, which come last, are not among the memories
                parts = own.split(height * width, dim=1)
                for age, known, part in zip(one.ages, one.keys, parts, strict=False):
                    torch.add(known[number], ages[age][number], out=part)
            if pointed is not None:
                # pointers have no place in the slice and are not turned
                keys[:, -pointed.shape[1] :] = layer.project_keys(pointed)
            x = x + layer.look_at_memories(x, turns, keys, values)
            x = x + layer.feed_forward(x)
        return self._norm(x).transpose(1, 2).unflatten(2, (height, width))

    def _turns_of(self, height: int, width: int, device: torch.device) -> torch.Tensor:
        if (height, width) not in self._turns:
            cis = self._layers[0].cross.compute_cis(end_x=width, end_y=height)
            self._turns[height, width] = cis.to(device)
        return self._turns[height, width]

    def _ages_of(self, height: int, width: int, device: torch.device) -> list[list[torch.Tensor]]:
        """Return, for each age and layer, what the age adds to the keys of a memory: (1, height * width, channels)."""
        if (height, width) not in self._ages:
            encodings = self._network.maskmem_tpos_enc[:, 0]
            turns = self._turns_of(height, width, device)
            count = self._network.num_maskmem
            self._ages[height, width] = [
                [
                    turned(
                        F.linear(encodings[count - age - 1], layer.key_weight).expand(1, height * width, -1), turns
                    ).to(self._type)
                    for layer in self._layers
                ]
                for age in range(count)
            ]
        return self._ages[height, width]

    def _keys_of(self, memory: Memory, turns: torch.Tensor) -> list[torch.Tensor]:
        height, width = memory.features.shape[2:]
        if (height, width) not in self._positions:
            encoding = self._network.memory_encoder.position_encoding(memory.features[:1].float())
            self._positions[height, width] = encoding.flatten(2).transpose(1, 2)
        x = memory.features.float().flatten(2).transpose(1, 2) + self._positions[height, width]
        return [turned(layer.project_keys(x), turns).to(self._type) for layer in self._layers]

    def _pointer_tokens(
        self, pointers: Sequence[tuple[int, torch.Tensor]], longest: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return pointers cut into tokens of a memory's channels, and what encodes their age, (objects or 1, tokens,
        channels).
        """
        from sam2.modeling.sam2_utils import get_1d_sine_pe

        network = self._network
        tokens = torch.stack([pointer for _, pointer in pointers], dim=1).float()
        objects, count = tokens.shape[:2]
        tokens = tokens.reshape(objects, count * self._pointer_parts, network.mem_dim)
        if not network.add_tpos_enc_to_obj_ptrs:
            return tokens, tokens.new_zeros(1, 1, network.mem_dim)
        distances = torch.tensor([distance for distance, _ in pointers], device=tokens.device)
        channels = network.hidden_dim if network.proj_tpos_enc_in_obj_ptrs else network.mem_dim
        encodings = network.obj_ptr_tpos_proj(get_1d_sine_pe(distances / longest, dim=channels))
        return tokens, encodings.repeat_interleave(self._pointer_parts, dim=0)[None]


class _Layer:
    """One layer of the memory attention; its weights are cast once."""

    def __init__(self, layer: Network, dtype: torch.dtype):
        cross, own = layer.cross_attn_image, layer.self_attn
        if cross.num_heads != 1 or own.num_heads != 1 or layer.pos_enc_at_attn or layer.pos_enc_at_cross_attn_queries:
            raise NotImplementedError("memory attention with several heads, or positions added to its queries")
        if not layer.pos_enc_at_cross_attn_keys:
            raise NotImplementedError("memory attention without positions added to its keys")
        self._layer = layer
        self._type = dtype
        self.cross = cross
        self.key_weight = cross.k_proj.weight
        self._own = _cast(dtype, own.q_proj, own.k_proj, own.v_proj, own.out_proj)
        self._query, self._key = _cast(dtype, cross.q_proj, cross.k_proj)
        # the weights of an attention sum to 1, so the bias of the values passes through it unchanged
        self._out = (
            (cross.out_proj.weight @ cross.v_proj.weight).to(dtype),
            (cross.out_proj.weight @ cross.v_proj.bias + cross.out_proj.bias).to(dtype),
        )
        self._first, self._second = _cast(dtype, layer.linear1, layer.linear2)

    def look_at_itself(self, x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
        normed = self._layer.norm1(x).to(self._type)
        query, key, value, out = self._own
        queries = turned(F.linear(normed, *query), turns)
        keys = turned(F.linear(normed, *key), turns).to(self._type)
        mixed = attend(queries, keys, Values(F.linear(normed, *value)), keys.shape[2] ** -0.5)
        return F.linear(mixed.to(self._type), *out)

    def look_at_memories(
        self, x: torch.Tensor, turns: torch.Tensor, keys: torch.Tensor, values: Values
    ) -> torch.Tensor:
        normed = self._layer.norm2(x).to(self._type)
        queries = turned(F.linear(normed, *self._query), turns)
        mixed = attend(queries, keys, values, keys.shape[2] ** -0.5)
        return F.linear(mixed.to(self._type), *self._out)

    def feed_forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = F.linear(self._layer.norm3(x).to(self._type), *self._first)
        hidden = hidden.relu_() if self._layer.activation is F.relu else self._layer.activation(hidden)
        return F.linear(hidden, *self._second)

    def project_keys(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.to(self._type), *self._key)


def for_each_object(slices: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """Repeat (slices, ...) for the objects on each; returns (sum of counts, ...)."""
    parts = [part.expand(count, *part.shape[1:]) for part, count in zip(slices.split(1), counts, strict=True)]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def turned(x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Turn each pair of channels of (objects, positions, channels) by the angles of its position; float32."""
    pairs = torch.view_as_complex(x.float().unflatten(2, (-1, 2)))
    return torch.view_as_real(pairs * turns).flatten(2)


def _cast(dtype: torch.dtype, *linears: torch.nn.Linear) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(linear.weight.to(dtype), linear.bias.to(dtype)) for linear in linears]
