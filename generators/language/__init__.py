"""Autoregressive language models over FSQ tokens."""

from .lm import TokenLM, TokenLMConfig
from .objective import NextTokenConfig, NextTokenObjective

__all__ = ["NextTokenConfig", "NextTokenObjective", "TokenLM", "TokenLMConfig"]
