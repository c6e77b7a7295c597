"""Distances of a reconstruction to its original: SI-SDR, STFT distance, mel distance. Pure functions of tensors.

Every function takes reference and estimate [..., N] of one shape, float32 or float64, and gives [...]. Silence has a
defined value everywhere. Spectral distances are those of TAAE (arXiv 2411.19842, appendix D): the sum of spectral
convergence and the L1 distance of log magnitudes, each weighted 1, averaged over resolutions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .mel import magnitudes, mel_filters

SI_SDR_LIMIT_DB = 100.0  # values are kept within +- this, so that means stay finite
SILENCE_POWER = 1e-14  # mean square at and below which a signal is silent (-140 dBFS)
MAGNITUDE_FLOOR = 1e-4  # of an unnormalised STFT; below it lies silence
MEL_FLOOR = 1e-8
MEL_WINDOW_SAMPLES = 2048
MEL_HOPS_SAMPLES = (256, 512)
NUM_MELS = 128
STFT_RESOLUTIONS = ((2048, 512), (1024, 256), (512, 128))  # (window, hop) in samples


def si_sdr_db(reference: Tensor, estimate: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio (Le Roux et al. 2018) in dB, both signals with their mean removed.

    It is kept within +-100 dB. A silent reference (below -140 dBFS) is met only by silence: 100 dB then, else -100 dB.
    """
    _check(reference, estimate)
    reference = reference - reference.mean(-1, keepdim=True)
    estimate = estimate - estimate.mean(-1, keepdim=True)
    energy = reference.square().sum(-1)
    tiny, limit = torch.finfo(energy.dtype).tiny, 10.0 ** (SI_SDR_LIMIT_DB / 10.0)
    scale = (reference * estimate).sum(-1) / energy.clamp_min(tiny)
    target = scale.unsqueeze(-1) * reference
    ratio = target.square().sum(-1) / (estimate - target).square().sum(-1).clamp_min(tiny)
    decibels = 10.0 * torch.log10(ratio.clamp(1.0 / limit, limit))
    silent, met = (x.square().mean(-1) <= SILENCE_POWER for x in (reference, estimate))
    return torch.where(silent, torch.where(met, SI_SDR_LIMIT_DB, -SI_SDR_LIMIT_DB), decibels)


def stft_distance(
    reference: Tensor, estimate: Tensor, resolutions: Sequence[tuple[int, int]] = STFT_RESOLUTIONS
) -> Tensor:
    """Mean over `resolutions` (window, hop) of spectral convergence plus L1 of log magnitudes; 0 for equal signals."""
    _check(reference, estimate)
    distances = []
    for window, hop in resolutions:
        pair = [magnitudes(x, window, hop).clamp_min(MAGNITUDE_FLOOR) for x in (reference, estimate)]
        distances.append(_spectral_distance(*pair))
    return torch.stack(distances).mean(0)


def mel_distance(
    reference: Tensor,
    estimate: Tensor,
    sample_rate: int,
    *,
    num_mels: int = NUM_MELS,
    window_samples: int = MEL_WINDOW_SAMPLES,
    hops_samples: Sequence[int] = MEL_HOPS_SAMPLES,
) -> Tensor:
    """As `stft_distance` on mel magnitudes, for one window and several hops."""
    _check(reference, estimate)
    filters = mel_filters(sample_rate, window_samples, num_mels).to(reference)
    distances = []
    for hop in hops_samples:
        pair = [
            (filters @ magnitudes(x, window_samples, hop).clamp_min(MAGNITUDE_FLOOR)).clamp_min(MEL_FLOOR)
            for x in (reference, estimate)
        ]
        distances.append(_spectral_distance(*pair))
    return torch.stack(distances).mean(0)


def _spectral_distance(reference: Tensor, estimate: Tensor) -> Tensor:
    """Spectral convergence plus L1 of the logs, of magnitudes [..., F, T] that are above zero."""
    convergence = (reference - estimate).norm(dim=(-2, -1)) / reference.norm(dim=(-2, -1))
    return convergence + (reference.log() - estimate.log()).abs().mean((-2, -1))


def _check(reference: Tensor, estimate: Tensor) -> None:
    if reference.shape != estimate.shape or reference.ndim < 1 or reference.shape[-1] < 1:
        raise ValueError(
            f"reference {tuple(reference.shape)} and estimate {tuple(estimate.shape)} must have one shape [..., N], "
            "N >= 1: cut both to the same length"
        )
    if not (torch.isfinite(reference).all() and torch.isfinite(estimate).all()):
        raise ValueError("reference or estimate holds NaN or inf")
