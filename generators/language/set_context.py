"""The chunks that have been made, which the passes over the next one see.

Shape letters: B batch, G branches of the guidance, R rows (B * G, the branches of an item in a row), N tokens of a
chunk, K digits of a frame, W width, P positions of the conditions before the sequence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...layers.cache import SlotCache
from ..conditions import Conditions
from ..parts.guidance import guidance_branches
from .context import item_by_item
from .draw import DigitFilter, draw_digits
from .objective import frame_nats
from .step import FixedStep
from .trunk import TrunkWeights, rotary_turns, run_trunk

if TYPE_CHECKING:
    from .set_lm import TokenSetLM
    from .set_sampling import SetSampling


class SetPass(FixedStep):
    """The trunk over a chunk, as a part of its own so that it can be compiled."""

    def forward(
        self, weights: TrunkWeights, cache: SlotCache, x: Tensor, slots: Tensor, turns: Tensor, bias: Tensor
    ) -> Tensor:
        """Returns hidden states [R, N, W]; see `run_trunk`."""
        return run_trunk(weights, cache, x, slots, turns, bias)


class SetContext:
    """Keys and values of conditions, BOS and the chunks so far, in the order in which they were made.

    Args:
        model: the language model.
        conditions: of B items.
        options: of the sampler.
        num_chunks: of the longest item.
    """

    def __init__(self, model: TokenSetLM, conditions: Conditions, options: SetSampling, num_chunks: int):
        self.model, self.weights, settings = model, model.packed_weights.of(model), model.settings
        branches = guidance_branches(model.condition_encoder, conditions, options)
        count = len(branches.weights)
        start, mask = model.start_embeddings(branches.encoded)
        start = item_by_item(start.to(model.bos.dtype), count)
        self.count, self.filters = count, DigitFilter.of(options, start)
        self.guidance = torch.tensor(branches.weights, device=start.device) if count > 1 else None
        self.size, self.first = model.binding.spec.chunk_tokens, start.shape[1]
        capacity, head_dim = self.first + num_chunks * self.size, settings.width // settings.heads
        self.cache = SlotCache.allocate(settings.depth, (len(start), settings.heads, capacity, head_dim), start)
        self.turns = rotary_turns(capacity, model.rotary_dim, head_dim, settings.rotary_base, start)
        self.slots = torch.arange(capacity, device=start.device)
        self.passes = 0  # over chunks
        self.filled = self.first
        # 0 where a slot is seen, also by those of its own chunk while that is made
        self.bias = start.new_full((len(start), 1, 1, capacity), -torch.inf)
        self.bias[..., : self.first] = 0.0
        if mask is not None:
            self.bias[..., : self.first].masked_fill_(~item_by_item(mask, count)[:, None, None], -torch.inf)
        slots, turns = self.slots[: self.first], self.turns[: self.first].unsqueeze(0)
        cache = self.cache.part(len(start), self.first)
        run_trunk(self.weights.trunk, cache, start, slots, turns, self.bias[..., : self.first])

    def draw(self, known: Tensor, chunk: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Draws all unknown tokens of a chunk, each without the others.

        Args:
            known: [B, N, K] digits, -1 where one is unknown.
            chunk: [B] number of the chunk of each item.
            uniform: [B, N, K] numbers in [0, 1).

        Returns:
            Digits [B, N, K] and their log-likelihood [B, N], which is 0 where a token is known.
        """
        hidden = self._run(known, chunk).unflatten(0, (-1, self.count)).transpose(1, 2)  # [B, N, G, W]
        unknown = (known < 0).any(-1)  # the head is computed for these alone
        drawn, logits = draw_digits(
            self.weights.head, hidden[unknown].flatten(0, 1), uniform[unknown], self.filters, self.guidance
        )
        sure = logits.new_zeros(unknown.shape)
        sure[unknown] = -frame_nats(logits, drawn)
        digits = known.clone()
        digits[unknown] = drawn
        return digits, sure

    def write(self, digits: Tensor, chunk: Tensor) -> None:
        """Keeps a chunk that is made, digits [B, N, K] of the chunks [B], for those that follow."""
        self._run(digits, chunk)
        self.filled += self.size

    def _run(self, known: Tensor, chunk: Tensor) -> Tensor:
        """Returns hidden states [R, N, W] of digits [B, N, K], which see each other and all that is filled."""
        x = self.model.embed_masked(known.clamp_min(0), (known < 0).any(-1))
        x = x.to(self.bias.dtype).repeat_interleave(self.count, 0)
        positions = self.first + chunk[:, None] * self.size + torch.arange(self.size, device=chunk.device)
        turns = self.turns[positions].repeat_interleave(self.count, 0)
        end = self.filled + self.size
        self.bias[..., self.filled : end] = 0.0
        # a compiled pass reads all slots, since another number of them would be compiled again
        reach = self.cache.capacity if self.model.set_pass.is_compiled else end
        self.passes += 1
        slots = self.slots[self.filled : end]
        hidden: Tensor = self.model.set_pass(
            self.weights.trunk, self.cache.part(len(x), reach), x, slots, turns, self.bias[..., :reach]
        )
        return hidden
