"""Latentune: neural audio codecs joined to the generators trained on what they produce.

The three doors of the library; each imports what it needs only when it is called::

    tokenizer = latentune.load_tokenizer("codicodec-mini")          # audio <-> latents and tokens
    generator = latentune.load_generator("runs/dit/checkpoints/00010000/ema")  # latents or tokens from prompts
    pipeline = latentune.load_pipeline("codicodec-mini-dit")         # prompts -> audio
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .generators.base import LatentGenerator
    from .pipelines.sample import GenerationPipeline
    from .tokenizers.base import AudioTokenizer

__version__ = "0.1.0"
__all__ = ["__version__", "load_generator", "load_pipeline", "load_tokenizer"]


def load_tokenizer(name_or_path: str, **options: Any) -> AudioTokenizer:
    """Load an audio tokenizer by shipped name, local folder or hub id; see `latentune.tokenizers.load`."""
    from .tokenizers.load import load_tokenizer as load

    return load(name_or_path, **options)


def load_generator(path: str, **options: Any) -> LatentGenerator:
    """Load a generator by shipped name, local folder or hub id; see `latentune.generators.load`."""
    from .generators.load import load_generator as load

    return load(path, **options)


def load_pipeline(path: str, **options: Any) -> GenerationPipeline:
    """Load tokenizer and generator together by shipped name or folder; see `latentune.pipelines.generation.load`."""
    from .pipelines.sample import load_pipeline as load

    return load(path, **options)
