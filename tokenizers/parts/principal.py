"""Principal components, from which a bottleneck starts.

Shape letters: M frames of all examples, F features of a frame, D latent width.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_VARIANCE = 1e-6  # components of less variance are not amplified further


def whitening_projection(features: Tensor, latent_dim: int, deviation: float) -> Tensor:
    """Returns the projection [F, D] float64 to the first principal components, each of the same standard deviation.

    Args:
        features: [M, F] with any mean, which is not part of the projection.
        latent_dim: D, at most F.
        deviation: standard deviation of each component.
    """
    centred = (features - features.mean(0)).double()
    variances, directions = torch.linalg.eigh(centred.mT @ centred / len(centred))  # in ascending order
    kept = slice(features.shape[1] - latent_dim, None)
    chosen = directions[:, kept].flip(-1)
    chosen = chosen * torch.where(chosen.sum(0) < 0, -1.0, 1.0)  # the sign of an eigenvector is arbitrary
    projection: Tensor = chosen / variances[kept].flip(-1).clamp_min(LEAST_VARIANCE).sqrt() * deviation
    return projection
