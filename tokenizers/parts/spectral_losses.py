"""Distances of audio to its original that need no second network. Pure functions.

Shape letters: B batch, N samples, F bins, M mel bands, T frames, D latent width.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ...layers.mel import magnitudes, mel_filters

MEL_FLOOR = 1e-5  # mel magnitudes below it count as it
QUIET = 6e-4  # mean magnitude over the root of the window: a noise of about -60 dB of full scale
MAGNITUDE_FLOOR = 1e-4  # of an STFT that is not normalized: the rounding noise of 16 bits


def spectral_terms(
    estimate: Tensor, target: Tensor, sample_rate: int, window_samples: int, num_mels: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Three distances of audio [B, N] in the STFT of one window, whose hop is a quarter of it.

    Args:
        estimate: what the codec made.
        target: the original.
        sample_rate: in Hz.
        window_samples: of the STFT.
        num_mels: bands of the first distance.

    Returns:
        Mean absolute difference of log10 mel magnitudes; of log10 magnitudes; and the mean absolute difference of
        magnitudes over the original's mean magnitude, mean over the batch.
    """
    with torch.autocast(target.device.type, enabled=False):
        made, wanted = (_magnitudes(x.float(), window_samples) for x in (estimate, target))
        filters = _filters(sample_rate, window_samples, num_mels, target.device)
        made_mel, wanted_mel = ((filters @ x).clamp_min(MEL_FLOOR).log10() for x in (made, wanted))
        mel = (made_mel - wanted_mel).abs().mean()
        log = (_log(made) - _log(wanted)).abs().mean()
        floor = QUIET * window_samples**0.5  # else silence, of which nothing is to be learned, would count most
        relative = ((made - wanted).abs().mean((1, 2)) / wanted.mean((1, 2)).clamp_min(floor)).mean()
    return mel, log, relative


def level_term(
    estimate: Tensor, target: Tensor, sample_rate: int, window_samples: int, num_mels: int, pool_frames: int
) -> Tensor:
    """Mean absolute difference of log10 levels of audio [B, N] in mel bands, each over `pool_frames` frames.

    Sums of differences of log magnitudes are least where the estimate is quieter than the original, wherever phases
    are not known; the power over many frames depends on phases little, and draws the level to its own place.

    Args:
        estimate: as of `spectral_terms`.
        target: as of `spectral_terms`.
        sample_rate: as of `spectral_terms`.
        window_samples: of the STFT, whose hop is half of it.
        num_mels: bands.
        pool_frames: frames whose power is one level.

    Returns:
        A scalar.
    """
    with torch.autocast(target.device.type, enabled=False):
        filters = _filters(sample_rate, window_samples, num_mels, target.device)
        levels = []
        for audio in (estimate, target):
            power = _magnitudes(audio.float(), window_samples, window_samples // 2).square()
            pooled = F.avg_pool1d(filters @ power, pool_frames, ceil_mode=True)
            levels.append(0.5 * pooled.clamp_min(MEL_FLOOR**2).log10())
        return (levels[0] - levels[1]).abs().mean()


def correlation_penalty(z: Tensor) -> Tensor:
    """Sum of squared correlations of different digits of z [B, T, D], over D."""
    flat = z.flatten(0, 1)
    centred = flat - flat.mean(0)
    normalized = centred / centred.square().mean(0).clamp_min(1e-8).sqrt()
    correlation = normalized.mT @ normalized / len(flat)
    return (correlation - torch.diag_embed(correlation.diagonal())).square().sum() / z.shape[-1]


def _magnitudes(audio: Tensor, window_samples: int, hop_samples: int | None = None) -> Tensor:
    """Audio [B, N] to magnitudes [B, F, T]."""
    return magnitudes(audio, window_samples, hop_samples or window_samples // 4, pad_mode="reflect")


def _log(spectrum: Tensor) -> Tensor:
    return spectrum.clamp_min(MAGNITUDE_FLOOR).log10()


@lru_cache(maxsize=32)
def _filters(sample_rate: int, window_samples: int, num_mels: int, device: torch.device) -> Tensor:
    """[M, F] float32."""
    return mel_filters(sample_rate, window_samples, num_mels).float().to(device)
