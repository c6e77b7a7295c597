"""Live encoding and decoding: state objects that take pieces and return the output that is ready."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...layers.audio import check_audio, to_channels
from ..base import Encoded
from .autoregressive import next_chunk
from .noise import SeededNoise
from .spectrum import audio_to_spectrogram, spectrogram_to_audio

if TYPE_CHECKING:
    from .model import CoDiCodec


class StreamEncoder:
    """Push audio [B, C, n] of any n at the codec's rate; get `Encoded` of the chunks that are complete, or None.

    The chunks equal those of `CoDiCodec.encode` for the whole signal.
    """

    def __init__(self, codec: CoDiCodec):
        self.codec = codec
        self.held: Tensor | None = None  # audio that no chunk has used yet, the lead included
        self.pushed = 0  # samples of real audio so far
        self.given = 0  # chunks so far

    def push(self, chunk: Tensor) -> Encoded | None:
        """Takes the next audio; see `StreamState.push`.

        Raises:
            ValueError: audio of another batch than before, or not finite.
        """
        check_audio(chunk)
        chunk = to_channels(chunk.float(), self.codec.settings.channels).to(self.codec.device)
        if self.held is None:
            self.held = chunk.new_zeros(*chunk.shape[:2], self.codec.lead_samples)
        if len(chunk) != len(self.held):
            raise ValueError(f"the stream has a batch of {len(self.held)}, got one of {len(chunk)}")
        self.held = torch.cat((self.held, chunk), dim=-1)
        self.pushed += chunk.shape[-1]
        config = self.codec.settings
        return self._encode((self.held.shape[-1] - config.stft_hop_samples) // config.chunk_samples)

    def flush(self) -> Encoded | None:
        """Encodes the rest, padded with silence; the next push begins a new stream."""
        if self.held is None:
            return None
        rest = self._encode(self.codec.spec.num_chunks(self.pushed) - self.given)
        self.held, self.pushed, self.given = None, 0, 0
        return rest

    @torch.no_grad()
    def _encode(self, count: int) -> Encoded | None:
        if count < 1 or self.held is None:
            return None
        codec, config = self.codec, self.codec.settings
        need = count * config.chunk_samples + config.stft_hop_samples
        audio = torch.nn.functional.pad(self.held, (0, max(0, need - self.held.shape[-1])))
        values = torch.cat([codec.encode_chunks(s) for s in self._spectrograms(audio, count)])
        # from chunk-major, the order of encoding, to batch-major
        values = values.unflatten(0, (count, -1)).transpose(0, 1).flatten(0, 1)
        batch = len(audio)
        self.held = self.held[..., count * config.chunk_samples :]
        self.given += count
        return Encoded(
            latents=codec.values_to_latents(values).reshape(batch, -1, codec.spec.latent_dim),
            tokens=codec.values_to_tokens(values).reshape(batch, -1, 1),
            lengths_samples=torch.full((batch,), count * config.chunk_samples),
        )

    def _spectrograms(self, audio: Tensor, count: int) -> Iterator[Tensor]:
        config = self.codec.settings
        for k in range(count):
            start = k * config.chunk_samples
            yield audio_to_spectrogram(
                audio[..., start : start + config.chunk_samples + config.stft_hop_samples], config
            )


class StreamDecoder:
    """Push latents [B, chunk_latents, D] or tokens [B, chunk_tokens, 1] of one chunk; get its audio [B, C, n].

    The latency is one chunk and the hop that the next chunk completes. The result equals
    `decode(mode="autoregressive")` with the same generator; `flush` returns the last hop.
    """

    def __init__(self, codec: CoDiCodec, generator: torch.Generator | None, steps: int, time_prompt: float):
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        self.codec, self.generator, self.steps, self.time_prompt = codec, generator, steps, time_prompt
        self.reset()

    def reset(self) -> None:
        """Forgets the stream so far."""
        self.noise: SeededNoise | None = None
        self.past: Tensor | None = None  # clean spectrogram of the previous chunk
        self.past_values: Tensor | None = None
        self.tail: Tensor | None = None  # the half-overlapped last hop
        self.chunks = 0

    @torch.no_grad()
    def push(self, chunk: Tensor) -> Tensor:
        """Takes the next chunk; see `StreamState.push`.

        Raises:
            ValueError: not exactly one chunk of latents (float) or tokens (integer).
        """
        codec, config = self.codec, self.codec.settings
        values = codec.latents_to_values(chunk) if chunk.is_floating_point() else codec.tokens_to_values(chunk)
        if values.shape[1] != 1:
            raise ValueError(f"push one chunk at a time, got {values.shape[1]}")
        values = values[:, 0].to(codec.device)
        if self.noise is None:
            self.noise = SeededNoise(config, len(values), self.generator)
        keys = [(i, self.chunks) for i in range(len(values))]
        past, before = self.past, self.past_values
        self.past = next_chunk(codec, values, before, past, keys, self.noise, self.steps, self.time_prompt)
        self.past_values = values
        audio = spectrogram_to_audio(self.past, config)
        hop = config.stft_hop_samples
        if self.tail is not None:
            audio[..., :hop] += self.tail
        self.tail = audio[..., -hop:].clone()
        skip = codec.lead_samples if self.chunks == 0 else 0
        self.chunks += 1
        return audio[..., skip:-hop].clamp(-1.0, 1.0)

    def flush(self) -> Tensor | None:
        """Returns the last hop, which no further chunk will complete (with edge padding it is silence and dropped)."""
        tail = None if self.codec.settings.edge_padding else self.tail
        self.reset()
        return None if tail is None else tail.clamp(-1.0, 1.0)
