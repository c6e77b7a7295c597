"""Options of sampling from a diffusion transformer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from ...core.config import option
from ..base import SamplingConfig
from ..parts.times import check_shift
from .config import DiffusionTransformerConfig
from .solve import MEAN_FLOW, PING_PONG

STEPS = 16  # of the midpoint rule: the nearest to the exact solution for its cost, on a toy and on real latents
FEW_STEPS = {MEAN_FLOW: 4, PING_PONG: 8}  # of the solvers that need a network which was trained for them


@dataclass(frozen=True, kw_only=True)
class DiffusionSampling(SamplingConfig):
    """Options of `DiffusionTransformer.sample`."""

    num_inference_steps: int | None = option(
        None,
        "Number of sampling steps. By default 4 with the solver mean_flow, 8 with pingpong and 16 with any other.",
        name="steps",
    )
    solver: Literal["auto", "euler", "heun", "midpoint", "rk4", "dpmpp_2m", "unipc", "mean_flow", "pingpong"] = option(
        "auto",
        "Solver. A step of heun and midpoint costs two passes of the network, one of rk4 four. `auto` is mean_flow or "
        "pingpong for a generator that was trained for it, and midpoint for any other.",
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
        0.0, "Noise level at which blocks see their own past (chunk_causal, both); up to the past_noise of training."
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
            ValueError: the solver mean_flow or pingpong for a transformer that was not trained for it.
        """
        solver: Any = self.solver
        trained = {MEAN_FLOW: config.average_velocity, PING_PONG: config.one_step}
        if solver == "auto":
            own = [name for name, is_trained in trained.items() if is_trained and self.scheduler is None]
            solver = own[0] if own else "midpoint"
        if not trained.get(solver, True):
            kind = {MEAN_FLOW: "mean_flow", PING_PONG: "adversarial"}[solver]
            raise ValueError(
                f"the solver {solver} needs a generator that was trained with objective.kind={kind}: choose another"
            )
        steps = self.num_inference_steps or FEW_STEPS.get(solver, STEPS)
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
