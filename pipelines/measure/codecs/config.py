"""What an experiment on a codec is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ....core.errors import ConfigError
from ....tokenizers.base import STREAMS
from .codec_result import LENGTH_EDGES_S, check_edges
from .figures.catalog import ALL_FIGURES, check_figures

NO_EMBEDDER = "none"


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """A codec, audio, and what to measure; keys that an experiment does not know of it leaves alone."""

    audio: str  # file, folder or manifest
    output: str | None = None  # folder for the CSV, JSON, HTML and PNG; None: nothing is written
    tokenizer: str = "codicodec-mini"  # shipped name, folder or hub id
    where: dict[str, Any] = field(default_factory=dict)  # of a manifest, the rows with these values
    max_files: int | None = None  # spread evenly over the files by name; by default all
    max_duration_s: float | None = None  # of each file, from its start
    streams: tuple[str, ...] = ()  # latents, tokens; by default all that the codec has
    options: dict[str, Any] = field(default_factory=dict)  # of the codec's `decode`, such as {steps: 1}
    figures: tuple[str, ...] = ALL_FIGURES  # of reconstruction and gap; see figures/catalog.py
    embedder: str = "auto"  # of the Fréchet distance; see metrics/embedders/load.py, or none
    checkpoint: str | None = None  # of an embedder that ships no weights
    length_edges_s: tuple[float, ...] = LENGTH_EDGES_S  # of reconstruction: bins of lengths
    steps: tuple[int, ...] = (1, 2, 3, 4, 5, 6)  # of steps: numbers of decoding steps
    window_s: float = 0.02  # of boundaries: the frame in which errors are taken
    transcriber: str | None = None  # of reconstruction: folder or hub id of a speech recogniser, for wer and cer
    speaker: str | None = None  # ecapa, or folder or hub id of a speaker network, for speaker_similarity
    opinion: bool = False  # predict the mean opinion score
    text: Literal["manifest", "original"] = (
        "manifest"  # what transcripts are compared with: manifest, or original (the original's transcript)
    )
    language: str = "en"  # of the speech
    num_players: int = 4  # of reconstruction: files to listen to on its page
    player_s: float = 10.0  # of each of them
    confidence: float = 0.95  # of the intervals
    seed: int = 0  # of decoders' noise and of resampling
    device: str = "auto"

    def __post_init__(self) -> None:
        try:
            check_figures(self.figures)
            check_edges(self.length_edges_s)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        for name in ("max_files", "max_duration_s", "window_s", "player_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be above 0, got {value}")
        if wrong := [name for name in self.streams if name not in STREAMS]:
            raise ConfigError(f"streams are {' and '.join(STREAMS)}, got {wrong[0]!r}")
        if not self.steps or min(self.steps) < 1:
            raise ConfigError(f"steps must be one or more numbers from 1 up, got {list(self.steps)}")
        for name in ("num_players", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence must lie between 0 and 1, got {self.confidence}")
