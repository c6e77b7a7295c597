"""Explicit Runge-Kutta steps along a velocity. Shape letters: `...` any shape of a state, such as [B, T, D]."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

# name -> weights of earlier slopes for each further stage, and weights of all slopes in the step (Butcher's tableau)
TABLEAUX: dict[str, tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]] = {
    "euler": ((), (1.0,)),
    "midpoint": (((0.5,),), (0.0, 1.0)),
    "heun": (((1.0,),), (0.5, 0.5)),
    "rk4": (((0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}


def runge_kutta_step(name: str, velocity: Callable[[Tensor, float], Tensor], x: Tensor, t: float, to: float) -> Tensor:
    """Returns the state [...] at time `to`, from x [...] at time t.

    Networks are not trained at time 0, where nothing is left to denoise: a last step with a stage there is one of the
    midpoint rule.

    Args:
        name: of the rule, in `TABLEAUX`.
        velocity: [...] of a state and a time.
        x: the state.
        t: its time.
        to: time of the result, below t.
    """
    stages, weights = TABLEAUX[name]
    if to == 0.0 and any(sum(stage) == 1.0 for stage in stages):
        stages, weights = TABLEAUX["midpoint"]
    step, slopes = to - t, [velocity(x, t)]
    for stage in stages:
        moved = x + step * _weighted(stage, slopes)
        slopes.append(velocity(moved, t + step * sum(stage)))
    return x + step * _weighted(weights, slopes)


def _weighted(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    terms = [weight * slope for weight, slope in zip(weights, slopes, strict=True) if weight]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
