"""Classifier-free guidance as a weighted sum of what a generator gives under several conditions.

Ho and Salimans (arXiv 2207.12598) compare the conditions as asked with none at all; a negative prompt takes the place
of "none". A scale s_i of one condition alone weighs the difference that this condition makes to the others, as in
InstructPix2Pix (Brooks et al., arXiv 2211.09800, equation 3): with v(c) as asked, v(c - i) without condition i, and s
the scale of all,

    v(0) + s (v(c) - v(0)) + sum_i (s_i - s) (v(c) - v(c - i)).

Shape letters: B batch, K branches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ...core.config import nearest_hint
from ..base import SamplingConfig
from ..conditioning import ConditionEncoder, EncodedConditions
from ..conditions import Conditions

TEXT = "text"  # the condition that a negative prompt is a value of


@dataclass(frozen=True, kw_only=True)
class GuidanceBranches:
    """The conditions that a generator is run with, and how much each run counts."""

    encoded: EncodedConditions  # of K * B items: of all as asked, then of all in each further branch
    weights: tuple[float, ...]  # K, adding up to 1

    @property
    def is_guided(self) -> bool:
        """Whether there is a branch in addition to the conditions as asked."""
        return len(self.weights) > 1


def guidance_branches(encoder: ConditionEncoder, conditions: Conditions, sampling: SamplingConfig) -> GuidanceBranches:
    """Encodes the conditions of all runs that the guidance needs.

    Args:
        encoder: of the generator.
        conditions: of B items, as asked.
        sampling: its scales and negative prompt.

    Returns:
        The branches; just the conditions as asked where the guidance is off.

    Raises:
        ValueError: a scale of a condition that the generator does not have, or a negative prompt without text.
    """
    scale, size = sampling.guidance_scale, len(conditions)
    if unknown := [name for name in sampling.guidance_scales if name not in encoder.conditioners]:
        hint = nearest_hint(unknown[0], encoder.conditioners)
        raise ValueError(f"guidance_scales: the generator has no condition {unknown[0]!r}: {hint}")
    if sampling.negative_prompt and TEXT not in encoder.conditioners:
        raise ValueError("this generator was made without text: leave the negative prompt out")
    negative = conditions.replaced(**{TEXT: [sampling.negative_prompt] * size}) if sampling.negative_prompt else None
    # prepared together, so that the tokens of all branches have one length
    prepared = encoder.prepare(conditions if negative is None else conditions.followed_by(negative))
    asked, everything = prepared.rows(slice(size)), torch.ones(size, dtype=torch.bool)
    branches: list[EncodedConditions] = [encoder(asked)]
    weights = [scale]
    if scale != 1.0 or negative is not None:
        branches.append(encoder.null(asked) if negative is None else encoder(prepared.rows(slice(size, None))))
        weights.append(1.0 - scale)
    for name, own in sampling.guidance_scales.items():
        more = own - scale
        weights[0] += more
        if name == TEXT and negative is not None:
            weights[1] -= more  # without the prompt there is the negative one
        elif more:
            branches.append(encoder(asked, {name: everything}))
            weights.append(-more)
    encoded = branches[0]
    for branch in branches[1:]:
        encoded = encoded.followed_by(branch)
    return GuidanceBranches(encoded=encoded, weights=tuple(weights))
