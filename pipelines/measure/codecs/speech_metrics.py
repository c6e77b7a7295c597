"""Figures of speech that networks produce, as a metric: error rates, speaker similarity, predicted opinion score.

Each figure names its model, since values of different models cannot be compared.
Shape letters: N samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ....core.device import pick_device
from ..results import FigureFacts
from .figures.common import Undefined, speech_signal
from .figures.speech import (
    SPEECH_RATE,
    OpinionPredictor,
    SpeakerEmbedder,
    Transcriber,
    error_rates,
    speaker_similarity,
)
from .figures.speech_models import load_opinion_predictor, load_speaker, load_transcriber
from .metrics import Case

TEXT_COLUMN = "text"
SHORTEST_S = 0.25  # of audio that the models are asked about
ERROR_RATES = {
    "wer": "word error rate",
    "cer": "character error rate",
    "wer_capped": "word error rate, at most 1 per file",
}

TextSource = Literal["manifest", "original"]


class SpeechMetrics:
    """Speech figures of reconstructions: a `Metric`.

    Figures: with a transcriber `wer` and `cer`, which count every error, and `wer_capped`, at most 1 for each file, so
    that a recognizer that hallucinates does not dominate the mean; `speaker_similarity` (to the original) with a
    speaker embedder; `mos` with a predictor. The transcript and the counts of the reference are kept as well.

    Args:
        transcriber: the speech recognizer; at least one of the three models is needed.
        speaker: the speaker embedder.
        opinion: the predictor of opinion scores.
        language: of the speech; see `error_rates`.
        text: what a transcript is compared with: the text in the manifest, or the transcript of the original. The
            second needs no text, but does not count errors that the recognizer makes on the original too.
        text_column: of the manifest.

    Raises:
        ValueError: no model, or another `text`.
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
        self.facts: dict[str, FigureFacts] = {}
        if transcriber is not None:
            against = "the manifest's text" if text == "manifest" else "the transcript of the original"
            model = f"{transcriber.name}, against {against}"
            for name, title in ERROR_RATES.items():
                self.facts[name] = FigureFacts(better="lower", title=title, model=model)
        if speaker is not None:
            self.facts["speaker_similarity"] = FigureFacts(better="higher", model=speaker.name)
        if opinion is not None:
            self.facts["mos"] = FigureFacts(better="higher", title="predicted opinion score", model=opinion.name)
        if not self.facts:
            raise ValueError("no speech model: give a transcriber, a speaker embedder or an opinion predictor")
        self._last: tuple[Tensor, dict[str, Any]] | None = None  # what the models found in the last original

    def measure(self, case: Case) -> dict[str, Any]:
        """See `Metric`. A silent reconstruction has no word right, and no voice or opinion score."""
        original = self._original(case)
        audio = speech_signal(case.estimate, case.sample_rate, SPEECH_RATE).astype(np.float32)
        if reason := _unusable(original["audio"]):
            return {figure: Undefined(reason) for figure in self.facts}
        found: dict[str, Any] = {}
        if self.transcriber is not None:
            found |= _attempt(tuple(ERROR_RATES), lambda: self._errors(case, original, audio))
        if reason := _unusable(audio):
            return {**{figure: Undefined(reason) for figure in self.facts}, **found}
        if self.speaker is not None:
            found |= _attempt(("speaker_similarity",), lambda: self._similarity(original, audio))
        if self.opinion is not None:
            predictor = self.opinion
            found |= _attempt(("mos",), lambda: {"mos": predictor.predict(audio)})
        return found

    def _original(self, case: Case) -> dict[str, Any]:
        if self._last is None or self._last[0] is not case.reference:
            audio = speech_signal(case.reference, case.sample_rate, SPEECH_RATE).astype(np.float32)
            self._last = case.reference, {"audio": audio}
        return self._last[1]

    def _errors(self, case: Case, original: dict[str, Any], audio: NDArray[Any]) -> dict[str, Any]:
        assert self.transcriber is not None
        if self.text == "original":
            if "transcript" not in original:
                original["transcript"] = self.transcriber.transcribe(original["audio"])
            text = original["transcript"]
        else:
            text = case.item.metadata.get(self.text_column)
            if not isinstance(text, str):
                raise Undefined(f"the manifest has no {self.text_column!r} for this file")
        transcript = self.transcriber.transcribe(audio) if audio.any() else ""
        rates = error_rates(text, transcript, self.language)
        return {**vars(rates), "wer_capped": min(1.0, rates.wer), "transcript": transcript}

    def _similarity(self, original: dict[str, Any], audio: NDArray[Any]) -> dict[str, Any]:
        assert self.speaker is not None
        if "voice" not in original:
            original["voice"] = self.speaker.embed(original["audio"])
        return {"speaker_similarity": speaker_similarity(original["voice"], self.speaker.embed(audio))}


class SpeechModelConfig(Protocol):
    """The keys of a config that name speech models; a config without `speaker` and `opinion` has no such figures."""

    @property
    def transcriber(self) -> str | None:
        """Folder or hub id of a recognizer."""
        ...

    @property
    def text(self) -> TextSource:
        """See `SpeechMetrics`."""
        ...

    @property
    def language(self) -> str:
        """The language of the speech."""
        ...

    @property
    def device(self) -> str:
        """To compute on."""
        ...


def load_speech_metrics(config: SpeechModelConfig) -> SpeechMetrics | None:
    """Returns the speech figures that a config asks for, with their models loaded; None if it asks for none.

    Raises:
        CheckpointError, ImportError: a model that cannot be loaded.
    """
    speaker, opinion = getattr(config, "speaker", None), getattr(config, "opinion", False)
    if config.transcriber is None and speaker is None and not opinion:
        return None
    device = pick_device(config.device)
    source, language = config.transcriber, config.language
    return SpeechMetrics(
        transcriber=None if source is None else load_transcriber(source, language=language, device=device),
        speaker=None if speaker is None else load_speaker(speaker, device=device),
        opinion=load_opinion_predictor(device=device) if opinion else None,
        language=language,
        text=config.text,
    )


def _unusable(audio: NDArray[Any]) -> str:
    """Why the models are not asked about audio [N]; empty where they are."""
    if len(audio) < SHORTEST_S * SPEECH_RATE:
        return f"shorter than {SHORTEST_S:g} s"
    return "" if audio.any() else "digital silence"


def _attempt(figures: tuple[str, ...], work: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    try:
        return work()
    except Undefined as error:
        return dict.fromkeys(figures, error)
