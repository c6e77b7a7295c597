"""MelCodec as an audio tokenizer.

Shape letters beyond those of `AudioTokenizer`: F values per frame that the encoder hears.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ...layers import fsq
from ...layers.audio import span
from ...layers.loudness import decoded_level
from ..base import Encoded, TokenizerSpec
from ..inputs import finished, prepare_audio, prepare_streams, refuse_options
from ..parts.frames import FrameTokenizer
from ..parts.residual import ResidualCodebooks
from .config import MelCodecConfig
from .decoder import Decoder
from .encoder import Encoder, EncoderStream
from .front import Front
from .quantizer import FiniteQuantizer
from .stages import pad_steps, run_stages, stage_pieces
from .stream import StreamDecoder, StreamEncoder

CHUNK_S = 30.0  # default length beyond which signals are worked on in pieces


class TrainingPass(NamedTuple):
    """The results of one forward pass that the training objective needs."""

    reconstruction: Tensor  # [B, 1, T * hop] float32
    z: Tensor  # [B, T, D] float32, not bounded
    octave: Tensor | None  # [B, T] float32, of the pitch, where the codec has a harmonic part


class MelCodec(FrameTokenizer):
    """A small codec: log mel spectra, ConvNeXt, FSQ, ConvNeXt, inverse STFT.

    Every layer sees a bounded number of neighbours, so that working in pieces, live or not, gives the result of the
    whole signal, up to the order of floating-point sums. A live encoder lags by what its layers see ahead
    (`encoder_lag_frames`), a live decoder by `decoder_lag_frames`; with `causal` only the overlap of windows is left.
    """

    config_class: ClassVar[type] = MelCodecConfig
    objectives: ClassVar[Mapping[str, str]] = {"melcodec": ".objective:MelCodecObjective"}
    settings: MelCodecConfig

    def __init__(self, config: MelCodecConfig):
        super().__init__(config)
        self.front = Front(config)
        self.encoder = Encoder(config)
        self.quantizer: FiniteQuantizer | ResidualCodebooks = (
            FiniteQuantizer(config.levels, config.num_codebooks)
            if config.residual is None
            else ResidualCodebooks(config.residual, config.latent_dim)
        )
        self.decoder = Decoder(config)

    @property
    def spec(self) -> TokenizerSpec:
        c = self.settings
        return TokenizerSpec(
            name="melcodec",
            sample_rate=c.sample_rate,
            channels=1,
            hop_samples=c.hop_samples,
            latent_dim=c.latent_dim,
            levels=self.quantizer.levels,
            token_hop_samples=c.hop_samples,
        )

    @property
    def encoder_lag_frames(self) -> int:
        """Frames that a live encoder holds back beyond the one that is not whole yet."""
        ahead = sum(stage.right for stage in self.encoder.stages)
        return ahead + -(-self.front.right // self.settings.hop_samples)

    @property
    def decoder_lag_frames(self) -> int:
        """Frames that a live decoder holds back."""
        return sum(stage.right for stage in self.decoder.stages)

    @property
    def codebooks(self) -> FiniteQuantizer | ResidualCodebooks:
        return self.quantizer

    # ------------------------------------------------------------------ whole signals

    @torch.no_grad()
    def encode(
        self,
        audio: Tensor,
        sample_rate: int,
        lengths: Tensor | None = None,
        *,
        chunk_s: float | None = CHUNK_S,
        **options: Any,
    ) -> Encoded:
        """Encodes audio [B, C, N]; see `AudioTokenizer.encode`.

        Args:
            chunk_s: longer items are worked on in pieces of this many seconds, which bounds the memory and does not
                change the result; None: never.

        Returns:
            Both streams.
        """
        refuse_options(options, self.encode)
        piece = self._piece_frames(chunk_s)
        audio, lengths = prepare_audio(self.spec, audio, sample_rate, lengths, self.device)
        counts = [self.spec.num_latents(int(n)) for n in lengths]
        latents = audio.new_zeros(len(audio), max(counts), self.spec.latent_dim)
        for count, group in _groups(counts):
            z = self._encode_equal(audio[:, 0], group, count, piece)
            latents[group, :count] = self.z_to_latents(z)
        return Encoded(latents=latents, tokens=self.latents_to_tokens(latents), lengths_samples=lengths)

    @torch.no_grad()
    def decode(
        self,
        *,
        latents: Tensor | None = None,
        tokens: Tensor | None = None,
        lengths_samples: Tensor | None = None,
        gain_db: Tensor | None = None,
        generator: torch.Generator | None = None,
        chunk_s: float | None = CHUNK_S,
        **options: Any,
    ) -> Tensor:
        """Decodes latents or tokens to audio [B, 1, N]; see `AudioTokenizer.decode`.

        Latents are decoded as they are, not rounded to levels.

        Args:
            generator: not drawn from; nothing here is random.
            chunk_s: as of `encode`.

        Returns:
            The audio, zeros beyond the length of each item.
        """
        refuse_options(options, self.decode)
        piece = self._piece_frames(chunk_s)
        values, lengths, counts = prepare_streams(self, latents, tokens, lengths_samples)
        hop = self.spec.hop_samples
        audio = values.new_zeros(len(values), 1, max(counts) * hop, dtype=torch.float32)
        for count, group in _groups(counts):
            own = self.to_network(values[group, :count])
            audio[group, 0, : count * hop] = run_stages(self.decoder.stages, own, piece).flatten(1)
        return finished(audio, lengths, gain_db)

    def value_pieces(self, values: Tensor, *, chunk_s: float | None = CHUNK_S) -> Iterator[Tensor]:
        """Decodes values [1, T, D] to pieces of audio [1, 1, n]; see `FrameTokenizer.value_pieces`."""
        hops = stage_pieces(self.decoder.stages, self.to_network(values), self._piece_frames(chunk_s))
        return (part.flatten(1)[:, None] for part in hops)

    @torch.no_grad()
    def latents_to_audio(self, latents: Tensor) -> Tensor:
        values = fsq.latents_to_values(latents.float(), self.settings.latent_scale)
        audio, _ = self.decoder(self.to_network(values))
        return decoded_level(audio.unsqueeze(1), None)

    def _encode_equal(self, audio: Tensor, group: list[int], count: int, piece_frames: int | None) -> Tensor:
        """Items `group` of audio [B, N], each of `count` frames, to z [items, count, D]."""
        hop, size = self.spec.hop_samples, piece_frames or count
        # cut piece by piece, so that there is never a copy of the whole
        starts = range(0, count, size)
        pieces = (span(audio, start * hop, min(start + size, count) * hop)[group] for start in starts)
        if len(starts) == 1:
            z: Tensor = self.encoder(self.front(next(pieces)))
            return z
        stream = EncoderStream(self.front, self.encoder)
        parts = [*map(stream.push, pieces), stream.flush()]
        return torch.cat([part for part in parts if part is not None], dim=1)

    def _piece_frames(self, chunk_s: float | None) -> int | None:
        if chunk_s is None:
            return None
        frames = round(chunk_s * self.spec.latent_rate_hz)
        if frames < 1:
            raise ValueError(f"chunk_s must be at least one frame of {1 / self.spec.latent_rate_hz} s, got {chunk_s}")
        return frames

    def to_network(self, frames: Tensor) -> Tensor:
        """Frames in the dtype of the weights."""
        return frames.to(self.encoder.embed.linear.weight.dtype)

    def z_to_latents(self, z: Tensor) -> Tensor:
        """z [B, T, D] to latents [B, T, D], which are finite."""
        return fsq.values_to_latents(torch.tanh(z), self.settings.latent_scale)

    # ------------------------------------------------------------------ live

    def stream_encoder(self, **options: Any) -> StreamEncoder:
        """A live encoder: push audio [B, C, n] at `spec.sample_rate`, get `Encoded` of the frames that became certain.

        All of them together are what `encode` gives for the whole.
        """
        refuse_options(options, self.stream_encoder)
        return StreamEncoder(self)

    def stream_decoder(self, **options: Any) -> StreamDecoder:
        """A live decoder: push latents or tokens of any number of frames, get the audio [B, 1, n] that became certain.

        All of it together is what `decode` gives for the whole.
        """
        refuse_options(options, self.stream_decoder)
        return StreamDecoder(self)

    # ------------------------------------------------------------------ training

    @torch.no_grad()
    def fit(self, audio: Tensor) -> None:
        """Sets the front's means, the principal components, residual codebooks and the mean spectrum from audio [B, N].

        Raises:
            ValueError: audio that is not whole hops, or no longer than what a frame hears on both sides.
        """
        edge = -(-max(self.front.left, self.front.right) // self.settings.hop_samples)  # frames that hear padding
        if audio.shape[-1] % self.settings.hop_samples or audio.shape[-1] <= 2 * edge * self.settings.hop_samples:
            raise ValueError(
                f"fit takes more than {2 * edge} whole hops of {self.settings.hop_samples} samples, "
                f"got {audio.shape[-1]} samples"
            )
        padded = pad_steps(audio, self.front.left, self.front.right)
        features = torch.cat([self.front.log_mel(part)[:, edge:-edge].flatten(0, 1) for part in padded.split(16)])
        self.front.fit(features)
        normalized = self.front.normalize(features)
        self.encoder.fit(normalized)
        self.quantizer.fit(torch.tanh(self.encoder.project_principal(normalized)))
        self.decoder.head.fit(audio)

    def forward(self, audio: Tensor, rounded: Tensor) -> TrainingPass:
        """All that the training objective needs, in one call.

        Args:
            audio: [B, 1, N], N of whole hops; T = N / hop.
            rounded: [B] bool, whether an item's values are rounded to levels; the gradient passes either way.

        Raises:
            ValueError: another shape.
        """
        if audio.ndim != 3 or audio.shape[1] != 1 or not audio.shape[2] or audio.shape[2] % self.spec.hop_samples:
            raise ValueError(
                f"training takes audio [B, 1, N], N a multiple of {self.spec.hop_samples}, got {tuple(audio.shape)}"
            )
        z = self.encoder(self.front(audio[:, 0]))
        values = torch.tanh(z)
        values = torch.where(rounded[:, None, None], self.quantizer.straight_through(values), values)
        made, octave = self.decoder(values)
        return TrainingPass(reconstruction=made[:, None], z=z, octave=octave)


def _groups(counts: list[int]) -> list[tuple[int, list[int]]]:
    """Each number of frames, and the places of the items that have it."""
    return [(size, [i for i, count in enumerate(counts) if count == size]) for size in sorted(set(counts))]
