"""Diffusion transformers over continuous latents."""

from .adversarial import AdversarialFlowConfig, AdversarialFlowObjective
from .config import DiffusionTransformerConfig
from .dit import DiffusionTransformer
from .mean_flow import MeanFlowConfig, MeanFlowObjective
from .objective import RectifiedFlowConfig, RectifiedFlowObjective

__all__ = [
    "AdversarialFlowConfig",
    "AdversarialFlowObjective",
    "DiffusionTransformer",
    "DiffusionTransformerConfig",
    "MeanFlowConfig",
    "MeanFlowObjective",
    "RectifiedFlowConfig",
    "RectifiedFlowObjective",
]
