"""Spectra of a pulse train: the harmonics of a pitch, which the decoder shapes by an envelope.

A decoder that is trained on magnitudes alone has to invent phases that agree from frame to frame. The integral of the
pitch gives such phases. Shape letters: B batch, T frames, F bins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .config import MelCodecConfig

MIDDLE_OCTAVE_HZ = 120.0  # pitch of octave 0
LOBE_BINS = 2.0  # half the width of a Hann window's main lobe, which is within 1 % of a squared cosine


@dataclass
class ExcitationState:
    """Where a signal is."""

    pitch_hz: Tensor | None = None  # [B, 1] of the frame before
    turns: Tensor | None = None  # [B, 1] float64, periods of the pitch up to the middle of that frame


def harmonic_excitation(config: MelCodecConfig, octave: Tensor, state: ExcitationState) -> tuple[Tensor, Tensor]:
    """Gains and phases [B, T, F] of the harmonic nearest to each bin of the synthesis window, a Hann window.

    Args:
        config: with a pitch range.
        octave: [B, T] of the pitch, octave 0 being `MIDDLE_OCTAVE_HZ`; it is kept within the range.
        state: of the signal; it is moved on.

    Returns:
        Gains from 0 (between harmonics) to 1 (on a harmonic), and phases at the window's first sample.
    """
    assert config.pitch_range_hz is not None
    pitch = (MIDDLE_OCTAVE_HZ * torch.exp2(octave)).clamp(*config.pitch_range_hz)
    bin_hz = config.sample_rate / config.synthesis_window_samples
    bins = torch.arange(config.synthesis_window_samples // 2 + 1, device=pitch.device)
    pitch_bins = pitch[..., None] / bin_hz
    number = (bins / pitch_bins).round().clamp_min(1.0)
    distance = (bins - number * pitch_bins).abs().clamp_max(LOBE_BINS)
    gain = torch.cos(0.5 * math.pi / LOBE_BINS * distance).square()
    turns = _turns(pitch, config.hop_samples / config.sample_rate, state)
    phase = (number * turns[..., None]).frac() * (2 * math.pi)
    return gain, (phase - math.pi * bins).float()  # from the middle of a piece to its first sample


def _turns(pitch: Tensor, hop_s: float, state: ExcitationState) -> Tensor:
    """Periods [B, T] float64 from the signal's start to the middle of each frame, whole ones left out."""
    if state.pitch_hz is None or state.turns is None:
        state.pitch_hz, state.turns = pitch[:, :1], pitch.new_zeros(len(pitch), 1, dtype=torch.float64)
    before = torch.cat((state.pitch_hz, pitch[:, :-1]), dim=1)
    turns = (state.turns + ((before + pitch).double() * (0.5 * hop_s)).cumsum(1)).frac()
    state.pitch_hz, state.turns = pitch[:, -1:], turns[:, -1:]
    return turns
