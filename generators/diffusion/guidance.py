"""Classifier-free guidance of a velocity (Ho and Salimans, arXiv 2207.12598).

Shape letters: B batch, T latent frames, D latent width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from ..conditions import PreparedConditions

if TYPE_CHECKING:
    from .dit import DiffusionTransformer

Velocity = Callable[[Tensor, float], Tensor]


def guided_velocity(
    model: DiffusionTransformer, conditions: PreparedConditions, mask: Tensor | None, scale: float
) -> Velocity:
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

        def plain(x: Tensor, t: float) -> Tensor:
            times = torch.full((len(x),), t, device=x.device)
            return cast(Tensor, network(x, times, conditions=encoded, mask=mask).float())

        return plain

    both = encoded.followed_by(model.condition_encoder.null(conditions))
    mask_twice = None if mask is None else mask.repeat(2, 1)

    def guided(x: Tensor, t: float) -> Tensor:
        times = torch.full((2 * len(x),), t, device=x.device)
        given, null = network(x.repeat(2, 1, 1), times, conditions=both, mask=mask_twice).float().chunk(2)
        return cast(Tensor, null + scale * (given - null))

    return guided
