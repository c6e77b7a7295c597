"""Recordings that a condition hears through the pipeline's own codec."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...generators.base import LatentGenerator
from ...generators.conditioning.frozen.clap import is_audio
from ...generators.conditions import Conditions
from ...tokenizers.base import AudioTokenizer

SHORTEST_S = 0.5  # of a recording


def encode_references(
    conditions: Conditions, generator: LatentGenerator, tokenizer: AudioTokenizer, device: torch.device
) -> Conditions:
    """Returns conditions with the latents of recordings in their place, for those that take latents.

    Args:
        conditions: of the items; a recording is (audio [C, N], rate in Hz).
        generator: that takes them.
        tokenizer: its codec.
        device: of the codec.

    Raises:
        ValueError: a recording of another shape, or one that is shorter than 0.5 s.
    """
    encoder = getattr(generator, "condition_encoder", None)
    parts = {} if encoder is None else encoder.conditioners
    made: dict[int, Tensor] = {}  # by the recording, which many items may share

    def latents(value: Any) -> Any:
        if not is_audio(value):
            return value
        audio, rate = value
        if audio.ndim != 2 or audio.shape[1] < SHORTEST_S * rate:
            raise ValueError(
                f"a reference is audio [channels, samples] of at least {SHORTEST_S} s, got shape {tuple(audio.shape)} "
                f"at {rate} Hz"
            )
        if id(value) not in made:
            made[id(value)] = tokenizer.encode(audio[None].to(device), rate).latents[0].float().cpu()
        return made[id(value)]

    heard = {
        name: [latents(value) for value in values]
        for name, values in conditions.values.items()
        if name in parts and parts[name].takes_latents
    }
    return conditions.replaced(**heard)
