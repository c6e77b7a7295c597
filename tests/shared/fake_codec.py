"""A codec of a few numbers: fast, deterministic, and as fussy as a real one about shapes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from latentune.tokenizers.base import AudioTokenizer, Encoded, TokenizerSpec


@dataclass(frozen=True, kw_only=True)
class FakeCodecConfig:
    channels: int = 2
    latent_dim: int = 3
    levels: tuple[tuple[int, ...], ...] = ((5, 5), (20, 20))  # codebooks of 25 and 400: 16 bits a token
    scale: float = 3.0
    delay_s: float = 0.0  # of each call of encode


class FakeCodec(AudioTokenizer):
    """8 kHz, chunks of 4 latents of 80 samples or 2 tokens of 160; a chunk's window reaches 40 samples beyond it."""

    config_class = FakeCodecConfig
    licence = "CC0-1.0"

    def __init__(self, config: FakeCodecConfig | None = None):
        super().__init__(config or FakeCodecConfig())
        weight = torch.linspace(-1, 1, 80 * self.settings.channels * self.settings.latent_dim).sin()
        self.weight = torch.nn.Parameter(weight.reshape(-1, self.settings.latent_dim))
        self.calls: list[tuple[int, ...]] = []

    @property
    def spec(self) -> TokenizerSpec:
        return TokenizerSpec(
            name="fake",
            sample_rate=8000,
            channels=self.settings.channels,
            hop_samples=80,
            latent_dim=self.settings.latent_dim,
            levels=self.settings.levels,
            token_hop_samples=160,
            chunk_latents=4,
            chunk_tokens=2,
            overlap_samples=40,
        )

    def encode(self, audio: Any, sample_rate: int, lengths: Any = None, **options: Any) -> Encoded:
        if options:
            raise TypeError(f"FakeCodec.encode has no option {sorted(options)}")
        assert sample_rate == 8000
        assert audio.shape[1] == self.settings.channels
        assert torch.isfinite(audio).all()
        time.sleep(self.settings.delay_s)
        self.calls.append(tuple(audio.shape))
        lengths = torch.full((len(audio),), audio.shape[-1]) if lengths is None else lengths
        whole = self.spec.num_latents(int(lengths.max())) * 80
        audio = torch.nn.functional.pad(audio, (0, max(0, whole - audio.shape[-1])))[..., :whole]
        frames = audio.unflatten(-1, (-1, 80)).transpose(1, 2).flatten(2)
        latents = frames @ self.weight * self.settings.scale + torch.tensor([0.5, -1.0, 2.0])
        coarse = latents.unflatten(1, (-1, 2)).mean(2)
        tokens = torch.stack([(coarse.sum(-1) * 10 * s).long().abs() % s for s in self.spec.codebook_sizes], -1)
        # a signal for the tests: audio at full scale stands for a codec that breaks down
        latents = latents.masked_fill((audio.amax((1, 2)) > 0.999)[:, None, None], torch.nan)
        return Encoded(latents=latents, tokens=tokens, lengths_samples=lengths)

    def decode(self, **options: Any) -> Any:
        raise NotImplementedError

    def tokens_to_latents(self, tokens: Any) -> Any:
        raise NotImplementedError

    def latents_to_tokens(self, latents: Any) -> Any:
        raise NotImplementedError

    def stream_encoder(self, **options: Any) -> Any:
        raise NotImplementedError

    def stream_decoder(self, **options: Any) -> Any:
        raise NotImplementedError
