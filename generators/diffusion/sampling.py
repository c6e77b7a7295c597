"""From noise to latents, all frames together, around the chunks that are given.

Shape letters: B batch, T latent frames, D latent width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ...core.config import option
from ...core.random import randn
from ..base import SamplingConfig
from ..parts.given_latents import known_latents
from ..parts.guidance import GuidanceBranches, guidance_branches
from ..parts.normalise import denormalise, normalise
from ..parts.request import SampleRequest
from ..parts.times import check_shift, shift_factor
from .guidance import guided_velocity
from .known import KnownFrames
from .past import FrameCache
from .solve import integrate

if TYPE_CHECKING:
    from .dit import DiffusionTransformer, DiffusionTransformerConfig

STEPS = 16  # of the midpoint rule: the nearest to the exact solution for its cost, on a toy and on real latents
FEW_STEPS = 4  # of mean flow


@dataclass(frozen=True, kw_only=True)
class DiffusionSampling(SamplingConfig):
    """Options of `DiffusionTransformer.sample`."""

    num_inference_steps: int | None = option(
        None, "Number of sampling steps. By default 4 with the solver mean_flow and 16 with any other.", name="steps"
    )
    solver: Literal["auto", "euler", "heun", "midpoint", "rk4", "dpmpp_2m", "unipc", "mean_flow"] = option(
        "auto",
        "Solver. A step of heun and midpoint costs two passes of the network, one of rk4 four. `auto` is mean_flow for "
        "a generator that was trained with it, and midpoint for any other.",
    )
    time_shift: float = option(
        1.0, "Factor by which times are moved towards noise; above 1, more of the steps are at high noise levels."
    )
    shift_frames: int | None = option(
        None,
        "Length in latent frames whose factor is time_shift; the factor grows with the square root of the length. By "
        "default the length has no effect.",
    )
    guidance_interval: tuple[float, float] = option(
        (0.0, 1.0), "Lowest and highest diffusion time with guidance (1 is noise); elsewhere a step costs one pass."
    )
    guidance_rescale: float = option(
        0.0, "Share by which the standard deviation after guidance is brought back to that without it."
    )
    guidance_parallel: float = option(
        1.0, "Share of the guidance along the denoised latents themselves (APG); below 1 there is less saturation."
    )
    guidance_threshold: float = option(
        0.0, "Largest root mean square of the difference that guidance multiplies (APG); 0 does not limit it."
    )
    guidance_momentum: float = option(0.0, "Weight of the differences of earlier steps in the guidance (APG).")
    past_noise: float = option(
        0.0, "Noise level at which a chunk_causal generator sees its own past; up to the past_noise of its training."
    )
    # from Python alone, in place of a solver's name: any flow-matching scheduler of diffusers
    scheduler: Any = option(None, "Flow-matching scheduler of diffusers, as an object.", hidden=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_inference_steps is not None and self.num_inference_steps < 1:
            raise ValueError(f"num_inference_steps must be at least 1, got {self.num_inference_steps}")
        if not 0 <= self.past_noise < 1:
            raise ValueError(f"past_noise must lie in 0..1, 1 excluded, got {self.past_noise}")
        check_shift(self.time_shift, self.shift_frames)
        low, high = self.guidance_interval
        if not 0 <= low <= high <= 1:
            raise ValueError(f"guidance_interval must be (lowest, highest) within 0..1, got {low} and {high}")
        if not 0 <= self.guidance_rescale <= 1:
            raise ValueError(f"guidance_rescale must lie in 0..1, got {self.guidance_rescale}")
        if self.guidance_threshold < 0 or not -1 < self.guidance_momentum < 1:
            raise ValueError(
                f"guidance_threshold must be 0 or more and guidance_momentum within -1..1, got "
                f"{self.guidance_threshold} and {self.guidance_momentum}"
            )

    def chosen_for(self, config: DiffusionTransformerConfig) -> DiffusionSampling:
        """Returns these options with the solver and the number of steps that a transformer has by default.

        Raises:
            ValueError: the solver mean_flow for a transformer that was not trained for it.
        """
        solver = self.solver
        if solver == "auto":
            solver = "mean_flow" if config.average_velocity and self.scheduler is None else "midpoint"
        if solver == "mean_flow" and not config.average_velocity:
            raise ValueError(
                "the solver mean_flow needs a generator that was trained with objective.kind=mean_flow: choose another"
            )
        steps = self.num_inference_steps or (FEW_STEPS if solver == "mean_flow" else STEPS)
        return replace(self, solver=solver, num_inference_steps=steps)

    @property
    def is_adaptive(self) -> bool:
        """Whether guidance does more than weigh velocities."""
        return (self.guidance_rescale, self.guidance_parallel, self.guidance_threshold, self.guidance_momentum) != (
            0.0,
            1.0,
            0.0,
            0.0,
        )


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
    mask = (torch.arange(max(frames)) < torch.tensor(frames)[:, None]).to(model.device)
    noise = torch.zeros(len(request), max(frames), spec.latent_dim, device=model.device)
    for item, count in enumerate(frames):
        noise[item, :count] = randn((count, spec.latent_dim), generator, noise)
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
            generator=generator,
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
    generator: torch.Generator | None,
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
        generator: source of the noise of stochastic schedulers.
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
        generator=generator,
        callback=callback,
    )


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
