"""Drawing the digits of a frame from hidden states, one after the other, with guidance.

Shape letters: N frames, G branches of the guidance, W width, D width of the digit head, K digits of a frame, L most
levels of a digit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .digits import IMPOSSIBLE, DigitHead
from .repetition import Repetition
from .trunk import input_first, unit

if TYPE_CHECKING:
    from .sampling import DigitSampling

BELOW_ONE = 1.0 - 2**-20  # a uniform number times a sum of probabilities stays below that sum, in float32


class DigitFilter(NamedTuple):
    """Which digits are drawn, as tensors: another value of an option does not compile the step again."""

    temperature: Tensor  # []
    top_p: Tensor | None  # []; None, as the others then: no filter is on
    top_k: Tensor | None  # []
    min_p: Tensor | None  # []

    @classmethod
    def of(cls, options: DigitSampling, like: Tensor) -> DigitFilter:
        """Returns the filter of these options, on the device of `like`."""

        def number(value: float) -> Tensor:
            return torch.tensor(value, dtype=torch.float32, device=like.device)

        if options.temperature == 0:  # the likeliest digit
            return cls(number(1.0), number(2.0), number(1.0), number(0.0))
        if options.top_p == 1 and options.top_k is None and options.min_p == 0:
            return cls(number(options.temperature), None, None, None)
        top_k = math.inf if options.top_k is None else float(options.top_k)
        top_p = 2.0 if options.top_p == 1 else options.top_p
        return cls(number(options.temperature), number(top_p), number(top_k), number(options.min_p))


class HeadWeights(NamedTuple):
    """A `DigitHead` for drawing: gains multiplied into matrices, which are stored input first, one entry per digit."""

    from_hidden: Tensor  # [W, D]
    from_hidden_bias: Tensor  # [D], the vector of the first place included
    earlier: tuple[Tensor, ...]  # [levels, D] of each digit but the last, the step to the next place included
    up: Tensor  # [D, 4 D]
    up_bias: Tensor  # [4 D]
    down: Tensor  # [4 D, D]
    down_bias: Tensor  # [D]
    out: tuple[Tensor, ...]  # [D, L] float32
    out_bias: tuple[Tensor, ...]  # [L] float32, impossible levels included
    floor: Tensor  # [] of the norms: sqrt(eps * D)


@torch.no_grad()
def head_weights(head: DigitHead) -> HeadWeights:
    """Returns the weights of a head as `draw_digits` takes them: copies, valid until the head is changed."""
    layers: Any = head.network
    norm, up, _, down = layers
    width = up.in_features
    scale = width**0.5
    weight = head.weight
    absent = head.bias.float().masked_fill(head.absent, IMPOSSIBLE)
    earlier = head.earlier.table.weight.split(list(head.levels))
    hidden_size = head.from_hidden.in_features
    return HeadWeights(
        from_hidden=input_first(head.from_hidden, hidden_size, up.weight).contiguous(),
        from_hidden_bias=head.from_hidden.bias + head.place[0],
        earlier=tuple(part + step for part, step in zip(earlier[:-1], head.place.diff(dim=0), strict=True)),
        up=((norm.weight * scale)[:, None] * input_first(up, width, up.weight)).contiguous(),
        up_bias=up.bias.clone(),
        down=input_first(down, 4 * width, up.weight).contiguous(),
        down_bias=down.bias.clone(),
        out=tuple((head.norm.weight * scale)[:, None].float() * weight.float()),
        out_bias=tuple(absent),
        floor=up.weight.new_full((), (norm.eps * width) ** 0.5),
    )


def draw_digits(
    head: HeadWeights,
    hidden: Tensor,
    uniform: Tensor,
    filters: DigitFilter,
    guidance: Tensor | None,
    known: Tensor | None = None,
    repetition: Repetition | None = None,
) -> tuple[Tensor, Tensor]:
    """Draws the digits of frames.

    Args:
        head: of the language model.
        hidden: [N * G, W] hidden states, the G branches of a frame in a row.
        uniform: [N, K] numbers in [0, 1).
        filters: which digits are drawn.
        guidance: [G] weights of the branches; None: there is one.
        known: [N, K] digits that are given, -1 where one is to be drawn; None: all are drawn.
        repetition: what was drawn lately; None: it has no effect.

    Returns:
        Digits [N, K] int64, and the logits [N, K, L] float32 that each was drawn from, before temperature and filters.
    """
    state = torch.addmm(head.from_hidden_bias, hidden, head.from_hidden)
    numbers = uniform.clamp_max(BELOW_ONE).unbind(1)
    free = None if known is None else known < 0
    drawn: list[Tensor] = []
    scores: list[Tensor] = []
    for k, (out, out_bias) in enumerate(zip(head.out, head.out_bias, strict=True)):
        inner = F.silu(torch.addmm(head.up_bias, unit(state, head.floor), head.up))
        x = state + torch.addmm(head.down_bias, inner, head.down)
        logits = torch.addmm(out_bias, unit(x, head.floor).float(), out)
        if guidance is not None:
            branches = torch.log_softmax(logits, -1).unflatten(0, (-1, len(guidance)))  # [N, G, L]
            logits = (branches * guidance[:, None]).sum(1)
        cost = None if repetition is None else repetition.nats(drawn, logits.shape[-1])
        logits = logits if cost is None else logits - cost
        digit = draw_digit(logits, numbers[k], filters)
        if known is not None and free is not None:
            digit = torch.where(free[:, k], digit, known[:, k])
        drawn.append(digit)
        scores.append(logits)
        if k < len(head.earlier):
            earlier = F.embedding(digit, head.earlier[k])
            state = state + (earlier if guidance is None else earlier.repeat_interleave(len(guidance), 0))
    return torch.stack(drawn, -1), torch.stack(scores, 1)


def draw_digit(logits: Tensor, uniform: Tensor, filters: DigitFilter) -> Tensor:
    """Draws digits by inversion of the filtered distribution, which lets the caller draw all randomness beforehand.

    Args:
        logits: [N, L] float32.
        uniform: [N] numbers of at most `BELOW_ONE`, one per frame.
        filters: temperature, `top_k`, `top_p` and `min_p`.

    Returns:
        Digits [N] int64.
    """
    ordered, levels = logits.sort(dim=-1, descending=True, stable=True)
    p = torch.softmax(ordered / filters.temperature, -1)
    if filters.top_p is not None and filters.top_k is not None and filters.min_p is not None:
        likely = (p.cumsum(-1) - p < filters.top_p) & (p >= filters.min_p * p[:, :1])
        p = p * (likely & (torch.arange(p.shape[-1], device=p.device) < filters.top_k))
    cumulative = p.cumsum(-1)
    target = uniform.unsqueeze(-1) * cumulative[:, -1:]
    place = (cumulative <= target).sum(-1, keepdim=True)
    return levels.gather(-1, place).squeeze(-1)
