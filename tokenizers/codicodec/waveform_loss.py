"""Distances between the audio of a decoded pair of chunks and its original, so that training hears chunk borders.

Shape letters: P pairs, C audio channels, F bins, L frames of a chunk, N samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.objective import weighted_sum
from ..parts.spectral_losses import level_term, spectral_terms
from .config import CoDiCodecConfig
from .spectrum import spectrogram_to_audio


@dataclass(frozen=True, kw_only=True)
class WaveformLossConfig:
    """Weights and windows; see `parts.spectral_losses` for the terms."""

    windows_samples: tuple[int, ...] = (256, 512, 1024, 2048)  # of the STFTs whose distances are averaged
    num_mels: tuple[int, ...] = (40, 64, 100, 128)  # at each of those windows
    mel_weight: float = 1.0  # of the difference of log10 mel magnitudes
    log_weight: float = 0.3  # of the difference of log10 magnitudes
    relative_weight: float = 0.0  # of the relative difference of magnitudes
    level_weight: float = 0.5  # of the difference of log10 levels in bands over a time
    level_window_samples: int = 1024
    level_mels: int = 16
    level_pool_frames: int = 16  # frames of half a window over which power is summed

    def __post_init__(self) -> None:
        if not len(self.windows_samples) == len(self.num_mels) >= 1:
            raise ValueError(f"windows_samples {self.windows_samples} and num_mels {self.num_mels} differ in length")
        if any(window < 4 or window % 4 for window in (*self.windows_samples, self.level_window_samples)):
            raise ValueError(
                f"windows must be multiples of 4 samples, got {self.windows_samples}, {self.level_window_samples}"
            )
        if self.level_pool_frames < 1:
            raise ValueError(f"level_pool_frames must be at least 1, got {self.level_pool_frames}")
        for name in ("mel", "log", "relative", "level"):
            if getattr(self, f"{name}_weight") < 0:
                raise ValueError(f"{name}_weight must not be below 0, got {getattr(self, f'{name}_weight')}")


class WaveformLoss:
    """mel + log + relative (each the mean over windows) + level, each with its weight.

    Raises:
        ValueError: a pair of chunks that is too short for the windows, or no term with a weight.
    """

    def __init__(self, config: WaveformLossConfig, codec: CoDiCodecConfig):
        self.config, self.codec = config, codec
        self.weights = {name: getattr(config, f"{name}_weight") for name in ("mel", "log", "relative", "level")}
        longest, length = max(*config.windows_samples, config.level_window_samples), 2 * codec.chunk_samples
        if length - codec.stft_hop_samples <= longest:
            raise ValueError(f"two chunks are {length} samples, too few for a window of {longest}: shorten the windows")
        if not any(self.weights.values()):
            raise ValueError("all terms of the waveform loss have weight 0: there is nothing to train on")

    def __call__(self, pairs: Tensor, audio: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Compares decoded pairs with their original.

        Args:
            pairs: decoded spectrograms [P, 2, 2C, F, L].
            audio: originals [P, C, 2 * chunk_samples + hop].

        Returns:
            The weighted sum, and detached figures: the terms and the difference of levels in dB.
        """
        c, rate, hop = self.config, self.codec.sample_rate, self.codec.stft_hop_samples
        spectrogram = pairs.movedim(1, 3).flatten(3, 4)
        with torch.autocast(audio.device.type, enabled=False):
            decoded = spectrogram_to_audio(spectrogram, self.codec)
            # the first and the last hop lack a frame
            fake, real = (x[..., hop:-hop].flatten(0, 1) for x in (decoded, audio))
            sizes = zip(c.windows_samples, c.num_mels, strict=True)
            distances = [spectral_terms(fake, real, rate, window, mels) for window, mels in sizes]
            mel, log, relative = (torch.stack(values).mean() for values in zip(*distances, strict=True))
            terms = {"mel": mel, "log": log, "relative": relative}
            if c.level_weight:
                terms["level"] = level_term(fake, real, rate, c.level_window_samples, c.level_mels, c.level_pool_frames)
        figures = {name: term.detach() for name, term in terms.items()}
        powers = [x.detach().square().mean().clamp_min(1e-10).log10() for x in (fake, real)]
        figures["level_db"] = 10.0 * (powers[0] - powers[1])
        return weighted_sum(terms, self.weights), figures
