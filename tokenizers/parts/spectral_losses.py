"""Distances of audio to its original in STFTs of several windows: the loss of a codec that trains without a critic.

Shape letters: B batch, N samples, F bins, M mel bands, T frames, D latent width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.objective import weighted_sum
from ...layers.mel import magnitudes, mel_filters_on

MEL_FLOOR = 1e-5  # mel magnitudes below it count as it
QUIET = 6e-4  # mean magnitude over the root of the window: a noise of about -60 dB of full scale
MAGNITUDE_FLOOR = 1e-4  # of an STFT that is not normalized: the rounding noise of 16 bits


@dataclass(frozen=True, kw_only=True)
class SpectralLossConfig:
    """Windows and weights of the distances."""

    TERMS: ClassVar[tuple[str, ...]] = ("mel", "log", "relative", "level")

    windows_samples: tuple[int, ...] = (256, 512, 1024, 2048)  # of the STFTs whose distances are averaged
    num_mels: tuple[int, ...] = (40, 64, 100, 160)  # at each of those windows
    mel_weight: float = 1.0  # of the difference of log10 mel magnitudes
    log_weight: float = 0.5  # of the difference of log10 magnitudes
    relative_weight: float = 0.3  # of the relative difference of magnitudes
    level_weight: float = 0.15  # of the difference of log10 levels in bands over a time
    level_window_samples: int = 1024
    level_mels: int = 24
    level_pool_frames: int = 8  # frames of half a window over which power is summed

    def __post_init__(self) -> None:
        if not len(self.windows_samples) == len(self.num_mels) >= 1:
            raise ValueError(f"windows_samples {self.windows_samples} and num_mels {self.num_mels} differ in length")
        if any(window < 4 or window % 4 for window in (*self.windows_samples, self.level_window_samples)):
            raise ValueError(
                f"windows must be multiples of 4 samples, got {self.windows_samples}, {self.level_window_samples}"
            )
        if self.level_pool_frames < 1:
            raise ValueError(f"level_pool_frames must be at least 1, got {self.level_pool_frames}")
        for name, weight in self.term_weights.items():
            if weight < 0:
                raise ValueError(f"{name}_weight must not be below 0, got {weight}")
        if not any(self.term_weights.values()):
            raise ValueError("mel, log, relative and level all have weight 0: there is nothing to train on")

    @property
    def term_weights(self) -> dict[str, float]:
        """The weight of each of `spectral_loss_terms`."""
        return {name: getattr(self, f"{name}_weight") for name in self.TERMS}

    @property
    def longest_window_samples(self) -> int:
        """Audio must be longer than this."""
        return max(*self.windows_samples, self.level_window_samples)


def spectral_loss(config: SpectralLossConfig, estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Returns the weighted sum of `spectral_loss_terms`.

    Args:
        config: windows and weights.
        estimate: as of `spectral_loss_terms`.
        target: as of `spectral_loss_terms`.
        sample_rate: as of `spectral_loss_terms`.

    Returns:
        A scalar.
    """
    return weighted_sum(spectral_loss_terms(config, estimate, target, sample_rate), config.term_weights)


def spectral_loss_terms(
    config: SpectralLossConfig, estimate: Tensor, target: Tensor, sample_rate: int
) -> dict[str, Tensor]:
    """Computes the distances of audio to its original, without weights.

    Args:
        config: windows and weights.
        estimate: audio [B, N] that the codec made.
        target: the original [B, N].
        sample_rate: in Hz.

    Returns:
        `mel`, `log` and `relative`, each the mean over the windows, and `level` if it has a weight.
    """
    pairs = zip(config.windows_samples, config.num_mels, strict=True)
    distances = [spectral_terms(estimate, target, sample_rate, window, mels) for window, mels in pairs]
    means = [torch.stack(values).mean() for values in zip(*distances, strict=True)]
    terms = dict(zip(("mel", "log", "relative"), means, strict=True))
    if config.level_weight:
        sizes = config.level_window_samples, config.level_mels, config.level_pool_frames
        terms["level"] = level_term(estimate, target, sample_rate, *sizes)
    return terms


def spectral_terms(
    estimate: Tensor, target: Tensor, sample_rate: int, window_samples: int, num_mels: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Computes three distances of audio [B, N] in the STFT of one window, whose hop is a quarter of it.

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
        filters = mel_filters_on(target.device, sample_rate, window_samples, num_mels)
        made_mel, wanted_mel = ((filters @ x).clamp_min(MEL_FLOOR).log10() for x in (made, wanted))
        mel = (made_mel - wanted_mel).abs().mean()
        log = (_log(made) - _log(wanted)).abs().mean()
        floor = QUIET * window_samples**0.5  # else silence, of which nothing is to be learned, would count most
        relative = ((made - wanted).abs().mean((1, 2)) / wanted.mean((1, 2)).clamp_min(floor)).mean()
    return mel, log, relative


def level_term(
    estimate: Tensor, target: Tensor, sample_rate: int, window_samples: int, num_mels: int, pool_frames: int
) -> Tensor:
    """Computes the mean absolute difference of log10 levels of audio [B, N] in mel bands, over `pool_frames` frames.

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
        filters = mel_filters_on(target.device, sample_rate, window_samples, num_mels)
        levels = []
        for audio in (estimate, target):
            power = _magnitudes(audio.float(), window_samples, window_samples // 2).square()
            pooled = F.avg_pool1d(filters @ power, pool_frames, ceil_mode=True)
            levels.append(0.5 * pooled.clamp_min(MEL_FLOOR**2).log10())
        return (levels[0] - levels[1]).abs().mean()


def correlation_penalty(z: Tensor) -> Tensor:
    """Returns the sum of squared correlations of different dimensions of z [B, T, D], over D."""
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
