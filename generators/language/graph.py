"""The networks of a step of a token language model as graphs.

Shape letters: B batch, S slots, K digits of a frame (a patch), L most levels of a digit, W width, H heads, E features
of a head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...core.graphs import Graph
from ...layers.cache import SlotCache
from .trunk import rotary_turns, run_trunk, trunk_weights

if TYPE_CHECKING:
    from .lm import TokenLM

BATCH = 2  # of the examples; a size of 1 would be taken for a fixed one


class EmbedNetwork(nn.Module):
    """The embedding [B, W] of the digits [B, K] of a frame and of its index [1] in the sequence."""

    def __init__(self, model: TokenLM):
        super().__init__()
        self.model: Any = model

    def forward(self, digits: Tensor, frame: Tensor) -> Tensor:
        """Returns [B, W] of digits [B, K] int64 of the frame of this index [1] int64."""
        x: Tensor = self.model.digit_embedding(digits) + self.model.embed_place(frame)
        return x


class TrunkNetwork(nn.Module):
    """One position through the layers, with the cache as an input and an output."""

    def __init__(self, model: TokenLM, num_slots: int):
        super().__init__()
        settings = model.settings
        self.weights = trunk_weights(model.decoder)
        head_dim = settings.width // settings.heads
        turns = rotary_turns(num_slots, model.rotary_dim, head_dim, settings.rotary_base, model.bos)
        self.turns: Tensor
        self.register_buffer("turns", turns, persistent=False)

    def forward(
        self, embedding: Tensor, slot: Tensor, seen: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the hidden state [B, W] of a position, and the cache with it.

        Args:
            embedding: [B, W].
            slot: [1] int64 of the position, where its keys and values are stored.
            seen: [B, S] float32, 1 where a slot before it is seen and 0 elsewhere.
            keys: [layers, B, H, S, E].
            values: [layers, B, H, S, E].
        """
        cache = SlotCache(
            tuple(part.clone() for part in keys.unbind(0)), tuple(part.clone() for part in values.unbind(0))
        )
        itself = torch.arange(seen.shape[1], device=slot.device) == slot
        bias = torch.where((seen > 0) | itself, 0.0, -torch.inf)[:, None, None]
        turns = self.turns.index_select(0, slot).unsqueeze(0)
        hidden = run_trunk(self.weights, cache, embedding.unsqueeze(1), slot, turns, bias).squeeze(1)
        return hidden, torch.stack(cache.keys), torch.stack(cache.values)


class DigitNetwork(nn.Module):
    """The logits of all digits of a frame, given those before each: called once for each digit."""

    def __init__(self, model: TokenLM):
        super().__init__()
        self.head: Any = model.head

    def forward(self, hidden: Tensor, digits: Tensor) -> Tensor:
        """Returns logits [B, K, L] of hidden states [B, W] and digits [B, K] int64."""
        logits: Tensor = self.head(hidden, digits)
        return logits


def step_graphs(model: TokenLM) -> list[Graph]:
    """Returns the graphs `embed`, `step` and `digits`, which together draw a frame."""
    settings, levels = model.settings, torch.tensor(model.head.levels)
    start = model.condition_encoder.num_tokens + 2  # vector, tokens, BOS
    most = start + settings.window_patches
    shape = (settings.depth, BATCH, settings.heads), settings.width // settings.heads

    def digits_of(random: torch.Generator) -> Tensor:
        return (torch.rand(BATCH, len(levels), generator=random) * levels).long()

    def embed_inputs(frames: int) -> dict[str, Tensor]:
        return {"digits": digits_of(torch.Generator().manual_seed(frames)), "frame": torch.tensor([frames])}

    def step_inputs(slots: int) -> dict[str, Tensor]:
        random = torch.Generator().manual_seed(slots)
        cache = [torch.randn(*shape[0], slots, shape[1], generator=random) for _ in range(2)]
        seen = (torch.arange(slots) < slots // 2).float().expand(BATCH, -1).contiguous()
        return {
            "embedding": torch.randn(BATCH, settings.width, generator=random),
            "slot": torch.tensor([slots // 2]),
            "seen": seen,
            "keys": cache[0],
            "values": cache[1],
        }

    def digit_inputs(frames: int) -> dict[str, Tensor]:
        random = torch.Generator().manual_seed(frames)
        return {"hidden": torch.randn(BATCH, settings.width, generator=random), "digits": digits_of(random)}

    batch = {0: "batch"}
    cache_axes = {1: "batch", 3: "frames"}
    return [
        Graph(
            name="embed",
            network=EmbedNetwork(model),
            make_inputs=embed_inputs,
            free_axes={"digits": batch},
            outputs=("frame_embedding",),
        ),
        Graph(
            name="step",
            network=TrunkNetwork(model, most),
            make_inputs=step_inputs,
            free_axes={
                "embedding": batch,
                "seen": {0: "batch", 1: "frames"},
                "keys": cache_axes,
                "values": cache_axes,
            },
            outputs=("hidden", "new_keys", "new_values"),
            most_frames=most,
        ),
        Graph(
            name="digits",
            network=DigitNetwork(model),
            make_inputs=digit_inputs,
            free_axes={"hidden": batch, "digits": batch},
            outputs=("logits",),
        ),
    ]
