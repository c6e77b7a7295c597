"""Autoregressive decoding (paper, section 3.4): chunk after chunk, each after the clean spectrogram of the one before.

It yields audio in pieces, which overlap by one hop; see `pieces.joined`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .consistency import noise_level, renoise
from .noise import PROMPT_DRAW, Key, Noise, batch_noise
from .pieces import Piece
from .spectrum import spectrogram_to_audio

if TYPE_CHECKING:
    from .model import CoDiCodec

TIME_PROMPT = 0.4  # default place on the noise schedule to which the previous chunk is brought back


def check_time_prompt(place: float) -> float:
    """Returns the place on the noise schedule; raises ValueError if it is outside of 0..1."""
    if not 0 <= place <= 1:
        raise ValueError(f"time_prompt must lie in 0..1, got {place}")
    return place


def decode_autoregressive(
    codec: CoDiCodec,
    values: Tensor,
    counts: Sequence[int],
    noise: Noise,
    steps: int,
    max_chunks: int | None,
    time_prompt: float,
) -> Iterator[Piece]:
    """Decodes chunk after chunk, each as the right half after the previous one.

    Args:
        codec: the codec.
        values: [B, K, summaries, d].
        counts: chunks of each item.
        noise: noise of each chunk.
        steps: denoising steps.
        max_chunks: bound of the items that are decoded together; None: no bound.
        time_prompt: place on the noise schedule to which the previous chunk is brought back.

    Yields:
        Pieces of audio.
    """
    bound = max_chunks or len(values)
    for first in range(0, len(values), bound):
        batch = range(first, min(first + bound, len(values)))
        past: dict[int, Tensor] = {}
        for k in range(max(counts[i] for i in batch)):
            items = [i for i in batch if k < counts[i]]  # items that have ended leave the batch
            clean = next_chunk(
                codec,
                torch.stack([values[i, k] for i in items]),
                torch.stack([values[i, k - 1] for i in items]) if k else None,
                torch.stack([past[i] for i in items]) if k else None,
                [(i, k) for i in items],
                noise,
                steps,
                time_prompt,
            )
            past = dict(zip(items, clean, strict=True))
            for i, spectrogram in past.items():
                yield i, k * codec.settings.chunk_samples, spectrogram_to_audio(spectrogram[None], codec.settings)[0]


def next_chunk(
    codec: CoDiCodec,
    values: Tensor,
    past_values: Tensor | None,
    past: Tensor | None,
    keys: Sequence[Key],
    noise: Noise,
    steps: int,
    time_prompt: float,
) -> Tensor:
    """Denoises one chunk of each item after its previous one.

    Args:
        codec: the codec.
        values: [B, summaries, d] of this chunk.
        past_values: [B, summaries, d] of the chunk before; None for the first chunk.
        past: [B, 2C, F, L], the clean spectrogram of the chunk before; None for the first chunk.
        keys: (item, chunk) of each row, to draw its noise.
        noise: noise of each chunk.
        steps: denoising steps.
        time_prompt: place on the noise schedule to which the chunk before is brought back.

    Returns:
        The clean spectrogram [B, 2C, F, L].
    """
    config = codec.settings

    def draw(number: int) -> Tensor:
        return batch_noise(noise, keys, number, values)

    prompt = None
    if past is not None and past_values is not None:
        level = float(noise_level(time_prompt, config))
        noisy = renoise(past, draw(PROMPT_DRAW), level, config)[:, None]
        features = codec.upsampler(past_values.to(codec.dtype))
        sigma = torch.full((1, 1), level, device=values.device)
        # the left half does not see the right one, so that its keys and values serve all steps
        prompt = codec.denoiser.keys_values(noisy, past_values[:, None], features, sigma)
    features = codec.upsampler(values.to(codec.dtype))
    x = draw(0) * config.sigma_max
    for step in range(steps):
        sigma = torch.full((1, 1), float(noise_level(1 - step / steps, config)), device=values.device)
        clean, _ = codec.denoiser(x[:, None], values[:, None], features, sigma, prompt)
        x = clean[:, 0]
        if step + 1 < steps:
            x = renoise(x, draw(step + 1), float(noise_level(1 - (step + 1) / steps, config)), config)
    return x
