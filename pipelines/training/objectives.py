"""Model class -> training objective. The only place that knows which belongs to which."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from torch import nn

from ...core.config import build_config
from ...core.configured import ConfiguredModel
from ...core.objective import Objective

# model class -> (module, objective, its config)
OBJECTIVES = {
    "CoDiCodec": ("...tokenizers.codicodec.objective", "ConsistencyObjective", "ConsistencyConfig"),
    "TAAE": ("...tokenizers.taae.objective", "TAAEObjective", "TAAEObjectiveConfig"),
    "NeuCodec": ("...tokenizers.neucodec.objective", "NeuCodecObjective", "NeuCodecObjectiveConfig"),
    "DistillNeuCodec": ("...tokenizers.neucodec.objective", "NeuCodecObjective", "NeuCodecObjectiveConfig"),
    "DiffusionTransformer": ("...generators.diffusion.objective", "RectifiedFlowObjective", "RectifiedFlowConfig"),
    "TokenLM": ("...generators.language.objective", "NextTokenObjective", "NextTokenConfig"),
}


def build_objective(model: ConfiguredModel, values: dict[str, Any]) -> Objective:
    """The objective of `model`, of the config keys `values`; the model is prepared for it.

    Raises:
        ConfigError: a key that the objective does not have.
        ValueError: a model that has no objective.
    """
    name = type(model).__name__
    if name not in OBJECTIVES:
        raise ValueError(f"{name} has no training objective; these have: {', '.join(OBJECTIVES)}")
    module_name, objective_name, config_name = OBJECTIVES[name]
    module = import_module(module_name, __package__)
    config = build_config(getattr(module, config_name), values, "model.objective")
    objective: Objective = getattr(module, objective_name)(config, model.settings)
    objective.prepare(cast(nn.Module, model))
    return objective
