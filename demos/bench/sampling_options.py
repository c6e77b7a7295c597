"""Measures the options of diffusion sampling: `python demos/bench/sampling_options.py [--pipeline P] [--data D]`.

Without a pipeline, solvers and time shifts follow the exact velocity of a mixture of Gaussians; with one they follow
its network. With a dataset of the pipeline's tokenizer as well, samples of captions of the dataset are compared with
the latents of the dataset, for variants of guidance. Every row goes to stdout as a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentune import LatentDataset, load_pipeline
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion.normalise import normalise
from latentune.generators.diffusion.sampling import DiffusionSampling
from latentune.generators.diffusion.solve import integrate

PASSES = {"euler": 1, "heun": 2, "midpoint": 2, "rk4": 4, "dpmpp_2m": 1, "unipc": 1}  # of the network for a step
BUDGETS = (8, 16, 32, 64)  # passes of a sample
SHIFTS = (0.5, 1.0, 2.0, 3.0)
TOY_REFERENCE = {"solver": "rk4", "num_inference_steps": 128}
REFERENCE = {"solver": "rk4", "num_inference_steps": 32}
PROMPTS = (  # of the network's solvers
    "calm piano",
    "orchestral music",
    "fast electronic music",
    "solo guitar",
    "drums and bass",
    "slow sad strings",
    "happy tune on a flute",
    "",
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


def network_rows(pipe: Any, prompts: list[str], seconds: float) -> Iterator[dict[str, Any]]:
    """The same with the network of a pipeline, of 8 prompts."""
    some = prompts[:8]

    def solve(options: dict[str, Any]) -> Tensor:
        return normalise(_sample(pipe, some, seconds, options, 0), pipe.generator.binding)

    for row in solver_rows(solve, (8, 16, 32), REFERENCE):
        yield {"what": "network"} | row


def _sample(pipe: Any, prompts: list[str], seconds: float, options: dict[str, Any], seed: int) -> Tensor:
    generator = pipe.generator
    usual = [generator.trained_on.seconds_of(seconds)] * len(prompts)
    asked = Conditions(values={"text": prompts, "seconds": usual})
    lengths = torch.full((len(prompts),), round(seconds * pipe.spec.sample_rate))
    with torch.inference_mode():
        made = generator.sample(
            asked,
            lengths,
            sampling=generator.make_sampling(options),
            generator=torch.Generator().manual_seed(seed),
        )
    latents: Tensor = made.latents
    return latents


def features(latents: Tensor) -> Tensor:
    """Mean and standard deviation over time [B, 2 D] of latents [B, T, D]."""
    return torch.cat([latents.mean(1), latents.std(1)], -1)


def frechet(one: Tensor, other: Tensor) -> float:
    """The Fréchet distance between Gaussians of features [N, F] and [M, F] (diagonal of few samples)."""
    means = (one.mean(0) - other.mean(0)).square().sum()
    deviations = (one.std(0) - other.std(0)).square().sum()
    return float(means + deviations)


def real_latents(pipe: Any, dataset: LatentDataset, seconds: float, per_caption: int) -> dict[str, Tensor]:
    """Normalised crops [N, T, D] of the items of each caption."""
    frames = math.ceil(seconds * dataset.spec.latent_rate_hz)
    generator = torch.Generator().manual_seed(0)
    found: dict[str, list[Tensor]] = {}
    for number in range(len(dataset)):
        item = dataset[number]
        texts = item.metadata.get("text") or item.metadata.get("caption")
        text = texts[0] if isinstance(texts, list) else texts
        if not text or item.latents is None or len(item.latents) < frames:
            continue
        crops = found.setdefault(text, [])
        for _ in range(per_caption):
            if len(crops) < per_caption:
                start = int(torch.randint(len(item.latents) - frames + 1, (), generator=generator))
                crops.append(normalise(item.latents[None, start : start + frames], pipe.generator.binding)[0])
    return {text: torch.stack(crops) for text, crops in found.items()}


def guidance_rows(
    pipe: Any, dataset: LatentDataset, count: int, seconds: float, steps: int
) -> Iterator[dict[str, Any]]:
    """Distance of samples to the latents of the dataset, and how many lie nearest to those of their own caption."""
    real = real_latents(pipe, dataset, seconds, per_caption=8)
    prompts = list(np.random.default_rng(0).permutation(sorted(real)))[:count]
    everything = torch.cat([features(crops) for crops in real.values()])
    spread = everything.std(0)
    centers = torch.stack([features(real[text]).mean(0) for text in prompts]) / spread
    for name, options in GUIDANCE.items():
        start = time.perf_counter()
        latents = torch.cat(
            [
                normalise(
                    _sample(pipe, prompts[i : i + 8], seconds, options | _options("midpoint", steps), i),
                    pipe.generator.binding,
                )
                for i in range(0, len(prompts), 8)
            ]
        )
        nearest = torch.cdist(features(latents) / spread, centers).argsort(1)
        own = torch.arange(len(prompts))[:, None]
        rank = (nearest == own).float().argmax(1).float()
        yield {
            "what": "guidance",
            "variant": name,
            "frechet": round(frechet(features(latents), everything), 4),
            "own_nearest": round(float((rank == 0).float().mean()), 3),
            "median_rank": float(rank.median()) + 1,
            "captions": len(prompts),
            "std": round(float(latents.std()), 4),
            "seconds": round(time.perf_counter() - start, 1),
        }


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All rows that are asked for."""
    if arguments.pipeline is None:
        yield from toy_rows()
        return
    pipe = load_pipeline(arguments.pipeline)
    pipe.generator.float()
    if arguments.data is None:
        yield from network_rows(pipe, list(PROMPTS), arguments.seconds)
        return
    dataset = LatentDataset(arguments.data)
    yield from guidance_rows(pipe, dataset, arguments.captions, arguments.seconds, arguments.steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pipeline", help="pipeline of a diffusion generator, whose solvers are compared")
    parser.add_argument("--data", help="dataset with captions of the same tokenizer: guidance is compared")
    parser.add_argument("--seconds", type=float, default=2.56, help="length of the samples")
    parser.add_argument("--captions", type=int, default=32, help="captions that are sampled for the guidance")
    parser.add_argument("--steps", type=int, default=8, help="midpoint steps of the guidance variants")
    for row in rows(parser.parse_args()):
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
