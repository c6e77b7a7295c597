"""CoDiCodec (Pasini, Lattner, Fazekas 2025, arXiv 2509.09836) as an audio tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ...core.graphs import Graph
from ...core.hub import Source
from ...layers.audio import Resampler, span
from ...layers.loudness import decoded_level
from ..base import Encoded
from ..inputs import prepare_audio, prepare_streams, refuse_options
from .autoregressive import TIME_PROMPT, check_time_prompt
from .batching import MaxChunks, chunk_bound
from .config import CoDiCodecConfig
from .decoding import AUTOREGRESSIVE_STEPS, PARALLEL_STEPS, Mode, decode_values
from .graph import parallel_graph
from .network import Denoiser, Encoder, Upsampler
from .noise import Noise
from .spectrum import audio_to_spectrogram
from .stream import StreamDecoder, StreamEncoder
from .summaries import SummaryTokenizer
from .training import TrainingPass, training_pass


class CoDiCodec(SummaryTokenizer):
    """Both streams of CoDiCodec from one encoder; parallel, autoregressive and live decoding."""

    config_class = CoDiCodecConfig
    objectives: ClassVar[Mapping[str, str]] = {
        "consistency": ".objective:ConsistencyObjective",
        "envelope": ".envelope_objective:EnvelopeObjective",
    }
    settings: CoDiCodecConfig

    def __init__(self, config: CoDiCodecConfig):
        super().__init__(config)
        self.encoder = Encoder(config)
        self.upsampler = Upsampler(config)
        self.denoiser = Denoiser(config)

    @classmethod
    def read_official(cls, source: Source, config: CoDiCodecConfig | None = None) -> Self:
        """Reads a `codicodec.pt`; see `AudioTokenizer.read_official`.

        Args:
            source: where it is.
            config: for a checkpoint of another size than the official one.
        """
        from .upstream import read_codec

        return read_codec(cls, source, config)

    @property
    def lead_samples(self) -> int:
        """Samples of silence that are put before the audio, which decoding removes again."""
        return self.settings.stft_hop_samples if self.settings.edge_padding else 0

    def encode_chunks(self, spectrogram: Tensor) -> Tensor:
        """Returns bounded, unquantised values [M, summaries, d] in float32 of spectrogram chunks [M, 2C, F, L]."""
        bounded, half = self.bound(self.encoder(spectrogram.to(self.dtype)))
        return bounded / half

    # ------------------------------------------------------------------ audio in, audio out

    def _heard(self, audio: Tensor, chunk: int) -> Tensor:
        """Returns what a chunk reads of audio [C, N], silence beyond its ends: [C, chunk_samples + stft_hop_samples].

        That is one hop of the next chunk too: the window of the last frame reaches that far.
        """
        start = chunk * self.settings.chunk_samples - self.lead_samples
        return span(audio, start, start + self.settings.chunk_samples + self.settings.stft_hop_samples)

    @torch.no_grad()
    def encode(
        self,
        audio: Tensor,
        sample_rate: int,
        lengths: Tensor | None = None,
        *,
        max_chunks: MaxChunks = "auto",
        resampler: Resampler = "soxr",
        **options: Any,
    ) -> Encoded:
        """Encodes audio [B, C, N]; see `AudioTokenizer.encode`.

        Args:
            audio: [B, C, N] in [-1, 1].
            sample_rate: of the audio, in Hz.
            lengths: [B] valid samples of each item; None: all.
            max_chunks: chunks that go through the network at once; it bounds the memory and does not change the result.
                `auto` is fast on the model's device, None takes all.
            resampler: of audio at another rate, see `layers.audio.to_rate`.
            options: none exist; a wrong name is refused.

        Returns:
            Both streams.

        Raises:
            ValueError: wrong shape, zero length, or NaN/inf in the audio.
            TypeError: an option that does not exist.
        """
        refuse_options(options, self.encode)
        spec, config = self.spec, self.settings
        audio, lengths = prepare_audio(spec, audio, sample_rate, lengths, self.device, resampler)
        counts = [spec.num_chunks(int(n)) for n in lengths]
        latents = audio.new_zeros(len(audio), max(counts), spec.chunk_latents, spec.latent_dim)
        tokens = torch.zeros(len(audio), max(counts), spec.chunk_tokens, 1, dtype=torch.int64, device=audio.device)
        owned = [(b, k) for b, count in enumerate(counts) for k in range(count)]
        size = chunk_bound(max_chunks, self.device) or len(owned)
        parts = (owned[first : first + size] for first in range(0, len(owned), size))
        windows = (torch.stack([self._heard(audio[b], k) for b, k in part]) for part in parts)
        values = torch.cat([self.encode_chunks(audio_to_spectrogram(part, config)) for part in windows])
        item, chunk = torch.tensor(owned, device=audio.device).unbind(-1)
        latents[item, chunk] = self.values_to_latents(values)
        tokens[item, chunk] = self.values_to_tokens(values).unsqueeze(-1)
        return Encoded(latents=latents.flatten(1, 2), tokens=tokens.flatten(1, 2), lengths_samples=lengths)

    @torch.no_grad()
    def decode(
        self,
        *,
        latents: Tensor | None = None,
        tokens: Tensor | None = None,
        lengths_samples: Tensor | None = None,
        gain_db: Tensor | None = None,
        generator: torch.Generator | None = None,
        mode: Mode = "parallel",
        steps: int | None = None,
        time_prompt: float | None = None,
        max_chunks: MaxChunks = "auto",
        noise: Noise | None = None,
        **options: Any,
    ) -> Tensor:
        """Decodes latents or tokens to audio [B, C, N]; see `AudioTokenizer.decode`.

        Args:
            latents: [B, T, D].
            tokens: [B, T', 1].
            lengths_samples: [B] samples of each item; None: all that the chunks contain.
            gain_db: [B] gain of `encode` to undo; this codec applies none.
            generator: source of the noise.
            mode: `parallel` (all chunks at once, pairs shifting from step to step) or `autoregressive`.
            steps: denoising steps; by default 5 in parallel, 2 autoregressive.
            time_prompt: in autoregressive mode, the place on the noise schedule to which the previous chunk is brought
                back before it is heard, from 0 (it stays clean) to 1; by default 0.4.
            max_chunks: chunks that go through the network at once. With it, the memory in addition to input and output
                does not grow with the length, and the result is the same. `auto` is fast on the model's device.
            noise: the source of the noise in place of `generator`, for comparisons with other implementations.
            options: none exist; a wrong name is refused.

        Returns:
            Audio [B, C, N] in [-1, 1].

        Raises:
            ValueError: both or neither stream is given, a wrong shape, tokens out of range, latents with NaN, or a
                wrong option.
            TypeError: an option that does not exist.
        """
        refuse_options(options, self.decode)
        values, lengths, counts = prepare_streams(self, latents, tokens, lengths_samples)
        ends = lengths.tolist()
        pieces = decode_values(
            self,
            values,
            counts,
            generator,
            mode=mode,
            steps=steps,
            time_prompt=time_prompt,
            max_chunks=max_chunks,
            noise=noise,
        )
        audio = values.new_zeros(len(values), self.settings.channels, max(ends))
        for item, start, piece in pieces:
            own = piece[:, : max(0, ends[item] - start)]
            audio[item, :, start : start + own.shape[-1]] = own
        return decoded_level(audio, gain_db)

    def item_pieces(self, values: Tensor, generator: torch.Generator | None, **options: Any) -> Iterator[Tensor]:
        """Decodes values [1, K, summaries, d], a chunk a piece; see `PieceTokenizer.item_pieces`."""
        pieces = decode_values(self, values, [values.shape[1]], generator, **options)
        return (piece[None] for _, _, piece in pieces)

    def stream_encoder(self, **options: Any) -> StreamEncoder:
        """Returns a live encoder: push audio [B, C, n] at the codec's rate, get `Encoded` of complete chunks."""
        refuse_options(options, self.stream_encoder)
        return StreamEncoder(self)

    def stream_decoder(
        self,
        *,
        generator: torch.Generator | None = None,
        steps: int = AUTOREGRESSIVE_STEPS,
        time_prompt: float = TIME_PROMPT,
        **options: Any,
    ) -> StreamDecoder:
        """Returns a live decoder: push latents or tokens of one chunk, get one chunk of audio [B, C, chunk_samples].

        Args:
            generator: source of the noise.
            steps: denoising steps.
            time_prompt: as of `decode`.
            options: none exist; a wrong name is refused.

        Raises:
            ValueError: fewer than 1 step, or a time_prompt outside of 0..1.
            TypeError: an option that does not exist.
        """
        refuse_options(options, self.stream_decoder)
        return StreamDecoder(self, generator, steps, check_time_prompt(time_prompt))

    def decoder_graph(self, *, steps: int = PARALLEL_STEPS, **options: Any) -> Graph:
        """Returns parallel decoding as a graph, with its noise as an input; see `AudioTokenizer.decoder_graph`.

        Args:
            steps: denoising steps.
            options: none exist; a wrong name is refused.

        Raises:
            ValueError: fewer than 1 step.
            TypeError: an option that does not exist.
        """
        refuse_options(options, self.decoder_graph)
        return parallel_graph(self, steps)

    # ------------------------------------------------------------------ training

    @torch.no_grad()
    def fit(self, spectrogram: Tensor) -> None:
        """Starts the linear path of `envelope_bands`, if there is one, from spectrogram chunks [M, 2C, F, L]."""
        envelope, deviation = self.encoder.envelope, self.denoiser.deviation
        if envelope is None or deviation is None:
            return
        envelope.fit(spectrogram)
        bounded, half = self.bound(envelope(spectrogram)[1])
        deviation.fit(bounded.round() / half, spectrogram)

    def forward(
        self,
        clean: Tensor,
        keep_continuous: Tensor,
        high: Tensor | None = None,
        low: Tensor | None = None,
        sigmas: Tensor | None = None,
    ) -> TrainingPass:
        """Encodes pairs of chunks and, where noise is given, denoises them; see `training.training_pass`."""
        return training_pass(self, clean, keep_continuous, high, low, sigmas)
