"""Training of MelCodec: distances of spectra, without a critic, from a start that the data give.

Shape letters: B batch, N samples, T frames, D latent width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from ...core.objective import AudioBatch, Objective, first_audio, weighted_sum
from ...core.random import rand
from ...layers.pitch import track_pitch
from ..parts.spectral_losses import SpectralLossConfig, correlation_penalty, spectral_loss_terms
from .config import MelCodecConfig
from .losses import pitch_term
from .model import MelCodec, TrainingPass
from .quantizer import values_to_digits


@dataclass(frozen=True, kw_only=True)
class MelCodecObjectiveConfig(SpectralLossConfig):
    """Constants of the objective, in addition to those of the distances of spectra."""

    crop_s: float = 1.0  # length of an example, rounded up to whole frames
    correlation_weight: float = 0.02  # of squared correlations between digits
    latent_weight: float = 1e-3  # of the mean square of z
    pitch_weight: float = 0.2  # of the difference of the pitch in octaves, where the original is voiced
    unrounded_probability: float = 0.1  # that an item is not rounded to levels, so that latents can be decoded too
    warm_start_examples: int = 256  # crops that the principal components and mean spectra are measured on

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.crop_s > 0 or self.warm_start_examples < 1:
            raise ValueError("crop_s must lie above 0, warm_start_examples must be at least 1")
        if not 0 <= self.unrounded_probability <= 1:
            raise ValueError(f"unrounded_probability must lie in 0..1, got {self.unrounded_probability}")
        for name in ("pitch", "correlation", "latent"):
            if getattr(self, f"{name}_weight") < 0:
                raise ValueError(f"{name}_weight must not be below 0, got {getattr(self, f'{name}_weight')}")


class MelCodecObjective(Objective):
    """L = mel + log + relative (each the mean over windows) + level + correlation + latent, each with its weight.

    `warm_start` sets the front's offset and scale, the encoder's principal components and the decoder's mean spectrum
    from the first examples of the run, so that neither starts blind.

    Raises:
        ValueError: a crop that is too short for the windows.
    """

    config_class: ClassVar[type] = MelCodecObjectiveConfig
    uses_all_parameters = True

    def __init__(self, config: MelCodecObjectiveConfig, codec: MelCodecConfig):
        self.config, self.codec = config, codec
        longest = config.longest_window_samples
        if self.num_samples <= longest:
            raise ValueError(
                f"crop_s {config.crop_s} is {self.num_samples} samples, not longer than a window of {longest}: "
                "lengthen it, or shorten windows_samples and level_window_samples"
            )
        self.weights = config.term_weights | {
            name: getattr(config, f"{name}_weight") for name in ("pitch", "correlation", "latent")
        }

    @property
    def num_samples(self) -> int:
        """Audio samples of one example."""
        hop = self.codec.hop_samples
        return math.ceil(round(self.config.crop_s * self.codec.sample_rate) / hop) * hop

    def warm_start(self, model: nn.Module, batches: Iterable[AudioBatch]) -> None:
        cast(MelCodec, model).fit(first_audio(batches, self.config.warm_start_examples)[:, 0])

    def __call__(
        self, model: nn.Module, batch: AudioBatch, *, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Batch audio [B, 1, num_samples] at the codec's rate."""
        if batch.audio.shape[1:] != (1, self.num_samples):
            raise ValueError(
                f"MelCodec's training takes audio [B, 1, {self.num_samples}], got {tuple(batch.audio.shape)}"
            )
        chance = rand((len(batch),), generator, batch.audio.new_empty(0, dtype=torch.float32))
        made: TrainingPass = model(batch.audio, chance >= self.config.unrounded_probability)
        terms = self._terms(batch.audio[:, 0], made)
        loss = weighted_sum(terms, self.weights)
        metrics = {name: term.detach() for name, term in terms.items()}
        with torch.no_grad():
            metrics["latent_std"] = made.z.std() / self.codec.latent_scale
            if self.codec.residual is None:
                metrics["digit_entropy"] = self._digit_entropy(made.z)
            power = [x.float().square().mean().clamp_min(1e-10).log10() for x in (made.reconstruction, batch.audio)]
            metrics["level_db"] = 10.0 * (power[0] - power[1])
        return loss, metrics

    def _terms(self, real: Tensor, made: TrainingPass) -> dict[str, Tensor]:
        """The terms of the loss, without weights."""
        c, rate, fake = self.config, self.codec.sample_rate, made.reconstruction[:, 0]
        terms = spectral_loss_terms(c, fake, real, rate)
        if c.pitch_weight and made.octave is not None:
            assert self.codec.pitch_range_hz is not None
            pitch = track_pitch(real, rate, self.codec.hop_samples, self.codec.pitch_range_hz)
            terms["pitch"] = pitch_term(made.octave, pitch)
        return {**terms, "correlation": correlation_penalty(made.z), "latent": made.z.square().mean()}

    def _digit_entropy(self, z: Tensor) -> Tensor:
        """Mean entropy of a digit in bits, at most log2 of its levels."""
        levels = self.codec.levels * self.codec.num_codebooks
        digits = values_to_digits(torch.tanh(z), levels).flatten(0, 1)
        shares = torch.stack([(digits == level).float().mean(0) for level in range(max(levels))])
        return -(shares * shares.clamp_min(1e-9).log2()).sum(0).mean()
