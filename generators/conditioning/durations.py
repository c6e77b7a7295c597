"""How long a transcript lasts: a sum of seconds per symbol, fitted to the items of a dataset.

Shape letters: N items, A symbols of an alphabet.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FOLDS = 5  # of the cross-validation
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)  # of a symbol's departure from the mean, in squared occurrences
LEAST_S = 0.1  # of any text
DECIMALS = 6  # of what is saved


@dataclass(frozen=True, kw_only=True)
class DurationModel:
    """Seconds of a transcript: an offset, and for each symbol what it adds."""

    condition: str  # whose symbols these are
    symbol_s: dict[str, float]  # of each symbol that occurred
    other_s: float  # of any other symbol
    offset_s: float
    error_s: float | None = None  # mean absolute error of items that were held out; None: too few to tell

    def seconds_of(self, symbols: str, speed: float = 1.0) -> float:
        """Returns the seconds of a text.

        Args:
            symbols: of the text, as its conditioner reads them.
            speed: 2 is twice as fast.

        Raises:
            ValueError: a speed that is not a positive number.
        """
        if not (math.isfinite(speed) and speed > 0):
            raise ValueError(f"speed must be above 0, got {speed}: 1 is the pace of the training data")
        seconds = self.offset_s + sum(self.symbol_s.get(symbol, self.other_s) for symbol in symbols)
        return max(seconds, LEAST_S) / speed


def fit_durations(condition: str, texts: Sequence[str], seconds: Sequence[float]) -> DurationModel | None:
    """Fits a model to texts and their durations, by ridge regression towards equally long symbols.

    The penalty is that of the least cross-validated error. Nothing is random.

    Args:
        condition: whose symbols the texts consist of.
        texts: [N] symbols of each item; those of items without a text are empty, and left out.
        seconds: [N] their durations.

    Returns:
        The model; None if no item has a text.
    """
    kept = [(text, length_s) for text, length_s in zip(texts, seconds, strict=True) if text]
    if not kept:
        return None
    symbols = sorted(set().union(*(text for text, _ in kept)))
    place = {symbol: number for number, symbol in enumerate(symbols)}
    counts = np.zeros((len(kept), len(symbols)))
    for row, (text, _) in zip(counts, kept, strict=True):
        for symbol, count in Counter(text).items():
            row[place[symbol]] = count
    lengths_s = np.array([length_s for _, length_s in kept])
    penalty, error_s = _best_penalty(counts, lengths_s)
    mean_s, offset_s, more_s = _solve(counts, lengths_s, penalty)
    return DurationModel(
        condition=condition,
        symbol_s={symbol: round(mean_s + more_s[place[symbol]], DECIMALS) for symbol in symbols},
        other_s=round(mean_s, DECIMALS),
        offset_s=round(offset_s, DECIMALS),
        error_s=None if error_s is None else round(error_s, DECIMALS),
    )


def _best_penalty(counts: np.ndarray, lengths_s: np.ndarray) -> tuple[float, float | None]:
    """Returns the penalty with the least mean absolute error of held-out items, and that error."""
    if len(counts) < 2 * FOLDS:
        return PENALTIES[-1], None
    fold = np.arange(len(counts)) % FOLDS
    errors = {}
    for penalty in PENALTIES:
        found = []
        for held_out in range(FOLDS):
            mine = fold == held_out
            mean_s, offset_s, more_s = _solve(counts[~mine], lengths_s[~mine], penalty)
            made_s = offset_s + counts[mine] @ (mean_s + more_s)
            found.append(np.abs(np.maximum(made_s, LEAST_S) - lengths_s[mine]))
        errors[penalty] = float(np.concatenate(found).mean())
    best = min(errors, key=lambda penalty: (errors[penalty], penalty))
    return best, errors[best]


def _solve(counts: np.ndarray, lengths_s: np.ndarray, penalty: float) -> tuple[float, float, np.ndarray]:
    """Returns the seconds of a mean symbol, the offset, and what each symbol adds to the mean.

    Args:
        counts: [N, A] occurrences.
        lengths_s: [N].
        penalty: of the squares of what symbols add.
    """
    plain = np.stack([counts.sum(1), np.ones(len(counts))], 1)
    (mean_s, offset_s), *_ = np.linalg.lstsq(plain, lengths_s, rcond=None)
    features = np.concatenate([counts, np.ones((len(counts), 1))], 1)
    weight = np.full(features.shape[1], penalty)
    weight[-1] = 1e-6  # the offset is free
    rest_s = lengths_s - plain @ (mean_s, offset_s)
    more_s = np.linalg.solve(features.T @ features + np.diag(weight), features.T @ rest_s)
    return float(mean_s), float(offset_s + more_s[-1]), more_s[:-1]
