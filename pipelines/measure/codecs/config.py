"""The config of experiments on a codec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ....core.compute import ComputeConfig
from ....core.config import option
from ....core.errors import ConfigError
from ....tokenizers.spec import STREAMS
from .figures.catalog import ALL_FIGURES, check_figures
from .lengths import LENGTH_EDGES_S, check_edges
from .references import ALL_REFERENCES, check_references

NO_EMBEDDER = "none"


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig(ComputeConfig):
    """A codec, audio, and figures to measure; an experiment ignores the keys of the others."""

    audio: str = option(help="Audio to measure on: a file, folder or manifest.", positional=True)
    output: str | None = option(
        None, "Folder for CSV, JSON, HTML and plots. By default nothing is written.", positional=True
    )
    tokenizer: str = option("melcodec-music", "Tokenizer to measure: a shipped name, a folder, or a hub id.")
    where: dict[str, Any] = option(factory=dict, help="Values that a row of a manifest must have, such as split=test.")
    max_files: int | None = option(None, "Largest number of files, spread evenly over the files by name.")
    max_duration_s: float | None = option(None, "Number of seconds measured from the start of each file.")
    streams: tuple[str, ...] = option(
        (), "Streams to measure: latents, tokens or both. By default all that the codec has.", name="stream"
    )
    options: dict[str, Any] = option(
        factory=dict, help="Options of the codec's own `decode`, such as steps=1.", name="decode-option"
    )
    figures: tuple[str, ...] = option(ALL_FIGURES, "Figures of reconstruction and gap; repeat it.", name="figure")
    references: tuple[str, ...] = option(
        ALL_REFERENCES,
        "Reference systems measured on the same files (reconstruction); repeat it, or set references=[] for none.",
        name="reference",
    )
    others: dict[str, str] = option(
        factory=dict,
        help="Further codecs measured on the same files (reconstruction), as NAME=SOURCE: EnCodec, DAC or Mimi in "
        "transformers' format, a folder or hub id such as kyutai/mimi; kyutai/mimi#8 uses its first 8 codebooks.",
        name="other",
    )
    embedder: str = option(
        "auto", "Embedder of the Fréchet distance, or none; `latentune list embedders` shows the names."
    )
    checkpoint: str | None = option(None, "Weights of an embedder that ships without any.")
    length_edges_s: tuple[float, ...] = option(
        LENGTH_EDGES_S, "Lengths in seconds that separate the groups of files (reconstruction)."
    )
    group_by: str | None = option(
        None, "Column of the manifest by whose values figures are also shown, such as language (reconstruction)."
    )
    label: str | None = option(None, "Column of the manifest to predict from each stream, such as genre (labels).")
    folds: int = option(5, "Number of parts of the files, each of which is predicted from the others (labels).")
    fold_by: str | None = option(
        None, "Column of the manifest whose values must not be in two folds, such as speaker or album (labels)."
    )
    levels: tuple[int, ...] = option(
        (2, 3, 4, 6, 8, 16), "Numbers of levels per dimension to quantize the latents to (rates).", name="level"
    )
    fit_audio: str | None = option(
        None, "Audio to fit residual codebooks to, not the audio that is measured (rates). By default there are none."
    )
    codebooks: tuple[int, ...] = option((1, 2, 4, 8), "Numbers of residual codebooks to compare (rates).")
    codebook_size: int = option(256, "Number of entries per residual codebook (rates).")
    compare: tuple[str, ...] = option(
        (), "Further tokenizers whose latents are shown (histograms): names, folders or hub ids; repeat it."
    )
    lengths_s: tuple[float, ...] = option(
        (10.0, 30.0, 60.0, 120.0), "Lengths in seconds to measure the memory at (memory).", name="length"
    )
    steps: tuple[int, ...] = option((1, 2, 3, 4, 5, 6), "Numbers of decoding steps to compare (steps).")
    window_s: float = option(0.02, "Length in seconds of the frame that errors are averaged over (boundaries).")
    transcriber: str | None = option(None, "Folder or hub id of a speech recognizer, for wer and cer (reconstruction).")
    speaker: str | None = option(
        None, "Speaker network for speaker_similarity: ecapa, a folder, or a hub id (reconstruction)."
    )
    opinion: bool = option(False, "Predict the mean opinion score (reconstruction).")
    text: Literal["manifest", "original"] = option(
        "manifest", "Text that transcripts are compared with: that of the manifest, or the original's transcript."
    )
    language: str = option("en", "Language of the speech.")
    num_players: int = option(4, "Number of files with players on the page (reconstruction).")
    player_s: float = option(10.0, "Seconds of each file on the page (reconstruction).")
    mushra: bool = option(
        False,
        "Also write a MUSHRA listening test of those files: audio, anchors and a config of webMUSHRA (reconstruction).",
    )
    confidence: float = option(0.95, "Confidence level of the intervals.")
    seed: int = option(0, "Seed of decoding noise and resampling.")

    def __post_init__(self) -> None:
        try:
            check_figures(self.figures)
            check_references(self.references)
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
        if not self.lengths_s or min(self.lengths_s) <= 0:
            raise ConfigError(f"lengths_s must be one or more numbers above 0, got {list(self.lengths_s)}")
        for name, least in (("levels", 2), ("codebooks", 1)):
            if min(getattr(self, name), default=least) < least or (name == "codebooks" and not self.codebooks):
                raise ConfigError(f"{name} must be numbers from {least} up, got {list(getattr(self, name))}")
        if self.mushra and (self.output is None or not self.num_players):
            raise ConfigError("mushra is written to output and has num_players trials: set both")
        if self.folds < 2:
            raise ConfigError(f"folds must be at least 2, got {self.folds}")
        for name in ("num_players", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence must lie between 0 and 1, got {self.confidence}")
