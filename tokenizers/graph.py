"""A decoder that is one pass of a network, as a graph.

Shape letters: B batch, T latent frames, D latent width, C channels, N samples.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..core.graphs import Graph
from .base import AudioTokenizer


class _Decoder(nn.Module):
    def __init__(self, codec: AudioTokenizer):
        super().__init__()
        self.codec: Any = codec

    def forward(self, latents: Tensor) -> Tensor:
        audio: Tensor = self.codec.latents_to_audio(latents)
        return audio


def one_pass_graph(codec: AudioTokenizer) -> Graph:
    """Returns the graph of a codec's decoder: latents [B, T, D] to audio [B, C, N].

    Raises:
        ValueError: the decoder is not one pass of a network.
    """
    spec = codec.spec

    def make_inputs(frames: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(frames)
        return {"latents": torch.randn(2, frames, spec.latent_dim, generator=generator)}

    codec.latents_to_audio(make_inputs(2 * spec.chunk_latents)["latents"])
    return Graph(
        name="decoder",
        network=_Decoder(codec),
        make_inputs=make_inputs,
        free_axes={"latents": {0: "batch", 1: "frames"}},
        outputs=("audio",),
        frame_multiple=spec.chunk_latents,
    )
