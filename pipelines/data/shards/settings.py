"""What determines the bytes of a shard dataset, beside the audio and the codec."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from ....tokenizers.base import STREAMS
from ..audio.convert import ChannelPolicy


@dataclass(frozen=True, kw_only=True)
class ShardSettings:
    """Recorded in `dataset.json`; a dataset is only ever continued with the same ones."""

    max_duration_s: float = 60.0  # longer files are split into items of this length
    min_duration_s: float = 0.1  # shorter files are left out and reported
    silence_dbfs: float = -80.0  # items whose peak lies below are left out and reported
    channels: ChannelPolicy = "convert"  # how files with other channels than the codec's are treated
    measure_loudness: bool = False  # put the loudness of each item (LUFS) into the index
    loudness_lufs: float | None = None  # bring each item to this loudness (peaks stay below 1); None: leave it
    streams: tuple[str, ...] = STREAMS  # which of "latents" and "tokens" to store
    dtype: Literal["float16", "float32"] = "float16"  # of stored latents
    compute_dtype: Literal["float32", "bfloat16", "float16"] = "float32"  # of the encoder (autocast)
    shard_mb: float = 256.0  # a shard is full at this size (10^6 bytes) ...
    shard_hours: float = 4.0  # ... or at this much audio, whichever comes first: what a killed run can lose
    encode_options: dict[str, Any] = field(default_factory=dict)  # passed to the codec's `encode`

    def __post_init__(self) -> None:
        if not 0 < self.min_duration_s <= self.max_duration_s / 2:
            raise ValueError(
                f"min_duration_s ({self.min_duration_s}) must be positive and at most half of max_duration_s "
                f"({self.max_duration_s}), so that the rest of a split file is long enough"
            )
        if not self.streams or not set(self.streams) <= set(STREAMS) or len(set(self.streams)) != len(self.streams):
            raise ValueError(f"streams must be one or both of {', '.join(STREAMS)}, got {list(self.streams)}")
        if self.shard_mb <= 0 or self.shard_hours <= 0:
            raise ValueError(f"shard_mb and shard_hours must be positive, got {self.shard_mb} and {self.shard_hours}")
        if self.silence_dbfs > 0 or (self.loudness_lufs is not None and self.loudness_lufs > 0):
            raise ValueError(
                f"levels are negative numbers of dB, got silence_dbfs {self.silence_dbfs}, "
                f"loudness_lufs {self.loudness_lufs}"
            )

    @property
    def latent_dtype(self) -> torch.dtype:
        return torch.float16 if self.dtype == "float16" else torch.float32
