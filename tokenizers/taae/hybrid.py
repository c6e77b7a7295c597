"""The random mixture of rounding and noise that TAAE's bottleneck is trained with (arXiv 2411.19842, section 3.2).

Shape letters: B batch, T latent frames, D latent width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ...core.random import rand
from .bottleneck import KEEP, NOISE, QUANTISE, Bottleneck


@dataclass(frozen=True, kw_only=True)
class HybridConfig:
    """The probabilities of rounding, of noise and of neither in training, and the levels that are drawn."""

    scheme: Literal["paper", "released"] = "paper"  # arXiv 2411.19842, section 3.2; or the official class
    level_choices: tuple[int, ...] = (5, 9, 17)  # of scheme `paper`: one is drawn per step, for all dimensions
    noise_probability: float = 0.5  # of scheme `paper`, per item; otherwise the item is rounded
    noise_dropout: float = 0.05  # of scheme `released`, p: noise 1 - p, rounded p(1 - p), kept p * p of the items

    def __post_init__(self) -> None:
        if self.scheme not in ("paper", "released"):
            raise ValueError(f"scheme must be 'paper' or 'released', got {self.scheme!r}")
        if not self.level_choices or min(self.level_choices) < 2:
            raise ValueError(f"level_choices must be one or more numbers of at least 2, got {self.level_choices}")
        for name in ("noise_probability", "noise_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")


def draw_hybrid(
    config: HybridConfig, bottleneck: Bottleneck, batch: int, frames: int, generator: torch.Generator, like: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Draws the random arguments of `Bottleneck.train`.

    Scheme `released` trains the network's own levels; so does every scheme of a bottleneck without tokens.

    Args:
        config: the scheme and its probabilities.
        bottleneck: of the network.
        batch: B.
        frames: T.
        generator: the source of randomness.
        like: a tensor on the device of the result.

    Returns:
        mode [B], noise [B, T, D] and levels [D].
    """
    dims = bottleneck.latent_dim
    like = like.new_empty(0, dtype=torch.float32)
    chance = rand((batch, 2), generator, like).T
    noise = rand((batch, frames, dims), generator, like) - 0.5
    if bottleneck.config.kind == "none":
        return torch.full((batch,), KEEP, device=like.device), noise, torch.full((dims,), 2, device=like.device)
    if config.scheme == "paper":
        mode = torch.where(chance[0] < config.noise_probability, NOISE, QUANTISE)
        pick = int(torch.randint(len(config.level_choices), (), generator=generator, device=generator.device))
        return mode, noise, torch.full((dims,), config.level_choices[pick], device=like.device)
    dropped = chance < config.noise_dropout
    mode = torch.where(dropped[0], KEEP, QUANTISE)
    mode = torch.where(dropped[1], mode, NOISE)
    return mode, noise, torch.tensor(bottleneck.config.levels, device=like.device)
