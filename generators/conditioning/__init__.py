"""Conditions of a generator as vectors: text, class labels, numbers and times, each with a learned null."""

from .base import Conditioner, ConditionerConfig, Encoding
from .config import ConditioningConfig
from .fuse import ConditionEncoder, EncodedConditions

__all__ = [
    "ConditionEncoder",
    "Conditioner",
    "ConditionerConfig",
    "ConditioningConfig",
    "EncodedConditions",
    "Encoding",
]
