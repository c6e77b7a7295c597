"""Constants of NeuCodec's training. Weights are X-Codec 2's (arXiv 2502.04128); the paper names no weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..parts.spectral_losses import SpectralLossConfig
from .discriminators import CriticConfig

Stage = Literal["train", "decoder", "distil"]
WEIGHTS = ("mel", "spectral", "adversarial", "feature_matching", "semantic", "latent", "correlation", "distil")


@dataclass(frozen=True, kw_only=True)
class NeuCodecObjectiveConfig:
    """Constants of the objective."""

    stage: Stage = "train"  # decoder: a decoder for an encoder that stays; distil: an encoder for a decoder that stays
    crop_s: float = 6.0  # length of an example, rounded up to whole frames
    mel_weight: float = 15.0
    adversarial_weight: float = 1.0  # of the sum over the discriminators' networks
    feature_matching_weight: float = 1.0  # of the sum over all their layers
    semantic_weight: float = 5.0  # where the codec has a semantic decoder
    # of the mean square of z. From random weights alone, an encoder drives all frames to one token before the decoder
    # has learnt to use them; the paper starts from trained weights and has no such term
    latent_weight: float = 0.0
    correlation_weight: float = 0.0  # of squared correlations between the dimensions of z; the paper has no such term
    spectral_weight: float = 0.0  # of `spectral`, a loss that needs no critic; the paper has no such term
    spectral: SpectralLossConfig = field(default_factory=SpectralLossConfig)
    mel_windows_samples: tuple[int, ...] = (32, 64, 128, 256, 512, 1024, 2048)
    mel_bands: tuple[int, ...] = (5, 10, 20, 40, 80, 160, 320)  # at each of those windows
    # there is a critic where adversarial_weight or feature_matching_weight is above 0
    critic: CriticConfig = field(default_factory=CriticConfig)
    # on which random weights are fitted before the first step: z is principal components, the decoder starts from the
    # mean spectrum. 0: no such start, as in the paper
    warm_start_examples: int = 0

    encoder_from: str | None = None  # stage decoder: folder of a codec, perhaps with a decoder of another rate, whose
    # encoder and quantiser are taken; null: the model's own, of model.init_from
    teacher: str | None = None  # stage distil: folder of the NeuCodec whose quantiser and decoder the student takes
    distil_weight: float = 1.0  # of the distance to the teacher; the paper gives none
    mse_start_step: int = 20000  # before which that distance has no weight: early in training it leads to divergence

    def __post_init__(self) -> None:
        if not self.crop_s > 0 or self.mse_start_step < 0:
            raise ValueError(
                f"crop_s {self.crop_s} must be above 0 and mse_start_step {self.mse_start_step} not below 0"
            )
        if not len(self.mel_windows_samples) == len(self.mel_bands) >= 1:
            raise ValueError(f"mel_windows_samples {self.mel_windows_samples} and mel_bands {self.mel_bands} differ")
        if any(window < 4 or window % 4 for window in self.mel_windows_samples):
            raise ValueError(f"mel_windows_samples must be multiples of 4, got {self.mel_windows_samples}")
        for name in WEIGHTS:
            if getattr(self, f"{name}_weight") < 0:
                raise ValueError(f"{name}_weight must not be below 0, got {getattr(self, f'{name}_weight')}")
        if self.warm_start_examples < 0 or (self.warm_start_examples and self.stage == "distil"):
            raise ValueError(
                f"warm_start_examples must not be below 0, and must be 0 in stage distil, whose quantizer and decoder "
                f"are the teacher's; got {self.warm_start_examples}"
            )
        if self.stage == "distil" and self.teacher is None:
            raise ValueError("stage distil needs a teacher: the folder of a NeuCodec")
        for name, stage in (("teacher", "distil"), ("encoder_from", "decoder")):
            if getattr(self, name) is not None and self.stage != stage:
                raise ValueError(f"{name} belongs to stage {stage}, but the stage is {self.stage}")
