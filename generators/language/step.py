"""One step of sampling: from the embedding of a frame to the digits of the next one and their embedding.

Shape letters: N items, G branches of the guidance, R rows (N * G, the branches of an item in a row), K digits of a
frame, W width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.cache import SlotCache
from .draw import DigitFilter, draw_digits
from .repetition import Repetition
from .trunk import run_trunk
from .weights import StepWeights


class FixedStep(nn.Module):
    """A part of sampling that is compiled where compiling is asked for. It has no weights of its own."""

    @property
    def is_compiled(self) -> bool:
        """Whether calls are compiled, so that shapes should not change."""
        return self._compiled_call_impl is not None


class SamplingStep(FixedStep):
    """A graph of fixed shapes, without a word to the host."""

    def forward(
        self,
        weights: StepWeights,
        cache: SlotCache,
        x: Tensor,
        slot: Tensor,
        turns: Tensor,
        bias: Tensor,
        place: Tensor,
        uniform: Tensor,
        known: Tensor | None,
        filters: DigitFilter,
        guidance: Tensor | None,
        repetition: Repetition | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Draws a frame of each item.

        Args:
            weights: of the model.
            cache: of R rows, with as many slots as are read.
            x: [R, W] embeddings of the frame before.
            slot: [1] int64 of that frame in the cache.
            turns: [slots, 1, E / 2, 2] of all slots.
            bias: [1 or R, 1, 1, slots] 0 where a slot is seen and -inf elsewhere; `slot` is shown here.
            place: [W] or [R, W] added to the embedding of the drawn frame.
            uniform: [N, K] numbers in [0, 1).
            known: [N, K] digits that are given, -1 where one is to be drawn; None: all are drawn.
            filters: which digits are drawn.
            guidance: [G] weights of the branches; None: there is one.
            repetition: what was drawn lately, to which the frame is added; None: it has no effect.

        Returns:
            Digits [N, K] int64, their embeddings [R, W], and the logits [N] float32 that the frame is the last of its
            item, under the conditions as asked, where they were learned.
        """
        bias.index_fill_(3, slot, 0.0)
        turn = turns.index_select(0, slot).unsqueeze(0)
        hidden = run_trunk(weights.trunk, cache, x.unsqueeze(1), slot, turn, bias[..., : cache.capacity]).squeeze(1)
        digits, _ = draw_digits(weights.head, hidden, uniform, filters, guidance, known, repetition)
        if repetition is not None:
            repetition.keep(digits)
        embedded = F.embedding(digits + weights.first_row, weights.table).sum(1)
        if guidance is not None:
            embedded = embedded.repeat_interleave(len(guidance), 0)
        embedded = embedded + place
        if weights.end is None:
            return digits, embedded, None
        asked = hidden if guidance is None else hidden[:: len(guidance)]
        return digits, embedded, F.linear(asked, *weights.end).squeeze(-1).float()
