"""The encoder's input: log mel spectra, those of one latent frame joined to one vector.

Shape letters: B batch, N samples, T latent frames, F values per frame.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from ...layers.mel import mel_filters_on
from ...layers.stft import stft
from .config import NUM_LAGS, MelCodecConfig, SpectrumConfig
from .stages import StatelessStage

COMPRESSION = 0.7  # exponent of the magnitudes that are correlated
CORRELATION_GAIN = 5.0  # brings correlations to about the deviation of log mel magnitudes
MEL_FLOOR = 1e-5  # mel magnitudes below it count as it


class Front(StatelessStage):
    """Audio [B, N] of whole hops to normalized log mel spectra [B, N / hop, F], in float32.

    Spectra are spread evenly over a frame, each centred on its share of it, or ending with it if the codec is causal.
    A codec with a pitch range also hears autocorrelations, which come last and are not part of `num_features`.
    """

    def __init__(self, config: MelCodecConfig):
        reaches = [_reach(config, spectrum) for spectrum in config.spectra]
        left, right = (max(reach[side] for reach in reaches) for side in (0, 1))
        super().__init__(left, right, frame_steps=config.hop_samples)
        self.config = config
        self.offset: Tensor
        self.scale: Tensor
        # of typical sounds, until `fit` measures the training data
        self.register_buffer("offset", torch.full((config.front_width,), -4.0))
        self.register_buffer("scale", torch.tensor(0.4))

    def fit(self, features: Tensor) -> None:
        """Takes offset and scale from log mel spectra [M, F], so that normalized ones have mean 0 and variance 1."""
        self.offset.copy_(features.mean(0))
        self.scale.copy_(1.0 / (features - features.mean(0)).square().mean().sqrt().clamp_min(1e-3))

    def valid(self, segment: Tensor) -> Tensor:
        return self.normalize(self.log_mel(segment))

    def normalize(self, features: Tensor) -> Tensor:
        """Log mel spectra [..., F] with about mean 0 and variance 1."""
        return (features - self.offset.float()) * self.scale.float()

    def log_mel(self, segment: Tensor) -> Tensor:
        """Audio [B, left + T * hop + right] to natural log mel spectra [B, T, F], not normalized."""
        with torch.autocast(segment.device.type, enabled=False):
            spectra = [self._magnitudes(segment.float(), spectrum) for spectrum in self.config.spectra]
            parts = [self._mel(*pair) for pair in zip(spectra, self.config.spectra, strict=True)]
            if self.config.pitch_range_hz is not None:
                parts.append(self._correlations(spectra[0]))
        return torch.cat(parts, dim=-1)

    def _magnitudes(self, segment: Tensor, spectrum: SpectrumConfig) -> Tensor:
        """Magnitudes [B, T, per_frame, bins] of one spectrum."""
        left, right = _reach(self.config, spectrum)
        own = segment[:, self.left - left : segment.shape[1] - (self.right - right)]
        frames = stft(own, spectrum.window_samples, self.frame_steps // spectrum.per_frame, nyquist=True).abs()
        magnitudes: Tensor = frames.mT.unflatten(1, (-1, spectrum.per_frame))
        return magnitudes

    def _mel(self, magnitudes: Tensor, spectrum: SpectrumConfig) -> Tensor:
        filters = mel_filters_on(magnitudes.device, self.config.sample_rate, spectrum.window_samples, spectrum.num_mels)
        return (magnitudes @ filters.mT).clamp_min(MEL_FLOOR).log().flatten(2)

    def _correlations(self, magnitudes: Tensor) -> Tensor:
        """Autocorrelations [B, T, NUM_LAGS] of compressed spectra, normalized by lag 0: their peaks show the pitch."""
        assert self.config.pitch_range_hz is not None
        window = self.config.spectra[0].window_samples
        cosines = _cosines(self.config.sample_rate, window, self.config.pitch_range_hz, magnitudes.device)
        compressed = magnitudes.mean(2).clamp_min(1e-4) ** COMPRESSION
        products = compressed @ cosines
        return CORRELATION_GAIN * products[..., 1:] / products[..., :1]


def _reach(config: MelCodecConfig, spectrum: SpectrumConfig) -> tuple[int, int]:
    """Samples before and after a frame that its spectra cover."""
    spare = spectrum.window_samples - config.hop_samples // spectrum.per_frame
    right = 0 if config.causal else spare // 2
    return spare - right, right


@lru_cache(maxsize=16)
def _cosines(sample_rate: int, window_samples: int, range_hz: tuple[float, float], device: torch.device) -> Tensor:
    """[bins, 1 + NUM_LAGS]: turns magnitudes into autocorrelations at lag 0 and at the periods of `range_hz`."""
    pitches = torch.logspace(math.log10(range_hz[0]), math.log10(range_hz[1]), NUM_LAGS, dtype=torch.float64)
    lags = torch.cat((torch.zeros(1, dtype=torch.float64), sample_rate / pitches))
    bins = torch.arange(window_samples // 2 + 1, dtype=torch.float64)
    return torch.cos(2 * math.pi / window_samples * bins[:, None] * lags).float().to(device)
