"""The graph of CoDiCodec's decoder is its parallel decoding, for the same noise."""

import pytest
import torch
from torch import Tensor

from latentune.tokenizers.codicodec import CoDiCodec


@torch.no_grad()
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("chunks", [2, 4, 6])
def test_the_graph_is_parallel_decoding(tiny_codec: CoDiCodec, steps: int, chunks: int) -> None:
    graph = tiny_codec.decoder_graph(steps=steps)
    inputs = graph.make_inputs(chunks * tiny_codec.spec.chunk_latents)
    drawn = inputs["noise"].flatten(2, 3)  # [steps, B, K, ...]

    def noise(item: int, chunk: int, draw: int) -> Tensor:
        return drawn[draw, item, chunk]

    wanted = tiny_codec.decode(latents=inputs["latents"], steps=steps, noise=noise)
    made = graph.network(*inputs.values())
    assert made.shape == wanted.shape
    assert wanted.abs().max() > 1e-3
    torch.testing.assert_close(made, wanted, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_one_more_chunk_changes_nothing_before_it(tiny_codec: CoDiCodec) -> None:
    """So an odd number of chunks is decoded with one more, which is cut off."""
    inputs = tiny_codec.decoder_graph(steps=3).make_inputs(4 * tiny_codec.spec.chunk_latents)
    drawn = inputs["noise"].flatten(2, 3)
    odd = tiny_codec.decode(
        latents=inputs["latents"][:, : 3 * tiny_codec.spec.chunk_latents],
        steps=3,
        noise=lambda item, chunk, draw: drawn[draw, item, chunk],
    )
    made = tiny_codec.decoder_graph(steps=3).network(*inputs.values())
    whole = 3 * tiny_codec.spec.chunk_samples - tiny_codec.settings.stft_hop_samples
    torch.testing.assert_close(made[..., :whole], odd[..., :whole], atol=1e-5, rtol=1e-4)
