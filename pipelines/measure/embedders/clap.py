"""LAION's CLAP (Wu et al. 2023, arXiv 2211.06687), audio side, on transformers' network with laion-clap's front end.

Where laion-clap crops longer audio at random, windows here are fixed. Models with feature fusion have two readings:
`clap` cuts audio into windows of 10 s, none of which is long enough to be fused; `clap_fusion` makes one embedding of
the whole file, as laion-clap does, but takes the three 10 s views from the middle of each third of their possible
places. Needs the extra `clap`. Shape letters: N samples, W windows, T frames, M mel bands, V views.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ....core.errors import CheckpointError
from ....generators.conditioning.frozen.clap_audio import (
    NUM_MELS,
    SAMPLE_RATE,
    WINDOW_FRAMES,
    WINDOW_SAMPLES,
    at_least_a_window,
    cut_windows,
    embed_mel,
    embed_windows,
    load_audio_tower,
    log_mel,
    quantise,
)
from ..windows import check_overlap
from .base import Embedder


class ClapEmbedder(Embedder):
    """48 kHz mono in, a unit vector (512-d) for each 10 s out, as laion-clap's `get_audio_embedding_from_data`."""

    name = "clap"
    sample_rate = SAMPLE_RATE
    window_samples = WINDOW_SAMPLES
    long_audio = "windows of 10 s"

    def __init__(self, network: Any, dim: int, source: str):
        super().__init__(network, dim, source)
        self.fusion = bool(network.config.enable_fusion)
        mel = "64 HTK mel (not normalised)" if self.fusion else "64 Slaney mel"
        self.preprocessing = (
            f"mono 48 kHz, soxr HQ; 16-bit quantised; {self.long_audio}, shorter audio repeated whole times and "
            f"padded with zeros; STFT 1024/480 Hann, centred, reflected; {mel} of power, 50-14000 Hz; dB"
        )

    @classmethod
    def from_checkpoint(cls, source: str | Path) -> Self:
        """Load a laion-clap `.pt` (local, or `owner/name/file.pt` on a hub), or a folder or hub id of transformers.

        Raises:
            CheckpointError: missing, unreadable, or keys that do not fit.
        """
        network = load_audio_tower(source)
        return cls(network, dim=network.config.projection_dim, source=str(source))

    def windows(self, audio: Tensor) -> Tensor:
        return cut_windows(audio)

    def network_output(self, windows: Tensor) -> Tensor:
        return embed_windows(self.network, windows)


class ClapFusionEmbedder(ClapEmbedder):
    """48 kHz mono in, one unit vector (512-d) a file out, whatever its length; for models with feature fusion."""

    name = "clap_fusion"
    overlap = 0.0  # a window is the whole file
    long_audio = (
        "audio above 10 s whole: its mel shrunk to 10 s (bilinear, no antialiasing) and 10 s views from the middle of "
        "each third of their possible places"
    )

    def __init__(self, network: Any, dim: int, source: str):
        super().__init__(network, dim, source)
        if not self.fusion:
            raise CheckpointError(f"{source} is a model without feature fusion: use the embedder clap")

    def set_overlap(self, overlap: float) -> None:
        """Checks the share alone: one window holds the whole file."""
        check_overlap(overlap)

    def windows(self, audio: Tensor) -> Tensor:
        """[1, 4, T, M]: the whole, then three views; these are NaN where the audio is not longer than a window."""
        mel = log_mel(at_least_a_window(quantise(audio))[None], htk=True)[0]
        if len(mel) == WINDOW_FRAMES:
            return torch.stack([mel, *[torch.full_like(mel, torch.nan)] * 3])[None]
        size = (WINDOW_FRAMES, NUM_MELS)
        shrunk = F.interpolate(mel[None, None], size, mode="bilinear", align_corners=False)[0, 0]
        views = (mel[begin : begin + WINDOW_FRAMES] for begin in view_begins(len(mel)))
        return torch.stack([shrunk, *views])[None]

    def network_output(self, windows: Tensor) -> Tensor:
        longer = ~windows[:, 1:].isnan().any(dim=(1, 2, 3)).unsqueeze(1)
        return embed_mel(self.network, windows.nan_to_num(), longer)


def view_begins(num_frames: int) -> list[int]:
    """First frames of the three views of a mel with more than `WINDOW_FRAMES` frames.

    The places that a view can begin at are cut into three runs as numpy's `array_split` does; laion-clap draws one of
    each, here it is the middle one. A run that is empty gives 0, as there.
    """
    runs = np.array_split(np.arange(num_frames - WINDOW_FRAMES + 1), 3)
    return [int(run[len(run) // 2]) if len(run) else 0 for run in runs]
