"""One forward pass of CoDiCodec for its training objectives.

Shape letters: P pairs of consecutive chunks, C audio channels, F bins, L frames of a chunk, d FSQ dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ...layers import fsq

if TYPE_CHECKING:
    from .model import CoDiCodec


class TrainingPass(NamedTuple):
    """The results of one forward pass that training objectives need, for pairs of chunks."""

    values: Tensor  # [P, 2, summaries, d] float32, before rounding
    deviation: Tensor | None  # [P, 2, 2C, F, L] float32, of the cells, where the codec has `envelope_bands`
    estimate: Tensor | None  # [P, 2, 2C, F, L] float32, of the higher noise level
    target: Tensor | None  # [P, 2, 2C, F, L] float32, of the lower noise level, without gradients


def training_pass(
    codec: CoDiCodec,
    clean: Tensor,
    keep_continuous: Tensor,
    high: Tensor | None,
    low: Tensor | None,
    sigmas: Tensor | None,
) -> TrainingPass:
    """Encodes pairs of chunks and, where noise is given, denoises them from two noise levels.

    Args:
        codec: the codec.
        clean: [P, 2, 2C, F, L] clean spectrograms.
        keep_continuous: [P] bool, True where the rounding is skipped (FSQ-dropout).
        high: `clean` with noise at the higher level; None: nothing is denoised.
        low: the same, at the lower level.
        sigmas: [2, P, 2] noise levels (high, low) of each half.

    Returns:
        The values, and what the decoder makes of them.
    """
    pairs = len(clean)
    bounded, half = codec.bound(codec.encoder(clean.flatten(0, 1)))
    keep = keep_continuous.repeat_interleave(2)[:, None, None]
    values = torch.where(keep, bounded, fsq.round_straight_through(bounded)) / half
    features = codec.upsampler(values)
    before = (bounded / half).unflatten(0, (pairs, 2))
    if high is None or low is None or sigmas is None:
        deviation = None
        if codec.denoiser.deviation is not None:
            deviation = codec.denoiser.deviation(values, features).unflatten(0, (pairs, 2))
        return TrainingPass(before, deviation, None, None)
    grouped = values.unflatten(0, (pairs, 2))
    estimate, _ = codec.denoiser(high, grouped, features, sigmas[0])
    with torch.no_grad():
        target, _ = codec.denoiser(low, grouped.detach(), [f.detach() for f in features], sigmas[1])
    return TrainingPass(before, None, estimate.float(), target.float())
