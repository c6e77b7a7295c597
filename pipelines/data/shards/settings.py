"""The settings that, with the audio and the codec, determine the bytes of a shard dataset."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

import torch

from ....core.config import option
from ....layers.audio import Resampler
from ....tokenizers.spec import STREAMS
from ..audio.convert import ChannelPolicy

LatentsAre = Literal["values", "atanh"]  # bounded values of a bottleneck, or their atanh, its input
# what has no meaning for a source of latents
OF_AUDIO = ("max_duration_s", "silence_dbfs", "channels", "resampler", "measure_loudness", "loudness_lufs")


@dataclass(frozen=True, kw_only=True)
class ShardSettings:
    """Recorded in `dataset.json`; a dataset is only ever continued with the same ones."""

    latents_are: LatentsAre | None = option(
        None,
        "The source is a folder of latents that pre_encode.py of stable-audio-tools wrote with this codec: values of "
        "the bottleneck in [-1, 1], or their atanh, the output of the encoder. By default it is audio.",
    )
    max_duration_s: float = option(60.0, "Length in seconds above which a file is split into several items.")
    min_duration_s: float = option(0.1, "Length in seconds below which a file is left out and reported.")
    silence_dbfs: float = option(-80.0, "Peak level in dBFS below which an item is left out and reported.")
    channels: ChannelPolicy = option(
        "mix",
        "Treatment of a file with more channels than the codec: their average, the first ones, or an error. Mono is "
        "copied to all channels, except with error.",
    )
    resampler: Resampler = option(
        "soxr",
        "Resampler of audio at another rate than the codec's: torchaudio is that of the official packages of Stable "
        "Codec and NeuCodec, for exactly their tokens.",
    )
    measure_loudness: bool = option(False, "Write the loudness of each item (LUFS) to the index.")
    loudness_lufs: float | None = option(
        None, "Loudness in LUFS that each item is brought to; peaks stay below 1. By default the loudness is kept."
    )
    streams: tuple[str, ...] = option(STREAMS, "Streams to store: latents, tokens or both.", name="stream")
    dtype: Literal["float16", "float32"] = option("float16", "Number format of the stored latents.")
    compute_dtype: Literal["float32", "bfloat16", "float16"] = option(
        "float32", "Number format that the codec computes in; it follows from precision.", hidden=True
    )
    shard_mb: float = option(256.0, "Size in MB (10^6 bytes) at which a shard is full.")
    shard_hours: float | None = option(
        None,
        "Hours of audio at which a shard is full; a worker that is killed loses at most one shard of work. By default "
        "4, and more for a dataset that would have more than 256 shards.",
    )
    encode_options: dict[str, Any] = option(
        factory=dict,
        help="Option of the tokenizer's own `encode`, such as chunk_s=60 of NeuCodec.",
        name="option",
        short="o",
    )

    def __post_init__(self) -> None:
        changed = [f.name for f in fields(ShardSettings) if f.name in OF_AUDIO and getattr(self, f.name) != f.default]
        if self.latents_are is not None and changed:
            raise ValueError(f"{', '.join(changed)} cannot be set with latents_are, since the source holds no audio")
        if not 0 < self.min_duration_s <= self.max_duration_s / 2:
            raise ValueError(
                f"min_duration_s ({self.min_duration_s}) must be positive and at most half of max_duration_s "
                f"({self.max_duration_s}), so that the rest of a split file is long enough"
            )
        if not self.streams or not set(self.streams) <= set(STREAMS) or len(set(self.streams)) != len(self.streams):
            raise ValueError(f"streams must be one or both of {', '.join(STREAMS)}, got {list(self.streams)}")
        if self.shard_mb <= 0 or (self.shard_hours is not None and self.shard_hours <= 0):
            raise ValueError(f"shard_mb and shard_hours must be positive, got {self.shard_mb} and {self.shard_hours}")
        if self.silence_dbfs > 0 or (self.loudness_lufs is not None and self.loudness_lufs > 0):
            raise ValueError(
                f"levels are negative numbers of dB, got silence_dbfs {self.silence_dbfs}, "
                f"loudness_lufs {self.loudness_lufs}"
            )

    @property
    def latent_dtype(self) -> torch.dtype:
        return torch.float16 if self.dtype == "float16" else torch.float32
