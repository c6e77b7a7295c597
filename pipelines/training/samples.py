"""Audio from a generator that is being trained, for previews and distances.

Shape letters: C audio channels, N audio samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...generators.base import Generated, LatentGenerator
from ...generators.conditions import Conditions
from ...tokenizers.base import AudioTokenizer


def draw_streams(
    model: LatentGenerator,
    prompts: Sequence[str],
    labels: Sequence[str | None] | None,
    seconds: float,
    options: Mapping[str, Any],
    generator: torch.Generator,
) -> Generated:
    """Samples one item for each prompt.

    Args:
        model: in eval mode.
        prompts: one text per item.
        labels: one class label per item, or None.
        seconds: length of each item.
        options: of the model's sampling config.
        generator: source of the randomness.

    Returns:
        The latents or tokens of the items.
    """
    lengths = torch.full((len(prompts),), round(seconds * model.binding.spec.sample_rate))
    conditions = Conditions.of(prompts, seconds, labels).replaced(
        seconds=[model.trained_on.seconds_of(seconds)] * len(prompts)
    )
    return model.sample(conditions, lengths, sampling=model.make_sampling(options), generator=generator)


def decode_streams(tokenizer: AudioTokenizer, made: Generated, generator: torch.Generator) -> list[Tensor]:
    """Decodes samples.

    Args:
        tokenizer: the codec of the generator.
        made: the samples.
        generator: source of the decoding noise.

    Returns:
        The audio [C, N] float32 of each item, on the CPU.
    """
    streams = {"latents": made.latents} if made.tokens is None else {"tokens": made.tokens}
    frames = {name: value.to(tokenizer.device) for name, value in streams.items() if value is not None}
    audio = tokenizer.decode(**frames, lengths_samples=made.lengths_samples, generator=generator).float().cpu()
    return [one[:, : int(length)] for one, length in zip(audio, made.lengths_samples, strict=True)]
