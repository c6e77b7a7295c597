"""What the user asks for, as vectors: text, class labels and times, each with a learned "not given"."""

from .base import Conditioner, EncodedConditions
from .fuse import ConditionEncoder, ConditioningConfig

__all__ = ["ConditionEncoder", "Conditioner", "ConditioningConfig", "EncodedConditions"]
