"""Which noise goes with which example. Shape letters: B batch, T latent frames, D latent width."""

from __future__ import annotations

import torch
from torch import Tensor


def pair_optimally(clean: Tensor, noise: Tensor, mask: Tensor) -> Tensor:
    """Returns the noise [B, T, D] in the order that lies nearest to the examples of a batch.

    The pairs have the least sum of squared distances, an optimal transport between both (Tong et al., arXiv 2302.00482;
    Pooladian et al., arXiv 2304.14772), which makes the paths of a flow straighter. It is optimal within the part of a
    batch that a process sees at once.

    Args:
        clean: [B, T, D] examples.
        noise: [B, T, D].
        mask: [B, T] bool, True where a frame is real; only these count.
    """
    from scipy.optimize import linear_sum_assignment

    real = mask.unsqueeze(-1).float()
    examples, draws = (clean * real).flatten(1).double(), noise.flatten(1).double()
    # of |x - n|^2, the part |x|^2 is the same for every noise
    cost = mask.double() @ noise.double().square().sum(-1).T - 2.0 * examples @ draws.T  # [B, B]
    _, order = linear_sum_assignment(cost.cpu().numpy())
    return noise[torch.from_numpy(order).to(noise.device)]
