"""Sampling with options as keywords, as tests of several generators ask for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from latentune.generators.base import Generated, LatentGenerator
from latentune.generators.conditions import Conditions
from latentune.generators.given import Given
from latentune.tokenizers.base import Encoded


def sample(
    model: LatentGenerator,
    conditions: Conditions,
    lengths: list[int],
    *,
    seed: Any = 0,
    prefix: Encoded | None = None,
    given: Given | None = None,
    callback: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Generated:
    """`model.sample` with a seed or a generator, an encoded prefix and the options of its sampling config."""
    return model.sample(
        conditions,
        torch.tensor(lengths),
        sampling=model.make_sampling(options),
        given=given if prefix is None else Given.prefix(prefix, model.binding.spec),
        generator=seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed),
        callback=callback,
    )
