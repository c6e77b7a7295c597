"""A linear classifier and its cross-validation: how much a representation says about a label in plain sight.

Shape letters: N examples, F features, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

STRENGTHS = np.logspace(-4, 4, 17)  # of the penalty, per example

Array = NDArray[np.float64]


def cross_validated(features: Array, labels: Sequence[str], folds: NDArray[np.int64]) -> list[str]:
    """Predicts the label of every example by a classifier that saw the other folds alone.

    Args:
        features: [N, F].
        labels: of each example.
        folds: [N], the fold of each example.

    Returns:
        The predicted label of each example.
    """
    classes = sorted(set(labels))
    targets = np.array([[float(label == name) for name in classes] for label in labels])
    predicted = np.zeros(len(labels), dtype=np.int64)
    for fold in np.unique(folds):
        test = folds == fold
        predicted[test] = ridge_scores(features[~test], targets[~test], features[test]).argmax(1)
    return [classes[number] for number in predicted]


def majority(labels: Sequence[str], folds: NDArray[np.int64]) -> list[str]:
    """Returns for every example the most frequent label of the other folds: the accuracy of knowing nothing."""
    found = []
    for fold in folds:
        others = [label for label, other in zip(labels, folds, strict=True) if other != fold]
        found.append(max(sorted(set(others)), key=others.count))
    return found


def ridge_scores(features: Array, targets: Array, asked: Array) -> Array:
    """Fits least squares with a squared penalty to standardized features; the leave-one-out error chooses its strength.

    Args:
        features: [N, F] to fit to.
        targets: [N, K].
        asked: [M, F], of other examples.

    Returns:
        Scores [M, K] of the other examples.
    """
    mean, deviation = features.mean(0), features.std(0)
    scale = np.where(deviation > 0, deviation, 1.0)
    u, s, vt = np.linalg.svd((features - mean) / scale, full_matrices=False)
    offset = targets.mean(0)
    projected = u.T @ (targets - offset)
    strengths = STRENGTHS * len(features)
    errors = [np.square(_left_out_errors(u, s, projected, targets - offset, one)).mean() for one in strengths]
    best = strengths[int(np.argmin(errors))]
    weights = vt.T @ ((s / (s**2 + best))[:, None] * projected)
    scores: Array = (asked - mean) / scale @ weights + offset
    return scores


def _left_out_errors(u: Array, s: Array, projected: Array, targets: Array, strength: float) -> Array:
    """Errors [N, K] of each example by a fit to all others (with their mean and scale), in closed form."""
    shrink = s**2 / (s**2 + strength)
    leverage = np.square(u) @ shrink + 1 / len(u)
    errors: Array = (targets - u @ (shrink[:, None] * projected)) / (1 - leverage).clip(1e-9)[:, None]
    return errors


def make_folds(labels: Sequence[str], groups: Sequence[str] | None, num_folds: int, seed: int) -> NDArray[np.int64]:
    """Deals examples to folds, at random.

    Args:
        labels: of each example; without groups every fold gets its share of each label.
        groups: of each example, such as its speaker: a group is never in two folds; None: every example is its own.
        num_folds: how many.
        seed: of the draw.

    Returns:
        [N], the fold of each example.

    Raises:
        ValueError: fewer than 2 folds, or fewer examples or groups than folds.
    """
    kinds = len(set(groups)) if groups is not None else len(labels)
    if num_folds < 2 or kinds < num_folds:
        what = "files" if groups is None else "groups"
        raise ValueError(f"{num_folds} folds need at least 2 of them, and as many {what}: there are {kinds}")
    random = np.random.default_rng(seed)
    folds = np.zeros(len(labels), dtype=np.int64)
    if groups is None:
        order = sorted(random.permutation(len(labels)), key=lambda place: labels[place])  # stable: shuffled in a label
        folds[order] = np.arange(len(labels)) % num_folds
        return folds
    sizes = [0] * num_folds
    for name in random.permutation(sorted(set(groups))):
        members = [place for place, group in enumerate(groups) if group == name]
        fold = sizes.index(min(sizes))
        folds[members], sizes[fold] = fold, sizes[fold] + len(members)
    return folds
