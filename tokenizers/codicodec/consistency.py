"""Noise schedule and preconditioning of the consistency model (Song et al. 2023; Karras et al. 2022, section 5)."""

from __future__ import annotations

import torch
from torch import Tensor

from .config import CoDiCodecConfig


def noise_level(position: float | Tensor, config: CoDiCodecConfig) -> float | Tensor:
    """Returns sigma at a position in [0, 1], from sigma_min to sigma_max, spaced by rho."""
    low, high = config.sigma_min ** (1 / config.rho), config.sigma_max ** (1 / config.rho)
    sigma: float | Tensor = (low + position * (high - low)) ** config.rho
    return sigma


def noise_position(sigma: Tensor, config: CoDiCodecConfig) -> Tensor:
    """Inverts `noise_level`."""
    low, high = config.sigma_min ** (1 / config.rho), config.sigma_max ** (1 / config.rho)
    position: Tensor = (sigma ** (1 / config.rho) - low) / (high - low)
    return position


def preconditioning(
    sigma: Tensor, config: CoDiCodecConfig, deviation: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the factors of f(x, sigma) = c_skip x + c_out F(c_in x, sigma); f(x, sigma_min) = x.

    Args:
        sigma: noise levels.
        config: of the codec.
        deviation: of the data where it is known, in a shape that broadcasts with `sigma`; c_skip x is then the
            consistency function of normal data of that deviation. None: the same everywhere, `config.sigma_data`.

    Returns:
        c_skip, c_out and c_in.
    """
    above = sigma - config.sigma_min
    if deviation is None:
        data = config.sigma_data
        norm = torch.rsqrt(sigma.square() + data**2)
        return data**2 / (above.square() + data**2), data * above * norm, norm
    norm = torch.rsqrt(sigma.square() + deviation.square())
    return (deviation.square() + config.sigma_min**2).sqrt() * norm, deviation * above * norm, norm


def renoise(clean: Tensor, noise: Tensor, sigma: float, config: CoDiCodecConfig) -> Tensor:
    """Adds noise to a clean estimate up to noise level sigma, given that it already carries sigma_min.

    Args:
        clean: the estimate.
        noise: standard normal, in its shape.
        sigma: the noise level.
        config: of the codec.

    Returns:
        The noisy estimate.
    """
    noisy: Tensor = clean + (sigma**2 - config.sigma_min**2) ** 0.5 * noise
    return noisy
