"""Control of repetitions: digits and tokens that were drawn lately become less likely.

Shape letters: N items, M token frames that are remembered, K digits of a token frame, L most levels of a digit, C token
frames of a patch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .sampling import TokenSampling

BLOCK = 64  # frames: a window is rounded up to whole blocks, so that another one rarely compiles the step again


class Repetition(NamedTuple):
    """The last token frames, and what each time costs that something occurred in them.

    A level of a digit that occurred n times has its probability divided by `repetition_penalty` n times, before the
    digit's probabilities are made to add up to 1 again. Of `digit`s, each level counts alone. Of `token`s, only the
    last digit of a codebook has a cost, and what counts are the tokens that the level would complete.
    """

    recent: Tensor  # [N, M, K] int64 digits, the oldest first; -1 where there was no frame
    cost: Tensor  # [M] in nats; 0 before the window
    begins: tuple[int | None, ...]  # of each of the K digits: where that begins which counts; None: it has no cost

    @classmethod
    def of(cls, options: TokenSampling, levels: Sequence[Sequence[int]], past: Tensor) -> Repetition | None:
        """Returns that of these options, None where it is off.

        Args:
            options: of the sampler.
            levels: of the digits of each codebook.
            past: [N, n, K] digits of the frames so far.
        """
        if options.repetition_penalty == 1.0:
            return None
        most = -(-options.repetition_window // BLOCK) * BLOCK
        recent = past.new_full((len(past), most, past.shape[2]), -1)
        if count := min(most, past.shape[1]):
            recent[:, -count:] = past[:, -count:]
        cost = torch.zeros(most, device=past.device)
        cost[-options.repetition_window :] = math.log(options.repetition_penalty)
        begins: list[int | None] = []
        for sizes in levels:
            first, last = len(begins), len(begins) + len(sizes) - 1
            for digit in range(first, last + 1):
                if options.repetition_of == "digit":
                    begins.append(digit)
                else:
                    begins.append(first if digit == last else None)
        return cls(recent, cost, tuple(begins))

    def rows(self, count: int) -> Repetition:
        """Returns that of the first items, as a view."""
        return self._replace(recent=self.recent[:count])

    def nats(self, drawn: Sequence[Tensor], num_levels: int) -> Tensor | None:
        """Returns the cost [N, L] of each level of the next digit of a patch; None: it has none.

        Args:
            drawn: [N] of each digit of the patch so far.
            num_levels: L.
        """
        size = len(self.begins)
        digit = len(drawn) % size
        begin = self.begins[digit]
        if begin is None:
            return None
        seen, frame = self.recent, drawn[len(drawn) - digit :]
        if whole := drawn[: len(drawn) - digit]:  # earlier frames of the patch
            seen = torch.cat([seen, torch.stack(list(whole), 1).unflatten(1, (-1, size))], 1)[:, -seen.shape[1] :]
        cost = self.cost
        for place in range(begin, digit):
            cost = cost * (seen[:, :, place] == frame[place].unsqueeze(1))
        levels = torch.arange(num_levels, device=seen.device)
        return (cost.unsqueeze(-1) * (seen[:, :, digit, None] == levels)).sum(1)

    def keep(self, digits: Tensor) -> None:
        """Remembers the digits [N, C K] of a patch, in place."""
        frames = digits.unflatten(1, (-1, len(self.begins)))
        self.recent.copy_(torch.cat([self.recent, frames], 1)[:, -self.recent.shape[1] :])
