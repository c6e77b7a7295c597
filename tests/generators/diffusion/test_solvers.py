"""Solvers by name: their order of accuracy on a known flow, and that lengths, starts and given chunks go with each."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from latentune.core.errors import ConfigError
from latentune.generators.diffusion import DiffusionTransformer
from latentune.generators.diffusion.sampling_config import DiffusionSampling
from latentune.generators.diffusion.solve import SOLVERS, integrate

ORDER = {"euler": 1, "heun": 2, "midpoint": 2, "rk4": 4, "dpmpp_2m": 2, "unipc": 2}


def curved(x: Tensor, t: float) -> Tensor:
    """A smooth velocity whose exact solution from x at 1 is x at 0 times exp(-sin 1)."""
    return x * math.cos(t)


def error(solver: str, steps: int, **options: Any) -> float:
    start = torch.ones(1, 2, 3, dtype=torch.float64)
    sampling = DiffusionSampling(num_inference_steps=steps, solver=solver, **options)  # type: ignore[arg-type]
    found = integrate(curved, lambda t: start, sampling, device=start.device)
    return float((found - math.exp(-math.sin(1.0))).abs().max())


def test_every_solver_is_listed() -> None:
    assert set(SOLVERS) == set(ORDER)


@pytest.mark.parametrize("solver", ["euler", "heun", "midpoint", "rk4"])
def test_half_the_step_divides_the_error_by_the_order(solver: str) -> None:
    # the last step of heun and rk4 is one of the midpoint rule, whose error of a step falls with its third power
    order = min(ORDER[solver], 3)
    ratio = error(solver, 16) / error(solver, 32)
    assert 0.7 * 2**order < ratio < 1.5 * 2**order


def gaussian_flow(x: Tensor, t: float, std: float = 0.5) -> Tensor:
    """The exact velocity of a Gaussian of this deviation: data is x0, noise is n, and x = (1 - t) x0 + t n."""
    variance = (1 - t) ** 2 * std**2 + t**2
    return x * (t - (1 - t) * std**2) / variance


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_gaussian_is_reached_more_exactly_than_by_euler(solver: str) -> None:
    noise = torch.linspace(-2, 2, 9).reshape(1, 3, 3)

    def miss(name: str, steps: int) -> float:
        sampling = DiffusionSampling(num_inference_steps=steps, solver=name)  # type: ignore[arg-type]
        found = integrate(gaussian_flow, lambda t: noise, sampling, device=noise.device)
        return float((found - 0.5 * noise).abs().max())

    assert miss(solver, 40) < (0.06 if solver == "euler" else 0.01)
    if solver != "euler":
        assert miss(solver, 20) < miss("euler", 20)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("start", [1.0, 0.5])
def test_steps_are_counted_and_the_start_is_kept(solver: str, start: float) -> None:
    seen: list[tuple[int, int]] = []
    asked: list[float] = []
    times: list[float] = []

    def at(t: float) -> Tensor:
        asked.append(t)
        return torch.ones(1, 2, 3)

    def velocity(x: Tensor, t: float) -> Tensor:
        times.append(t)
        return x

    sampling = DiffusionSampling(num_inference_steps=6, solver=solver, time_shift=2.0)  # type: ignore[arg-type]
    integrate(
        velocity,
        at,
        sampling,
        start=start,
        shift=2.0,
        device=torch.device("cpu"),
        callback=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(n, 6) for n in range(1, 7)]
    assert asked[-1] == pytest.approx(start, abs=2e-3)
    assert max(times) == pytest.approx(start, abs=2e-3)
    assert min(times) > 0, "no network is trained where nothing is left to denoise"


def test_a_solver_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="'eular', allowed: 'auto', 'euler', 'heun'"):
        DiffusionTransformer.make_sampling({"solver": "eular"})
