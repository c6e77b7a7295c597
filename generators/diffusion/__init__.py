"""Rectified-flow and mean-flow diffusion transformers over continuous latents."""

from .dit import DiffusionTransformer, DiffusionTransformerConfig
from .mean_flow import MeanFlowConfig, MeanFlowObjective
from .objective import RectifiedFlowConfig, RectifiedFlowObjective

__all__ = [
    "DiffusionTransformer",
    "DiffusionTransformerConfig",
    "MeanFlowConfig",
    "MeanFlowObjective",
    "RectifiedFlowConfig",
    "RectifiedFlowObjective",
]
