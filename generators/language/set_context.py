"""The chunks that have been made, which the passes over the next one see.

Shape letters: B batch, G branches of the guidance, R rows (B * G, the branches of an item in a row), N tokens of a
chunk, K digits of a frame, W width, P positions of the conditions before the sequence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ...layers.cache import SlotCache
from ..conditions import Conditions
from ..parts.guidance import guidance_branches
from .context import item_by_item
from .draw import DigitFilter, draw_digits
from .objective import frame_nats
from .step import StepWeights
from .trunk import rotary_turns, run_trunk

if TYPE_CHECKING:
    from .set_lm import TokenSetLM
    from .set_sampling import SetSampling


class SetContext:
    """Keys and values of conditions, BOS and the chunks so far, in the order in which they were made.

    Args:
        model: the language model, whose weights are copied.
        conditions: of B items.
        options: of the sampler.
        num_chunks: of the longest item.
    """

    def __init__(self, model: TokenSetLM, conditions: Conditions, options: SetSampling, num_chunks: int):
        self.model, self.weights, settings = model, StepWeights.of(model), model.settings
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
        self.bias = start.new_zeros(len(start), 1, 1, capacity)  # also those of the chunk in the making see each other
        if mask is not None:
            hidden = F.pad(~item_by_item(mask, count), (0, capacity - self.first), value=False)
            self.bias.masked_fill_(hidden[:, None, None], -torch.inf)
        self.passes = 0  # of the network
        self.filled = 0
        self._run(start, self.turns[: self.first].unsqueeze(0))
        self.filled = self.first

    def draw(self, known: Tensor, chunk: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Draws all unknown tokens of a chunk, each without the others.

        Args:
            known: [B, N, K] digits, -1 where one is unknown.
            chunk: [B] number of the chunk of each item.
            uniform: [B, N, K] numbers in [0, 1).

        Returns:
            Digits [B, N, K] and their log-likelihood [B, N].
        """
        hidden = self._run(self._embed(known), self._turns_of(chunk))  # [R, N, W]
        per_frame = hidden.unflatten(0, (-1, self.count)).transpose(1, 2).flatten(0, 2)  # branches of a frame in a row
        digits = draw_digits(
            self.weights.head, per_frame, uniform.flatten(0, 1), self.filters, self.guidance, known.flatten(0, 1)
        )
        repeated = digits.repeat_interleave(self.count, 0)
        logits = self.model.head(per_frame, repeated)
        if self.guidance is not None:
            branches = torch.log_softmax(logits, -1).unflatten(0, (-1, self.count))
            logits = (branches * self.guidance[:, None, None]).sum(1)
        sure = -frame_nats(logits, digits)
        return digits.view_as(known), sure.view(known.shape[:2])

    def write(self, digits: Tensor, chunk: Tensor) -> None:
        """Keeps a chunk that is made, digits [B, N, K] of the chunks [B], for those that follow."""
        self._run(self._embed(digits), self._turns_of(chunk))
        self.filled += self.size

    def _embed(self, known: Tensor) -> Tensor:
        x = self.model.embed_masked(known.clamp_min(0), (known < 0).any(-1))
        return x.to(self.bias.dtype).repeat_interleave(self.count, 0)

    def _turns_of(self, chunk: Tensor) -> Tensor:
        positions = self.first + chunk[:, None] * self.size + torch.arange(self.size, device=chunk.device)
        return self.turns[positions].repeat_interleave(self.count, 0)

    def _run(self, x: Tensor, turns: Tensor) -> Tensor:
        """Returns hidden states [R, n, W] of positions that see each other and all that is filled."""
        end = self.filled + x.shape[1]
        self.passes += 1
        return run_trunk(self.weights.trunk, self.cache, x, self.slots[self.filled : end], turns, self.bias[..., :end])
