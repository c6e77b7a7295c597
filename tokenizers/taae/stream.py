"""Live encoding and decoding: state objects that take pieces and return the output that is ready.

The outputs, joined, equal the whole-signal result. A causal model returns each latent frame, or its audio, as soon as
all of its input has arrived: the latency is one frame (40 ms at 25 Hz). A model that is not causal works too, but every
layer first waits for the future that its window and kernels see; `flush` returns the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...layers.audio import check_audio, to_channels
from ...layers.loudness import apply_gain, decoded_level
from ..base import Encoded
from .patching import audio_to_patches, patches_to_audio

if TYPE_CHECKING:
    from .model import TAAE


class StreamEncoder:
    """Push audio [B, C, n] of any n at the codec's rate; get `Encoded` of the frames that became ready, or None."""

    def __init__(self, codec: TAAE, gain_db: float = 0.0):
        self.codec, self.gain_db = codec, gain_db
        self.reset()

    def reset(self) -> None:
        """Forgets the stream so far."""
        self.state: Any | None = None  # of the network, for the batch of the first push
        self.held: Tensor | None = None  # audio that does not fill a hop yet

    @torch.no_grad()
    def push(self, chunk: Tensor) -> Encoded | None:
        """Takes the next audio; see `StreamState.push`.

        Raises:
            ValueError: audio of another batch than before, or not finite.
        """
        check_audio(chunk)
        codec = self.codec
        chunk = to_channels(chunk.float(), codec.settings.channels).to(codec.device)
        if self.held is None:
            self.held = chunk[..., :0]
            self.state = codec.encoder.stream(len(chunk))
        if len(chunk) != len(self.held):
            raise ValueError(f"the stream has a batch of {len(self.held)}, got one of {len(chunk)}")
        audio = torch.cat((self.held, chunk), dim=-1)
        whole = audio.shape[-1] // codec.settings.hop_samples * codec.settings.hop_samples
        self.held = audio[..., whole:].clone()
        return self._result(self._encode(audio[..., :whole])) if whole else None

    @torch.no_grad()
    def flush(self) -> Encoded | None:
        """Encodes the rest, padded with silence to a whole hop; the next push begins a new stream."""
        if self.held is None or self.state is None:
            return None
        parts = []
        if self.held.shape[-1]:
            missing = self.codec.settings.hop_samples - self.held.shape[-1]
            parts.append(self._encode(torch.nn.functional.pad(self.held, (0, missing))))
        parts.append(self.state.flush())
        self.reset()
        return self._result(_joined(parts))

    def _encode(self, audio: Tensor) -> Tensor | None:
        assert self.state is not None
        audio = apply_gain(audio, torch.full((len(audio),), self.gain_db))
        patches = audio_to_patches(audio, self.codec.settings.patch_samples)
        z: Tensor | None = self.state.push(patches.to(self.codec.dtype))
        return z

    def _result(self, z: Tensor | None) -> Encoded | None:
        if z is None:
            return None
        latents = self.codec.z_to_latents(z)
        return Encoded(
            latents=latents,
            tokens=self.codec.latents_to_tokens(latents),
            lengths_samples=torch.full((len(z),), z.shape[1] * self.codec.settings.hop_samples),
            gain_db=torch.full((len(z),), self.gain_db),
        )


class StreamDecoder:
    """Push latents [B, n, D] or tokens [B, n, Q] of any n; get the audio [B, C, n'] that became ready, or None."""

    def __init__(self, codec: TAAE, gain_db: float = 0.0):
        self.codec, self.gain_db = codec, gain_db
        self.reset()

    def reset(self) -> None:
        """Forgets the stream so far."""
        self.state: Any | None = None
        self.batch = 0

    @torch.no_grad()
    def push(self, chunk: Tensor) -> Tensor | None:
        """Takes the next latents or tokens; see `StreamState.push`.

        Raises:
            ValueError: a stream of another codec, or another batch than before.
        """
        codec = self.codec
        values = codec.latents_to_values(chunk) if chunk.is_floating_point() else codec.tokens_to_values(chunk)
        if self.state is None:
            self.state, self.batch = codec.decoder.stream(len(values)), len(values)
        if len(values) != self.batch:
            raise ValueError(f"the stream has a batch of {self.batch}, got one of {len(values)}")
        return self._result(self.state.push(values.to(codec.device, codec.dtype)))

    @torch.no_grad()
    def flush(self) -> Tensor | None:
        """Returns the audio that waited for later frames; the next push begins a new stream."""
        rest = None if self.state is None else self.state.flush()
        self.reset()
        return self._result(rest)

    def _result(self, patches: Tensor | None) -> Tensor | None:
        if patches is None:
            return None
        audio = patches_to_audio(patches.float(), self.codec.settings.patch_samples)
        return decoded_level(audio, torch.full((len(audio),), self.gain_db))


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there, dim=1) if there else None
