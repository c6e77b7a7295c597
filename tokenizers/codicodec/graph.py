"""Parallel decoding as one graph, with its noise as an input.

Shape letters: B batch, T latent frames, D latent width, K chunks of an item, P pairs of chunks (K / 2), C audio
channels, F bins, L frames of a chunk, N samples.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...core.graphs import Graph
from ...layers import fsq
from ...layers.loudness import decoded_level
from .consistency import noise_level, renoise
from .spectrum import spectrogram_to_audio

if TYPE_CHECKING:
    from .model import CoDiCodec

BATCH = 2  # of the example; a size of 1 would be taken for a fixed one


class ParallelDecoder(nn.Module):
    """All denoising steps over all chunks of whole items, whose number is even.

    A chunk that has no partner in an odd step is the left half of a pair, as in `parallel.pairing`. Here its right
    half, which it does not see, is zeros, so that all pairs of a step are computed alike.

    Args:
        codec: the codec.
        steps: denoising steps.
    """

    def __init__(self, codec: CoDiCodec, steps: int):
        super().__init__()
        self.codec: Any = codec
        self.steps = steps

    def forward(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Returns audio [B, C, N].

        Args:
            latents: [B, T, D].
            noise: [steps, B, P, 2, 2C, F, L] standard normal numbers of each chunk: of the start, then of each step.
        """
        config = self.codec.settings
        values = fsq.latents_to_values(latents.float(), config.latent_scale)
        items, num_chunks = latents.shape[0], 2 * noise.shape[2]  # not from the frames: torch.export divides no sizes
        values = values.reshape(items, num_chunks, config.num_summaries, len(config.levels))
        features = [level.unflatten(0, values.shape[:2]) for level in self.codec.upsampler(values.flatten(0, 1))]
        noise = noise.flatten(2, 3)  # [steps, B, K, ...]
        spectrogram = noise[0] * config.sigma_max
        for step in range(self.steps):
            spectrogram = self._denoise(spectrogram, values, features, step)
            if step + 1 < self.steps:
                lower = float(noise_level(1 - (step + 1) / self.steps, config))
                spectrogram = renoise(spectrogram, noise[step + 1], lower, config)
        whole = self._audio(spectrogram.movedim(1, 3).contiguous().flatten(3))
        lead = self.codec.lead_samples
        return decoded_level(whole[..., lead : whole.shape[-1] - lead], None)

    def _audio(self, spectrogram: Tensor) -> Tensor:
        """Returns audio of a spectrogram [B, 2C, F, K L], channel by channel: torch.export merges no free sizes."""
        mono = replace(self.codec.settings, channels=1)
        return torch.cat([spectrogram_to_audio(parts, mono) for parts in spectrogram.split(2, 1)], 1)

    def _denoise(self, noisy: Tensor, values: Tensor, features: list[Tensor], step: int) -> Tensor:
        """Returns the clean estimate of spectrograms [B, K, 2C, F, L], whose pairs shift by a chunk in odd steps."""
        shifted = bool(step % 2)
        sigma = float(noise_level(1 - step / self.steps, self.codec.settings))
        clean, _ = self.codec.denoiser(
            _pairs(noisy, shifted),
            _pairs(values, shifted),
            [_pairs(level, shifted).flatten(0, 1) for level in features],
            torch.full((1, 2), sigma, device=noisy.device),
        )
        made = clean.reshape(noisy.shape[0], noisy.shape[1] + 2 * shifted, *noisy.shape[2:])
        return torch.cat([made.narrow(1, 0, 1), made.narrow(1, 2, noisy.shape[1] - 1)], 1) if shifted else made


def _pairs(x: Tensor, shifted: bool) -> Tensor:
    """Returns the pairs [B * P, 2, ...] of chunks [B, K, ...]; shifted, the first and the last are halves of P + 1.

    Chunks are taken by `narrow`, whose sizes stay simple where they are free, as those of slices do not.
    """
    if shifted:
        first, rest = x.narrow(1, 0, 1), x.narrow(1, 1, x.shape[1] - 1)
        empty = torch.zeros_like(first)
        x = torch.cat([first, empty, rest, empty], 1)
    return x.reshape(x.shape[0] * (x.shape[1] // 2), 2, *x.shape[2:])


def parallel_graph(codec: CoDiCodec, steps: int) -> Graph:
    """Returns the graph of parallel decoding in so many steps: latents and noise to audio.

    Raises:
        ValueError: fewer than 1 step.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    spec, config = codec.spec, codec.settings
    shape = 2, config.spectrum_channels, config.num_bins, config.chunk_frames

    def make_inputs(frames: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(frames)
        pairs = frames // (2 * spec.chunk_latents)
        return {
            "latents": torch.randn(BATCH, frames, spec.latent_dim, generator=generator),
            "noise": torch.randn(steps, BATCH, pairs, *shape, generator=generator),
        }

    return Graph(
        name="decoder",
        network=ParallelDecoder(codec, steps),
        make_inputs=make_inputs,
        free_axes={"latents": {0: "batch", 1: "frames"}, "noise": {1: "batch", 2: "units"}},
        outputs=("audio",),
        frame_multiple=2 * spec.chunk_latents,
    )
