"""Measures the options of diffusion training: `python demos/bench/training_times.py [--dataset FOLDER]`.

Small transformers are trained with each distribution of times, time shift and coupling: on a mixture of eight short
sequences, or on crops of a dataset of latents. A row of JSON holds the energy distance (Székely and Rizzo, 2013) of 512
samples to data that were not trained on, for few and for many steps of the midpoint rule, for each seed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentune.generators.base import LatentBatch, TokenizerBinding
from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import (
    DiffusionTransformer,
    DiffusionTransformerConfig,
    RectifiedFlowConfig,
    RectifiedFlowObjective,
)
from latentune.generators.parts.keep import KeepPatterns
from latentune.generators.parts.normalise import normalise
from latentune.pipelines.data.shards import LatentDataset
from latentune.pipelines.data.shards.read import dataset_binding
from latentune.tokenizers.base import TokenizerSpec

SEEDS, NUM_SAMPLES = 2, 512
HELD_OUT = 5  # every fifth item of a dataset is not trained on
NOTHING_GIVEN = KeepPatterns(none=1.0, prefix=0.0, suffix=0.0, gap=0.0, gaps=0.0)
VARIANTS: dict[str, dict[str, Any]] = {
    "logit-normal": {},
    "uniform": {"time_distribution": "uniform"},
    "logit-normal, shift 2": {"time_shift": 2.0},
    "uniform, shift 2": {"time_distribution": "uniform", "time_shift": 2.0},
    "logit-normal, minibatch_ot": {"coupling": "minibatch_ot"},
}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Data, and the size of what is trained on them."""

    binding: TokenizerBinding
    frames: int
    width: int
    depth: int
    steps: int
    batch: int
    draw: Callable[[int, torch.Generator, bool], Tensor]  # number, generator, held out -> latents [count, frames, D]


def toy() -> Problem:
    """Sequences of 8 frames and 4 channels around one of eight."""
    centers = torch.randn(8, 8, 4, generator=torch.Generator().manual_seed(99))

    def draw(count: int, generator: torch.Generator, held_out: bool) -> Tensor:
        which = torch.randint(8, (count,), generator=generator)
        return centers[which] + 0.2 * torch.randn(count, 8, 4, generator=generator)

    sample = draw(4096, torch.Generator().manual_seed(1), False).flatten(0, 1)
    spec = TokenizerSpec(
        name="toy",
        sample_rate=1000,
        channels=1,
        hop_samples=10,
        latent_dim=4,
        levels=((3,) * 4,),
        token_hop_samples=10,
        chunk_latents=1,
        chunk_tokens=1,
        overlap_samples=0,
    )
    binding = TokenizerBinding(
        spec=spec,
        fingerprint="0" * 64,
        latent_mean=tuple(sample.mean(0).tolist()),
        latent_std=tuple(sample.std(0).tolist()),
    )
    return Problem(binding=binding, frames=8, width=64, depth=2, steps=500, batch=64, draw=draw)


def real(folder: str) -> Problem:
    """Crops of 32 frames of a dataset."""
    dataset = LatentDataset(folder)
    items = [latents for latents in (item.latents for item in dataset) if latents is not None and len(latents) >= 32]
    sides = {False: [x for i, x in enumerate(items) if i % HELD_OUT], True: items[::HELD_OUT]}

    def draw(count: int, generator: torch.Generator, held_out: bool) -> Tensor:
        side = sides[held_out]
        crops = []
        for which in torch.randint(len(side), (count,), generator=generator).tolist():
            start = int(torch.randint(len(side[which]) - 31, (), generator=generator))
            crops.append(side[which][start : start + 32])
        return torch.stack(crops)

    return Problem(binding=dataset_binding(dataset), frames=32, width=128, depth=4, steps=400, batch=32, draw=draw)


def conditions(problem: Problem, count: int) -> Conditions:
    """Conditions of nothing in particular."""
    return Conditions(values={"seconds": [(0.0, problem.frames / problem.binding.spec.latent_rate_hz)] * count})


def trained(problem: Problem, options: dict[str, Any], seed: int) -> DiffusionTransformer:
    """A transformer trained with options of the objective."""
    torch.manual_seed(seed)
    conditioning = ConditioningConfig(width=16, conditioners={"seconds": {"kind": "seconds"}})
    config = DiffusionTransformerConfig(
        binding=problem.binding,
        width=problem.width,
        depth=problem.depth,
        heads=problem.width // 32,
        conditioning=conditioning,
    )
    model = DiffusionTransformer(config)
    objective = RectifiedFlowObjective(RectifiedFlowConfig(keep_patterns=NOTHING_GIVEN, **options), config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, problem.steps)
    generator = torch.Generator().manual_seed(seed)
    for step in range(problem.steps):
        batch = LatentBatch(
            latents=problem.draw(problem.batch, generator, False),
            latent_mask=None,
            tokens=None,
            token_mask=None,
            conditions=conditions(problem, problem.batch),
            ids=[""] * problem.batch,
        )
        loss, _ = objective(model, batch, step=step, generator=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def energy_distance(problem: Problem, model: DiffusionTransformer, steps: int) -> float:
    """Energy distance of samples to held-out data, normalised latents."""
    generator = torch.Generator().manual_seed(7)
    samples = problem.frames * problem.binding.spec.hop_samples
    made = model.sample(
        conditions(problem, NUM_SAMPLES),
        torch.full((NUM_SAMPLES,), samples),
        sampling=model.make_sampling({"num_inference_steps": steps, "solver": "midpoint"}),
        generator=generator,
    )
    assert made.latents is not None
    data = problem.draw(NUM_SAMPLES, generator, True)
    one, other = (normalise(x, model.binding).flatten(1) for x in (made.latents, data))
    inside = (torch.pdist(one).mean() + torch.pdist(other).mean()) / 2
    return float(torch.cdist(one, other).mean() - inside)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", help="folder of a dataset with latents, in place of the toy")
    arguments = parser.parse_args()
    problem = toy() if arguments.dataset is None else real(arguments.dataset)
    for name, options in VARIANTS.items():
        models = [trained(problem, options, seed) for seed in range(SEEDS)]
        row: dict[str, Any] = {"variant": name}
        for steps in (2, 4, 16):
            distances = [round(energy_distance(problem, model, steps), 4) for model in models]
            row[f"energy_{2 * steps}_passes"] = distances
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
