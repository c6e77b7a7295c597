"""Rectified-flow diffusion transformers over continuous latents."""

from .dit import DiffusionTransformer, DiffusionTransformerConfig
from .objective import RectifiedFlowConfig, RectifiedFlowObjective

__all__ = ["DiffusionTransformer", "DiffusionTransformerConfig", "RectifiedFlowConfig", "RectifiedFlowObjective"]
