"""From noise to latents along a diffusers scheduler, with continuation of a prefix.

Shape letters: B batch, T latent frames, D latent width.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from ...core.random import randn
from ...tokenizers.base import Encoded
from ..base import Conditions
from ..parts.request import SampleRequest, prefix_frames
from .guidance import Velocity, guided_velocity
from .normalise import check_latents, denormalise, normalise

if TYPE_CHECKING:
    from .dit import DiffusionTransformer


@torch.no_grad()
def sample_latents(
    model: DiffusionTransformer,
    conditions: Conditions,
    request: SampleRequest,
    *,
    generator: torch.Generator | None,
    guidance_scale: float,
    prefix: Encoded | None,
    callback: Callable[[int, int], None] | None,
    num_inference_steps: int,
    scheduler: Any | None,
) -> Tensor:
    """Latents [B, T, D] as the codec gives them, float32, zero beyond each item's own frames.

    The frames of a prefix are set, before each step, to the prefix at that step's noise level (with the noise that the
    item started from), and at the end to the prefix itself: they come out bit for bit.

    Raises:
        ValueError: fewer than 1 step, an item longer than the generator's max_frames, a scheduler that is not one of
            flow matching, or a prefix of another codec or with NaN.
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
    known, known_mask = _known(model, request, prefix, like=noise)
    # fused attention kernels take no mask tensor, so a full batch passes none
    padding = None if min(frames) == max(frames) else mask
    velocity = guided_velocity(model, conditions, padding, guidance_scale)
    x = _integrate(
        velocity,
        noise,
        _flow_scheduler(scheduler, num_inference_steps, model.device),
        known=None if prefix is None else (normalise(known, model.binding), known_mask),
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
    """Follow the velocity from noise [B, T, D] to data; `known` holds given latents and where they are."""
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
    model: DiffusionTransformer, request: SampleRequest, prefix: Encoded | None, like: Tensor
) -> tuple[Tensor, Tensor]:
    """The prefix laid into [B, T, D], and the mask [B, T, 1] of where it lies."""
    known, where = torch.zeros_like(like), torch.zeros(*like.shape[:2], 1, dtype=torch.bool, device=like.device)
    if prefix is None:
        return known, where
    check_latents(prefix.latents, model.binding)
    for item, num_chunks in enumerate(request.prefix_chunks):
        count = num_chunks * model.binding.spec.chunk_latents
        given = prefix_frames(prefix.latents, item, count)
        if not torch.isfinite(given).all():
            raise ValueError("the latents of the prefix hold NaN or inf")
        known[item, :count], where[item, :count] = given.to(known), True
    return known, where


def _flow_scheduler(scheduler: Any | None, num_inference_steps: int, device: torch.device) -> Any:
    """A scheduler of its own state, with its steps set; `sigmas[i]` is the noise level at `timesteps[i]`."""
    if num_inference_steps < 1:
        raise ValueError(f"num_inference_steps must be at least 1, got {num_inference_steps}")
    given: Any = FlowMatchEulerDiscreteScheduler() if scheduler is None else scheduler
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
