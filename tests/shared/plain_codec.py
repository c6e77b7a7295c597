"""A codec whose latents are the samples themselves: fast, and decoding gives back what was encoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from latentune.tokenizers.base import AudioTokenizer, Encoded, TokenizerSpec


@dataclass(frozen=True, kw_only=True)
class PlainCodecConfig:
    hop_samples: int = 40


class PlainCodec(AudioTokenizer):
    """4 kHz stereo, chunks of 2 latents of 40 samples; its tokens say nothing."""

    config_class = PlainCodecConfig
    licence = "CC0-1.0"

    def __init__(self, config: PlainCodecConfig | None = None):
        super().__init__(config or PlainCodecConfig())
        self.weight = torch.nn.Parameter(torch.ones(1))

    @property
    def spec(self) -> TokenizerSpec:
        hop = self.settings.hop_samples
        return TokenizerSpec(
            name="plain",
            sample_rate=4000,
            channels=2,
            hop_samples=hop,
            latent_dim=2 * hop,
            levels=((8, 8, 8, 8),),
            token_hop_samples=hop,
            chunk_latents=2,
            chunk_tokens=2,
        )

    def encode(self, audio: Any, sample_rate: int, lengths: Any = None, **options: Any) -> Encoded:
        assert sample_rate == 4000
        lengths = torch.full((len(audio),), audio.shape[-1]) if lengths is None else lengths
        frames = self.spec.num_latents(audio.shape[-1])
        audio = torch.nn.functional.pad(audio, (0, frames * self.settings.hop_samples - audio.shape[-1]))
        latents = audio.unflatten(-1, (frames, -1)).transpose(1, 2).flatten(2)
        return Encoded(latents=latents, tokens=torch.zeros(len(audio), frames, 1).long(), lengths_samples=lengths)

    def decode(self, *, latents: Any = None, tokens: Any = None, lengths_samples: Any = None, **options: Any) -> Any:
        if latents is None:
            latents = tokens.float().expand(-1, -1, self.spec.latent_dim)
        audio = latents.unflatten(-1, (2, -1)).transpose(1, 2).flatten(2)
        return audio if lengths_samples is None else audio[..., : int(lengths_samples.max())]

    def stream_decoder(self, **options: Any) -> Any:
        return PlainStream(self)

    latents_to_values = tokens_to_values = tokens_to_latents = latents_to_tokens = stream_encoder = None  # type: ignore[assignment]


class PlainStream:
    """Holds back the last sample, as live decoders hold back what later chunks can change."""

    def __init__(self, codec: PlainCodec):
        self.codec, self.held = codec, None

    def push(self, chunk: Any) -> Any:
        kind = "latents" if chunk.is_floating_point() else "tokens"
        audio = self.codec.decode(**{kind: chunk})
        if self.held is not None:
            audio = torch.cat([self.held, audio], -1)
        self.held = audio[..., -1:]
        return audio[..., :-1]

    def flush(self) -> Any:
        return self.held
