"""From noise to data along a velocity, by a solver of that name or a scheduler of diffusers.

Shape letters: B batch, T latent frames, D width.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler
from torch import Tensor

from ..parts.runge_kutta import TABLEAUX, runge_kutta_step
from ..parts.times import time_grid
from .known import ROUNDING, Velocity

if TYPE_CHECKING:
    from .sampling_config import DiffusionSampling

FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
MULTISTEP: dict[str, Callable[[], Any]] = {
    "dpmpp_2m": lambda: DPMSolverMultistepScheduler(**FLOW),
    "unipc": lambda: UniPCMultistepScheduler(**FLOW),
}
SOLVERS = (*TABLEAUX, *MULTISTEP)  # of a velocity at a time
MEAN_FLOW = "mean_flow"  # one step along the average velocity of its interval
PING_PONG = "pingpong"  # one step to the data, and back to the next time with new noise
Renoise = Callable[[Tensor, float], Tensor]  # of denoised latents [B, T, D], the same with new noise of a time
LATEST_START = 0.999  # of multistep solvers, which divide by 1 - t


def integrate(
    velocity: Velocity,
    at: Callable[[float], Tensor],
    options: DiffusionSampling,
    *,
    start: float = 1.0,
    shift: float = 1.0,
    device: torch.device,
    generator: torch.Generator | None = None,
    renoise: Renoise | None = None,
    callback: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Follows a velocity from time `start` to data, time 0, in `num_inference_steps` steps.

    Args:
        velocity: of latents [B, T, D] and a time, for mean_flow over an interval.
        at: gives the latents [B, T, D] that it starts from, of a time which is `start` or, with a scheduler that has
            fixed steps, the nearest of its steps below.
        options: of the sampler, with solver and steps chosen (`DiffusionSampling.chosen_for`).
        start: time of the start, above 0 and at most 1.
        shift: factor of `parts.times.shift_times`.
        device: of the latents.
        generator: source of the noise of stochastic schedulers.
        renoise: for pingpong, gives denoised latents [B, T, D] new noise of a time.
        callback: called with (steps done, steps in all).

    Returns:
        Latents [B, T, D].

    Raises:
        ValueError: the scheduler is not one of flow matching.
    """
    num_steps = options.num_inference_steps
    assert num_steps is not None, "the number of steps is chosen"
    if options.scheduler is None and options.solver in (MEAN_FLOW, PING_PONG, *TABLEAUX):
        grid = time_grid(start, num_steps, shift)
        states = _single_steps(options.solver, velocity, at(start), grid, renoise)
        steps = len(grid) - 1
    else:
        scheduler, first = _scheduler(options, num_steps, start, shift, device)
        steps = len(scheduler.timesteps) - first
        states = _scheduler_steps(scheduler, first, velocity, at, generator)
    x = at(start)
    for step, state in enumerate(states, start=1):
        x = state
        if callback is not None:
            callback(step, steps)
    return x


def _single_steps(
    name: str, velocity: Velocity, x: Tensor, grid: list[float], renoise: Renoise | None
) -> Iterator[Tensor]:
    for t, to in itertools.pairwise(grid):
        if name == MEAN_FLOW:
            x = x - (t - to) * velocity(x, t, t - to)
        elif name == PING_PONG:
            assert renoise is not None, "pingpong is given its noise"
            x = x - t * velocity(x, t)
            x = renoise(x, to) if to else x
        else:
            x = runge_kutta_step(name, velocity, x, t, to)
        yield x


def _scheduler_steps(
    scheduler: Any,
    first: int,
    velocity: Velocity,
    at: Callable[[float], Tensor],
    generator: torch.Generator | None,
) -> Iterator[Tensor]:
    # only the stochastic ones take a generator
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    extra = {"generator": generator} if takes_generator else {}
    sigmas, timesteps = scheduler.sigmas[first:].tolist(), scheduler.timesteps[first:]
    x = at(sigmas[0])
    for timestep, sigma in zip(timesteps, sigmas, strict=False):
        x = scheduler.step(velocity(x, sigma), timestep, x, **extra).prev_sample
        yield x


def _scheduler(
    options: DiffusionSampling, steps: int, start: float, shift: float, device: torch.device
) -> tuple[Any, int]:
    """Returns a scheduler of its own state, with its steps set, and the first step at a time of at most `start`.

    `sigmas[i]` is the time, which is the noise level, at `timesteps[i]`.
    """
    if options.scheduler is None:
        scheduler = MULTISTEP[options.solver]()
        scheduler.set_timesteps(steps, device=device)
        # the grid of the other solvers in place of its own; its steps are counted, so that times need not be whole
        grid = torch.tensor(time_grid(min(start, LATEST_START), steps, shift))
        scheduler.sigmas, scheduler.timesteps = grid, (grid[:-1] * scheduler.config.num_train_timesteps).to(device)
        scheduler.set_begin_index(0)
        return scheduler, 0
    given = options.scheduler
    scheduler = type(given).from_config(given.config)
    is_flow = all(scheduler.config.get(key) == value for key, value in FLOW.items())
    if not (is_flow or type(scheduler).__name__.startswith("FlowMatch")):
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
