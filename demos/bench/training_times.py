"""Measures the options of diffusion training on a toy: `python demos/bench/training_times.py`.

Small transformers are trained on a mixture of eight short sequences with each distribution of times, time shift and
coupling. A row of JSON holds the energy distance (Székely and Rizzo, 2013) of 512 samples to the data, for few and for
many steps of the midpoint rule, as means over seeds.
"""

from __future__ import annotations

import json
import sys
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
from latentune.generators.diffusion.normalise import normalise
from latentune.generators.parts.keep import KeepPatterns
from latentune.tokenizers.base import TokenizerSpec

FRAMES, WIDTH, STEPS, BATCH, SEEDS = 8, 4, 500, 64, 2
NOTHING_GIVEN = KeepPatterns(none=1.0, prefix=0.0, suffix=0.0, gap=0.0, gaps=0.0)
VARIANTS: dict[str, dict[str, Any]] = {
    "logit-normal": {},
    "uniform": {"time_distribution": "uniform"},
    "logit-normal, shift 2": {"time_shift": 2.0},
    "uniform, shift 2": {"time_distribution": "uniform", "time_shift": 2.0},
    "logit-normal, minibatch_ot": {"coupling": "minibatch_ot"},
}
SPEC = TokenizerSpec(
    name="toy",
    sample_rate=1000,
    channels=1,
    hop_samples=10,
    latent_dim=WIDTH,
    levels=((3,) * WIDTH,),
    token_hop_samples=10,
    chunk_latents=1,
    chunk_tokens=1,
    overlap_samples=0,
)


def conditions(count: int) -> Conditions:
    """Conditions of nothing in particular."""
    return Conditions(values={"seconds": [(0.0, 0.08)] * count})


def data(count: int, generator: torch.Generator) -> Tensor:
    """Latents [count, FRAMES, WIDTH] around one of eight sequences."""
    centers = torch.randn(8, FRAMES, WIDTH, generator=torch.Generator().manual_seed(99))
    which = torch.randint(8, (count,), generator=generator)
    return centers[which] + 0.2 * torch.randn(count, FRAMES, WIDTH, generator=generator)


def trained(options: dict[str, Any], seed: int) -> DiffusionTransformer:
    """A transformer trained with options of the objective."""
    torch.manual_seed(seed)
    sample = data(4096, torch.Generator().manual_seed(1)).flatten(0, 1)
    binding = TokenizerBinding(
        spec=SPEC,
        fingerprint="0" * 64,
        latent_mean=tuple(sample.mean(0).tolist()),
        latent_std=tuple(sample.std(0).tolist()),
    )
    conditioning = ConditioningConfig(width=16, conditioners={"seconds": {"kind": "seconds"}})
    config = DiffusionTransformerConfig(binding=binding, width=64, depth=2, heads=2, conditioning=conditioning)
    model = DiffusionTransformer(config)
    objective = RectifiedFlowObjective(RectifiedFlowConfig(keep_patterns=NOTHING_GIVEN, **options), config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    generator = torch.Generator().manual_seed(seed)
    for step in range(STEPS):
        batch = LatentBatch(
            latents=data(BATCH, generator),
            latent_mask=None,
            tokens=None,
            token_mask=None,
            conditions=conditions(BATCH),
            ids=[""] * BATCH,
        )
        loss, _ = objective(model, batch, step=step, generator=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def energy_distance(model: DiffusionTransformer, steps: int) -> float:
    """Energy distance of 512 samples to the data, normalised latents."""
    generator = torch.Generator().manual_seed(7)
    made = model.sample(
        conditions(512),
        torch.full((512,), 10 * FRAMES),
        sampling=model.make_sampling({"num_inference_steps": steps, "solver": "midpoint"}),
        generator=generator,
    )
    assert made.latents is not None
    one, other = (normalise(x, model.binding).flatten(1) for x in (made.latents, data(512, generator)))
    inside = (torch.pdist(one).mean() + torch.pdist(other).mean()) / 2
    return float(torch.cdist(one, other).mean() - inside)


def main() -> None:
    for name, options in VARIANTS.items():
        models = [trained(options, seed) for seed in range(SEEDS)]
        found = {steps: [energy_distance(model, steps) for model in models] for steps in (2, 4, 16)}
        row = {
            "variant": name,
            **{f"energy_{2 * steps}_passes": round(sum(d) / SEEDS, 4) for steps, d in found.items()},
        }
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
