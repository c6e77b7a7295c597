"""The rate at which a network's average velocity changes along a path, for the mean-flow objective.

Shape letters: B batch, T latent frames, D latent width, K different times of an item.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .frame_times import FrameTimes

Network = Callable[[Tensor, FrameTimes], Tensor]  # latents [B, T, D] and their times -> velocity [B, T, D]


@torch.no_grad()
def exact_derivative(network: Network, x: Tensor, times: FrameTimes, velocity: Tensor, moves: Tensor) -> Tensor:
    """Returns du/dt [B, T, D] by forward differentiation: one pass that carries values and derivatives.

    Attention takes torch's plain kernel, since the fused ones know no forward derivative.

    Args:
        network: gives u.
        x: [B, T, D] latents at `times`.
        times: their times, whose spans grow as the times do, so that the intervals keep their end.
        velocity: [B, T, D] dx/dt.
        moves: [B, K] 1 for times that move, 0 for those that stand still.
    """
    assert times.spans is not None, "the objective draws spans"
    with forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):
        moving = FrameTimes(
            forward_ad.make_dual(times.values, moves), times.index, forward_ad.make_dual(times.spans, moves)
        )
        made = network(forward_ad.make_dual(x, velocity.to(x.dtype)), moving)
        tangent = forward_ad.unpack_dual(made).tangent
    return torch.zeros_like(made) if tangent is None else tangent


@torch.no_grad()
def difference(network: Network, x: Tensor, times: FrameTimes, velocity: Tensor, moves: Tensor, step: float) -> Tensor:
    """Returns du/dt [B, T, D] as a central difference: two passes, over any kernel of attention.

    Changes of u faster than the step are averaged out.

    Args:
        network: as of `exact_derivative`.
        x: likewise.
        times: likewise.
        velocity: likewise.
        moves: likewise.
        step: of the time, to either side.
    """
    assert times.spans is not None, "the objective draws spans"
    spans = times.spans
    up, down = (
        network(x + way * velocity, FrameTimes(times.values + way * moves, times.index, spans + way * moves))
        for way in (step, -step)
    )
    return (up.float() - down.float()) / (2.0 * step)
