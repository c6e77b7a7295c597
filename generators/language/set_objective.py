"""Prediction of masked tokens inside their chunks. Shape letters: B batch, C chunks, N tokens of a chunk."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...core.config import option
from ...core.random import rand
from ..base import LatentBatch
from ..conditioning.drops import draw_drops
from ..parts.keep import KeepPatterns, draw_keep
from .digits import tokens_to_digits
from .objective import TokenObjective, frame_nats, real_tokens
from .set_lm import TokenSetLMConfig


@dataclass(frozen=True, kw_only=True)
class MaskedSetConfig:
    """Options of `MaskedSetObjective`."""

    cond_drop_prob: float = option(0.1, "Probability that all conditions of an item are dropped.")
    in_order_prob: float = option(
        0.1, "Probability that the last tokens of a chunk are masked instead of any: sampling in order needs it."
    )
    keep_patterns: KeepPatterns = option(factory=KeepPatterns, help="Which chunks of an example are given.")

    def __post_init__(self) -> None:
        for name in ("cond_drop_prob", "in_order_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, got {getattr(self, name)}")


class MaskedSetObjective(TokenObjective):
    """loss = mean over masked tokens of -log p(token | tokens of its chunk that are not masked, chunks before it).

    In each chunk a random number of tokens is masked, from 1 to all, each number as often. In nats per token.
    """

    config_class = MaskedSetConfig

    def __init__(self, config: MaskedSetConfig, settings: TokenSetLMConfig):
        self.config, self.spec, self.conditioning = config, settings.binding.spec, settings.conditioning
        self.trains_given = config.keep_patterns.any_given

    def __call__(
        self, model: nn.Module, batch: LatentBatch, *, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss of batch tokens [B, T', Q].

        Raises:
            ValueError: no tokens, tokens of another codec, or an item without a real token.
        """
        (tokens, mask), size = real_tokens(batch, self.spec), self.spec.chunk_tokens
        num_chunks = mask.unflatten(1, (-1, size)).any(-1).sum(1)
        keep = draw_keep(self.config.keep_patterns, num_chunks, tokens.shape[1] // size, generator)
        masked = self.draw_masked(mask, generator) & ~keep.repeat_interleave(size, 1) & mask
        weights = masked / masked.sum().clamp_min(1)
        drop = draw_drops(self.conditioning, self.config.cond_drop_prob, len(tokens), generator, weights)
        logits = model(tokens, conditions=batch.conditions, masked=masked, keep=keep, mask=mask, drop_mask=drop)
        nats = frame_nats(logits, tokens_to_digits(tokens, self.spec.levels))
        loss = (nats * weights).sum() / self.spec.tokens_per_frame
        return loss, {"nats_per_token": loss.detach(), "bits_per_token": loss.detach() / math.log(2.0)}

    def draw_masked(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draws which tokens are masked, [B, T'] bool like `like`: at least one of each chunk."""
        size, weights = self.spec.chunk_tokens, like.float()
        draws = rand((len(like), like.shape[1] // size, size + 2), generator, weights)  # [B, C, N + 2]
        scores, share, in_order = draws[..., :size], draws[..., size:-1], draws[..., -1:]
        last_first = torch.arange(size, 0, -1, device=like.device).expand_as(scores)
        scores = torch.where(in_order < self.config.in_order_prob, last_first.to(scores), scores)
        place = scores.argsort(-1).argsort(-1)
        return (place <= (share * size).floor()).flatten(1)
