"""Distances of a reconstruction to its original: SI-SDR, STFT distances, mel distances. Pure functions of tensors.

Every function takes reference and estimate [..., N] of one shape, float32 or float64, and returns [...]. Silence has a
defined value everywhere.

`stft_distance` and `mel_distance` are those of TAAE (arXiv 2411.19842, appendix D): spectral convergence plus the L1
distance of natural log magnitudes, each weighted 1, with a window of 2048 samples, on linear bins and on 128 mel bands,
averaged over hops of 256 and 512. The hop hardly matters: it only sets how densely the same windows are averaged.
Details that the appendix omits are as in auraloss 0.4, whose `STFTLoss` agrees except at the edges: magnitudes of at
least 1e-4, Slaney's mel bands. Edges are padded with zeros here, with reflection there, so that one sample is enough.

This is our own code, because no library has all of it: auraloss refuses clips shorter than half a window and divides by
zero for a silent reference, as SI-SDR of torchmetrics and auraloss does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .....layers.mel import magnitudes, mel_filters

SI_SDR_LIMIT_DB = 100.0  # values are limited to +- this, so that means stay finite
SILENCE_POWER = 1e-14  # mean square at and below which a signal is silent (-140 dBFS)
MAGNITUDE_FLOOR = 1e-4  # of an unnormalized STFT; what lies below is silence
MEL_FLOOR = 1e-8
WINDOW_SAMPLES = 2048
HOPS_SAMPLES = (256, 512)
NUM_MELS = 128
STFT_RESOLUTIONS = ((2048, 512), (1024, 256), (512, 128))  # (window, hop) in samples
MEL_RESOLUTIONS = ((32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320))  # (window, bands)
MULTI_MEL_FLOOR = 1e-5


def si_sdr_db(reference: Tensor, estimate: Tensor) -> Tensor:
    """Returns the scale-invariant signal-to-distortion ratio (Le Roux et al. 2018) in dB, with means removed.

    It is limited to +-100 dB. For a silent reference (below -140 dBFS) it is 100 dB if the estimate is silent, too, and
    -100 dB otherwise.
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
    reference: Tensor,
    estimate: Tensor,
    *,
    window_samples: int = WINDOW_SAMPLES,
    hops_samples: Sequence[int] = HOPS_SAMPLES,
) -> Tensor:
    """Returns spectral convergence plus L1 of log magnitudes, mean over the hops; 0 for equal signals.

    Args:
        reference: the original [..., N].
        estimate: its reconstruction [..., N].
        window_samples: of the STFT.
        hops_samples: of the STFTs that are averaged.

    Raises:
        ValueError: different shapes, no sample, NaN or inf.
    """
    return multi_resolution_stft_distance(reference, estimate, [(window_samples, hop) for hop in hops_samples])


def multi_resolution_stft_distance(
    reference: Tensor, estimate: Tensor, resolutions: Sequence[tuple[int, int]] = STFT_RESOLUTIONS
) -> Tensor:
    """Returns the mean of `stft_distance` over several resolutions (Yamamoto et al. 2020).

    Args:
        reference: the original [..., N].
        estimate: its reconstruction [..., N].
        resolutions: (window, hop) of each, in samples.

    Raises:
        ValueError: as `stft_distance`.
    """
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
    window_samples: int = WINDOW_SAMPLES,
    hops_samples: Sequence[int] = HOPS_SAMPLES,
) -> Tensor:
    """Returns `stft_distance` on mel magnitudes, for one window and several hops.

    Args:
        reference: the original [..., N].
        estimate: its reconstruction [..., N].
        sample_rate: in Hz.
        num_mels: bands from 0 to half the sample rate.
        window_samples: of the STFT.
        hops_samples: of the STFTs that are averaged.

    Raises:
        ValueError: as `stft_distance`.
    """
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


def multi_resolution_mel_distance(
    reference: Tensor,
    estimate: Tensor,
    sample_rate: int,
    resolutions: Sequence[tuple[int, int]] = MEL_RESOLUTIONS,
) -> Tensor:
    """Returns the L1 distance of log10 mel magnitudes, summed over several resolutions with hops of a quarter window.

    It is the mel loss of DAC (Kumar et al. 2023, section 3.4; floor 1e-5), with edges padded with zeros.

    Args:
        reference: the original [..., N].
        estimate: its reconstruction [..., N].
        sample_rate: in Hz.
        resolutions: (window in samples, number of mel bands) of each.

    Raises:
        ValueError: as `stft_distance`.
    """
    _check(reference, estimate)
    total = torch.zeros(reference.shape[:-1], dtype=reference.dtype, device=reference.device)
    for window, num_mels in resolutions:
        filters = mel_filters(sample_rate, window, num_mels).to(reference)
        levels = [
            (filters @ magnitudes(x, window, window // 4)).clamp_min(MULTI_MEL_FLOOR).log10()
            for x in (reference, estimate)
        ]
        total = total + (levels[0] - levels[1]).abs().mean((-2, -1))
    return total


def _spectral_distance(reference: Tensor, estimate: Tensor) -> Tensor:
    """Spectral convergence plus L1 of the logs, of magnitudes [..., F, T] that are above zero."""
    error, level = (x.square().sum((-2, -1)).sqrt() for x in (reference - estimate, reference))
    return error / level + (reference.log() - estimate.log()).abs().mean((-2, -1))


def _check(reference: Tensor, estimate: Tensor) -> None:
    if reference.shape != estimate.shape or reference.ndim < 1 or reference.shape[-1] < 1:
        raise ValueError(
            f"reference {tuple(reference.shape)} and estimate {tuple(estimate.shape)} must have one shape [..., N], "
            "N >= 1: cut both to the same length"
        )
    if not (torch.isfinite(reference).all() and torch.isfinite(estimate).all()):
        raise ValueError("reference or estimate holds NaN or inf")
