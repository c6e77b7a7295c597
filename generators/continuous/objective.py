"""The flow of each chunk, given those before it.

Shape letters: B batch, T latent frames, D latent width, n chunks, C values of a chunk, M draws of noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...core.config import option
from ...core.objective import Objective
from ...core.random import rand, randn
from ..base import LatentBatch
from ..conditioning.drops import draw_drops
from ..parts.normalise import training_latents
from .model import ContinuousARConfig


@dataclass(frozen=True, kw_only=True)
class ChunkFlowConfig:
    """Options of `ChunkFlowObjective`."""

    head_batch: int = option(
        4, "Draws of noise and time for each chunk: the small network learns from each, the transformer runs once."
    )
    past_noise: float = option(
        0.5, "Highest share of noise in the variance of the chunks that the transformer sees; it makes streams robust."
    )
    logit_mean: float = option(0.0, "Mean of the logit-normal distribution of times; above 0 chunks are noisier.")
    logit_std: float = option(1.0, "Standard deviation of that distribution.")
    cond_drop_prob: float = option(0.1, "Probability that all conditions of an item are dropped.")

    def __post_init__(self) -> None:
        if self.head_batch < 1 or not 0 <= self.past_noise <= 1 or self.logit_std <= 0:
            raise ValueError(
                f"head_batch must be at least 1, past_noise lie in 0..1 and logit_std be positive, got "
                f"{self.head_batch}, {self.past_noise} and {self.logit_std}"
            )
        if not 0 <= self.cond_drop_prob <= 1:
            raise ValueError(f"cond_drop_prob is a probability, got {self.cond_drop_prob}")


class ChunkFlowObjective(Objective):
    """loss = mean over real chunks and draws of |v(x_t, t, chunks before) - (noise - x0)|^2, x0 normalised."""

    config_class = ChunkFlowConfig
    uses_all_parameters = True
    trains_given = True  # each chunk is drawn from those before it, so that every prefix is

    def __init__(self, config: ChunkFlowConfig, settings: ContinuousARConfig):
        self.config, self.binding, self.conditioning = config, settings.binding, settings.conditioning

    def weight(self, batch: LatentBatch) -> float:
        """Returns the number of real frames."""
        return float(len(batch) if batch.latent_mask is None else batch.latent_mask.sum())

    def __call__(
        self, model: nn.Module, batch: LatentBatch, *, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss of batch latents [B, T, D] as the codec gives them.

        Raises:
            ValueError: no latents, latents of another codec, or an item without a real frame.
        """
        (clean, mask), size = training_latents(batch, self.binding), self.binding.spec.chunk_latents
        chunks = clean.unflatten(1, (-1, size)).flatten(2)  # [B, n, C]
        draws = (*chunks.shape[:2], self.config.head_batch)
        t = torch.sigmoid(self.config.logit_mean + self.config.logit_std * randn(draws, generator, clean))
        noise = randn((*draws, chunks.shape[-1]), generator, clean)
        at, x = t.unsqueeze(-1), chunks.unsqueeze(2)
        drop = draw_drops(self.conditioning, self.config.cond_drop_prob, len(clean), generator, clean)
        velocity = model(
            self._past(chunks, generator),
            chunks,
            (1.0 - at) * x + at * noise,
            t,
            conditions=batch.conditions,
            drop_mask=drop,
        )
        error = (velocity.float() - (noise - x)).square().mean((-1, -2))  # [B, n], float32 also under autocast
        real = mask.unflatten(1, (-1, size)).float().mean(-1)
        return (error * real).sum() / real.sum(), {}

    def _past(self, chunks: Tensor, generator: torch.Generator) -> Tensor:
        """Returns chunks [B, n, C] as the transformer sees them: each with a share of noise of its own."""
        if not self.config.past_noise:
            return chunks
        share = self.config.past_noise * rand(chunks.shape[:2], generator, chunks).unsqueeze(-1)
        return (1.0 - share).sqrt() * chunks + share.sqrt() * randn(chunks.shape, generator, chunks)
