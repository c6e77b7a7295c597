"""Shared by all figures of a pair: the error for a figure without a value, checks, and mono speech at one rate."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .....core.errors import MissingPackageError
from .....core.extras import install_command, is_installed
from ....data.audio.convert import resample

WIDE_RATE = 16_000  # Hz, of wide-band PESQ and of most speech models


class Undefined(ValueError):
    """Raised where a figure has no value for a recording, such as one that is too short or silent."""


def require_package(package: str) -> None:
    """Raises MissingPackageError, which says what to install, unless `package` can be imported."""
    if not is_installed(package):
        raise MissingPackageError(not_installed(package))


def not_installed(package: str) -> str:
    """Returns what to say of a package that is missing: how to install it."""
    return f"{package} is not installed: {install_command(package, 'speech-metrics')}"


def check_pair(reference: Tensor, estimate: Tensor, sample_rate: int) -> None:
    """Checks audio.

    Args:
        reference: the original audio [C, N].
        estimate: its reconstruction [C, N].
        sample_rate: of both, in Hz.

    Raises:
        ValueError: they are not finite audio of one shape [C, N], N >= 1, at a sample rate above 0.
    """
    if reference.shape != estimate.shape or reference.ndim != 2 or reference.numel() < 1:
        raise ValueError(
            f"reference {tuple(reference.shape)} and estimate {tuple(estimate.shape)} must have one shape [C, N], "
            "N >= 1: cut both to the same length"
        )
    if sample_rate < 1:
        raise ValueError(f"sample_rate must be above 0, got {sample_rate}")
    if not (torch.isfinite(reference).all() and torch.isfinite(estimate).all()):
        raise ValueError("reference or estimate holds NaN or inf")


def check_not_silent(reference: Tensor) -> None:
    """Raises Undefined if the reference is digital silence."""
    if not reference.any():
        raise Undefined("the reference is digital silence")


def speech_signal(audio: Tensor, sample_rate: int, rate: int = WIDE_RATE) -> np.ndarray:
    """Returns audio as mono at another rate.

    Args:
        audio: [C, N].
        sample_rate: of the audio, in Hz.
        rate: of the result, in Hz.

    Returns:
        Mono [N'] float64.
    """
    mono = audio.mean(0, keepdim=True).to("cpu", torch.float32)
    return resample(mono, sample_rate, rate)[0].double().numpy()
