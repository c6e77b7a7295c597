"""A codec of plain arithmetic: its latents are block means, its decoder steps; fast, and still FSQ."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from latentune.layers import fsq
from latentune.tokenizers.base import AudioTokenizer, Encoded, TokenizerSpec
from latentune.tokenizers.inputs import decode_lengths, prepare_audio

RATE = 16_000
BLOCK = 40  # samples that one digit stands for


@dataclass(frozen=True, kw_only=True)
class StepCodecConfig:
    levels: tuple[int, ...] = (4,) * 8
    latent_scale: float = 0.5
    chunk: int = 2  # frames
    offset: float = 0.0  # added to all values: another encoder for the same quantiser


class StepCodec(AudioTokenizer):
    """Frames of 8 blocks at 16 kHz, mono; decoding gives every sample of a block its value."""

    config_class = StepCodecConfig

    def __init__(self, config: StepCodecConfig | None = None):
        super().__init__(config or StepCodecConfig())
        self.unused = torch.nn.Parameter(torch.zeros(1))

    @property
    def spec(self) -> TokenizerSpec:
        c = self.settings
        hop = BLOCK * max(1, len(c.levels))
        return TokenizerSpec(
            name="step",
            sample_rate=RATE,
            channels=1,
            hop_samples=hop,
            latent_dim=len(c.levels),
            levels=(c.levels,) if c.levels else (),
            token_hop_samples=hop,
            chunk_latents=c.chunk,
            chunk_tokens=c.chunk,
        )

    def encode(self, audio: Any, sample_rate: int, lengths: Any = None, **options: Any) -> Encoded:
        audio, lengths = prepare_audio(self.spec, audio, sample_rate, lengths, self.device)
        whole = self.spec.max_samples(self.spec.num_chunks(int(lengths.max())))
        audio = torch.nn.functional.pad(audio, (0, whole - audio.shape[-1]))[:, 0]
        values = (audio.unflatten(-1, (-1, len(self.settings.levels), BLOCK)).mean(-1) + self.settings.offset).clamp(
            -1, 1
        )
        latents = fsq.values_to_latents(values, self.settings.latent_scale)
        return Encoded(latents=latents, tokens=self.latents_to_tokens(latents), lengths_samples=lengths)

    def decode(self, **given: Any) -> Any:
        latents = given.get("latents")
        latents = self.tokens_to_latents(given["tokens"]) if latents is None else latents
        lengths = decode_lengths(
            self.spec, len(latents), latents.shape[1] // self.settings.chunk, given.get("lengths_samples")
        )
        values = fsq.latents_to_values(latents, self.settings.latent_scale)
        return values.flatten(1).repeat_interleave(BLOCK, 1)[:, None, : int(lengths.max())]

    def latents_to_values(self, latents: Any) -> Any:
        return fsq.latents_to_values(latents, self.settings.latent_scale)

    def tokens_to_values(self, tokens: Any) -> Any:
        return self.latents_to_values(self.tokens_to_latents(tokens))

    def tokens_to_latents(self, tokens: Any) -> Any:
        digits = fsq.indices_to_digits(tokens[..., 0], self.settings.levels)
        return fsq.values_to_latents(fsq.digits_to_values(digits, self.settings.levels), self.settings.latent_scale)

    def latents_to_tokens(self, latents: Any) -> Any:
        values = fsq.latents_to_values(latents, self.settings.latent_scale)
        digits = fsq.values_to_digits(values, self.settings.levels)
        return fsq.digits_to_indices(digits, self.settings.levels).unsqueeze(-1)

    def stream_encoder(self, **options: Any) -> Any:
        raise NotImplementedError

    def stream_decoder(self, **options: Any) -> Any:
        raise NotImplementedError


@pytest.fixture
def step_codec() -> StepCodec:
    return StepCodec()


@pytest.fixture
def shifted_codec() -> StepCodec:
    """The same quantiser and decoder behind another encoder."""
    return StepCodec(StepCodecConfig(offset=0.2))


@pytest.fixture
def tokenless_codec() -> StepCodec:
    return StepCodec(StepCodecConfig(levels=()))


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two clips of noise that swells and fades, 0.6 and 0.8 s."""
    generator = torch.Generator().manual_seed(0)
    (tmp_path / "clips").mkdir()
    for name, seconds in (("b", 0.6), ("a", 0.8)):
        blocks = torch.randn(round(RATE * seconds / BLOCK), generator=generator)
        audio = (0.4 * blocks).clamp(-1, 1).repeat_interleave(BLOCK)
        soundfile.write(tmp_path / "clips" / f"{name}.wav", audio.numpy(), RATE, subtype="FLOAT")
    return tmp_path / "clips"
