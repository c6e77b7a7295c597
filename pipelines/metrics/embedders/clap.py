"""LAION's CLAP (Wu et al. 2023, arXiv 2211.06687), audio side, on transformers' network with laion-clap's front end.

Where laion-clap crops longer audio at random, windows here are fixed. Needs the extra `clap`.
Shape letters: N samples, W windows, T frames, M mel bands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ....tokenizers.parts.errors import CheckpointError
from ..mel import magnitudes, mel_filters
from .base import Embedder
from .clap_weights import audio_config, fetch, model_state, read_checkpoint

SAMPLE_RATE = 48_000  # Hz
WINDOW_SAMPLES = 480_000  # 10 s
FFT_SAMPLES = 1024
HOP_SAMPLES = 480
NUM_MELS = 64
MEL_RANGE_HZ = (50.0, 14_000.0)
POWER_FLOOR = 1e-10
INT16_MAX = 32767.0


class ClapEmbedder(Embedder):
    """48 kHz mono in, a unit vector (512-d) for each 10 s out, as laion-clap's `get_audio_embedding_from_data`."""

    name = "clap"
    sample_rate = SAMPLE_RATE
    window_samples = WINDOW_SAMPLES
    preprocessing = (
        "mono 48 kHz, soxr HQ; 16-bit quantised; windows of 10 s end to end, shorter audio repeated whole times and "
        "padded with zeros; STFT 1024/480 Hann, centred, reflected; 64 Slaney mel of power, 50-14000 Hz; dB"
    )

    @classmethod
    def from_checkpoint(cls, source: str | Path) -> Self:
        """Load a laion-clap `.pt` (local, or `owner/name/file.pt` on a hub), or a folder or hub id of transformers.

        Raises:
            CheckpointError: missing, unreadable, of the fusion kind, or keys that do not fit.
            ImportError: the extra is not installed.
        """
        transformers = _transformers()
        path = fetch(source)
        if path is None or path.is_dir():
            network = _from_transformers(transformers, str(path or source))
        else:
            state = read_checkpoint(path)
            config = transformers.ClapAudioConfig(**audio_config(state))
            network = transformers.ClapAudioModelWithProjection(config)
            network.load_state_dict(model_state(state, network, str(source)))
        if network.config.enable_fusion:
            raise CheckpointError(f"{source} is a fusion model, which crops at random: use one without fusion")
        if network.config.num_mel_bins != NUM_MELS:
            raise CheckpointError(f"{source} takes {network.config.num_mel_bins} mel bands, CLAP has {NUM_MELS}")
        return cls(network, dim=network.config.projection_dim, source=str(source))

    def windows(self, audio: Tensor) -> Tensor:
        quantised = (audio.float().clamp(-1.0, 1.0) * INT16_MAX).to(torch.int16).float() / INT16_MAX
        if len(quantised) < WINDOW_SAMPLES:
            whole = quantised.repeat(WINDOW_SAMPLES // len(quantised))
            return F.pad(whole, (0, WINDOW_SAMPLES - len(whole)))[None]
        num = len(quantised) // WINDOW_SAMPLES
        return quantised[: num * WINDOW_SAMPLES].reshape(num, WINDOW_SAMPLES)

    def network_output(self, windows: Tensor) -> Tensor:
        features = log_mel(windows).unsqueeze(1)  # [W, 1, T, M]
        return F.normalize(self.network(input_features=features).audio_embeds, dim=-1)


def log_mel(audio: Tensor) -> Tensor:
    """Audio [W, N] at 48 kHz to mel levels in dB [W, T, M], T = N // 480 + 1."""
    power = magnitudes(audio, FFT_SAMPLES, HOP_SAMPLES, "reflect").square()
    filters = mel_filters(SAMPLE_RATE, FFT_SAMPLES, NUM_MELS, *MEL_RANGE_HZ).to(power)
    return 10.0 * torch.log10((filters @ power).clamp_min(POWER_FLOOR)).transpose(-1, -2)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ImportError("CLAP embeddings need transformers: pip install 'latentune[clap]'") from error
    return transformers


def _from_transformers(transformers: Any, source: str) -> Any:
    """The audio tower of a checkpoint in transformers' format; what belongs to the text tower is left unread."""
    try:
        network, info = transformers.ClapAudioModelWithProjection.from_pretrained(source, output_loading_info=True)
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"cannot load CLAP from {source}: {reason}") from error
    if info["missing_keys"] or info.get("mismatched_keys"):
        missing = sorted(info["missing_keys"]) or info["mismatched_keys"]
        raise CheckpointError(
            f"{source} is no CLAP with an audio tower: it lacks {len(missing)} keys ({missing[0]}, ...)"
        )
    return network
