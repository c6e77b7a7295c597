"""Figures of speech that networks make: word error rate, speaker similarity, predicted opinion score.

Each figure names the model that made it, since values of two models cannot be compared. Models come in by three small
faces (`Transcriber`, `SpeakerEmbedder`, `OpinionPredictor`); those that can be had are in `speech_models.py`. Error
rates are counted by jiwer after Whisper's text normaliser (package whisper-normalizer), as papers do that report WER.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Protocol

import numpy as np
from torch import Tensor

from ....data.audio.find import AudioItem
from .common import WIDE_RATE, Undefined, require_package, speech_signal

SPEECH_RATE = WIDE_RATE  # Hz, of all audio that the models take
TEXT_COLUMN = "text"
SHORTEST_S = 0.25  # of audio that the models are asked about

TextSource = Literal["manifest", "original"]


class Transcriber(Protocol):
    """An automatic speech recogniser."""

    name: str  # package, model and version or hash

    def transcribe(self, audio: np.ndarray) -> str:
        """The words of mono speech [N] float32 at 16 kHz; raises `Undefined` for audio that it cannot take."""
        ...


class SpeakerEmbedder(Protocol):
    """A speaker verification network."""

    name: str

    def embed(self, audio: np.ndarray) -> np.ndarray:
        """The voice [D] of mono speech [N] float32 at 16 kHz."""
        ...


class OpinionPredictor(Protocol):
    """A predictor of the mean opinion score that listeners would give, without the original."""

    name: str

    def predict(self, audio: np.ndarray) -> float:
        """The score, 1 to 5, of mono speech [N] float32 at 16 kHz."""
        ...


@dataclass(frozen=True, kw_only=True)
class ErrorRates:
    """How far a transcript is from what was said. Rates of many files are means weighted by the counts."""

    wer: float  # (substitutions + deletions + insertions) / words of the reference; can pass 1
    cer: float  # the same of characters
    num_words: int  # of the reference, normalised
    num_characters: int


def error_rates(reference: str, hypothesis: str, language: str = "en") -> ErrorRates:
    """Word and character error rate of a transcript, both texts normalised.

    Args:
        language: `en` also unifies spelling, numbers and contractions; for others, case and punctuation are dropped.

    Raises:
        Undefined: the reference holds no word.
        ModuleNotFoundError: jiwer or whisper-normalizer is not installed.
    """
    require_package("jiwer")
    import jiwer

    reference, hypothesis = normalise_text(reference, language), normalise_text(hypothesis, language)
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


def normalise_text(text: str, language: str = "en") -> str:
    """Text as Whisper's evaluation compares it."""
    return " ".join(_normaliser(language)(text).split())


@lru_cache(maxsize=8)
def _normaliser(language: str) -> Any:
    require_package("whisper_normalizer")
    if language == "en":
        from whisper_normalizer.english import EnglishTextNormalizer

        return EnglishTextNormalizer()
    from whisper_normalizer.basic import BasicTextNormalizer

    return BasicTextNormalizer()


def speaker_similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of two voices [D], -1 to 1."""
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    if not lengths > 0:
        raise Undefined("a voice of length 0")
    return float(np.dot(a, b) / lengths)


class SpeechMetrics:
    """Speech figures of reconstructions: a `FileMetric` for `evaluate_tokenizer` and `evaluate_systems`.

    Figures: `wer` and `cer` with a transcriber, `speaker_similarity` (to the original) with a speaker embedder, `mos`
    with a predictor. Rows also hold the transcript and the counts of the reference.

    Args:
        language: of the speech; see `error_rates`.
        text: what a transcript is compared with: the text in the manifest, or the transcript of the original. The
            second needs no text, but counts no error that the recogniser makes on the original too.
        text_column: of the manifest.
    """

    def __init__(
        self,
        *,
        transcriber: Transcriber | None = None,
        speaker: SpeakerEmbedder | None = None,
        opinion: OpinionPredictor | None = None,
        language: str = "en",
        text: TextSource = "manifest",
        text_column: str = TEXT_COLUMN,
    ):
        if text not in ("manifest", "original"):
            raise ValueError(f"text must be 'manifest' or 'original', got {text!r}")
        self.transcriber, self.speaker, self.opinion = transcriber, speaker, opinion
        self.language, self.text, self.text_column = language, text, text_column
        self.models: dict[str, str] = {}
        if transcriber is not None:
            against = "the manifest's text" if text == "manifest" else "the transcript of the original"
            self.models |= dict.fromkeys(("wer", "cer"), f"{transcriber.name}, against {against}")
        if speaker is not None:
            self.models["speaker_similarity"] = speaker.name
        if opinion is not None:
            self.models["mos"] = opinion.name
        if not self.models:
            raise ValueError("no speech model: give a transcriber, a speaker embedder or an opinion predictor")
        self._last: tuple[Tensor, dict[str, Any]] | None = None  # what the models made of the last original

    def measure(self, item: AudioItem, reference: Tensor, estimate: Tensor, sample_rate: int) -> dict[str, Any]:
        """The figures of audio [C, N]; in place of a value that it has not, the `Undefined` that says why."""
        original = self._original(reference, sample_rate)
        audio = speech_signal(estimate, sample_rate, SPEECH_RATE).astype(np.float32)
        found: dict[str, Any] = dict.fromkeys(self.models)
        if reason := _unusable(audio) or _unusable(original["audio"]):
            return {figure: Undefined(reason) for figure in self.models}
        if self.transcriber is not None:
            found |= _attempt(("wer", "cer"), lambda: self._errors(item, original, audio))
        if self.speaker is not None:
            found |= _attempt(("speaker_similarity",), lambda: self._similarity(original, audio))
        if self.opinion is not None:
            predictor = self.opinion
            found |= _attempt(("mos",), lambda: {"mos": predictor.predict(audio)})
        return found

    def _original(self, reference: Tensor, sample_rate: int) -> dict[str, Any]:
        if self._last is None or self._last[0] is not reference:
            audio = speech_signal(reference, sample_rate, SPEECH_RATE).astype(np.float32)
            self._last = reference, {"audio": audio}
        return self._last[1]

    def _errors(self, item: AudioItem, original: dict[str, Any], audio: np.ndarray) -> dict[str, Any]:
        assert self.transcriber is not None
        if self.text == "original":
            if "transcript" not in original:
                original["transcript"] = self.transcriber.transcribe(original["audio"])
            text = original["transcript"]
        else:
            text = item.metadata.get(self.text_column)
            if not isinstance(text, str):
                raise Undefined(f"the manifest has no {self.text_column!r} for this file")
        transcript = self.transcriber.transcribe(audio)
        return {**vars(error_rates(text, transcript, self.language)), "transcript": transcript}

    def _similarity(self, original: dict[str, Any], audio: np.ndarray) -> dict[str, Any]:
        assert self.speaker is not None
        if "voice" not in original:
            original["voice"] = self.speaker.embed(original["audio"])
        return {"speaker_similarity": speaker_similarity(original["voice"], self.speaker.embed(audio))}


def _unusable(audio: np.ndarray) -> str:
    """Why the models are not asked about audio [N]; empty where they are."""
    if len(audio) < SHORTEST_S * SPEECH_RATE:
        return f"shorter than {SHORTEST_S:g} s"
    return "" if audio.any() else "digital silence"


def _attempt(figures: tuple[str, ...], work: Any) -> Mapping[str, Any]:
    try:
        return work()
    except Undefined as error:
        return dict.fromkeys(figures, error)
