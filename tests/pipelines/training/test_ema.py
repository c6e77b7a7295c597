"""Averaged weights."""

from typing import Any

import torch
from torch import nn

from latentune.pipelines.training.ema import AveragedModel


def test_averaged_weights_follow_the_formula() -> None:
    model: Any = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    averaged = AveragedModel(model, 0.5)
    expected = [p.detach().clone() for p in model.parameters()]
    for number in range(12):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1.0)
        averaged.update(model, number)
        decay = min(0.5, (1 + number) / (10 + number))
        expected = [decay * e + (1 - decay) * p.detach() for e, p in zip(expected, model.parameters(), strict=True)]
    for average, value in zip(averaged.model.parameters(), expected, strict=True):
        torch.testing.assert_close(average, value)
        assert not average.requires_grad
