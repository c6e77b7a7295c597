"""Guidance of a velocity: scale, interval, rescaling and adaptive projection, as functions of denoised latents.

With x_t = (1 - t) x0 + t noise and the velocity v = noise - x0, the denoised latents are x_t - t v.
Shape letters: B batch, T latent frames, D latent width, K branches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from ..conditioning import EncodedConditions
from ..parts.guidance import GuidanceBranches
from .frame_times import FrameTimes
from .known import KnownFrames, Network, Velocity
from .past import FrameCache

if TYPE_CHECKING:
    from .dit import DiffusionTransformer
    from .sampling_config import DiffusionSampling

LEAST_TIME = 1e-6  # below it the velocity does not follow from the denoised latents any more


def guided_velocity(
    model: DiffusionTransformer,
    branches: GuidanceBranches,
    mask: Tensor | None,
    options: DiffusionSampling,
    given: KnownFrames,
    cache: FrameCache | None = None,
) -> Velocity:
    """Returns the velocity that a solver follows, in float32.

    Without guidance, and at times outside of its interval, a step costs one pass of B items, otherwise one of K * B.

    Args:
        model: whose velocity it is.
        branches: the conditions and their weights.
        mask: [B, T] bool, True where a frame is real; None: all are.
        options: of the sampler.
        given: the frames that are given.
        cache: of the frames before in all branches, for chunk-causal attention.
    """
    size = len(branches.encoded) // len(branches.weights)
    plain = given.velocity(_network(model, branches.encoded.rows(slice(size)), mask, cache))
    if not branches.is_guided:
        return plain
    guided = given.velocity(GuidedNetwork(model, branches, mask, options, cache))
    low, high = options.guidance_interval
    return lambda x, t, span=None: (guided if low <= t <= high else plain)(x, t, span)


def store_frames(
    model: DiffusionTransformer, branches: GuidanceBranches, x: Tensor, t: float, mask: Tensor | None, cache: FrameCache
) -> None:
    """Adds a block of latents to the cache, in all branches.

    Args:
        model: whose keys and values are cached.
        branches: the conditions.
        x: [B, n, D] normalised latents.
        t: the time whose noise they carry, 0 for none.
        mask: [B, n] bool, True where a frame is real; None: all are.
        cache: of the frames before.
    """
    count = len(branches.weights)
    cast(nn.Module, model)(
        x.repeat(count, 1, 1),
        x.new_full((count * len(x),), t),
        conditions=branches.encoded,
        mask=None if mask is None else mask.repeat(count, 1),
        cache=cache,
        store=True,
    )


def _network(
    model: DiffusionTransformer, conditions: EncodedConditions, mask: Tensor | None, cache: FrameCache | None
) -> Network:
    network = cast(nn.Module, model)  # the lazy imports of diffusers hide it from type checkers
    return lambda x, t: network(x, t, conditions=conditions, mask=mask, cache=cache).float()


class GuidedNetwork:
    """A function of latents [B, T, D] and their times that gives the guided velocity [B, T, D]."""

    def __init__(
        self,
        model: DiffusionTransformer,
        branches: GuidanceBranches,
        mask: Tensor | None,
        options: DiffusionSampling,
        cache: FrameCache | None = None,
    ):
        self.weights, self.mask, self.options = branches.weights, mask, options
        num_branches = len(branches.weights)
        all_masks = None if mask is None else mask.repeat(num_branches, 1)
        self.network = _network(model, branches.encoded, all_masks, cache)
        self.averages: list[Tensor | float] = [0.0] * num_branches  # of the differences, for the momentum

    def __call__(self, x: Tensor, t: FrameTimes) -> Tensor:
        count, options = len(self.weights), self.options
        velocities = self.network(x.repeat(count, 1, 1), t.repeated(count)).chunk(count)
        if not options.is_adaptive:
            return cast(Tensor, sum(weight * v for weight, v in zip(self.weights, velocities, strict=True)))
        times = t.each().unsqueeze(-1)
        asked, *others = (x - times * v for v in velocities)
        update = torch.zeros_like(x)
        for number, other in enumerate(others, start=1):
            update = update - self.weights[number] * self._difference(number, asked - other)
        parallel = projection(update, asked, self.mask)
        denoised = asked + update + (options.guidance_parallel - 1.0) * parallel
        denoised = rescale(denoised, asked, options.guidance_rescale, self.mask)
        return (x - denoised) / times.clamp_min(LEAST_TIME)

    def _difference(self, number: int, difference: Tensor) -> Tensor:
        average = difference + self.options.guidance_momentum * self.averages[number]
        self.averages[number] = average
        return limit_size(average, self.options.guidance_threshold, self.mask)


def projection(update: Tensor, onto: Tensor, mask: Tensor | None) -> Tensor:
    """Returns the part of `update` [B, T, D] that is parallel to `onto` [B, T, D], of each item as one vector.

    Adaptive projected guidance (Sadat et al., arXiv 2410.02416, equation 6) takes less of this part, which makes
    saturated colors of images, and the rest of it as it is.

    Args:
        update: what guidance adds.
        onto: the denoised latents under the conditions as asked.
        mask: [B, T] bool, True where a frame is real; None: all are.
    """
    real = 1.0 if mask is None else mask[..., None]
    share = (update * onto * real).sum((1, 2), keepdim=True) / (onto * onto * real).sum((1, 2), keepdim=True)
    return torch.nan_to_num(share) * onto


def limit_size(difference: Tensor, threshold: float, mask: Tensor | None) -> Tensor:
    """Returns differences [B, T, D] of at most the root mean square `threshold` for each item; 0 does not limit.

    Sadat et al. (arXiv 2410.02416, equation 8) limit the norm, which grows with the length of an item.

    Args:
        difference: between two denoised latents.
        threshold: the largest root mean square over frames and channels.
        mask: [B, T] bool, True where a frame is real; None: all are.
    """
    if not threshold:
        return difference
    size = _mean(difference.square(), mask).sqrt()
    return difference * (threshold / size.clamp_min(threshold))


def rescale(guided: Tensor, asked: Tensor, share: float, mask: Tensor | None) -> Tensor:
    """Returns guided latents [B, T, D] whose standard deviation is brought towards that of the unguided ones.

    Lin et al., arXiv 2305.08891, equations 15 and 16.

    Args:
        guided: denoised latents after guidance.
        asked: denoised latents under the conditions as asked.
        share: of the correction, 0 for none and 1 for all of it.
        mask: [B, T] bool, True where a frame is real; None: all are.
    """
    if not share:
        return guided
    factor = _deviation(asked, mask) / _deviation(guided, mask).clamp_min(1e-8)
    return guided * (share * factor + (1.0 - share))


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Returns the mean [B, 1, 1] over the real frames of values [B, T, D]."""
    if mask is None:
        return values.mean((1, 2), keepdim=True)
    real = mask[..., None]
    return (values * real).sum((1, 2), keepdim=True) / (real.sum((1, 2), keepdim=True) * values.shape[-1])


def _deviation(values: Tensor, mask: Tensor | None) -> Tensor:
    return _mean((values - _mean(values, mask)).square(), mask).sqrt()
