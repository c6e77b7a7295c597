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
CACHE_AXES = {
    "seen": {0: "batch", 1: "frames"},
    "keys": {1: "batch", 3: "frames"},
    "values": {1: "batch", 3: "frames"},
}


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
    """Positions through the layers, with the cache as an input and an output."""

    def __init__(self, model: TokenLM, num_slots: int):
        super().__init__()
        settings = model.settings
        self.weights = trunk_weights(model.decoder)
        head_dim = settings.width // settings.heads
        turns = rotary_turns(num_slots, model.rotary_dim, head_dim, settings.rotary_base, model.bos)
        self.turns: Tensor
        self.register_buffer("turns", turns, persistent=False)

    def run(
        self, x: Tensor, slots: Tensor, positions: Tensor, seen: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the hidden states [B, n, W] of positions that see each other, and the cache with them.

        Args:
            x: [B, n, W] embeddings.
            slots: [n] int64, where the keys and values are stored.
            positions: [1 or B, n] int64 in the sequence.
            seen: [B, S] float32, 1 where a slot before them is seen and 0 elsewhere.
            keys: [layers, B, H, S, E].
            values: [layers, B, H, S, E].
        """
        cache = SlotCache(
            tuple(part.clone() for part in keys.unbind(0)), tuple(part.clone() for part in values.unbind(0))
        )
        themselves = (torch.arange(seen.shape[1], device=slots.device)[:, None] == slots).any(1)
        bias = torch.where((seen > 0) | themselves, 0.0, -torch.inf)[:, None, None]
        hidden = run_trunk(self.weights, cache, x, slots, self.turns[positions], bias)
        return hidden, torch.stack(cache.keys), torch.stack(cache.values)


class StepNetwork(TrunkNetwork):
    """One position at a time."""

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
        hidden, *cache = self.run(embedding.unsqueeze(1), slot, slot.unsqueeze(0), seen, keys, values)
        return hidden.squeeze(1), cache[0], cache[1]


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
    most = num_positions(model)

    def embed_inputs(frames: int) -> dict[str, Tensor]:
        return {"digits": some_digits(model, BATCH, seed=frames), "frame": torch.tensor([frames])}

    def step_inputs(slots: int) -> dict[str, Tensor]:
        random = torch.Generator().manual_seed(slots)
        embedding = torch.randn(BATCH, model.settings.width, generator=random)
        return {"embedding": embedding, "slot": torch.tensor([slots // 2]), **some_cache(model, slots, random)}

    batch = {0: "batch"}
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
            network=StepNetwork(model, most),
            make_inputs=step_inputs,
            free_axes={"embedding": batch, **CACHE_AXES},
            outputs=("hidden", "new_keys", "new_values"),
            most_frames=most,
        ),
        digits_graph(model),
    ]


def digits_graph(model: TokenLM) -> Graph:
    """Returns the graph `digits`: the logits of the digits of frames, given their hidden states."""

    def make_inputs(frames: int) -> dict[str, Tensor]:
        random = torch.Generator().manual_seed(frames)
        hidden = torch.randn(BATCH, model.settings.width, generator=random)
        return {"hidden": hidden, "digits": some_digits(model, BATCH, seed=frames)}

    batch = {0: "batch"}
    return Graph(
        name="digits",
        network=DigitNetwork(model),
        make_inputs=make_inputs,
        free_axes={"hidden": batch, "digits": batch},
        outputs=("logits",),
    )


def num_positions(model: TokenLM) -> int:
    """Returns the most positions of a sequence: vector and tokens of the conditions, BOS and the window."""
    return model.condition_encoder.num_tokens + 2 + model.settings.window_patches


def some_digits(model: TokenLM, *sizes: int, seed: int) -> Tensor:
    """Returns random digits [*sizes, K] int64."""
    levels = torch.tensor(model.head.levels)
    return (torch.rand(*sizes, len(levels), generator=torch.Generator().manual_seed(seed)) * levels).long()


def some_cache(model: TokenLM, slots: int, random: torch.Generator) -> dict[str, Tensor]:
    """Returns random keys and values in all slots of a cache, the first half of which is seen.

    Args:
        model: the language model.
        slots: S.
        random: source of the numbers.
    """
    settings = model.settings
    shape = settings.depth, BATCH, settings.heads, slots, settings.width // settings.heads
    seen = (torch.arange(slots) < slots // 2).float().expand(BATCH, -1).contiguous()
    return {
        "seen": seen,
        "keys": torch.randn(*shape, generator=random),
        "values": torch.randn(*shape, generator=random),
    }
