"""Next-token prediction. Shape letters: B batch, T' token frames, Q codebooks, K digits, L most levels of a digit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...core.config import option
from ...core.objective import Objective
from ...tokenizers.spec import TokenizerSpec
from ..base import LatentBatch
from ..conditioning.drops import draw_drops
from .config import TokenLMConfig
from .digits import check_tokens, tokens_to_digits
from .ends import end_nats


@dataclass(frozen=True, kw_only=True)
class NextTokenConfig:
    """Options of `NextTokenObjective`."""

    cond_drop_prob: float = option(0.1, "Probability that all conditions of an item are dropped.")

    def __post_init__(self) -> None:
        if not 0 <= self.cond_drop_prob <= 1:
            raise ValueError(f"cond_drop_prob is a probability, got {self.cond_drop_prob}")


class TokenObjective(Objective):
    """An objective over the tokens of a batch, which uses all parameters and counts token frames."""

    uses_all_parameters = True

    def weight(self, batch: LatentBatch) -> float:
        """Returns the number of real token frames."""
        return float(len(batch) if batch.token_mask is None else batch.token_mask.sum())


class NextTokenObjective(TokenObjective):
    """loss = mean over real tokens of -log p(token | tokens before it, conditions), in nats per token, exact.

    A model that learns where items end adds -log p(end), of items that end inside the crop.
    """

    config_class = NextTokenConfig
    trains_given = True  # each token is predicted from those before it, so that every prefix is

    def __init__(self, config: NextTokenConfig, settings: TokenLMConfig):
        self.config, self.spec, self.conditioning = config, settings.binding.spec, settings.conditioning
        self.ends, self.patch_frames = settings.ends, settings.patch_frames

    def __call__(
        self, model: nn.Module, batch: LatentBatch, *, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss of batch tokens [B, T', Q].

        Raises:
            ValueError: no tokens, tokens of another codec, or an item without a real token.
        """
        tokens, mask = real_tokens(batch, self.spec)
        weights = mask / mask.sum()
        drop = draw_drops(self.conditioning, self.config.cond_drop_prob, len(tokens), generator, weights)
        made = model(tokens, conditions=batch.conditions, mask=mask, drop_mask=drop, with_ends=self.ends)
        logits, ends = made if self.ends else (made, None)
        digits = tokens_to_digits(tokens, self.spec.levels)
        loss = (frame_nats(logits, digits) * weights).sum() / self.spec.tokens_per_frame
        right = (logits.detach().argmax(-1) == digits).float()  # [B, T', K]
        per_book = right.split([len(levels) for levels in self.spec.levels], -1)
        tokens_right = torch.stack([book.amin(-1) for book in per_book], -1).mean(-1)
        metrics = {
            "nats_per_token": loss.detach(),
            "bits_per_token": loss.detach() / math.log(2.0),
            "token_accuracy": (tokens_right * weights).sum(),
            "digit_accuracy": (right.mean(-1) * weights).sum(),
        }
        if ends is None:
            return loss, metrics
        end_loss = end_nats(ends, mask, self.patch_frames) / mask.sum() / self.spec.tokens_per_frame
        return loss + end_loss, {**metrics, "end_nats_per_token": end_loss.detach()}


def frame_nats(logits: Tensor, digits: Tensor) -> Tensor:
    """Returns -log p [B, T'] of each frame's digits [B, T', K] under logits [B, T', K, L], over all codebooks."""
    log_probabilities = torch.log_softmax(logits.float(), -1)
    nats: Tensor = -log_probabilities.gather(-1, digits.unsqueeze(-1)).squeeze(-1).sum(-1)
    return nats


def real_tokens(batch: LatentBatch, spec: TokenizerSpec) -> tuple[Tensor, Tensor]:
    """Returns the tokens [B, T', Q] of a batch, zero where they are not real, and the mask [B, T'] of those that are.

    Raises:
        ValueError: no tokens, tokens of another codec, or an item without a real token.
    """
    if batch.tokens is None:
        raise ValueError("a language model needs tokens, but the batch has none: encode the dataset with tokens")
    check_tokens(batch.tokens, spec)
    tokens, mask = batch.tokens.long(), batch.token_mask
    if mask is None:
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    if not mask.any(1).all():
        raise ValueError("an item of the batch has no real token: its mask is False throughout")
    return tokens.masked_fill(~mask[..., None], 0), mask
