"""From noise to latents along a diffusers scheduler, around the chunks that are given.

Shape letters: B batch, T latent frames, D latent width.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from ...core.config import option
from ...core.random import randn
from ...tokenizers.base import Encoded
from ..base import SamplingConfig
from ..conditions import PreparedConditions
from ..parts.request import SampleRequest, lay_given
from .guidance import Velocity, guided_velocity
from .normalise import check_latents, denormalise, normalise

if TYPE_CHECKING:
    from .dit import DiffusionTransformer


@dataclass(frozen=True, kw_only=True)
class DiffusionSampling(SamplingConfig):
    """Options of `DiffusionTransformer.sample`."""

    num_inference_steps: int = option(50, "Number of sampling steps.", name="steps")
    # from Python alone: an object, any flow-matching scheduler of diffusers; None: FlowMatchEulerDiscreteScheduler
    scheduler: Any = option(None, "Flow-matching scheduler of diffusers, as an object.", hidden=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_inference_steps < 1:
            raise ValueError(f"num_inference_steps must be at least 1, got {self.num_inference_steps}")


@torch.no_grad()
def sample_latents(
    model: DiffusionTransformer,
    conditions: PreparedConditions,
    request: SampleRequest,
    options: DiffusionSampling,
    *,
    encoded: Encoded | None,
    generator: torch.Generator | None,
    callback: Callable[[int, int], None] | None,
) -> Tensor:
    """Returns latents [B, T, D] as the codec gives them, float32, zero beyond each item's own frames.

    Given frames are set, before each step, to what is given at that step's noise level (with the noise that the item
    started from), and at the end to what is given itself: they come out bit for bit.

    Args:
        model: the network.
        conditions: of the B items.
        request: their lengths and which chunks are given.
        options: of the sampler.
        encoded: the given audio, of 1 or B items; None where nothing is given.
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
    known, known_mask = _known(model, request, encoded, like=noise)
    # fused attention kernels take no mask tensor, so a full batch passes none
    padding = None if min(frames) == max(frames) else mask
    velocity = guided_velocity(model, conditions, padding, options.guidance_scale)
    x = _integrate(
        velocity,
        noise,
        _flow_scheduler(options, model.device),
        known=None if encoded is None else (normalise(known, model.binding), known_mask),
        generator=generator,
        callback=callback,
    )
    latents = torch.where(known_mask, known, denormalise(x, model.binding))
    return latents.masked_fill(~mask[..., None], 0.0)


def _integrate(
    velocity: Velocity,
    noise: Tensor,
    scheduler: Any,
    *,
    known: tuple[Tensor, Tensor] | None,
    generator: torch.Generator | None,
    callback: Callable[[int, int], None] | None,
) -> Tensor:
    """Follows the velocity from noise [B, T, D] to data.

    Args:
        velocity: of latents and a time.
        noise: [B, T, D], where it starts.
        scheduler: with its steps set.
        known: given latents, normalised, and where they are.
        generator: source of the noise of stochastic schedulers.
        callback: called with (steps done, steps in all).
    """
    # only the stochastic ones take a generator
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    options = {"generator": generator} if takes_generator else {}
    x, total = noise, len(scheduler.timesteps)
    for step, (timestep, sigma) in enumerate(zip(scheduler.timesteps, scheduler.sigmas.tolist(), strict=False)):
        if known is not None:
            given, where = known
            x = torch.where(where, (1.0 - sigma) * given + sigma * noise, x)
        x = scheduler.step(velocity(x, sigma), timestep, x, **options).prev_sample
        if callback is not None:
            callback(step + 1, total)
    return x


def _known(
    model: DiffusionTransformer, request: SampleRequest, encoded: Encoded | None, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns the given latents laid into [B, T, D], and the mask [B, T, 1] of where they lie."""
    if encoded is None:
        return torch.zeros_like(like), torch.zeros(*like.shape[:2], 1, dtype=torch.bool, device=like.device)
    check_latents(encoded.latents, model.binding)
    known, where = lay_given(encoded.latents, request.keep, model.binding.spec.chunk_latents, like)
    if not torch.isfinite(known).all():
        raise ValueError("the given latents hold NaN or inf")
    return known, where[..., None]


def _flow_scheduler(options: DiffusionSampling, device: torch.device) -> Any:
    """Returns a scheduler of its own state, with its steps set; `sigmas[i]` is the noise level at `timesteps[i]`."""
    num_inference_steps = options.num_inference_steps
    given: Any = FlowMatchEulerDiscreteScheduler() if options.scheduler is None else options.scheduler
    scheduler = type(given).from_config(given.config)
    if isinstance(given, FlowMatchEulerDiscreteScheduler):
        # its own spacing ends at 1/1000 and would spend the last step on nothing
        sigmas = torch.linspace(1.0, 1.0 / num_inference_steps, num_inference_steps).tolist()
        scheduler.set_timesteps(sigmas=sigmas, device=device)
    else:
        scheduler.set_timesteps(num_inference_steps, device=device)
    flow = type(scheduler).__name__.startswith("FlowMatch") or (
        scheduler.config.get("use_flow_sigmas") and scheduler.config.get("prediction_type") == "flow_prediction"
    )
    if not flow:
        raise ValueError(
            f"{type(scheduler).__name__} is not set to flow matching: "
            "build it with use_flow_sigmas=True and prediction_type='flow_prediction'"
        )
    return scheduler
