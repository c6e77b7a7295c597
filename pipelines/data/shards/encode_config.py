"""The config of an encode run, and its summary."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ....core.compute import ComputeConfig
from ....core.config import config_to_dict, option
from ....core.storage import place_of
from ....generators.conditioning.frozen import FrozenSource
from ...engines import EngineConfig
from .embeddings import AUDIO
from .plan import Failure
from .settings import ShardSettings


@dataclass(frozen=True, kw_only=True)
class EncodeConfig(ShardSettings, EngineConfig, ComputeConfig):
    """The audio to encode, the tokenizer, the output folder, and how to work."""

    source: str = option(
        help="Audio file, folder of audio, or manifest (.jsonl, .jsonl.gz, .json, .csv, .tsv, .parquet, wav.scp); with "
        "latents_are, a folder of latents.",
        positional=True,
    )
    output: str = option(
        help="Folder of the dataset. A run with the same settings completes what an earlier one left.", positional=True
    )
    tokenizer: str = option(
        "melcodec-music", "Tokenizer to encode with: a shipped or official name, a folder, or a hub id."
    )
    tokenizer_options: dict[str, Any] = option(
        factory=dict,
        help="Option of loading the tokenizer, such as semantic=FOLDER for official weights of NeuCodec.",
        name="tokenizer-option",
    )
    path_column: str | None = option(
        None,
        "Column of a manifest that holds the paths of the audio files. By default the first known one, such as path.",
    )
    where: dict[str, Any] = option(factory=dict, help="Values that a row of a manifest must have, such as split=train.")
    captions: dict[str, str] = option(
        factory=dict,
        help="Embeddings to store with the dataset, by metadata column: text=frozen_text:FOLDER or text=clap:FILE.pt. "
        "The column `audio` is the sound of the items: audio=clap:FILE.pt.",
    )
    strict: bool = option(False, "Fail at the end if any file could not be encoded.")
    batch_s: float = option(24.0, "Seconds of audio that are encoded at once, padding included.")
    num_threads: int | None = option(
        None,
        "Number of threads of each process that read and convert audio in the background, as fast as it is encoded. By "
        "default one per CPU core that the process has, from 2 to 8.",
    )
    log_every_s: float = option(30.0, "Seconds between two lines about the progress.", hidden=True)

    def __post_init__(self) -> None:
        ShardSettings.__post_init__(self)
        EngineConfig.__post_init__(self)
        if not self.batch_s > 0 or (self.num_threads is not None and self.num_threads < 1):
            raise ValueError(
                f"batch_s must be above 0 and num_threads at least 1, got {self.batch_s} and {self.num_threads}"
            )
        if chosen := {"torch_dtype", "precision", "device", "device_map"} & set(self.tokenizer_options):
            raise ValueError(f"tokenizer_options hold {sorted(chosen)[0]}: set precision and device of encode instead")
        if self.latents_are is not None and (self.path_column is not None or AUDIO in self.captions):
            raise ValueError(
                "latents_are allows neither path_column nor captions.audio: a folder of latents has no audio"
            )
        for source in self.captions.values():
            FrozenSource.parse(source)  # a wrong one is refused before the long work
        if not self.log_every_s > 0:
            raise ValueError(f"log_every_s must be above 0, got {self.log_every_s}")

    @property
    def settings(self) -> dict[str, Any]:
        """The part that determines the bytes of the dataset, as it is recorded."""
        names = {f.name for f in fields(ShardSettings)}
        return {name: value for name, value in config_to_dict(self).items() if name in names}

    @property
    def reading_threads(self) -> int:
        """Number of threads of each process that read audio."""
        return self.threads_per_process() if self.num_threads is None else self.num_threads

    @property
    def folder(self) -> Path:
        """Absolute path of the output."""
        return Path(self.output).expanduser().absolute()

    @property
    def source_place(self) -> Path | str:
        """Absolute path of the source, or its URL."""
        return place_of(self.source)


@dataclass(frozen=True, kw_only=True)
class EncodeSummary:
    """The work of a run, and what the dataset holds now."""

    path: str
    complete: bool  # False while another process writes the index
    completed_by: str | None  # that process
    num_items: int
    num_failed: int
    hours: float  # of audio in the committed shards
    num_shards: int
    num_shards_encoded: int  # by this run; the others were there
    encoded_hours: float  # of audio, by this run
    elapsed_s: float
    failures: tuple[Failure, ...]

    @property
    def already_complete(self) -> bool:
        """All shards were there before this run."""
        return self.complete and self.num_shards_encoded == 0

    @property
    def audio_hours_per_hour(self) -> float:
        return self.encoded_hours * 3600 / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        more = {"already_complete": self.already_complete, "audio_hours_per_hour": self.audio_hours_per_hour}
        return {**asdict(self), **more}
