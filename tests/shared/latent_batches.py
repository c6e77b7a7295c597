"""Seeds, a training batch with padding, and networks with random weights, for tests of objectives on latents."""

from __future__ import annotations

from typing import TypeVar

import torch
from fake_binding import LATENT_BINDING
from torch import Tensor, nn

from latentune.generators.base import LatentBatch
from latentune.generators.conditions import Conditions

MEAN, STD = torch.tensor(LATENT_BINDING.latent_mean), torch.tensor(LATENT_BINDING.latent_std)
Module = TypeVar("Module", bound=nn.Module)


def seed(value: int = 0) -> torch.Generator:
    """A generator of that seed."""
    return torch.Generator().manual_seed(value)


def latent_batch(size: int = 4, frames: int = 6, latents: Tensor | None = None) -> LatentBatch:
    """Normalised latents [B, T, 3] as those of the fake codec; only two frames of the first random item are real."""
    mask = torch.ones(size, frames, dtype=torch.bool)
    if latents is None:
        latents = torch.randn(size, frames, 3, generator=seed(5))
        mask[0, 2:] = False
    return LatentBatch(
        latents=latents * STD + MEAN,
        latent_mask=mask,
        tokens=None,
        token_mask=None,
        conditions=Conditions.of([""] * size, 3.0),
        ids=[str(i) for i in range(size)],
    )


def random_weights(model: Module, std: float = 0.3) -> Module:
    """The network in eval mode with random weights everywhere, so that nothing that starts as zero hides a mistake."""
    generator = seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * (std if weight.ndim > 1 else 1.0))
    return model.eval()
