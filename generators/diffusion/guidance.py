"""Classifier-free guidance of a velocity (Ho and Salimans, arXiv 2207.12598).

Shape letters: B batch, T latent frames, D latent width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from ..conditions import PreparedConditions
from .known import Network

if TYPE_CHECKING:
    from .dit import DiffusionTransformer


def guided_network(
    model: DiffusionTransformer, conditions: PreparedConditions, mask: Tensor | None, scale: float
) -> Network:
    """Returns a function of (latents [B, T, D], t) that gives null + scale * (conditional - null), in float32.

    The conditions are encoded once. A scale of 1 costs one pass of B items per step, any other one pass of 2B.

    Args:
        model: whose velocity it is.
        conditions: of B items.
        mask: [B, T] bool, True where a frame is real; None: all are.
        scale: of the guidance.
    """
    encoded = model.condition_encoder(conditions)
    network = cast(nn.Module, model)  # the lazy imports of diffusers hide it from type checkers
    if scale == 1.0:
        return lambda x, t: network(x, t, conditions=encoded, mask=mask).float()

    both = encoded.followed_by(model.condition_encoder.null(conditions))
    mask_twice = None if mask is None else mask.repeat(2, 1)

    def guided(x: Tensor, t: Tensor) -> Tensor:
        twice, times = x.repeat(2, 1, 1), torch.cat([t, t])
        given, null = network(twice, times, conditions=both, mask=mask_twice).float().chunk(2)
        return cast(Tensor, null + scale * (given - null))

    return guided
