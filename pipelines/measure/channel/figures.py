"""Figures of received audio: against the original, against an undamaged decoding, and what the channel changed.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..codecs.figures.catalog import PAIR_FIGURES, split_available
from ..codecs.figures.common import Undefined
from ..codecs.figures.distances import SI_SDR_LIMIT_DB, mel_distance, si_sdr_db
from ..codecs.metrics import Case, Metric, PairMetric
from ..codecs.speech_metrics import SpeechMetrics
from ..results import FigureFacts
from .systems import CHANNEL_FIGURES

SIGNAL_FIGURES = {name: PAIR_FIGURES[name].facts for name in ("si_sdr_db", "mel_distance")}
# The same two, of what came through a channel against what its system decodes without one: the channel's own damage
DAMAGE_FIGURES = {
    "si_sdr_to_clean_db": FigureFacts(better="higher", title="SI-SDR to undamaged", unit="dB"),
    "mel_to_clean": FigureFacts(better="lower", title="mel distance to undamaged"),
}
OPTIONAL_FIGURES = tuple(name for name in PAIR_FIGURES if name not in SIGNAL_FIGURES)
CHANGE = "_change"  # appended to the name of another figure: by how much the channel moved it, file by file


class ReceivedFigures:
    """All figures of one run.

    Args:
        names: out of `OPTIONAL_FIGURES`.
        speech: figures of speech models, such as the word error rate.

    `absent` holds figures that cannot be measured, with the reason.
    """

    def __init__(self, names: Sequence[str], speech: SpeechMetrics | None = None):
        available, self.absent = split_available(names)
        self.metrics: list[Metric] = [PairMetric(name) for name in available]
        if speech is not None:
            self.metrics.append(speech)
        self.facts: dict[str, FigureFacts] = {}  # of the figures of audio
        for metric in self.metrics:
            self.facts |= metric.facts
        self.facts |= {**SIGNAL_FIGURES, **DAMAGE_FIGURES}

    @property
    def all_facts(self) -> dict[str, FigureFacts]:
        """The figures of the channel, those of audio, and the changes of the latter."""
        channel = dict.fromkeys(CHANNEL_FIGURES, FigureFacts())
        changes = {
            name + CHANGE: FigureFacts(better=None, unit=facts.unit, title=f"change of {facts.title or name}")
            for name, facts in self.facts.items()
            if name not in DAMAGE_FIGURES
        }
        return {**channel, **self.facts, **changes}

    def measure(self, case: Case, undamaged: Tensor) -> dict[str, Any]:
        """Returns the figures of audio.

        Args:
            case: the file and what was decoded of it.
            undamaged: what the same system decodes without a channel [C, N].

        Returns:
            Figure -> number, or the `Undefined` that says why there is none. A ratio of equal signals, or of silence,
            is a limit that would rule every mean: it is None.
        """
        found: dict[str, Any] = {}
        for metric in self.metrics:
            found |= metric.measure(case)
        for names, reference in ((SIGNAL_FIGURES, case.reference), (DAMAGE_FIGURES, undamaged)):
            ratio = si_sdr_db(reference.flatten(), case.estimate.flatten()).item()
            distance = mel_distance(reference, case.estimate, case.sample_rate).mean().item()
            found |= dict(zip(names, (ratio if abs(ratio) < SI_SDR_LIMIT_DB else None, distance), strict=True))
        return {name: found.get(name) for name in self.facts}

    def changes(self, figures: Mapping[str, Any], clean: Mapping[str, Any]) -> dict[str, float | None]:
        """Returns what a channel changed in each figure of a file: pairs spread less than files do."""
        changes: dict[str, float | None] = {}
        for name, value in figures.items():
            if name not in DAMAGE_FIGURES:
                pair = value, clean[name]
                known = not any(one is None or isinstance(one, Undefined) for one in pair)
                changes[name + CHANGE] = value - clean[name] if known else None
        return changes
