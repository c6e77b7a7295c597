"""Language models over FSQ tokens: token after token, or the set of a chunk in parallel."""

from .config import TokenLMConfig
from .lm import TokenLM
from .objective import NextTokenConfig, NextTokenObjective
from .set_lm import TokenSetLM, TokenSetLMConfig

__all__ = ["NextTokenConfig", "NextTokenObjective", "TokenLM", "TokenLMConfig", "TokenSetLM", "TokenSetLMConfig"]
