"""Adversarial post-training: learn to reach data from any time in one step, to sample in few steps.

From noisy latents x_t the network's estimate of the data is x_t - t v. A critic learns to distinguish estimates from
the examples that they were made of, both with the same noise again, and the network learns to be mistaken for them
(Novack et al., ARC, arXiv 2505.08175). Both losses are relativistic (Jolicoeur-Martineau, arXiv 1807.00734): an
estimate is compared with its own example. A third loss makes the critic distinguish examples under their own conditions
from the same examples under those of others, so that it cannot ignore the conditions.

Shape letters: B batch, T latent frames, D latent width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core.config import option
from ...core.objective import AdversarialObjective, CriticPair, frozen
from ...core.random import randn
from ..adapters import has_trained_adapter
from ..base import LatentBatch
from .config import DiffusionTransformerConfig
from .critic import LatentCritic
from .dit import DiffusionTransformer
from .noisy import NoisyBatch, mixed
from .objective import RectifiedFlowConfig, RectifiedFlowObjective

CRITIC_SHARE = 0.75  # of the generator's blocks, by default


@dataclass(frozen=True, kw_only=True)
class AdversarialFlowConfig(RectifiedFlowConfig):
    """Options of `AdversarialFlowObjective`."""

    time_distribution: Literal["logit-normal", "uniform"] = option(
        "uniform", "Distribution of the diffusion time in training (SD3, arXiv 2403.03206)."
    )
    cond_drop_prob: float = option(0.0, "Probability that all conditions of an item are dropped.")
    critic_blocks: int | None = option(
        None, "Blocks of the generator that the critic is a copy of. By default three quarters of them."
    )
    critic_logit_mean: float = option(
        0.0, "Mean of the logit-normal distribution of the noise under which the critic compares."
    )
    critic_logit_std: float = option(1.0, "Standard deviation of that distribution.")
    contrastive_weight: float = option(
        1.0, "Weight of the critic's loss on examples under the conditions of other examples; 0 leaves it out."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.critic_blocks is not None and self.critic_blocks < 1:
            raise ValueError(f"critic_blocks must be at least 1, got {self.critic_blocks}")
        if self.critic_logit_std <= 0 or self.contrastive_weight < 0:
            raise ValueError(
                "critic_logit_std must be positive and contrastive_weight 0 or more, got "
                f"{self.critic_logit_std} and {self.contrastive_weight}"
            )


@dataclass(frozen=True, kw_only=True)
class LatentPair(CriticPair):
    """Examples and estimates of them [B, T, D], both with noise."""

    t: Tensor  # [B] times whose noise they carry
    noisy: NoisyBatch  # which frames count, and the conditions


class AdversarialFlowObjective(RectifiedFlowObjective, AdversarialObjective):
    """loss = mean over frames of -log sigmoid(critic(estimate) - critic(example)); the critic's has the other sign."""

    config_class = AdversarialFlowConfig
    trains: ClassVar[str | None] = "one_step"
    config: AdversarialFlowConfig

    def __init__(self, config: AdversarialFlowConfig, settings: DiffusionTransformerConfig):
        super().__init__(config, settings)
        self.blocks = config.critic_blocks or max(1, round(CRITIC_SHARE * settings.depth))
        if self.blocks > settings.depth:
            raise ValueError(f"critic_blocks {self.blocks} are more than the {settings.depth} blocks of the generator")
        self.contrasts = bool(config.contrastive_weight and settings.conditioning.conditioners)
        self.critic: LatentCritic | None = None

    def prepare(self, model: nn.Module) -> None:
        """Makes the critic out of the generator's weights.

        Raises:
            ValueError: a model that is not a diffusion transformer, is not trained yet, or is trained as an adapter.
        """
        if not isinstance(model, DiffusionTransformer):
            raise ValueError(f"adversarial trains a DiffusionTransformer, got a {type(model).__name__}")
        if has_trained_adapter(model):
            raise ValueError("adversarial post-training changes how a generator is sampled: train without an adapter")
        if model.trained_on.conditions is None:
            raise ValueError("adversarial post-training starts from a trained generator: name it in model.init_from")
        model.replace_settings(one_step=True)
        self.critic = LatentCritic(model, self.blocks)

    def __call__(
        self, model: nn.Module, batch: LatentBatch, *, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss, metrics, _ = self.model_loss(model, batch, step=step, generator=generator)
        return loss, metrics

    def model_loss(
        self, model: nn.Module, batch: LatentBatch, *, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor], LatentPair]:
        """Computes the loss of estimates of batch latents [B, T, D]; see `AdversarialObjective.model_loss`.

        Raises:
            ValueError: no latents, latents of another codec, or an item without a real frame.
        """
        critic = self._made_critic()
        noisy = self.draw(model, batch, step, generator)
        velocity = model(noisy.latents, noisy.times, **noisy.inputs).float()
        estimate = noisy.latents - noisy.times.each().unsqueeze(-1) * velocity
        estimate = estimate.masked_fill(~noisy.mask.unsqueeze(-1), 0.0)
        drawn = randn((len(estimate),), generator, estimate)
        t = torch.sigmoid(self.config.critic_logit_mean + self.config.critic_logit_std * drawn)
        noise = randn(estimate.shape, generator, estimate)
        real, fake = (mixed(x, noise, t.unsqueeze(-1)) for x in (noisy.clean, estimate))
        order = torch.arange(len(t), device=t.device)
        with frozen(critic):
            with torch.no_grad():
                of_real = critic(real, t, order, noisy.inputs)
            gap = critic(fake, t, order, noisy.inputs) - of_real  # [B, T]
        loss = noisy.average(noisy.per_item(F.softplus(-gap)))
        distance = noisy.average(noisy.per_item((estimate - noisy.clean).detach().square().mean(-1)))
        pair = LatentPair(real=real, fake=fake.detach(), t=t, noisy=noisy)
        return loss, {"distance": distance}, pair

    def critic_loss(self, critic: nn.Module, pair: CriticPair) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the critic's loss; see `AdversarialObjective.critic_loss`.

        Raises:
            ValueError: a single example, which has no others whose conditions it could be read under.
        """
        assert isinstance(pair, LatentPair), "model_loss makes no other pairs"
        own = torch.arange(len(pair.t), device=pair.t.device)
        latents, orders = [pair.real, pair.fake], [own, own]
        if self.contrasts:
            if len(own) < 2:
                raise ValueError(
                    "the critic needs at least 2 examples in each part of a batch to exchange conditions: raise "
                    "batch_size, lower grad_accum, or set contrastive_weight=0"
                )
            latents, orders = [*latents, pair.real], [*orders, own.roll(1)]
        logits = critic(torch.cat(latents), pair.t.repeat(len(latents)), torch.cat(orders), pair.noisy.inputs)
        real, *others = logits.chunk(len(latents))
        losses = [pair.noisy.average(pair.noisy.per_item(F.softplus(other - real))) for other in others]
        metrics: dict[str, Tensor] = {"critic_relativistic": losses[0].detach()}
        if not self.contrasts:
            return losses[0], metrics
        metrics["critic_contrastive"] = losses[1].detach()
        return losses[0] + self.config.contrastive_weight * losses[1], metrics

    def _made_critic(self) -> Any:
        if self.critic is None:
            raise ValueError("the objective has no critic yet: call prepare(model) first")
        return self.critic
