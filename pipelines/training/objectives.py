"""The training objective of a model, which the model's class names."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from ...core.config import build_config
from ...core.configured import ConfiguredModel
from ...core.errors import ConfigError
from ...core.objective import Objective

KIND = "kind"  # key of `model.objective` that chooses among the objectives of a class


def build_objective(model: ConfiguredModel, values: dict[str, Any]) -> Objective:
    """Builds the objective of `model` and prepares the model for it.

    Args:
        values: keys of the objective's config, and perhaps `kind`: a name in the `objectives` of the model's class, or
            `module:Class`; by default the first of the class.

    Raises:
        ConfigError: an unknown objective, or a key that it does not have.
        ValueError: a model that has no objective.
    """
    kind = values.get(KIND)
    if not isinstance(kind, (str, type(None))):
        raise ConfigError(f"model.objective.{KIND} must be a name or module:Class, got {kind!r}")
    cls = model.objective_class(kind)
    config: Any = build_config(
        cls.config_class, {key: value for key, value in values.items() if key != KIND}, "model.objective"
    )
    objective = cls(config, model.settings)
    objective.prepare(cast(nn.Module, model))
    return objective
