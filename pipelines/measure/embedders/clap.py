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
from ....layers.mel import magnitudes, mel_filters
from .base import Embedder
from .clap_weights import audio_config, audio_side, fetch, model_state, read_checkpoint
from .pretrained import load_pretrained

SAMPLE_RATE = 48_000  # Hz
WINDOW_SAMPLES = 480_000  # 10 s
FFT_SAMPLES = 1024
HOP_SAMPLES = 480
WINDOW_FRAMES = WINDOW_SAMPLES // HOP_SAMPLES + 1
NUM_MELS = 64
MEL_RANGE_HZ = (50.0, 14_000.0)
POWER_FLOOR = 1e-10
INT16_MAX = 32767.0


class ClapEmbedder(Embedder):
    """48 kHz mono in, a unit vector (512-d) for each 10 s out, as laion-clap's `get_audio_embedding_from_data`."""

    name = "clap"
    sample_rate = SAMPLE_RATE
    window_samples = WINDOW_SAMPLES
    long_audio = "windows of 10 s end to end"

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
        from transformers import ClapAudioConfig, ClapAudioModelWithProjection

        path = fetch(source)
        if path is None or path.is_dir():
            network = load_pretrained(ClapAudioModelWithProjection, path or source, "CLAP with an audio tower")
        else:
            state = audio_side(read_checkpoint(path), path)
            network = ClapAudioModelWithProjection(ClapAudioConfig(**audio_config(state)))
            network.load_state_dict(model_state(state, network, f"{source} (CLAP's audio tower)"))
        if network.config.num_mel_bins != NUM_MELS:
            raise CheckpointError(f"{source} takes {network.config.num_mel_bins} mel bands, CLAP has {NUM_MELS}")
        return cls(network, dim=network.config.projection_dim, source=str(source))

    def windows(self, audio: Tensor) -> Tensor:
        whole = at_least_a_window(quantise(audio))
        num = len(whole) // WINDOW_SAMPLES
        return whole[: num * WINDOW_SAMPLES].reshape(num, WINDOW_SAMPLES)

    def network_output(self, windows: Tensor) -> Tensor:
        features = log_mel(windows, self.fusion).unsqueeze(1)  # [W, 1, T, M]
        return self.embeds(features, torch.zeros(len(features), 1, dtype=torch.bool))

    def embeds(self, features: Tensor, longer: Tensor) -> Tensor:
        """Unit vectors [W, D] of mel levels [W, V, T, M]; of those that are `longer` [W, 1] all views are read."""
        output = self.network(input_features=features, is_longer=longer if self.fusion else None)
        return F.normalize(output.audio_embeds, dim=-1)


class ClapFusionEmbedder(ClapEmbedder):
    """48 kHz mono in, one unit vector (512-d) a file out, whatever its length; for models with feature fusion."""

    name = "clap_fusion"
    long_audio = (
        "audio above 10 s whole: its mel shrunk to 10 s (bilinear, no antialiasing) and 10 s views from the middle of "
        "each third of their possible places"
    )

    def __init__(self, network: Any, dim: int, source: str):
        super().__init__(network, dim, source)
        if not self.fusion:
            raise CheckpointError(f"{source} is a model without feature fusion: use the embedder clap")

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
        return self.embeds(windows.nan_to_num(), longer)


def quantise(audio: Tensor) -> Tensor:
    """Audio [N] as if it had been stored in 16 bits, rounded towards 0 as laion-clap does."""
    return (audio.float().clamp(-1.0, 1.0) * INT16_MAX).to(torch.int16).float() / INT16_MAX


def at_least_a_window(audio: Tensor) -> Tensor:
    """Audio [N] below 10 s repeated whole times and padded with zeros to 10 s; longer audio as it is."""
    whole = audio.repeat(max(1, WINDOW_SAMPLES // len(audio)))
    return F.pad(whole, (0, max(0, WINDOW_SAMPLES - len(whole))))


def view_begins(num_frames: int) -> list[int]:
    """First frames of the three views of a mel with more than `WINDOW_FRAMES` frames.

    The places that a view can begin at are cut into three runs as numpy's `array_split` does; laion-clap draws one of
    each, here it is the middle one. A run that is empty gives 0, as there.
    """
    runs = np.array_split(np.arange(num_frames - WINDOW_FRAMES + 1), 3)
    return [int(run[len(run) // 2]) if len(run) else 0 for run in runs]


def log_mel(audio: Tensor, htk: bool = False) -> Tensor:
    """Audio [W, N] at 48 kHz to mel levels in dB [W, T, M], T = N // 480 + 1.

    Models without fusion were trained on librosa's mel (Slaney), those with fusion on torchaudio's (`htk`).
    """
    power = magnitudes(audio, FFT_SAMPLES, HOP_SAMPLES, "reflect").square()
    filters = _htk_filters() if htk else mel_filters(SAMPLE_RATE, FFT_SAMPLES, NUM_MELS, *MEL_RANGE_HZ)
    return 10.0 * torch.log10((filters.to(power) @ power).clamp_min(POWER_FLOOR)).transpose(-1, -2)


def _htk_filters() -> Tensor:
    """Triangles of height 1 on HTK's scale, torchaudio's default: [M, F]."""
    from transformers.audio_utils import mel_filter_bank

    bins = FFT_SAMPLES // 2 + 1
    return torch.from_numpy(mel_filter_bank(bins, NUM_MELS, *MEL_RANGE_HZ, SAMPLE_RATE, mel_scale="htk").T)
