"""From noise to data along a velocity, with a diffusers scheduler. Shape letters: B batch, T latent frames, D width."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from .known import ROUNDING, Velocity

if TYPE_CHECKING:
    from .sampling import DiffusionSampling


def integrate(
    velocity: Velocity,
    at: Callable[[float], Tensor],
    options: DiffusionSampling,
    *,
    start: float = 1.0,
    device: torch.device,
    generator: torch.Generator | None = None,
    callback: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Follows a velocity from time `start` to data, time 0, in `num_inference_steps` steps.

    Args:
        velocity: of latents [B, T, D] and a time.
        at: gives the latents [B, T, D] that it starts from, of a time which is `start` or, with a scheduler that has
            fixed steps, the nearest of its steps below.
        options: of the sampler.
        start: time of the start, above 0 and at most 1.
        device: of the latents.
        generator: source of the noise of stochastic schedulers.
        callback: called with (steps done, steps in all).

    Returns:
        Latents [B, T, D].

    Raises:
        ValueError: the scheduler is not one of flow matching.
    """
    scheduler, first = _flow_scheduler(options, start, device)
    # only the stochastic ones take a generator
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    extra = {"generator": generator} if takes_generator else {}
    sigmas, timesteps = scheduler.sigmas[first:].tolist(), scheduler.timesteps[first:]
    x = at(sigmas[0])
    for step, (timestep, sigma) in enumerate(zip(timesteps, sigmas, strict=False)):
        x = scheduler.step(velocity(x, sigma), timestep, x, **extra).prev_sample
        if callback is not None:
            callback(step + 1, len(timesteps))
    return x


def _flow_scheduler(options: DiffusionSampling, start: float, device: torch.device) -> tuple[Any, int]:
    """Returns a scheduler of its own state, with its steps set, and the first step at a time of at most `start`.

    `sigmas[i]` is the time, which is the noise level, at `timesteps[i]`.
    """
    steps = options.num_inference_steps
    given: Any = FlowMatchEulerDiscreteScheduler() if options.scheduler is None else options.scheduler
    scheduler = type(given).from_config(given.config)
    flow = type(scheduler).__name__.startswith("FlowMatch") or (
        scheduler.config.get("use_flow_sigmas") and scheduler.config.get("prediction_type") == "flow_prediction"
    )
    if not flow:
        raise ValueError(
            f"{type(scheduler).__name__} is not set to flow matching: "
            "build it with use_flow_sigmas=True and prediction_type='flow_prediction'"
        )
    if isinstance(given, FlowMatchEulerDiscreteScheduler):
        # its own spacing ends at 1/1000 and would spend the last step on nothing
        sigmas = torch.linspace(start, start / steps, steps).tolist()
        scheduler.set_timesteps(sigmas=sigmas, device=device)
        return scheduler, 0
    scheduler.set_timesteps(round(steps / start), device=device)
    first = int((scheduler.sigmas > start + ROUNDING).sum())
    if scheduler.sigmas[first] == scheduler.sigmas[first + 1]:
        first += 1  # Heun's grid holds each time twice, for the end of one step and the start of the next
    scheduler.set_begin_index(first)
    return scheduler, first
