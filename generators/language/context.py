"""The past of a sequence that is being sampled, which the next position can see, cached or not.

Shape letters: B batch, K digits of all codebooks, W width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..conditioning import EncodedConditions
from ..conditions import Conditions

if TYPE_CHECKING:
    from .lm import TokenLM


class Context:
    """Conditions, BOS and the tokens of the window so far, with or without a second half for guidance.

    The window holds at most `max_frames` token frames, in whole chunks. When it is full it moves on by half of that:
    the older tokens are forgotten, and the conditions say that the item now starts later in its recording, as training
    crops do.
    """

    def __init__(self, model: TokenLM, conditions: Conditions, guided: bool, use_cache: bool):
        self.model, self.conditions, self.guided, self.use_cache = model, conditions, guided, use_cache
        self.first_frame = 0  # of the window
        self.cache: Any | None = None
        self.start, self.start_mask = self._start()
        self.fed = 0  # token frames of the window that the cache holds

    def hidden(self, digits: Tensor) -> Tensor:
        """Returns the hidden state [B or 2B, W] that predicts the frame after `digits` [B, n, K], the past."""
        self._move_window(digits.shape[1])
        window = digits[:, self.first_frame :]
        if not self.use_cache or self.cache is None:
            x = torch.cat([self.start, self._embed(window, 0)], 1)
            hidden, cache = self.model.attend_cached(x, self.start_mask, None)
        else:
            x = self._embed(window[:, self.fed :], self.fed)
            hidden, cache = self.model.attend_cached(x, self.start_mask, self.cache)
        if self.use_cache:
            self.cache, self.fed = cache, window.shape[1]
        return hidden[:, -1]

    def _embed(self, digits: Tensor, first_frame: int) -> Tensor:
        x = self.model.embed(digits, first_frame)
        return x.repeat(2, 1, 1) if self.guided else x

    def _move_window(self, num_frames: int) -> None:
        settings = self.model.settings
        chunk = settings.binding.spec.chunk_tokens
        step = max(1, settings.max_chunks // 2) * chunk
        before = self.first_frame
        while num_frames - self.first_frame >= settings.max_chunks * chunk:
            self.first_frame += step
        if self.first_frame != before:
            self.start, self.start_mask = self._start()
            self.cache, self.fed = None, 0

    def _start(self) -> tuple[Tensor, Tensor | None]:
        spec = self.model.binding.spec
        seconds = self.first_frame / spec.token_rate_hz
        encoder = self.model.condition_encoder
        prepared = encoder.prepare(encoder.later(self.conditions, seconds) if seconds else self.conditions)
        encoded: EncodedConditions = encoder(prepared)
        if self.guided:
            encoded = encoded.followed_by(encoder.null(prepared))
        return self.model.start_embeddings(encoded)
