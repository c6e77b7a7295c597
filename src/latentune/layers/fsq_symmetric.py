"""Finite scalar quantisation on a grid that spans [-scale, scale] evenly for every number of levels.

TAAE uses it (arXiv 2411.19842, eq. 1 to 4), also in residual stages. The vocabulary is that of `fsq`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Rounding = Literal["half_even", "half_up"]  # of a value in the middle of two levels: to the even digit, or upwards


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a residual quantiser: a symmetric grid over [-scale, scale] in every dimension."""

    levels: tuple[int, ...]  # L of each dimension
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.levels or min(self.levels) < 2:
            raise ValueError(f"levels must be at least 2 in each of one or more dimensions, got {self.levels}")
        if not 0 < self.scale <= 1:
            raise ValueError(f"the scale of a stage must lie in (0, 1], got {self.scale}")


def symmetric_steps(levels: Sequence[int] | Tensor, scale: float = 1.0, device: torch.device | None = None) -> Tensor:
    """Returns the distance of neighbouring levels, 2 * scale / (L - 1), in float32.

    It stays float32 also for float64 values, since the official tokens come from such steps: 0.4 of L = 6 is
    0.4000000059604645, which decides on which side a value near the middle of two levels goes.

    Args:
        levels: L of each dimension.
        scale: the grid spans [-scale, scale].
        device: of the result, where `levels` is not a tensor.

    Returns:
        Steps in the shape of `levels`.
    """
    sizes = torch.as_tensor(levels, dtype=torch.float32, device=device)
    return 2.0 * scale / (sizes - 1.0)


def symmetric_positions(
    values: Tensor, levels: Sequence[int] | Tensor, scale: float = 1.0, rounding: Rounding = "half_even"
) -> Tensor:
    """Returns the digits of values, still in their dtype: round((value + scale) / step), within 0..L-1.

    A residual stage may receive more than its scale; such values go to its outermost level.

    Args:
        values: [..., d].
        levels: L of each dimension, or a tensor that broadcasts.
        scale: the grid spans [-scale, scale].
        rounding: of a value in the middle of two levels.

    Returns:
        Digits [..., d] in the dtype of `values`.
    """
    steps = symmetric_steps(levels, scale, values.device)
    units = (values + scale) / steps
    rounded = units.round() if rounding == "half_even" else (units + 0.5).floor()
    top = torch.as_tensor(levels, device=values.device).to(values.dtype) - 1
    return torch.minimum(rounded.clamp_min(0), top)


def symmetric_digits(values: Tensor, stage: Stage, rounding: Rounding = "half_even") -> Tensor:
    """Returns the nearest digits of a stage.

    Args:
        values: [..., d].
        stage: the grid.
        rounding: of a value in the middle of two levels.

    Returns:
        Digits [..., d] int64.
    """
    return symmetric_positions(values, stage.levels, stage.scale, rounding).to(torch.int64)


def symmetric_values(digits: Tensor, stage: Stage, dtype: torch.dtype = torch.float32) -> Tensor:
    """Returns the values that digits of a stage stand for, digit * step - scale.

    Args:
        digits: [..., d].
        stage: the grid.
        dtype: of the result.

    Returns:
        Values [..., d].
    """
    return digits.to(dtype) * symmetric_steps(stage.levels, stage.scale, digits.device) - stage.scale


def symmetric_straight_through(
    values: Tensor, levels: Sequence[int] | Tensor, rounding: Rounding = "half_even"
) -> Tensor:
    """Quantises values to a grid over [-1, 1]; the gradient passes as if they were not quantised.

    Args:
        values: [..., d].
        levels: L of each dimension, or a tensor that broadcasts.
        rounding: of a value in the middle of two levels.

    Returns:
        Values [..., d].
    """
    steps = symmetric_steps(levels, device=values.device)
    quantised = symmetric_positions(values, levels, rounding=rounding) * steps - 1.0
    return values + (quantised - values).detach()


def symmetric_noise(values: Tensor, levels: Sequence[int] | Tensor, noise: Tensor) -> Tensor:
    """Adds noise of one step to values, the surrogate of rounding (arXiv 2411.19842, eq. 2).

    Args:
        values: [..., d].
        levels: L of each dimension, or a tensor that broadcasts.
        noise: [..., d] uniform in [-0.5, 0.5).

    Returns:
        Values [..., d].
    """
    return values + noise * symmetric_steps(levels, device=values.device)


# ---------------------------------------------------------------------- residual stages


def residual_digits(values: Tensor, stages: Sequence[Stage], rounding: Rounding = "half_even") -> list[Tensor]:
    """Returns the digits of each residual stage, which quantises what the stages before it left over.

    Pass float64 where the tokens must equal the official ones: a residual near a boundary keeps its side.

    Args:
        values: [..., d].
        stages: from the coarsest to the finest.
        rounding: of a value in the middle of two levels.

    Returns:
        Digits [..., d] int64 of each stage.
    """
    digits = []
    for stage in stages:
        digits.append(symmetric_digits(values, stage, rounding))
        values = values - symmetric_values(digits[-1], stage, values.dtype)
    return digits


def residual_values(digits: Sequence[Tensor], stages: Sequence[Stage], clip: bool = True) -> Tensor:
    """Returns the sum of the values of all stages.

    Args:
        digits: [..., d] of each stage.
        stages: from the coarsest to the finest.
        clip: bring the sum into [-1, 1]. Digits that came from values never need it; freely chosen ones (sampled by a
            generator) can sum up to the sum of the scales, where the decoder was never trained.

    Returns:
        Values [..., d].
    """
    parts = [symmetric_values(part, stage) for part, stage in zip(digits, stages, strict=True)]
    total = torch.stack(parts).sum(0)
    return total.clamp(-1.0, 1.0) if clip and len(parts) > 1 else total


def decompositions(levels: Sequence[int]) -> list[tuple[Stage, ...]]:
    """Returns every way to write a grid of L = 2**n + 1 levels as residual stages (arXiv 2411.19842, eq. 3, 4).

    A stage of 2**m + 1 levels leaves 2**-m of its scale to the next one, so the exponents of a dimension's stages sum
    to n: 17 = 2**4 + 1 is 17, or 9 then 3, 5 then 5, 3 then 9, ..., or 3 four times. The stages share one scale across
    dimensions, so dimensions of different L differ in the last stage alone. The grid itself comes first; it is the only
    way where an L does not have that form.
    """
    ways: list[tuple[Stage, ...]] = [(Stage(levels=tuple(levels)),)]
    exponents = [(size - 1).bit_length() - 1 for size in levels]
    if any(2**n + 1 != size for n, size in zip(exponents, levels, strict=True)):
        return ways
    least = min(exponents)
    for cuts in range(1, least):
        for places in itertools.combinations(range(1, least), cuts):
            edges = (0, *places)
            stages = [
                Stage(levels=(2 ** (end - begin) + 1,) * len(exponents), scale=2.0**-begin)
                for begin, end in itertools.pairwise(edges)
            ]
            last = Stage(levels=tuple(2 ** (n - edges[-1]) + 1 for n in exponents), scale=2.0 ** -edges[-1])
            ways.append((*stages, last))
    return ways
