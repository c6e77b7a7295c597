"""An endless stream of tokens, in constant memory. Shape letters: B batch, T' token frames, Q codebooks, K digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...core.random import rand
from ..conditions import Conditions
from ..stream import GeneratorStream
from .context import Context
from .digits import digits_to_tokens
from .sampling import TokenSampling, draw_frame

if TYPE_CHECKING:
    from .lm import TokenLM

BLOCK_S = 0.25  # length of a block, nearly, in whole chunks


class TokenStream(GeneratorStream):
    """Draws one token frame after another, and keeps those that the context can see.

    For one item, the tokens are those of `TokenLM.sample` for the same state of the generator.

    Args:
        model: the language model.
        conditions: of B items.
        sampling: options.
        generator: source of all randomness.
    """

    sampling: TokenSampling

    def __init__(
        self, model: TokenLM, conditions: Conditions, sampling: TokenSampling, generator: torch.Generator | None
    ):
        self.model, self.conditions, self.sampling, self.generator = model, conditions, sampling, generator
        self._asked = (conditions, sampling)
        self._context = Context(model, conditions, sampling)
        num_digits = sum(len(levels) for levels in model.binding.spec.levels)
        self._digits = torch.zeros(len(conditions), 0, num_digits, dtype=torch.int64, device=model.device)
        self._first = 0  # number of the first of these frames

    @property
    def block_samples(self) -> int:
        spec = self.model.binding.spec
        return spec.nearest_chunks(BLOCK_S) * spec.chunk_samples

    @torch.no_grad()
    def next_block(self, num_chunks: int | None = None) -> Tensor:
        spec = self.model.binding.spec
        count = (spec.nearest_chunks(BLOCK_S) if num_chunks is None else num_chunks) * spec.chunk_tokens
        self._take_changes()
        uniform = torch.zeros(len(self._digits), count, self._digits.shape[-1], device=self.model.device)
        for row in uniform:
            row.copy_(rand(row.shape, self.generator, row))
        drawn = []
        for frame in range(count):
            hidden = self._context.hidden(self._digits, self._first)
            drawn.append(draw_frame(self.model, hidden, self._context.weights, uniform[:, frame], self.sampling))
            forgotten = self._context.first_frame - self._first
            self._digits = torch.cat([self._digits[:, forgotten:], drawn[-1].unsqueeze(1)], 1)
            self._first += forgotten
        return digits_to_tokens(torch.stack(drawn, 1), spec.levels)

    def _take_changes(self) -> None:
        if (self.conditions, self.sampling) != self._asked:
            self.model.check_sampling(self.sampling)
            self.model.condition_encoder.request(self.conditions)  # refuses what cannot be asked for
            self._context.ask(self.conditions, self.sampling)
            self._asked = (self.conditions, self.sampling)
