"""An endless stream of sets of tokens, chunk after chunk, in constant memory.

Shape letters: B batch, N tokens of a chunk, K digits of a frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...core.random import draw_seed
from ..conditions import Conditions
from ..stream import GeneratorStream
from .digits import digits_to_tokens
from .set_context import SetContext
from .set_sampling import SetSampling, draw_uniform_sets, fill_chunk

if TYPE_CHECKING:
    from .set_lm import TokenSetLM


class SetStream(GeneratorStream):
    """Makes one chunk after another, and keeps those that the context can see: when it is full, the later half.

    For the same state of the generator, the tokens are those of `TokenSetLM.sample`, as far as the context reaches.

    Args:
        model: the language model.
        conditions: of B items.
        sampling: options.
        generator: source of all randomness.
    """

    sampling: SetSampling

    def __init__(
        self, model: TokenSetLM, conditions: Conditions, sampling: SetSampling, generator: torch.Generator | None
    ):
        self.model, self.conditions, self.sampling = model, conditions, sampling
        self._seeds = [draw_seed(generator) for _ in range(len(conditions))]
        self._chunk = 0  # number of the next chunk
        self._past: list[Tensor] = []  # digits [B, N, K] of the chunks of the window
        self._written = 0  # chunks of the window that the context holds
        self._context: SetContext | None = None
        self._made_of = (conditions, sampling)

    @property
    def block_samples(self) -> int:
        return self.model.binding.spec.chunk_samples

    @torch.no_grad()
    def next_block(self, num_chunks: int | None = None) -> Tensor:
        digits = [self._next_chunk() for _ in range(1 if num_chunks is None else num_chunks)]
        return digits_to_tokens(torch.cat(digits, 1), self.model.binding.spec.levels)

    def _next_chunk(self) -> Tensor:
        """Returns the digits [B, N, K] of the next chunk."""
        context = self._current_context()
        for place in range(self._written, len(self._past)):
            context.write(self._past[place], self._places(place))
        self._written = len(self._past)
        levels, device = self.model.head.levels, self.model.device
        shape = self.model.binding.spec.chunk_tokens, len(levels)
        chunks = range(self._chunk, self._chunk + 1)
        uniform = draw_uniform_sets(self._seeds, chunks, shape, device, keyed="digits")[:, 0]
        noise = draw_uniform_sets(self._seeds, chunks, shape[:1], device, keyed="choice")[:, 0]
        unknown = torch.full_like(uniform, -1, dtype=torch.int64)
        digits = fill_chunk(context, self._places(len(self._past)), unknown, uniform, noise, self.sampling)
        self._past.append(digits)
        self._chunk += 1
        return digits

    def _current_context(self) -> SetContext:
        """Returns the context of the next chunk, a new one where what is asked for changed or the window moves on."""
        asked = (self.conditions, self.sampling)
        if asked != self._made_of:
            self.model.check_sampling(self.sampling)
            self.model.condition_encoder.request(self.conditions)  # refuses what cannot be asked for
            self._context, self._made_of = None, asked
        window = self.model.window_chunks
        if len(self._past) == window:
            self._past, self._context = self._past[-(window // 2) :] if window > 1 else [], None
        if self._context is None:
            spec, encoder = self.model.binding.spec, self.model.condition_encoder
            first = self._chunk - len(self._past)
            conditions = self.conditions
            if first:
                conditions = encoder.later(conditions, first * spec.chunk_samples / spec.sample_rate)
            self._context, self._written = SetContext(self.model, conditions, self.sampling, window), 0
        return self._context

    def _places(self, place: int) -> Tensor:
        return torch.full((len(self._seeds),), place, device=self.model.device)
