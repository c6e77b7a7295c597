"""From noise to latents, all frames together, around the chunks that are given.

Shape letters: B batch, T latent frames, D latent width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...core.random import draw_seed, keyed_generator, randn
from ..parts.given_latents import known_latents
from ..parts.guidance import GuidanceBranches, guidance_branches
from ..parts.normalise import denormalise, normalise
from ..parts.request import SampleRequest
from ..parts.times import shift_factor
from .guidance import guided_velocity
from .known import KnownFrames
from .past import FrameCache
from .sampling_config import DiffusionSampling
from .solve import PING_PONG, Renoise, integrate

if TYPE_CHECKING:
    from .dit import DiffusionTransformer


def sample_latents(
    model: DiffusionTransformer,
    request: SampleRequest,
    options: DiffusionSampling,
    *,
    generator: torch.Generator | None,
    callback: Callable[[int, int], None] | None,
) -> Tensor:
    """Returns latents [B, T, D] as the codec gives them, float32, zero beyond each item's own frames.

    Chunks that are given without noise come out bit for bit. Where every frame is given with noise, the schedule
    starts at that noise level (SDEdit; Meng et al., arXiv 2108.01073).

    Args:
        model: the network.
        request: conditions and lengths of the B items, and which chunks are given.
        options: of the sampler.
        generator: source of all noise.
        callback: called with (steps done, steps in all).

    Raises:
        ValueError: an item longer than the generator's max_frames, a scheduler that is not one of flow matching, or
            given latents of another codec or with NaN.
    """
    spec = model.binding.spec
    frames = [n * spec.chunk_latents for n in request.num_chunks]
    if max(frames) > model.settings.max_frames:
        longest_s = model.settings.max_frames / spec.latent_rate_hz
        raise ValueError(f"this generator makes at most {longest_s:.1f} s at once: ask for less")
    options = options.chosen_for(model.settings)
    mask = (torch.arange(max(frames)) < torch.tensor(frames)[:, None]).to(model.device)
    noise = torch.zeros(len(request), max(frames), spec.latent_dim, device=model.device)
    sources = [generator] * len(request)  # of the noise within the steps
    for item, count in enumerate(frames):
        noise[item, :count] = randn((count, spec.latent_dim), generator, noise)
        if options.solver == PING_PONG:  # a source of its own, so that an item does not depend on the others
            sources[item] = keyed_generator(draw_seed(generator), "steps")
    known, where = known_latents(model.binding, request, like=noise)
    given = KnownFrames(
        latents=normalise(known, model.binding),
        where=where,
        noise=noise,
        level=request.noise_level,
        own_times=bool(model.trained_on.given),
    )
    start = request.noise_level if bool((where | ~mask).all()) else 1.0
    x = torch.zeros_like(noise)
    groups = _groups(frames, options)
    for done, (shift, rows) in enumerate(groups):
        longest = max(frames[row] for row in rows)
        x[rows, :longest] = solve_frames(
            model,
            guidance_branches(model.condition_encoder, request.conditions.rows(rows), options),
            given.part(rows, longest),
            mask[rows, :longest],
            options,
            start=start,
            shift=shift,
            sources=[sources[row] for row in rows],
            callback=None if callback is None else _of_all(callback, done, len(groups)),
        )
    return codec_latents(model, x, given, known).masked_fill(~mask[..., None], 0.0)


def solve_frames(
    model: DiffusionTransformer,
    branches: GuidanceBranches,
    given: KnownFrames,
    mask: Tensor,
    options: DiffusionSampling,
    *,
    start: float,
    shift: float,
    sources: Sequence[torch.Generator | None],
    callback: Callable[[int, int], None] | None = None,
    cache: FrameCache | None = None,
) -> Tensor:
    """Returns normalised latents [B, T, D] of items that share one grid of times.

    Args:
        model: the network.
        branches: conditions of the items, with guidance.
        given: the frames that are given, and the noise of all.
        mask: [B, T] bool, True where a frame is real.
        options: of the sampler.
        start: time of the start.
        shift: factor of the time shift.
        sources: of the noise within the steps, one for each item; stochastic schedulers take the first for all.
        callback: called with (steps done, steps in all).
        cache: of the frames before, for chunk-causal attention.
    """
    options = options.chosen_for(model.settings)
    # fused attention kernels take no mask tensor, so a full batch passes none
    padding = None if bool(mask.all()) else mask
    return integrate(
        guided_velocity(model, branches, padding, options, given, cache),
        given.start,
        options,
        start=start,
        shift=shift,
        device=mask.device,
        generator=sources[0],
        renoise=_renoise(given, mask, sources),
        callback=callback,
    )


def _renoise(given: KnownFrames, mask: Tensor, sources: Sequence[torch.Generator | None]) -> Renoise:
    """Returns a function that gives denoised latents [B, T, D] new noise, each item from its own source."""
    lengths = mask.sum(1).tolist()

    def renoise(x: Tensor, t: float) -> Tensor:
        noise = torch.zeros_like(x)
        for row, (length, source) in enumerate(zip(lengths, sources, strict=True)):
            noise[row, :length] = randn((length, x.shape[-1]), source, x)
        return given.renoised(x, t, noise)

    return renoise


def codec_latents(model: DiffusionTransformer, x: Tensor, given: KnownFrames, known: Tensor) -> Tensor:
    """Returns normalised latents as the codec's; those that are given without noise are `known` bit for bit.

    Args:
        model: whose codec it is.
        x: [B, T, D] normalised latents.
        given: which of them are given, and with how much noise.
        known: [B, T, D] given latents of the codec.
    """
    latents = denormalise(x, model.binding)
    return latents if given.level else torch.where(given.where.unsqueeze(-1), known, latents)


def _groups(frames: list[int], options: DiffusionSampling) -> list[tuple[float, list[int]]]:
    """Returns the factors of the time shift, each with the items that have it: they are solved together."""
    factors = [shift_factor(count, options.time_shift, options.shift_frames) for count in frames]
    order = sorted(range(len(frames)), key=lambda row: factors[row])
    return [(factor, list(rows)) for factor, rows in groupby(order, key=lambda row: factors[row])]


def _of_all(callback: Callable[[int, int], None], done: int, groups: int) -> Callable[[int, int], None]:
    return lambda step, steps: callback(done * steps + step, groups * steps)
