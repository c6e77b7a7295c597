"""Live encoding and decoding of a codec that is not causal: overlapping chunks, each processed when it is certain.

Shape letters: B batch, n any length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...layers.audio import check_audio, to_channels
from ..base import Encoded
from .chunked import Chunking

if TYPE_CHECKING:
    from .model import NeuCodec


class StreamEncoder:
    """Push audio [B, C, n] at the codec's rate; get `Encoded` of the frames that became ready, or None."""

    def __init__(self, codec: NeuCodec, chunking: Chunking):
        self.codec, self.chunks = codec, chunking.stream()
        self.rest: Tensor | None = None  # [B, n], not a whole hop yet

    def push(self, chunk: Tensor) -> Encoded | None:
        """Takes the next audio; see `StreamState.push`.

        Raises:
            ValueError: audio of another batch than before, or not finite.
        """
        check_audio(chunk)
        audio, hop = to_channels(chunk.float(), 1)[:, 0], self.codec.spec.hop_samples
        if self.rest is not None:
            if len(audio) != len(self.rest):
                raise ValueError(f"the stream has a batch of {len(self.rest)}, got one of {len(audio)}")
            audio = torch.cat((self.rest, audio), dim=-1)
        whole = audio.shape[-1] // hop * hop
        self.rest = audio[:, whole:].clone()
        return self._encode(self.chunks.push(audio[:, :whole].unflatten(-1, (-1, hop)))) if whole else None

    def flush(self) -> Encoded | None:
        """Encodes the rest; the next push begins a new stream."""
        if self.rest is None:
            return None
        hop, short = self.codec.spec.hop_samples, 0
        pieces = []
        if self.rest.shape[-1]:
            short = hop - self.rest.shape[-1]
            pieces = self.chunks.push(torch.nn.functional.pad(self.rest, (0, short))[:, None])
        pieces += self.chunks.flush()
        self.rest = None
        return self._encode(pieces, short)

    def _encode(self, pieces: list[tuple[Tensor, slice]], short: int = 0) -> Encoded | None:
        """Encodes chunks [B, frames, hop]; the last one ends with `short` samples that the signal does not have."""
        latents, num_samples = [], -short
        for place, (piece, kept) in enumerate(pieces):
            audio = piece.flatten(1)[:, None]
            audio = audio[..., : audio.shape[-1] - short] if place == len(pieces) - 1 else audio
            part = self.codec.encode(audio, self.codec.spec.sample_rate, chunk_s=None).latents[:, kept]
            latents.append(part)
            num_samples += part.shape[1] * self.codec.spec.hop_samples
        if not latents:
            return None
        joined = torch.cat(latents, dim=1)
        return Encoded(
            latents=joined,
            tokens=self.codec.latents_to_tokens(joined),
            lengths_samples=torch.full((len(joined),), num_samples),
        )


class StreamDecoder:
    """Push latents [B, n, D] or tokens [B, n, 1] of any n; get the audio [B, 1, n'] that became ready, or None."""

    def __init__(self, codec: NeuCodec, chunking: Chunking):
        self.codec, self.chunks = codec, chunking.stream()

    def push(self, chunk: Tensor) -> Tensor | None:
        """Takes the next latents or tokens; see `StreamState.push`.

        Raises:
            ValueError: frames of another codec or another batch than before.
        """
        codec, held = self.codec, self.chunks.held
        values = codec.latents_to_values(chunk) if chunk.is_floating_point() else codec.tokens_to_values(chunk)
        if held is not None and len(values) != len(held):
            raise ValueError(f"the stream has a batch of {len(held)}, got {tuple(chunk.shape)}")
        return self._decode(self.chunks.push(values.to(codec.device)))

    def flush(self) -> Tensor | None:
        """Returns the audio that waited for later frames; the next push begins a new stream."""
        return self._decode(self.chunks.flush())

    @torch.no_grad()
    def _decode(self, pieces: list[tuple[Tensor, slice]]) -> Tensor | None:
        codec, hop, parts = self.codec, self.codec.spec.hop_samples, []
        for values, kept in pieces:
            audio = codec.decoder(codec.quantiser.embed(values))
            parts.append(audio[..., kept.start * hop : kept.stop * hop])
        return torch.cat(parts, dim=-1).clamp(-1.0, 1.0) if parts else None
