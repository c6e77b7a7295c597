"""Training of NeuCodec and its distilled version (arXiv 2509.09550) against their discriminators, or without.

The paper names the terms of the loss without their weights; those here are X-Codec 2's (arXiv 2502.04128), the codec it
builds on.

Shape letters: B batch, N audio samples at the decoder's rate, T frames, V width of the fused frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core.errors import MismatchError
from ...core.objective import AdversarialObjective, AudioBatch, CriticPair, first_audio, frozen, weighted_sum
from ...layers.audio import to_rate
from ..parts.adversarial import (
    feature_matching,
    mean_logit,
    split_output,
    squared_critic_loss,
    squared_model_loss,
)
from ..parts.spectral_losses import correlation_penalty, spectral_loss
from .config import CodecConfig, DistillNeuCodecConfig
from .discriminators import Critic
from .distilled import DistillNeuCodec
from .mel_loss import mel_loss
from .model import NeuCodec
from .objective_config import WEIGHTS, NeuCodecObjectiveConfig, Stage
from .training import TrainingPass, fit_start

# parts of the codec that learn in each stage; the semantic encoder never does
LEARNING_ENCODER = ("semantic_adapter", "acoustic_encoder", "acoustic_proj", "fusion")
ENCODER = ("semantic_encoder", *LEARNING_ENCODER)
TRAINED: dict[Stage, tuple[str, ...]] = {
    "train": (*LEARNING_ENCODER, "quantiser", "decoder", "semantic_out", "semantic_decoder"),
    "decoder": ("decoder",),
    "distil": LEARNING_ENCODER,
}
# config fields that two codecs must share for one to take parts of the other
TEACHER_SHARES = ("fused_width", "fsq", "residual", "synthesis", "latent_scale", "encoder_rate", "sample_rate")
ENCODER_SHARES = (
    "semantic",
    "acoustic",
    "adapter_width",
    "semantic_width",
    "fused_width",
    "fsq",
    "residual",
    "latent_scale",
)


class NeuCodecObjective(AdversarialObjective):
    """L = mel + spectral + adversarial (least squares) + feature matching, each with its weight, and a stage's terms.

    Where the adversarial terms have no weight there is no critic.

    train: everything but the semantic encoder learns, and the semantic decoder, if the config has one, predicts the
    semantic features from the quantised frames (mean squared error). decoder: only the decoder learns. distil: the
    encoder learns, with the teacher's quantiser and decoder, which `prepare` puts into the student; from
    `mse_start_step` on its fused frames are drawn to the teacher's (mean squared error).

    Raises:
        ValueError: a crop that is too short for the windows.
        CheckpointError: the config names a teacher, or a codec to take the encoder from, that is not there.
        MismatchError: the codec cannot take the other one's parts.
    """

    config_class = NeuCodecObjectiveConfig

    def __init__(self, config: NeuCodecObjectiveConfig, codec: CodecConfig):
        self.config, self.codec = config, codec
        needs_critic = config.adversarial_weight > 0 or config.feature_matching_weight > 0
        self.critic: Critic | None = Critic(config.critic) if needs_critic else None
        if self.num_samples < self._least_samples():
            raise ValueError(
                f"crop_s {config.crop_s} is {self.num_samples} samples, but the windows need {self._least_samples()}: "
                "lengthen it, or shorten mel_windows_samples, spectral.windows_samples and critic.window_samples"
            )
        if not any(self._weights(0).values()):
            raise ValueError("all terms have weight 0 at the start (see mse_start_step): there is nothing to train on")
        self.uses_all_parameters = self._reaches_all_parameters()
        self.teacher: NeuCodec | None = None
        self.given: dict[str, dict[str, Tensor]] = {}  # weights of whole parts that the codec takes from another
        if config.teacher is not None:
            self.teacher = NeuCodec.from_pretrained(config.teacher).float().requires_grad_(False)
            _check_shared(config.teacher, self.teacher.settings, codec, TEACHER_SHARES)
            self.given = {name: self.teacher.get_submodule(name).state_dict() for name in ("quantiser", "decoder")}
        elif config.encoder_from is not None:
            cls = DistillNeuCodec if isinstance(codec, DistillNeuCodecConfig) else NeuCodec
            source = cls.from_pretrained(config.encoder_from)
            _check_shared(config.encoder_from, source.settings, codec, ENCODER_SHARES)
            parts = dict(source.named_children())
            self.given = {name: parts[name].state_dict() for name in parts if name in (*ENCODER, "quantiser")}

    @property
    def num_samples(self) -> int:
        """Audio samples of one example, at the decoder's rate."""
        hop = self.codec.synthesis.hop_samples
        return math.ceil(round(self.config.crop_s * self.codec.sample_rate) / hop) * hop

    def _least_samples(self) -> int:
        """The shortest example that the windows of all terms allow."""
        c = self.config
        return max(
            max(c.mel_windows_samples) // 2 + 1 if c.mel_weight else 1,
            c.spectral.longest_window_samples + 1 if c.spectral_weight else 1,
            1 if self.critic is None else self.critic.shortest,
        )

    def prepare(self, model: nn.Module) -> None:
        """Freezes the parts that this stage does not train, and puts in those that it takes from another codec."""
        for name, part in model.named_children():
            part.requires_grad_(name in TRAINED[self.config.stage])
            if name in self.given:
                part.load_state_dict(self.given[name])
        self.given = {}

    def warm_start(self, model: nn.Module, batches: Iterable[AudioBatch]) -> None:
        if self.config.warm_start_examples:
            audio = first_audio(batches, self.config.warm_start_examples)
            fit_start(cast(NeuCodec, model), audio, quantiser=self.config.stage == "train")

    def to(self, device: torch.device | str) -> Self:
        if self.teacher is not None:
            self.teacher.to(device)
        return super().to(device)

    def model_loss(
        self, model: nn.Module, batch: AudioBatch, *, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor], CriticPair]:
        """Computes the model's loss; see `AdversarialObjective.model_loss`.

        Args:
            model: the codec, perhaps wrapped.
            batch: audio [B, 1, num_samples] at the decoder's rate; it is resampled to the encoders' rate.
            step: the optimiser step.
            generator: the source of randomness.

        Returns:
            The loss, named scalars to log, and the pair to train the critic on.

        Raises:
            ValueError: audio of another shape.
        """
        if batch.audio.shape[1:] != (1, self.num_samples):
            raise ValueError(
                f"NeuCodec's training takes audio [B, 1, {self.num_samples}], got {tuple(batch.audio.shape)}"
            )
        real = batch.audio
        heard = to_rate(real, self.codec.sample_rate, self.codec.encoder_rate)
        made: TrainingPass = model(heard)
        terms = self._terms(real, made.reconstruction)
        metrics = {"value_std": made.values.detach().float().std()}
        if self.config.stage == "train" and made.semantic_prediction is not None:
            terms["semantic"] = F.mse_loss(made.semantic_prediction.float(), made.semantic_target.float())
        if self.config.latent_weight:
            terms["latent"] = made.z.float().square().mean()
        if self.config.correlation_weight:
            terms["correlation"] = correlation_penalty(made.z.float())
        if self.teacher is not None:
            with torch.no_grad():
                wanted = self.teacher.fuse(heard).float()
            terms["distil"] = F.mse_loss(made.fused.float(), wanted)
            metrics["fused_cosine"] = F.cosine_similarity(made.fused.detach().float(), wanted, dim=-1).mean()
        loss = weighted_sum(terms, self._weights(step))
        metrics |= {name: term.detach() for name, term in terms.items()}
        return loss, metrics, CriticPair(real=real, fake=made.reconstruction.detach())

    def critic_loss(self, critic: nn.Module, pair: CriticPair) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the least-squares loss, and the mean logits of real and fake audio, which it draws to 1 and 0."""
        real, fake = split_output(critic(torch.cat([pair.real, pair.fake])), len(pair.real))
        with torch.no_grad():
            metrics = {"critic_real": mean_logit(real), "critic_fake": mean_logit(fake)}
        return squared_critic_loss(real, fake), metrics

    def _terms(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Returns the terms of all stages that have a weight, not yet weighted; of the critic's, both or neither."""
        c, rate = self.config, self.codec.sample_rate
        terms = {}
        if c.mel_weight:
            terms["mel"] = mel_loss(fake, real, rate, c.mel_windows_samples, c.mel_bands)
        if c.spectral_weight:
            terms["spectral"] = spectral_loss(c.spectral, fake[:, 0], real[:, 0], rate)
        if self.critic is not None:
            with frozen(self.critic):
                real_output, fake_output = self.critic(real), self.critic(fake)
            layers = sum(len(one.features) for one in real_output)
            terms["adversarial"] = len(fake_output) * squared_model_loss(fake_output)
            terms["feature_matching"] = layers * feature_matching(real_output, fake_output, normalise=False)
        return terms

    def _reaches_all_parameters(self) -> bool:
        """Returns False if a part that learns has only terms of weight 0."""
        c = self.config
        decodes = any((c.mel_weight, c.spectral_weight, c.adversarial_weight, c.feature_matching_weight))
        predicts = c.stage == "train" and self.codec.predict_semantic
        return (decodes or c.stage == "distil") and (not predicts or c.semantic_weight > 0)

    def _weights(self, step: int) -> dict[str, float]:
        c = self.config
        weights = {name: getattr(c, f"{name}_weight") for name in WEIGHTS}
        if c.stage != "train" or not self.codec.predict_semantic:
            weights["semantic"] = 0.0
        if c.stage != "distil" or step < c.mse_start_step:
            weights["distil"] = 0.0
        return weights


def _check_shared(path: str, theirs: CodecConfig, ours: CodecConfig, names: tuple[str, ...]) -> None:
    """Raises MismatchError where two codecs' configs differ in one of `names`."""
    differing = [name for name in names if getattr(theirs, name) != getattr(ours, name)]
    if differing:
        raise MismatchError(f"the codec at {path} differs in {', '.join(differing)} from the one that is trained")
