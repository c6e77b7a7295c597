"""What tokens are worth on a channel that damages them: channels, labellings, receivers, and the experiment."""

from .experiment import RobustnessConfig, RobustnessResult, run_robustness
from .probe import LocalityResult, locality, probe_encoders

__all__ = [
    "LocalityResult",
    "RobustnessConfig",
    "RobustnessResult",
    "locality",
    "probe_encoders",
    "run_robustness",
]
