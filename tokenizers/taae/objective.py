"""Training of TAAE in its two stages, against the discriminator, or without (arXiv 2411.19842, eq. 7 to 9).

Shape letters: B batch, C audio channels, N audio samples, T latent frames, D latent width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Self, cast

import torch
from torch import Tensor, nn

from ...core.objective import AdversarialObjective, AudioBatch, CriticPair, first_audio, frozen, weighted_sum
from ...core.random import rand
from ..parts.adversarial import feature_matching, hinge_critic_loss, hinge_model_loss, mean_logit, split_output
from ..parts.spectral_losses import SpectralLossConfig, correlation_penalty, spectral_loss
from .bottleneck import Bottleneck
from .config import TAAEConfig
from .discriminator import Discriminator, DiscriminatorConfig
from .hybrid import HybridConfig, draw_hybrid
from .level import gain_db
from .losses import decay, stft_loss, waveform_loss
from .model import TAAE
from .perceptual import PerceptualConfig, PerceptualFeatures, load_perceptual, perceptual_loss

SATURATED = 0.99  # values beyond this are counted as saturated: tanh has next to no gradient there
WEIGHTS = ("feature_matching", "adversarial", "waveform", "stft", "perceptual", "spectral", "correlation")


@dataclass(frozen=True, kw_only=True)
class TAAEObjectiveConfig:
    """Constants of the objective. The defaults are the paper's; the released code's are named where they differ."""

    stage: Literal[1, 2] = 1  # 1: waveform and STFT terms; 2: perceptual term in their place
    crop_s: float = 5.12  # length of an example, rounded up to whole latent frames
    feature_matching_weight: float = 1.0
    adversarial_weight: float = 0.0  # of the hinge loss's own gradient; the critic's features are enough
    waveform_weight: float = 1.0
    stft_weight: float = 1.0
    perceptual_weight: float = 1.0
    # of `spectral`, a loss that needs no critic, in both stages, and of squared correlations between the dimensions of
    # z; neither is in the paper
    spectral_weight: float = 0.0
    correlation_weight: float = 0.0
    spectral: SpectralLossConfig = field(default_factory=SpectralLossConfig)
    # on whose principal components z starts, as a linear layer of the random encoder's features; 0: random
    warm_start_examples: int = 0
    decay: float = 0.9999  # factor, a step, of the waveform and STFT weights (eq. 8)
    stft_window_samples: int = 2048
    stft_hop_samples: int = 512
    feature_eps: float = 0.0  # added to the denominator of eq. 7; released code: 1e-3
    hybrid: HybridConfig = field(default_factory=HybridConfig)  # rounding, noise and levels in training
    # there is a critic where feature_matching_weight or adversarial_weight is above 0
    critic: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    perceptual: PerceptualConfig = field(default_factory=PerceptualConfig)

    # augmentation of each example, in the released code only
    flip_probability: float = 0.5  # that its polarity is flipped
    loudness_lufs: float | None = -20.0  # of each example; null: as it is
    loudness_range_db: float = 5.0  # uniformly up to that much higher or lower

    def __post_init__(self) -> None:
        if not self.crop_s > 0 or self.loudness_range_db < 0:
            raise ValueError(f"crop_s {self.crop_s} must be above 0 and loudness_range_db not below 0")
        if not 0 <= self.flip_probability <= 1 or not 0 < self.decay <= 1:
            raise ValueError(f"flip_probability {self.flip_probability} or decay {self.decay} is outside 0..1")
        if self.warm_start_examples < 0:
            raise ValueError(f"warm_start_examples must not be below 0, got {self.warm_start_examples}")
        for name in WEIGHTS:
            if getattr(self, f"{name}_weight") < 0:
                raise ValueError(f"{name}_weight must not be below 0, got {getattr(self, f'{name}_weight')}")


class TAAEObjective(AdversarialObjective):
    """Stage 1: L = L_fm + decay**step (L_waveform + L_stft); stage 2: L = L_fm + L_perceptual. Critic: hinge loss.

    L_fm is the normalised feature matching with the discriminator (eq. 7), L_stft the L1 distance of magnitudes,
    L_perceptual that of WavLM's features (eq. 9), each with its weight; eq. 8 is the sum of the first stage. Where the
    terms of the discriminator have no weight, there is none; `spectral` is a loss that does without. Silence is
    not dropped from the examples, as it is in the released data code: its level stays as it is, and the codec's high
    LayerNorm epsilon keeps it silent.

    Raises:
        ValueError: a crop that is too short for the windows, or stage 2 at another rate than 16 kHz.
        CheckpointError: stage 2, and WavLM is not available.
    """

    config_class = TAAEObjectiveConfig
    uses_all_parameters = True

    def __init__(self, config: TAAEObjectiveConfig, codec: TAAEConfig):
        self.config, self.codec = config, codec
        self.bottleneck = Bottleneck(codec.bottleneck, codec.latent_dim)
        needs_critic = config.feature_matching_weight > 0 or config.adversarial_weight > 0
        self.critic: Discriminator | None = Discriminator(config.critic, codec.channels) if needs_critic else None
        longest = max(
            config.stft_window_samples,
            *(config.critic.window_samples if needs_critic else ()),
            config.spectral.longest_window_samples + 1 if config.spectral_weight else 0,
        )
        if self.num_samples < longest:
            raise ValueError(
                f"crop_s {config.crop_s} is {self.num_samples} samples, shorter than a window of {longest}: "
                "lengthen it, or shorten stft_window_samples, spectral.windows_samples and critic.window_samples"
            )
        if not any(self._weights(0).values()):
            raise ValueError(f"all terms of stage {config.stage} have weight 0: there is nothing to train on")
        self.perceptual: PerceptualFeatures | None = None
        if config.stage == 2:
            self.perceptual = load_perceptual(config.perceptual, codec.sample_rate)

    @property
    def num_samples(self) -> int:
        """Audio samples of one example."""
        hop = self.codec.hop_samples
        return math.ceil(round(self.config.crop_s * self.codec.sample_rate) / hop) * hop

    def warm_start(self, model: nn.Module, batches: Iterable[AudioBatch]) -> None:
        if self.config.warm_start_examples:
            cast(TAAE, model).fit(first_audio(batches, self.config.warm_start_examples))

    def to(self, device: torch.device | str) -> Self:
        if self.perceptual is not None:
            self.perceptual.to(device)
        return super().to(device)

    def model_loss(
        self, model: nn.Module, batch: AudioBatch, *, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor], CriticPair]:
        """Computes the model's loss; see `AdversarialObjective.model_loss`.

        Args:
            model: the codec, perhaps wrapped.
            batch: audio [B, C, num_samples] at the codec's rate and channels.
            step: the optimiser step.
            generator: the source of randomness.

        Returns:
            The loss, named scalars to log, and the pair to train the critic on.

        Raises:
            ValueError: audio of another shape.
        """
        if batch.audio.shape[1:] != (self.codec.channels, self.num_samples):
            raise ValueError(
                f"TAAE's training takes audio [B, {self.codec.channels}, {self.num_samples}], "
                f"got {tuple(batch.audio.shape)}"
            )
        real = self.augment(batch.audio, generator)
        frames = self.num_samples // self.codec.hop_samples
        mode, noise, levels = draw_hybrid(self.config.hybrid, self.bottleneck, len(real), frames, generator, real)
        fake, z = model(real, mode, noise, levels)
        terms = self._terms(real, fake)
        if self.config.correlation_weight:
            terms["correlation"] = correlation_penalty(z.float())
        loss = weighted_sum(terms, self._weights(step))
        with torch.no_grad():
            values = torch.tanh(z.float())
            metrics = {name: term.detach() for name, term in terms.items()}
            metrics["latent_std"] = z.float().std()
            metrics["latent_saturation"] = (values.abs() > SATURATED).float().mean()
        return loss, metrics, CriticPair(real=real, fake=fake.detach())

    def critic_loss(self, critic: nn.Module, pair: CriticPair) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the hinge loss, and the mean logits of real and fake audio for the log."""
        real, fake = split_output(critic(torch.cat([pair.real, pair.fake])), len(pair.real))
        with torch.no_grad():
            metrics = {"critic_real": mean_logit(real), "critic_fake": mean_logit(fake)}
        return hinge_critic_loss(real, fake), metrics

    def augment(self, audio: Tensor, generator: torch.Generator) -> Tensor:
        """Returns audio [B, C, N] with each item at a random loudness and polarity.

        Silence stays as it is, and a peak that would pass 1 is brought below it, as when `TAAE.encode` normalises.
        """
        chance = rand((len(audio), 2), generator, audio.new_empty(0, dtype=torch.float32)).T
        gain = torch.where(chance[0] < self.config.flip_probability, -1.0, 1.0)
        if self.config.loudness_lufs is not None:
            targets = self.config.loudness_lufs + (2 * chance[1] - 1) * self.config.loudness_range_db
            pairs = zip(audio, targets.tolist(), strict=True)
            gains_db = [gain_db(item, self.codec.sample_rate, target) for item, target in pairs]
            gain = gain * 10 ** (gain.new_tensor(gains_db) / 20)
        return audio * gain[:, None, None]

    def _terms(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Returns the distances of the audio, without weights; of the critic's, both or neither."""
        c = self.config
        terms = {
            "waveform": waveform_loss(fake, real),
            "stft": stft_loss(fake, real, c.stft_window_samples, c.stft_hop_samples),
        }
        if c.spectral_weight:
            pair = fake.flatten(0, 1), real.flatten(0, 1)
            terms["spectral"] = spectral_loss(c.spectral, *pair, self.codec.sample_rate)
        if self.critic is not None:
            with frozen(self.critic):
                real_output, fake_output = self.critic(real), self.critic(fake)
            terms["feature_matching"] = feature_matching(real_output, fake_output, eps=c.feature_eps)
            terms["adversarial"] = hinge_model_loss(fake_output)
        if self.perceptual is not None:
            features = self.perceptual(real), self.perceptual(fake)
            terms["perceptual"] = perceptual_loss(*features, normaliser=c.perceptual.normaliser)
        return terms

    def _weights(self, step: int) -> dict[str, float]:
        weights = {name: getattr(self.config, f"{name}_weight") for name in WEIGHTS}
        fading = decay(self.config.decay, step) if self.config.stage == 1 else 0.0
        weights["waveform"] *= fading
        weights["stft"] *= fading
        if self.config.stage != 2:
            weights["perceptual"] = 0.0
        return weights
