"""Distances between the audio of a decoded pair of chunks and its original, so that training hears chunk borders.

Shape letters: P pairs, C audio channels, F bins, L frames of a chunk, N samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.objective import weighted_sum
from ..parts.spectral_losses import SpectralLossConfig, spectral_loss_terms
from .config import CoDiCodecConfig
from .spectrum import spectrogram_to_audio


@dataclass(frozen=True, kw_only=True)
class WaveformLossConfig(SpectralLossConfig):
    """Windows and weights of the distances, with defaults of their own."""

    num_mels: tuple[int, ...] = (40, 64, 100, 128)
    log_weight: float = 0.3
    relative_weight: float = 0.0
    level_weight: float = 0.5
    level_mels: int = 16
    level_pool_frames: int = 16


class WaveformLoss:
    """mel + log + relative (each the mean over windows) + level, each with its weight.

    Raises:
        ValueError: a pair of chunks that is too short for the windows.
    """

    def __init__(self, config: WaveformLossConfig, codec: CoDiCodecConfig):
        self.config, self.codec = config, codec
        longest, length = config.longest_window_samples, 2 * codec.chunk_samples
        if length - codec.stft_hop_samples <= longest:
            raise ValueError(f"two chunks are {length} samples, too few for a window of {longest}: shorten the windows")

    def __call__(self, pairs: Tensor, audio: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Compares decoded pairs with their original.

        Args:
            pairs: decoded spectrograms [P, 2, 2C, F, L].
            audio: originals [P, C, 2 * chunk_samples + hop].

        Returns:
            The weighted sum, and detached figures: the terms and the difference of levels in dB.
        """
        hop = self.codec.stft_hop_samples
        spectrogram = pairs.movedim(1, 3).flatten(3, 4)
        with torch.autocast(audio.device.type, enabled=False):
            decoded = spectrogram_to_audio(spectrogram, self.codec)
            # the first and the last hop lack a frame
            fake, real = (x[..., hop:-hop].flatten(0, 1) for x in (decoded, audio))
            terms = spectral_loss_terms(self.config, fake, real, self.codec.sample_rate)
        figures = {name: term.detach() for name, term in terms.items()}
        powers = [x.detach().square().mean().clamp_min(1e-10).log10() for x in (fake, real)]
        figures["level_db"] = 10.0 * (powers[0] - powers[1])
        return weighted_sum(terms, self.config.term_weights), figures
