"""MelCodec: a small codec that trains on a CPU, log mel spectra in, inverse STFT out."""

from .config import MelCodecConfig, SpectrumConfig
from .model import MelCodec

__all__ = ["MelCodec", "MelCodecConfig", "SpectrumConfig"]
