"""Continuous autoregression: one chunk of latents after another, each out of a small flow."""

from .model import ContinuousAR, ContinuousARConfig
from .objective import ChunkFlowConfig, ChunkFlowObjective

__all__ = ["ChunkFlowConfig", "ChunkFlowObjective", "ContinuousAR", "ContinuousARConfig"]
