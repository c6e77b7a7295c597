"""Weights of a saved model in a model of another config: more labels, a longer context, another condition."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from ...core.configured import ConfiguredModel
from ...core.job_log import job_logger
from ...core.weights import describe_keys
from ...generators.base import LatentGenerator


@torch.no_grad()
def adopt(model: ConfiguredModel, saved: ConfiguredModel) -> ConfiguredModel:
    """Sets the weights of `model` to those of `saved` that have the same name and shape, and logs what is new.

    Conditioners take over more: a label keeps its vector wherever it stands in the list.

    Args:
        model: with random weights.
        saved: of the same class, with another config.

    Returns:
        The model.
    """
    target, source = (cast(nn.Module, network).state_dict() for network in (model, saved))
    taken = {name: value for name, value in source.items() if name in target and target[name].shape == value.shape}
    cast(nn.Module, model).load_state_dict(taken, strict=False)
    if isinstance(model, LatentGenerator) and isinstance(saved, LatentGenerator):
        taken.update(dict.fromkeys(_adopted_conditions(model, saved)))
    job_logger.info(
        "weights taken: %d of %d; %s; %s",
        len(taken),
        len(target),
        describe_keys("new, at random:", sorted(set(target) - set(taken))),
        describe_keys("without a place:", sorted(set(source) - set(taken))),
    )
    return model


def _adopted_conditions(model: Any, saved: Any) -> list[str]:
    """Hands each conditioner the one of the same name and class; returns the names of the weights that it filled."""
    adopted = []
    for name, part in model.condition_encoder.conditioners.items():
        before = saved.condition_encoder.conditioners.get(name)
        if type(before) is type(part):
            adopted += [f"condition_encoder.parts.{name}.{weight}" for weight in part.adopt(before)]
    return adopted
