"""Live encoding and decoding. Shape letters: B batch, n whatever came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...layers.audio import check_audio, to_channels
from ..base import Encoded
from .encoder import EncoderStream
from .stages import ChainStream

if TYPE_CHECKING:
    from .model import MelCodec


class StreamEncoder:
    """Push audio [B, C, n] at the codec's rate; get `Encoded` of the frames that became certain, or None."""

    def __init__(self, codec: MelCodec):
        self.codec = codec
        self.stream = EncoderStream(codec.front, codec.encoder)
        self.rest: Tensor | None = None  # [B, n] that does not fill a hop yet

    @torch.no_grad()
    def push(self, chunk: Tensor) -> Encoded | None:
        """Takes the next audio.

        Raises:
            ValueError: audio of another batch than before, or not finite.
        """
        check_audio(chunk)
        audio, hop = to_channels(chunk.float(), 1)[:, 0].to(self.codec.device), self.codec.spec.hop_samples
        if self.rest is not None:
            if len(audio) != len(self.rest):
                raise ValueError(f"the stream has a batch of {len(self.rest)}, got one of {len(audio)}")
            audio = torch.cat((self.rest, audio), dim=-1)
        whole = audio.shape[-1] // hop * hop
        self.rest = audio[:, whole:].clone()
        return self._encoded(self.stream.push(audio[:, :whole]) if whole else None)

    @torch.no_grad()
    def flush(self) -> Encoded | None:
        """Encodes what is left, the last hop filled with silence; the stream starts over."""
        if self.rest is None:
            return None
        hop, parts, missing = self.codec.spec.hop_samples, [], 0
        if self.rest.shape[-1]:
            missing = hop - self.rest.shape[-1]
            parts.append(self.stream.push(torch.nn.functional.pad(self.rest, (0, missing))))
        parts.append(self.stream.flush())
        self.rest = None
        frames = [part for part in parts if part is not None]
        return self._encoded(torch.cat(frames, dim=1) if frames else None, missing)

    def _encoded(self, z: Tensor | None, missing: int = 0) -> Encoded | None:
        """The streams of z [B, n, D], whose last frame has `missing` samples that the signal does not have."""
        if z is None:
            return None
        latents = self.codec.z_to_latents(z)
        num_samples = z.shape[1] * self.codec.spec.hop_samples - missing
        return Encoded(
            latents=latents,
            tokens=self.codec.latents_to_tokens(latents),
            lengths_samples=torch.full((len(z),), num_samples),
        )


class StreamDecoder:
    """Push latents [B, n, D] or tokens [B, n, Q] of any n; get the audio [B, 1, n'] that became certain, or None."""

    def __init__(self, codec: MelCodec):
        self.codec, self.stream = codec, ChainStream(codec.decoder.stages)

    @torch.no_grad()
    def push(self, chunk: Tensor) -> Tensor | None:
        """Takes the next frames.

        Raises:
            ValueError: frames of another codec or another batch than before.
        """
        codec = self.codec
        values = codec.latents_to_values(chunk) if chunk.is_floating_point() else codec.tokens_to_values(chunk)
        return _audio(self.stream.push(codec.to_network(values.to(codec.device))))

    @torch.no_grad()
    def flush(self) -> Tensor | None:
        """The audio that waited for frames that did not come; the stream starts over."""
        return _audio(self.stream.flush())


def _audio(hops: Tensor | None) -> Tensor | None:
    """Hops [B, n, hop] as audio [B, 1, n * hop] in [-1, 1]."""
    return None if hops is None else hops.flatten(1)[:, None].clamp(-1.0, 1.0)
