"""Weights to start training from."""

from __future__ import annotations

import torch
from torch import nn

SPEECH_GAIN = 5.0  # of the first layer of an encoder: speech has about a fifth of the deviation that others expect
BRANCH_GAIN = 0.3  # of the last layer of a residual branch, so that a stack of them grows slowly


@torch.no_grad()
def keep_variance_(layer: nn.Conv1d | nn.Linear, gain: float = 1.0) -> None:
    """Draws weights with which the output deviates `gain` times as much as the input, and sets the bias to 0.

    PyTorch's default divides the deviation by 1.7 in every layer and adds a bias that does not shrink: after a deep
    stack the signal is only a small part of the output.
    """
    fan_in = layer.weight[0].numel()
    layer.weight.normal_(std=gain * fan_in**-0.5)
    if layer.bias is not None:
        layer.bias.zero_()
