"""Losses between a codec and its critic. Shape letters: B batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class CriticOutput(NamedTuple):
    """The output of one of a critic's networks for a batch."""

    logits: Tensor  # [B, ...] high for real audio
    features: list[Tensor]  # [B, ...] of each layer, outermost first


def split_output(outputs: Sequence[CriticOutput], size: int) -> tuple[list[CriticOutput], list[CriticOutput]]:
    """Splits the outputs of a joint batch into those of the first `size` items and those of the others."""
    first = [CriticOutput(one.logits[:size], [f[:size] for f in one.features]) for one in outputs]
    return first, [CriticOutput(one.logits[size:], [f[size:] for f in one.features]) for one in outputs]


def mean_logit(outputs: Sequence[CriticOutput]) -> Tensor:
    """Returns the mean over the networks of each one's mean logit."""
    return torch.stack([one.logits.float().mean() for one in outputs]).mean()


def hinge_critic_loss(real: Sequence[CriticOutput], fake: Sequence[CriticOutput]) -> Tensor:
    """Returns the mean over the networks of mean(relu(1 - real logits)) + mean(relu(1 + fake logits))."""
    losses = [
        torch.relu(1.0 - r.logits.float()).mean() + torch.relu(1.0 + f.logits.float()).mean()
        for r, f in zip(real, fake, strict=True)
    ]
    return torch.stack(losses).mean()


def hinge_model_loss(fake: Sequence[CriticOutput]) -> Tensor:
    """Returns the loss that makes a codec's output look real to the critic: minus the mean logit."""
    return -mean_logit(fake)


def feature_matching(
    real: Sequence[CriticOutput], fake: Sequence[CriticOutput], *, normalise: bool = True, eps: float = 0.0
) -> Tensor:
    """Returns the distance of a critic's features of real and fake audio, averaged over its networks and their layers.

    Args:
        real: outputs for real audio.
        fake: outputs for the codec's audio.
        normalise: divide each layer's mean |real - fake| by its mean |real|, both over the whole batch (arXiv
            2411.19842, eq. 7): all layers then have the same weight, whatever their scale.
        eps: added to that denominator; 0 in the paper, 1e-3 in Stable Codec's released code.

    Returns:
        A scalar.
    """
    distances = []
    for r, f in zip(real, fake, strict=True):
        for real_layer, fake_layer in zip(r.features, f.features, strict=True):
            target = real_layer.detach().float()
            distance = (fake_layer.float() - target).abs().mean()
            distances.append(distance / (target.abs().mean() + eps) if normalise else distance)
    return torch.stack(distances).mean()


def squared_critic_loss(real: Sequence[CriticOutput], fake: Sequence[CriticOutput]) -> Tensor:
    """Returns the least-squares loss (arXiv 1611.04076), averaged over the networks.

    It is mean((1 - real logits)^2) + mean(fake logits^2).
    """
    losses = [
        (1.0 - r.logits.float()).square().mean() + f.logits.float().square().mean()
        for r, f in zip(real, fake, strict=True)
    ]
    return torch.stack(losses).mean()


def squared_model_loss(fake: Sequence[CriticOutput]) -> Tensor:
    """Returns the loss that makes output look real: the mean over the networks of mean((1 - fake logits)^2)."""
    return torch.stack([(1.0 - one.logits.float()).square().mean() for one in fake]).mean()
