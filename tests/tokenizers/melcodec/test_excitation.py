"""Harmonic phases: sound made with them has the pitch they were made for, whole or in pieces."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from latentune.layers.pitch import track_pitch
from latentune.tokenizers.melcodec import MelCodecConfig
from latentune.tokenizers.melcodec.decoder import OverlapAdd, Synthesis
from latentune.tokenizers.melcodec.excitation import MIDDLE_OCTAVE_HZ, ExcitationState, harmonic_excitation

CONFIG = replace(MelCodecConfig(), pitch_range_hz=(60.0, 400.0))  # 16 kHz, hop 320, window 1280
BINS = CONFIG.synthesis_window_samples // 2 + 1


def octaves(pitch_hz: Tensor) -> Tensor:
    return (pitch_hz / MIDDLE_OCTAVE_HZ).log2()


def sound(pitch_hz: Tensor) -> Tensor:
    """Audio [B, N] of a falling harmonic spectrum over pitches [B, T], without a free part."""
    shape = *pitch_hz.shape, BINS
    silent, zero, falling = torch.full(shape, -20.0), torch.zeros(shape), (-0.02 * torch.arange(BINS)).expand(shape)
    parameters = torch.cat((silent, zero, falling, zero, octaves(pitch_hz)[..., None]), dim=-1)
    return OverlapAdd(CONFIG)(Synthesis(CONFIG)(parameters)).flatten(1)


@pytest.mark.parametrize("pitch_hz", [81.0, 120.0, 163.7, 251.0, 390.0])
def test_a_constant_pitch_is_heard(pitch_hz: float) -> None:
    audio = sound(torch.full((1, 50), pitch_hz))
    found = track_pitch(audio, 16000, 320, (60.0, 400.0))[0, 4:-4]
    assert (found - pitch_hz).abs().max() < 0.015 * pitch_hz


def test_a_gliding_pitch_is_followed() -> None:
    pitch = torch.linspace(100, 200, 100)[None]
    found = track_pitch(sound(pitch), 16000, 320, (60.0, 400.0))
    assert (found - pitch)[0, 4:-4].abs().median() < 3


def test_pieces_continue_each_other(generator: torch.Generator) -> None:
    octave = torch.rand(2, 40, generator=generator) - 0.5
    state = ExcitationState()
    pieces = [harmonic_excitation(CONFIG, part, state)[1] for part in octave.split([1, 20, 19], dim=1)]
    whole = harmonic_excitation(CONFIG, octave, ExcitationState())[1]
    turns = ((torch.cat(pieces, dim=1) - whole) / (2 * math.pi)).abs()
    assert (turns - turns.round()).abs().max() < 1e-3


def test_a_pitch_beyond_the_range_is_kept_within_it() -> None:
    beyond, limit = (
        harmonic_excitation(CONFIG, octaves(torch.full((1, 5), hz)), ExcitationState()) for hz in (900.0, 400.0)
    )
    torch.testing.assert_close(beyond, limit)
