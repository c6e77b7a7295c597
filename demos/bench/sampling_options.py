"""Measures the options of diffusion sampling: `python demos/bench/sampling_options.py [--generator FOLDER]`.

Without a generator, solvers and time shifts follow the exact velocity of a mixture of Gaussians. With one they follow
its network, after variants of guidance were compared. Every row goes to stdout as a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from latentune import load_generator
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion.sampling_config import DiffusionSampling
from latentune.generators.diffusion.solve import integrate
from latentune.generators.parts.normalise import normalise

PASSES = {"euler": 1, "heun": 2, "midpoint": 2, "rk4": 4, "dpmpp_2m": 1, "unipc": 1}  # of the network for a step
BUDGETS = (8, 16, 32, 64)  # passes of a sample
SHIFTS = (0.5, 1.0, 2.0, 3.0)
TOY_REFERENCE = {"solver": "rk4", "num_inference_steps": 128}
REFERENCE = {"solver": "rk4", "num_inference_steps": 24}
CAPTIONS = (  # styles that the generator which ships was trained with, see demos/recipes/captions.py
    "orchestral music",
    "death metal",
    "techno",
    "ambient electronic music",
    "cheerful cartoon music",
    "metal with a female voice",
)
GUIDANCE: dict[str, dict[str, Any]] = {
    "off": {},
    "scale 2": {"guidance_scale": 2.0},
    "scale 4": {"guidance_scale": 4.0},
    "scale 4, interval 0.2-0.8": {"guidance_scale": 4.0, "guidance_interval": (0.2, 0.8)},
    "scale 4, rescale 0.7": {"guidance_scale": 4.0, "guidance_rescale": 0.7},
    "scale 4, APG": {
        "guidance_scale": 4.0,
        "guidance_parallel": 0.0,
        "guidance_threshold": 0.5,
        "guidance_momentum": -0.5,
    },
}


def mixture_velocity(centers: Tensor, std: float) -> Callable[[Tensor, float], Tensor]:
    """The exact velocity of data from Gaussians of one deviation around centers [K, D]."""

    def velocity(x: Tensor, t: float) -> Tensor:
        t = max(t, 1e-6)
        variance = (1 - t) ** 2 * std**2 + t**2
        away = x - (1 - t) * centers[:, None]  # [K, B, D]
        share = torch.softmax(-away.square().sum(-1) / (2 * variance), 0)
        mean = (share[..., None] * (centers[:, None] + (1 - t) * std**2 / variance * away)).sum(0)
        return (x - mean) / t

    return velocity


def solver_rows(
    solve: Callable[[dict[str, Any]], Tensor], budgets: tuple[int, ...], reference: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """The root mean square difference from the reference solution of the same noise, by solver, passes and shift."""
    exact = solve(reference)
    for passes in budgets:
        for solver, cost in PASSES.items():
            steps = passes // cost
            yield {
                "solver": solver,
                "passes": passes,
                "shift": 1.0,
                "error": _rms(solve(_options(solver, steps)) - exact),
            }
        for shift in SHIFTS:
            found = solve(_options("euler", passes) | {"time_shift": shift})
            yield {"solver": "euler", "passes": passes, "shift": shift, "error": _rms(found - exact)}


def _options(solver: str, steps: int) -> dict[str, Any]:
    return {"solver": solver, "num_inference_steps": steps}


def _rms(x: Tensor) -> float:
    return round(float(x.square().mean().sqrt()), 5)


def toy_rows() -> Iterator[dict[str, Any]]:
    """Solvers on a mixture of 8 Gaussians in 16 dimensions, of unit variance together."""
    generator = torch.Generator().manual_seed(0)
    centers, noise = torch.randn(8, 16, generator=generator), torch.randn(500, 16, generator=generator)
    velocity = mixture_velocity(centers, 0.2)

    def solve(options: dict[str, Any]) -> Tensor:
        sampling = DiffusionSampling(**options)
        return integrate(velocity, lambda t: noise, sampling, shift=sampling.time_shift, device=noise.device)

    for row in solver_rows(solve, BUDGETS, TOY_REFERENCE):
        yield {"what": "toy"} | row


def draw(generator: Any, prompts: list[str], seconds: float, options: dict[str, Any], seed: int) -> Tensor:
    """Normalised latents [B, T, D] of prompts."""
    usual = [generator.trained_on.seconds_of(seconds)] * len(prompts)
    lengths = torch.full((len(prompts),), round(seconds * generator.binding.spec.sample_rate))
    with torch.inference_mode():
        made = generator.sample(
            Conditions(values={"text": prompts, "seconds": usual}),
            lengths,
            sampling=generator.make_sampling(options),
            generator=torch.Generator().manual_seed(seed),
        )
    return normalise(made.latents, generator.binding)


def network_rows(generator: Any, seconds: float) -> Iterator[dict[str, Any]]:
    """Solvers on the network of a generator, for all captions."""
    for row in solver_rows(
        lambda options: draw(generator, list(CAPTIONS), seconds, options, 0), (8, 16, 32), REFERENCE
    ):
        yield {"what": "network"} | row


def guidance_rows(generator: Any, seconds: float, repeats: int, steps: int) -> Iterator[dict[str, Any]]:
    """Measures how each variant of guidance changes samples of all captions.

    The training data has mean 0 and deviation 1 in each normalised channel, so that `moments`, the mean over channels
    of mean^2 + (deviation - 1)^2, is 0 for samples like it. `separation` is the variance of the mean latent between
    captions in units of that within a caption.
    """
    for name, options in GUIDANCE.items():
        start = time.perf_counter()
        chosen = options | _options("midpoint", steps)
        drawn = torch.stack([draw(generator, list(CAPTIONS), seconds, chosen, seed) for seed in range(repeats)])
        channels = drawn.flatten(0, 2)
        moments = channels.mean(0).square() + (channels.std(0) - 1.0).square()
        clips = drawn.mean(2)  # [repeats, captions, D]
        separation = clips.mean(0).var(0).mean() / clips.var(0).mean()
        yield {
            "what": "guidance",
            "variant": name,
            "moments": round(float(moments.mean()), 4),
            "deviation": round(float(channels.std(0).mean()), 4),
            "separation": round(float(separation), 3),
            "seconds": round(time.perf_counter() - start, 1),
        }


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All rows that are asked for."""
    if arguments.generator is None:
        yield from toy_rows()
        return
    generator = load_generator(arguments.generator).float()
    yield from guidance_rows(generator, arguments.seconds, arguments.repeats, arguments.steps)
    yield from network_rows(generator, arguments.seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generator", help="folder of a diffusion generator, in place of the toy")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of the samples")
    parser.add_argument("--repeats", type=int, default=4, help="samples of each caption for the guidance")
    parser.add_argument("--steps", type=int, default=8, help="midpoint steps of the guidance variants")
    for row in rows(parser.parse_args()):
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
