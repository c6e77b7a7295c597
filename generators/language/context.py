"""The past of a sequence that is being sampled, which the next position can see, cached or not.

Shape letters: B batch, K digits of all codebooks, W width, G branches of the guidance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..conditions import Conditions
from ..parts.guidance import guidance_branches

if TYPE_CHECKING:
    from .lm import TokenLM
    from .sampling import TokenSampling


class Context:
    """Conditions, BOS and the tokens of the window so far, once for each branch of the guidance.

    The window holds at most `max_frames` token frames, in whole chunks. When it is full it moves on by half of that:
    the older tokens are forgotten, and the conditions say that the item now starts later in its recording, as training
    crops do.
    """

    def __init__(self, model: TokenLM, conditions: Conditions, options: TokenSampling):
        self.model, self.conditions, self.options = model, conditions, options
        self.use_cache = options.use_cache
        self.weights: tuple[float, ...] = ()  # of the branches
        self.first_frame = 0  # of the window
        self.cache: Any | None = None
        self.start, self.start_mask = self._start()
        self.fed = 0  # token frames of the window that the cache holds

    def ask(self, conditions: Conditions, options: TokenSampling) -> None:
        """Changes the conditions and options; the tokens of the window are then read again behind the new ones."""
        self.conditions, self.options = conditions, options
        self._begin()

    def hidden(self, digits: Tensor, first: int = 0) -> Tensor:
        """Returns the hidden state [G * B, W] that predicts the next frame.

        Args:
            digits: [B, n, K] of the past.
            first: number of their first frame, where frames before the window are not handed in.
        """
        self._move_window(first + digits.shape[1])
        window = digits[:, self.first_frame - first :]
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
        return x.repeat(len(self.weights), 1, 1)

    def _move_window(self, num_frames: int) -> None:
        settings = self.model.settings
        chunk = settings.binding.spec.chunk_tokens
        step = max(1, settings.max_chunks // 2) * chunk
        before = self.first_frame
        while num_frames - self.first_frame >= settings.max_chunks * chunk:
            self.first_frame += step
        if self.first_frame != before:
            self._begin()

    def _begin(self) -> None:
        self.start, self.start_mask = self._start()
        self.cache, self.fed = None, 0

    def _start(self) -> tuple[Tensor, Tensor | None]:
        spec = self.model.binding.spec
        seconds = self.first_frame / spec.token_rate_hz
        encoder = self.model.condition_encoder
        conditions = encoder.later(self.conditions, seconds) if seconds else self.conditions
        branches = guidance_branches(encoder, conditions, self.options)
        self.weights = branches.weights
        return self.model.start_embeddings(branches.encoded)
