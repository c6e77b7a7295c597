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


def preconditioning(sigma: Tensor, config: CoDiCodecConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Returns c_skip, c_out, c_in of f(x, sigma) = c_skip x + c_out F(c_in x, sigma); f(x, sigma_min) = x."""
    data, above = config.sigma_data, sigma - config.sigma_min
    norm = torch.rsqrt(sigma.square() + data**2)
    return data**2 / (above.square() + data**2), data * above * norm, norm


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
