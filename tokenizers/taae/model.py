"""TAAE, released as Stable Codec (Parker et al., arXiv 2411.19842), as an audio tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from ...core.hub import Source
from ...layers import fsq
from ...layers.audio import Resampler, span
from ...layers.loudness import apply_gain, decoded_level
from ..base import Encoded
from ..inputs import finished, prepare_audio, prepare_streams, refuse_options
from .bottleneck import Bottleneck
from .bounded import MAX_FRAMES, OVERLAP_FRAMES, Bounds, Side
from .config import TAAEConfig
from .level import gains_db
from .network import Decoder, Encoder
from .patching import audio_to_patches, patches_to_audio
from .stream import StreamDecoder, StreamEncoder
from .tokens import BottleneckTokenizer


class TAAE(BottleneckTokenizer):
    """Both streams of TAAE from one encoder. The decoder is deterministic and draws no noise.

    One network serves several kinds of tokens (`use_preset`); its latents are the same for all of them. A causal model
    (`to_causal`) encodes and decodes a live stream with a latency of one latent frame.
    """

    config_class = TAAEConfig
    objectives: ClassVar[Mapping[str, str]] = {"taae": ".objective:TAAEObjective"}
    settings: TAAEConfig

    def __init__(self, config: TAAEConfig):
        super().__init__(config)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.bottleneck = Bottleneck(config.bottleneck, config.latent_dim)

    @classmethod
    def read_official(cls, source: Source, ema: bool = True) -> Self:
        """Reads weights with their `model_config.json` in the same folder; see `AudioTokenizer.read_official`.

        Args:
            source: where they are.
            ema: of a training checkpoint, read the averaged weights where it has them, as upstream's export does.
        """
        from .upstream import read_codec

        return read_codec(cls, source, ema)

    def to_causal(self) -> TAAE:
        """Returns a causal model with copies of these weights, to be fine-tuned (appendix A.4).

        Convolutions see only the past, and of the window the keys before the query remain: 64 with the query's own.

        Raises:
            ValueError: this model is causal already.
        """
        if self.settings.causal:
            raise ValueError("this model is causal already")
        causal = type(self)(replace(self.settings, causal=True, window=(self.settings.window[0], 0)))
        # assigned, so that they keep device and dtype
        causal.load_state_dict({name: tensor.clone() for name, tensor in self.state_dict().items()}, assign=True)
        causal.licence = self.licence
        ready: TAAE = causal.train(self.training)
        return ready

    # ------------------------------------------------------------------ audio in, audio out

    @torch.no_grad()
    def encode(
        self,
        audio: Tensor,
        sample_rate: int,
        lengths: Tensor | None = None,
        *,
        loudness_lufs: float | Literal["config"] | None = "config",
        max_frames: int | None = MAX_FRAMES,
        chunk_frames: int | None = None,
        overlap_frames: int = OVERLAP_FRAMES,
        resampler: Resampler = "soxr",
        **options: Any,
    ) -> Encoded:
        """Encodes audio [B, C, N]; see `AudioTokenizer.encode`.

        Args:
            audio: [B, C, N] in [-1, 1].
            sample_rate: of the audio, in Hz.
            lengths: [B] valid samples of each item; None: all.
            loudness_lufs: the loudness that each item is brought to first, peaks staying below 1; None leaves it as it
                is. Items close to silence (-60 dBFS RMS) always stay as they are. The gain is in `Encoded.gain_db`.
            max_frames: latent frames that go through the network at once, of all items together. It bounds the memory
                and does not change the result: longer items pass in blocks, every layer keeping the context that it
                needs.
            chunk_frames: cut items into independent chunks of this many latent frames (official chunked mode: 128),
                which are processed as a batch. This changes the result around the joints: on 36 s and the reference
                model (random weights) by 0.04 rms where latents have a deviation of 0.91, and half of the tokens
                differ. `max_frames` alone changes nothing (3e-6).
            overlap_frames: latent frames that neighbouring chunks share; half of it is trimmed on either side.
            resampler: `soxr`, or `torchaudio` as in the official package, for exactly its tokens of audio at another
                rate.
            options: none exist; a wrong name is refused.

        Returns:
            Both streams.

        Raises:
            ValueError: wrong shape, zero length, or NaN/inf in the audio.
            TypeError: an option that does not exist.
        """
        refuse_options(options, self.encode)
        bounds = Bounds(max_frames=max_frames, chunk_frames=chunk_frames, overlap_frames=overlap_frames)
        spec = self.spec
        audio, lengths = prepare_audio(spec, audio, sample_rate, lengths, self.device, resampler)
        counts = [spec.num_latents(int(n)) for n in lengths]
        target = self.settings.loudness_lufs if loudness_lufs == "config" else loudness_lufs
        gain_db = gains_db(audio, [count * spec.hop_samples for count in counts], spec.sample_rate, target)

        def read(items: slice, start: int, stop: int) -> Tensor:
            part = span(audio[items], start * spec.hop_samples, stop * spec.hop_samples)
            return audio_to_patches(apply_gain(part, gain_db[items]), self.settings.patch_samples)

        z = self._side("encoder").run(read, counts, bounds)
        latents = self.z_to_latents(z)
        return Encoded(
            latents=latents, tokens=self.latents_to_tokens(latents), lengths_samples=lengths, gain_db=gain_db
        )

    @torch.no_grad()
    def decode(
        self,
        *,
        latents: Tensor | None = None,
        tokens: Tensor | None = None,
        lengths_samples: Tensor | None = None,
        gain_db: Tensor | None = None,
        generator: torch.Generator | None = None,
        max_frames: int | None = MAX_FRAMES,
        chunk_frames: int | None = None,
        overlap_frames: int = OVERLAP_FRAMES,
        **options: Any,
    ) -> Tensor:
        """Decodes latents or tokens to audio [B, C, N]; see `AudioTokenizer.decode`.

        Latents are decoded as they are, not rounded to the values of tokens.

        Args:
            latents: [B, T, D].
            tokens: [B, T, Q].
            lengths_samples: [B] samples of each item; None: all of the frames.
            gain_db: [B] gain of `encode` to undo.
            generator: not used, since nothing is random here.
            max_frames: as of `encode`.
            chunk_frames: as of `encode`.
            overlap_frames: as of `encode`.
            options: none exist; a wrong name is refused.

        Returns:
            Audio [B, C, N] in [-1, 1].

        Raises:
            ValueError: both or neither stream is given, a wrong shape, tokens out of range, or latents with NaN.
            TypeError: an option that does not exist.
        """
        refuse_options(options, self.decode)
        bounds = Bounds(max_frames=max_frames, chunk_frames=chunk_frames, overlap_frames=overlap_frames)
        values, lengths, counts = prepare_streams(self, latents, tokens, lengths_samples)
        patches = self._side("decoder").run(lambda items, start, stop: values[items, start:stop], counts, bounds)
        return finished(patches_to_audio(patches, self.settings.patch_samples), lengths, gain_db)

    def value_pieces(
        self,
        values: Tensor,
        *,
        max_frames: int | None = MAX_FRAMES,
        chunk_frames: int | None = None,
        overlap_frames: int = OVERLAP_FRAMES,
    ) -> Iterator[Tensor]:
        """Decodes values [1, T, D] to pieces of audio [1, C, n]; see `FrameTokenizer.value_pieces`."""
        bounds = Bounds(max_frames=max_frames, chunk_frames=chunk_frames, overlap_frames=overlap_frames)
        side, count = self._side("decoder"), values.shape[1]
        pieces = side.pieces(lambda start, stop: values[:, start:stop], count, bounds)
        return (patches_to_audio(patches, self.settings.patch_samples) for patches in pieces)

    @torch.no_grad()
    def latents_to_audio(self, latents: Tensor) -> Tensor:
        values = fsq.latents_to_values(latents.float(), self.settings.latent_scale)
        patches: Tensor = self.decoder(values.to(next(self.decoder.parameters()).dtype), None)
        return decoded_level(patches_to_audio(patches.float(), self.settings.patch_samples), None)

    def stream_encoder(self, *, gain_db: float = 0.0, **options: Any) -> StreamEncoder:
        """Returns a live encoder: push audio [B, C, n] at the codec's rate, get `Encoded` of the frames that are ready.

        Args:
            gain_db: applied to the audio. The loudness of a stream is not known before its end, so that nothing is
                normalised: for the level that the network was trained on, pass the gain that leads to it.
            options: none exist; a wrong name is refused.
        """
        refuse_options(options, self.stream_encoder)
        return StreamEncoder(self, gain_db)

    def stream_decoder(self, *, gain_db: float = 0.0, **options: Any) -> StreamDecoder:
        """Returns a live decoder: push latents or tokens of any number of frames, get the audio [B, C, n] that became
        ready.

        Args:
            gain_db: of the encoder; it is undone.
            options: none exist; a wrong name is refused.
        """
        refuse_options(options, self.stream_decoder)
        return StreamDecoder(self, gain_db)

    # ------------------------------------------------------------------ training

    def fit(self, audio: Tensor) -> None:
        """Lets z start from principal components of audio [M, C, N] of whole hops; see `network.Encoder.fit`."""
        self.encoder.fit(audio_to_patches(audio, self.settings.patch_samples))

    def forward(self, audio: Tensor, mode: Tensor, noise: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes and decodes for the training objective.

        Args:
            audio: [B, C, N] of whole hops.
            mode: see `Bottleneck.train`.
            noise: see `Bottleneck.train`.
            levels: see `Bottleneck.train`.

        Returns:
            The reconstruction [B, C, N], and the encoder output z [B, T, D] before tanh.
        """
        z = self.encoder(audio_to_patches(audio, self.settings.patch_samples))
        values = self.bottleneck.train(z, mode, noise, levels)
        return patches_to_audio(self.decoder(values), self.settings.patch_samples), z

    # ------------------------------------------------------------------ parts of the above

    def _side(self, name: Literal["encoder", "decoder"]) -> Side:
        stride = self.settings.stride
        if name == "encoder":
            return Side(network=self.encoder, per_in=stride, per_out=1)
        return Side(network=self.decoder, per_in=1, per_out=stride)
