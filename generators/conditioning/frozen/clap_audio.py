"""LAION's CLAP, audio side: transformers' network, and laion-clap's front end with fixed windows.

Shape letters: N samples, W windows, T frames, M mel bands, D embedding width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....core.errors import CheckpointError
from ....core.extras import import_class
from ....layers.mel import magnitudes, mel_filters
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


def load_audio_tower(source: str | Path) -> Any:
    """Loads transformers' audio tower with its projection.

    Args:
        source: a laion-clap `.pt` (local, or `owner/name/file.pt` on a hub), or a folder or hub id of transformers.

    Returns:
        A `ClapAudioModelWithProjection`.

    Raises:
        CheckpointError: missing, unreadable, or keys that do not fit.
    """
    model_class = import_class("ClapAudioModelWithProjection", "CLAP")
    path = fetch(source)
    if path is None or path.is_dir():
        network = load_pretrained(model_class, path or source, "CLAP with an audio tower")
    else:
        state = audio_side(read_checkpoint(path), path)
        network = model_class(import_class("ClapAudioConfig", "CLAP")(**audio_config(state)))
        network.load_state_dict(model_state(state, network, f"{source} (CLAP's audio tower)"))
    if network.config.num_mel_bins != NUM_MELS:
        raise CheckpointError(f"{source} takes {network.config.num_mel_bins} mel bands, CLAP has {NUM_MELS}")
    return network


def quantise(audio: Tensor) -> Tensor:
    """Audio [N] as if it had been stored in 16 bits, rounded towards 0 as laion-clap does."""
    return (audio.float().clamp(-1.0, 1.0) * INT16_MAX).to(torch.int16).float() / INT16_MAX


def at_least_a_window(audio: Tensor) -> Tensor:
    """Audio [N] below 10 s repeated whole times and padded with zeros to 10 s; longer audio as it is."""
    whole = audio.repeat(max(1, WINDOW_SAMPLES // len(audio)))
    return F.pad(whole, (0, max(0, WINDOW_SAMPLES - len(whole))))


def cut_windows(audio: Tensor) -> Tensor:
    """Mono audio [N] at 48 kHz as windows [W, N'] of 10 s end to end, quantised; W >= 1."""
    whole = at_least_a_window(quantise(audio))
    num = len(whole) // WINDOW_SAMPLES
    return whole[: num * WINDOW_SAMPLES].reshape(num, WINDOW_SAMPLES)


def embed_mel(network: Any, features: Tensor, longer: Tensor) -> Tensor:
    """Computes unit vectors of mel levels.

    Args:
        network: the audio tower.
        features: [W, V, T, M] mel levels of V views.
        longer: [W, 1] bool, True where all views are to be read; networks without feature fusion read the first.

    Returns:
        [W, D].
    """
    output = network(input_features=features, is_longer=longer if network.config.enable_fusion else None)
    return F.normalize(output.audio_embeds, dim=-1)


def embed_windows(network: Any, windows: Tensor) -> Tensor:
    """Computes unit vectors [W, D] of windows [W, N'] of 10 s."""
    features = log_mel(windows, bool(network.config.enable_fusion)).unsqueeze(1)  # [W, 1, T, M]
    return embed_mel(network, features, torch.zeros(len(features), 1, dtype=torch.bool))


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
