"""How speech comes through: STOI and wide-band PESQ, from packages that are installed only where they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

import numpy as np
import torch
from torch import Tensor

from ..codecs.figures import quality
from ..codecs.figures.common import WIDE_RATE, Undefined, speech_signal

SPEECH_RATE = WIDE_RATE  # Hz
INSTALL = "pip install 'latentune[robustness]'"

__all__ = ["SPEECH_METRICS", "SpeechMetric", "Undefined", "load_speech_metrics", "pesq", "stoi", "to_speech"]


def stoi(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Short-time objective intelligibility of signals [N] at 16 kHz; see `codecs.figures.quality.stoi`."""
    return quality.stoi(torch.from_numpy(reference)[None], torch.from_numpy(estimate)[None], SPEECH_RATE)


def pesq(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Wide-band PESQ of signals [N] at 16 kHz; see `codecs.figures.quality.pesq`."""
    return quality.pesq(torch.from_numpy(reference)[None], torch.from_numpy(estimate)[None], SPEECH_RATE)


SpeechMetric = Callable[[np.ndarray, np.ndarray], float]
# name -> package that it comes from, and the function
SPEECH_METRICS: dict[str, tuple[str, SpeechMetric]] = {"stoi": ("pystoi", stoi), "pesq": ("pesq", pesq)}


def load_speech_metrics(names: Sequence[str]) -> tuple[dict[str, SpeechMetric], dict[str, str]]:
    """The metrics that can be measured here, and of the others the reason why not."""
    found: dict[str, SpeechMetric] = {}
    absent: dict[str, str] = {}
    for name in names:
        package, function = SPEECH_METRICS[name]
        try:
            import_module(package)
        except ImportError as error:
            absent[name] = f"{package} cannot be imported ({error}): {INSTALL}"
        else:
            found[name] = function
    return found, absent


def to_speech(audio: Tensor, sample_rate: int) -> np.ndarray:
    """Audio [C, N] of any rate as mono [N'] at 16 kHz, float64."""
    return speech_signal(audio, sample_rate, SPEECH_RATE)
