"""Which conditions of a training batch are dropped. Shape letters: B batch."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.random import rand
from .config import ConditioningConfig
from .fuse import Drop


def draw_drops(
    config: ConditioningConfig, all_probability: float, batch: int, generator: torch.Generator, like: Tensor
) -> Drop:
    """Draws the items whose conditions are dropped: all at once, and each condition on its own.

    Args:
        config: the conditioners with their own probabilities.
        all_probability: probability, per item, that all of its conditions are dropped.
        batch: B.
        generator: source of the draws; conditions that are never dropped on their own do not draw from it.
        like: a floating-point tensor on the device of the result.

    Returns:
        [B] bool, or a mapping of such masks by condition.
    """
    dropped: Tensor = rand((batch,), generator, like) < all_probability
    own = {
        name: rand((batch,), generator, like) < probability for name, probability in config.drop_probabilities.items()
    }
    if not own:
        return dropped
    return {name: dropped | own[name] if name in own else dropped for name in config.conditioners}
