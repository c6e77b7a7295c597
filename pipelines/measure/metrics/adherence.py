"""Prompt adherence: the CLAP score of audio against its prompt, or the similarity of audio to a reference recording.

The score of a pair is a cosine. A cosine alone says little (CLAP's own scale differs from checkpoint to checkpoint), so
every score comes with a baseline: the same audio against another pair's prompt, fixed by a derangement. The difference
of the two, and how often the own prompt wins, can be read without knowing the scale.
Shape letters: n pairs, W windows, D embedding width.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, kw_only=True)
class AdherenceResult:
    """Scores of n pairs and their baseline."""

    mean: float  # of `scores`
    std: float  # of `scores`, with n - 1; 0 for one pair
    negatives_mean: float | None  # of `negatives` that exist; None where no pair has another prompt to compare with
    margin: float | None  # mean of score minus negative, over pairs that have both
    win_rate: float | None  # share of those whose own prompt scores higher; a draw is half a win; chance gives 0.5
    num_pairs: int
    num_negatives: int  # pairs that have a mismatched prompt
    scores: tuple[float, ...]  # in [-1, 1], in order of the pairs
    negatives: tuple[float | None, ...]  # the same audio with another pair's prompt


def adherence(
    embeddings: Sequence[ArrayLike], targets: Sequence[ArrayLike], *, keys: Sequence[Hashable] | None = None
) -> AdherenceResult:
    """Scores audio against what it should be like: the mean over windows of the cosine of window and target.

    Args:
        embeddings: of the windows of each pair's audio, [W, D] each.
        targets: what each pair's audio is compared with, [D] each: a prompt's embedding, or the mean of a recording's.
        keys: pairs with one key have the same target, such as the prompt; by default all are different. Where keys
            occur more than once the baseline depends on the order of pairs; nothing else does.

    Returns:
        The scores, and those of each pair's audio with the target of another key.

    Raises:
        ValueError: no pairs, or lists of different lengths.
    """
    keys = range(len(targets)) if keys is None else keys
    if not targets or not len(embeddings) == len(targets) == len(keys):
        raise ValueError(f"need pairs to score, got {len(embeddings)} audio and {len(targets)} targets")
    others = derangement(keys)
    scores = [mean_cosine(x, y) for x, y in zip(embeddings, targets, strict=True)]
    negatives = [None if k is None else mean_cosine(x, targets[k]) for x, k in zip(embeddings, others, strict=True)]
    both = np.array([(s, n) for s, n in zip(scores, negatives, strict=True) if n is not None]).reshape(-1, 2)
    own, other = both.T
    return AdherenceResult(
        mean=float(np.mean(scores)),
        std=float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0,
        negatives_mean=float(other.mean()) if len(both) else None,
        margin=float((own - other).mean()) if len(both) else None,
        win_rate=float(((own > other) + 0.5 * (own == other)).mean()) if len(both) else None,
        num_pairs=len(scores),
        num_negatives=len(both),
        scores=tuple(scores),
        negatives=tuple(negatives),
    )


def mean_cosine(embeddings: ArrayLike, target: ArrayLike) -> float:
    """Mean over windows [W, D] of the cosine with `target` [D], in float64; a vector of zeros has cosine 0."""
    x, y = np.asarray(embeddings, np.float64), np.asarray(target, np.float64)
    lengths = np.linalg.norm(x, axis=-1) * np.linalg.norm(y)
    cosines = np.divide(x @ y, lengths, out=np.zeros(len(x)), where=lengths > 0)
    return float(np.clip(cosines, -1.0, 1.0).mean())


def derangement(keys: Sequence[Hashable]) -> list[int | None]:
    """For each of n keys the index of a pair with another key, every index at most once; None where there is none.

    Pairs are sorted by key and turned by the size of the largest group of equal keys. That gives every pair another key
    unless one key has more than half of all pairs; then those that would meet their own key have none.
    """
    order = sorted(range(len(keys)), key=lambda index: (str(keys[index]), index))
    groups: dict[Hashable, int] = {}
    for key in keys:
        groups[key] = groups.get(key, 0) + 1
    turn = max(groups.values(), default=0)
    partners: list[int | None] = [None] * len(keys)
    for place, index in enumerate(order):
        other = order[(place + turn) % len(order)]
        partners[index] = None if keys[other] == keys[index] else other
    return partners
