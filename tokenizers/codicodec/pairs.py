"""The examples of CoDiCodec's training: two consecutive chunks."""

from __future__ import annotations

from torch import Tensor

from .config import CoDiCodecConfig
from .spectrum import audio_to_spectrogram, split_chunks


def pair_samples(config: CoDiCodecConfig) -> int:
    """Returns the samples of two chunks, and of the hop that the last window reaches beyond them."""
    return 2 * config.chunk_samples + config.stft_hop_samples


def pair_chunks(audio: Tensor, config: CoDiCodecConfig) -> Tensor:
    """Returns spectrograms [P, 2, 2C, F, L] of audio [P, C, pair_samples].

    Raises:
        ValueError: audio of another shape.
    """
    if audio.shape[1:] != (config.channels, pair_samples(config)):
        raise ValueError(
            f"CoDiCodec's training takes audio [B, {config.channels}, {pair_samples(config)}], got {tuple(audio.shape)}"
        )
    return split_chunks(audio_to_spectrogram(audio, config), config.chunk_frames)
