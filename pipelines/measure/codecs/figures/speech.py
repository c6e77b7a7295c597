"""Figures of speech that need a network: word error rate and speaker similarity, and the interfaces of the networks.

The networks themselves are in `speech_models.py`, the metric that runs them in `speech_metrics.py`. Error rates are
counted by jiwer after Whisper's text normalizer (package whisper-normalizer), as in papers that report WER.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .common import WIDE_RATE, Undefined, require_package

SPEECH_RATE = WIDE_RATE  # Hz, of all audio that the models take


class Transcriber(Protocol):
    """An automatic speech recognizer."""

    name: str  # package, model and version or hash

    def transcribe(self, audio: NDArray[Any]) -> str:
        """Returns the words of mono speech [N] float32 at 16 kHz; raises `Undefined` for audio that it cannot take."""
        ...


class SpeakerEmbedder(Protocol):
    """A speaker verification network."""

    name: str

    def embed(self, audio: NDArray[Any]) -> NDArray[Any]:
        """Returns the voice [D] of mono speech [N] float32 at 16 kHz."""
        ...


class OpinionPredictor(Protocol):
    """A predictor of the mean opinion score that listeners would give, without the original."""

    name: str

    def predict(self, audio: NDArray[Any]) -> float:
        """Returns the score, 1 to 5, of mono speech [N] float32 at 16 kHz."""
        ...


@dataclass(frozen=True, kw_only=True)
class ErrorRates:
    """Differences between a transcript and the words spoken. Rates of many files are means weighted by the counts."""

    wer: float  # (substitutions + deletions + insertions) / words of the reference; can exceed 1
    cer: float  # the same of characters
    num_words: int  # of the reference, normalized
    num_characters: int


def error_rates(reference: str, hypothesis: str, language: str = "en") -> ErrorRates:
    """Returns the word and character error rate of a transcript, with both texts normalized.

    Args:
        reference: the words spoken.
        hypothesis: the transcript.
        language: `en` also unifies spelling, numbers and contractions; for others, case and punctuation are dropped.

    Raises:
        Undefined: the reference holds no word.
        MissingPackageError: jiwer or whisper-normalizer is not installed.
    """
    require_package("jiwer")
    import jiwer

    reference, hypothesis = normalize_text(reference, language), normalize_text(hypothesis, language)
    if not any(character.isalnum() for character in reference):
        raise Undefined("the reference text holds no word")
    words = jiwer.process_words(reference, hypothesis)
    characters = jiwer.process_characters(reference, hypothesis)
    return ErrorRates(
        wer=words.wer,
        cer=characters.cer,
        num_words=words.hits + words.substitutions + words.deletions,
        num_characters=characters.hits + characters.substitutions + characters.deletions,
    )


def normalize_text(text: str, language: str = "en") -> str:
    """Returns text as Whisper's evaluation compares it."""
    return " ".join(_normalizer(language)(text).split())


@lru_cache(maxsize=8)
def _normalizer(language: str) -> Any:
    require_package("whisper_normalizer")
    if language == "en":
        from whisper_normalizer.english import EnglishTextNormalizer

        return EnglishTextNormalizer()
    from whisper_normalizer.basic import BasicTextNormalizer

    return BasicTextNormalizer()


def speaker_similarity(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Returns the cosine of two voices [D], -1 to 1; raises `Undefined` for a voice of length 0."""
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    if not lengths > 0:
        raise Undefined("a voice of length 0")
    return float(np.dot(a, b) / lengths)
