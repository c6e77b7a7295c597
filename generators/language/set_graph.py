"""The networks of a language model over sets of tokens as graphs.

Shape letters: B batch, N tokens of a chunk, n positions of a pass, S slots, K digits of a frame, W width, H heads, E
features of a head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...core.graphs import Graph
from .graph import BATCH, CACHE_AXES, TrunkNetwork, digits_graph, num_positions, some_cache, some_digits

if TYPE_CHECKING:
    from .set_lm import TokenSetLM

TOKENS = 3  # positions of the example


class EmbedSetNetwork(nn.Module):
    """The embeddings of the tokens of a chunk, some of which are masked."""

    def __init__(self, model: TokenSetLM):
        super().__init__()
        self.model: Any = model

    def forward(self, digits: Tensor, masked: Tensor) -> Tensor:
        """Returns [B, N, W] of digits [B, N, K] int64, of which those that are masked [B, N] bool do not count."""
        x: Tensor = self.model.embed_masked(digits, masked)
        return x


class PassNetwork(TrunkNetwork):
    """A pass over positions that see each other: the conditions, or the tokens of a chunk."""

    def forward(
        self, embeddings: Tensor, slots: Tensor, positions: Tensor, seen: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the hidden states [B, n, W], and the cache with the new positions; see `TrunkNetwork.run`."""
        return self.run(embeddings, slots, positions, seen, keys, values)


def pass_graphs(model: TokenSetLM) -> list[Graph]:
    """Returns the graphs `embed`, `step` and `digits`, which together make a chunk."""
    most, size = num_positions(model), model.binding.spec.chunk_tokens

    def embed_inputs(frames: int) -> dict[str, Tensor]:
        masked = torch.arange(size) < torch.tensor([[size], [1]])
        return {"digits": some_digits(model, BATCH, size, seed=frames), "masked": masked}

    def pass_inputs(slots: int) -> dict[str, Tensor]:
        random, count = torch.Generator().manual_seed(slots), min(TOKENS, slots)
        first = torch.tensor([[0], [slots - count]])
        return {
            "embeddings": torch.randn(BATCH, count, model.settings.width, generator=random),
            "slots": torch.arange(slots - count, slots),
            "positions": first + torch.arange(count),
            **some_cache(model, slots, random),
        }

    batch, tokens = {0: "batch"}, {0: "batch", 1: "tokens"}
    return [
        Graph(
            name="embed",
            network=EmbedSetNetwork(model),
            make_inputs=embed_inputs,
            free_axes={"digits": batch, "masked": batch},
            outputs=("embeddings",),
        ),
        Graph(
            name="step",
            network=PassNetwork(model, most),
            make_inputs=pass_inputs,
            free_axes={"embeddings": tokens, "slots": {0: "tokens"}, "positions": tokens, **CACHE_AXES},
            outputs=("hidden", "new_keys", "new_values"),
            most_frames=most,
        ),
        digits_graph(model),
    ]
