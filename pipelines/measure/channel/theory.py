"""The effect of a binary symmetric channel on tokens, in closed form: exact, for any levels and labelling.

Shape letters: L levels of a digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ....layers.bits import entry_bits
from .channel import check_probability
from .labelling import Code, codeword_bits, read_words

MAX_BITS = 12  # of a word whose transition matrix is written out


@dataclass(frozen=True, kw_only=True)
class ChannelFigures:
    """Statistics of received tokens, as means over digits; a level is a step of one."""

    token_intact: float  # share of tokens that arrive as they were sent
    digit_intact: float  # share of digits that do
    digit_within_one: float  # share of digits that arrive at most one level off
    digit_rms: float  # root mean square shift of a digit, in levels


def transition_matrix(num_levels: int, code: Code, p: float) -> Tensor:
    """Returns the probability that a level arrives as another one.

    Args:
        num_levels: L; words without a level are read as by `labelling.read_words`.
        code: natural or gray.
        p: probability that a bit flips.

    Returns:
        [L sent, L received] float64.

    Raises:
        ValueError: p outside [0, 1], or a word of more than 12 bits.
    """
    check_probability(p)
    width = entry_bits(num_levels)
    if width > MAX_BITS:
        raise ValueError(f"{num_levels} levels take {width} bits: matrices are written out up to {MAX_BITS} bits")
    sent = codeword_bits(num_levels, code)
    words = codeword_bits(2**width, "natural")
    flips = (sent[:, None] ^ words[None]).sum(-1).double()  # [L, 2 ** width]
    chance = p**flips * (1 - p) ** (width - flips)
    received = torch.zeros(num_levels, num_levels, dtype=torch.float64)
    return received.index_add(1, read_words(width, num_levels, code), chance)


def channel_figures(
    levels: Sequence[Sequence[int]], code: Code, p: float, usage: Sequence[Tensor] | None = None
) -> ChannelFigures:
    """Returns the figures of the tokens of an FSQ tokenizer behind a binary symmetric channel.

    Eight digits of four levels in natural binary, used uniformly, give the table of bit flips of NeuCodec
    (arXiv 2509.09550): tokens (1 - P) ** 16, digits (1 - P) ** 2, within one level (1 - P) + P ** 2 / 2.

    Args:
        levels: of each codebook's digits, as in `TokenizerSpec.levels`.
        code: natural or gray.
        p: probability that a bit flips.
        usage: how often each level of each digit is sent [L], in the order of `levels`; by default all alike. The
            digits of a token are assumed to be independent.

    Raises:
        ValueError: see `transition_matrix`; or a labelling without digits.
    """
    if code == "index":
        raise ValueError("labelling 'index' has no digits of its own: choose natural or gray")
    sizes = [size for book in levels for size in book]
    shares = [_share(size, None if usage is None else usage[k]) for k, size in enumerate(sizes)]
    intact, near, square = [], [], []
    for size, share in zip(sizes, shares, strict=True):
        joint = transition_matrix(size, code, p) * share[:, None]
        shift = (torch.arange(size)[:, None] - torch.arange(size)).abs()
        intact.append(float(joint.diagonal().sum()))
        near.append(float(joint[shift <= 1].sum()))
        square.append(float((joint * shift.square()).sum()))
    tokens = torch.tensor(intact, dtype=torch.float64).split([len(book) for book in levels])
    return ChannelFigures(
        token_intact=sum(float(book.prod()) for book in tokens) / len(levels),
        digit_intact=sum(intact) / len(sizes),
        digit_within_one=sum(near) / len(sizes),
        digit_rms=(sum(square) / len(sizes)) ** 0.5,
    )


def _share(size: int, usage: Tensor | None) -> Tensor:
    if usage is None:
        return torch.full((size,), 1 / size, dtype=torch.float64)
    if usage.shape != (size,) or float(usage.sum()) <= 0 or float(usage.min()) < 0:
        raise ValueError(f"usage of {size} levels must be as many numbers of at least 0, not all 0; got {usage}")
    return usage.double() / usage.double().sum()
