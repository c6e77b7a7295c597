"""An endless stream of tokens, in constant memory. Shape letters: B batch, T' token frames, Q codebooks, K digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...core.random import draw_seed
from ..conditions import Conditions
from ..stream import GeneratorStream
from .context import Context
from .digits import digits_to_tokens
from .sampling import TokenSampling, draw_frame, draw_uniform

if TYPE_CHECKING:
    from .lm import TokenLM

BLOCK_S = 0.25  # length of a block, nearly, in whole chunks


class TokenStream(GeneratorStream):
    """Draws one token frame after another, and keeps those that the context can see.

    For the same state of the generator, the tokens are those of `TokenLM.sample`.

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
        self.model, self.conditions, self.sampling = model, conditions, sampling
        self._seeds = [draw_seed(generator) for _ in range(len(conditions))]
        self._chunk = 0  # number of the next chunk
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
        chunks = spec.nearest_chunks(BLOCK_S) if num_chunks is None else num_chunks
        self._take_changes()
        uniform = draw_uniform(self.model, self._seeds, range(self._chunk, self._chunk + chunks))
        self._chunk += chunks
        drawn = []
        for frame in range(uniform.shape[1]):
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
