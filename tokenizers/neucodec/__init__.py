"""NeuCodec (arXiv 2509.09550): a speech codec of one codebook, joined from a semantic and an acoustic encoder."""

from .config import DistillNeuCodecConfig, NeuCodecConfig
from .distilled import DistillNeuCodec
from .model import NeuCodec

__all__ = ["DistillNeuCodec", "DistillNeuCodecConfig", "NeuCodec", "NeuCodecConfig"]
