"""The value of tokens on a channel that damages them: channels, labellings, receivers, and the experiment."""

from .config import RobustnessConfig
from .experiment import run_robustness
from .probe import LocalityResult, locality, probe_encoders

__all__ = [
    "LocalityResult",
    "RobustnessConfig",
    "locality",
    "probe_encoders",
    "run_robustness",
]
