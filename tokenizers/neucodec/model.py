"""NeuCodec (Julian et al., arXiv 2509.09550) as an audio tokenizer.

Shape letters in addition to those of `AudioTokenizer`: K hops of the padded signal, S width of the semantic frames, V
of the fused ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...layers import fsq
from ...layers.audio import Resampler
from ...layers.loudness import decoded_level
from ..base import Encoded, TokenizerSpec
from ..inputs import finished, prepare_streams, refuse_options
from ..parts.frames import FrameTokenizer
from ..parts.init import keep_variance_
from .adapter import Adapter
from .chunked import CHUNK_S, OVERLAP_S, Chunking, decode_items, decode_pieces, encode_items, heard_items
from .config import CodecConfig, NeuCodecConfig
from .decoder import Decoder
from .framing import official_frames
from .fusion import FusedEncoders
from .quantiser import Quantiser
from .released import ReleasedWeights
from .residual import ResidualQuantiser
from .stream import StreamDecoder, StreamEncoder
from .training import TrainingPass, hear, training_pass


class NeuCodec(ReleasedWeights, FrameTokenizer, FusedEncoders):
    """Both streams of NeuCodec: 16 kHz in, 24 kHz out, 50 tokens per second of one codebook.

    The spec counts at the decoder's rate: `sample_rate` is 24 kHz, a hop 480 samples. Audio of any rate is resampled
    directly to the encoders' 16 kHz; decoded audio has 24 kHz and the length of the input.

    The first floor(seconds * 50) tokens are those of the official package, which drops audio that does not fill a
    frame. The frame for that rest is made of its acoustic frame and the last semantic one.

    The codec is not causal: the features are normalised over the utterance, and attention and group norms see all of
    it. Items of a batch that differ in their number of frames therefore run one after the other.
    """

    config_class: ClassVar[type] = NeuCodecConfig
    objectives: ClassVar[Mapping[str, str]] = {"neucodec": ".objective:NeuCodecObjective"}
    semantic_lag: ClassVar[int] = 1  # frames that the semantic encoder has fewer than the acoustic one
    settings: CodecConfig

    def __init__(self, config: CodecConfig):
        super().__init__(config)
        semantic_features, acoustic_features = self._build_encoders(config)
        width = config.semantic_width
        self.semantic_adapter = Adapter(semantic_features, config.adapter_width, width)
        self.fusion = nn.Linear(width + acoustic_features, config.fused_width)
        keep_variance_(self.fusion)
        if config.residual is None:
            self.quantiser = Quantiser(config.fsq, config.fused_width)
        else:
            self.quantiser = ResidualQuantiser(config.fsq, config.residual, config.fused_width)
        self.decoder = Decoder(config.synthesis, config.fused_width)
        if config.predict_semantic:
            self.semantic_out = nn.Linear(config.fused_width, width)
            self.semantic_decoder = Adapter(width, config.adapter_width, semantic_features)

    @property
    def spec(self) -> TokenizerSpec:
        c = self.settings
        return TokenizerSpec(
            name="neucodec",
            sample_rate=c.sample_rate,
            channels=1,
            hop_samples=c.synthesis.hop_samples,
            latent_dim=len(c.fsq.levels),
            levels=self.quantiser.levels,
            token_hop_samples=c.synthesis.hop_samples,
        )

    @property
    def codebooks(self) -> Quantiser:
        return self.quantiser

    @property
    def encoder_rate(self) -> int:
        return self.settings.encoder_rate

    @property
    def encoder_hop_samples(self) -> int:
        """Samples of a frame at the encoders' rate."""
        return self.settings.synthesis.hop_samples * self.encoder_rate // self.settings.sample_rate

    # ------------------------------------------------------------------ audio in

    @torch.no_grad()
    def encode(
        self,
        audio: Tensor,
        sample_rate: int,
        lengths: Tensor | None = None,
        *,
        chunk_s: float | None = CHUNK_S,
        overlap_s: float = OVERLAP_S,
        official_length: bool = False,
        resampler: Resampler = "soxr",
        **options: Any,
    ) -> Encoded:
        """Encodes audio [B, C, N]; see `AudioTokenizer.encode`.

        Args:
            audio: [B, C, N] in [-1, 1].
            sample_rate: of the audio, in Hz.
            lengths: [B] valid samples of each item; None: all.
            chunk_s: longer items are cut into chunks of this many seconds; only the normalisation of features uses the
                whole item. This bounds the memory and changes the result; None: never. On 180 s of many speakers, 95 %
                of the digits and 66 % of the tokens of a small trained codec equal those of the whole (distilled: 98 %
                and 85 %), and all digits are within one level.
            overlap_s: seconds that neighbouring chunks share; half of it is trimmed on either side.
            official_length: exactly the frames of the official package, so that the decoded audio is shorter than the
                input, or longer (distilled), by up to a frame.
            resampler: `soxr`, or `torchaudio` as in the official package, for exactly its tokens of audio at another
                rate.
            options: none exist; a wrong name is refused.

        Returns:
            Both streams.

        Raises:
            ValueError: as there; with official_length also audio too short for a frame.
            TypeError: an option that does not exist.
        """
        refuse_options(options, self.encode)
        chunking = self._chunking(chunk_s, overlap_s)
        items, lengths = heard_items(self, audio, sample_rate, lengths, resampler)
        if official_length:
            hop = self.encoder_hop_samples
            frames = [official_frames(len(item), hop, semantic_lag=self.semantic_lag) for item in items]
            if not min(frames):
                raise ValueError(f"the official package has no frame for audio shorter than {hop} samples")
            lengths = torch.tensor(frames) * self.spec.hop_samples
        counts = [self.spec.num_latents(int(n)) for n in lengths]
        values = [item[:count] for item, count in zip(encode_items(self, items, chunking), counts, strict=True)]
        latents = torch.nn.utils.rnn.pad_sequence(
            [fsq.values_to_latents(item, self.settings.latent_scale) for item in values], batch_first=True
        )
        return Encoded(latents=latents, tokens=self.latents_to_tokens(latents), lengths_samples=lengths)

    # ------------------------------------------------------------------ audio out

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
        overlap_s: float = OVERLAP_S,
        **options: Any,
    ) -> Tensor:
        """Decodes latents or tokens to audio [B, 1, N]; see `AudioTokenizer.decode`.

        Latents are decoded as they are, not rounded to levels.

        Args:
            latents: [B, T, D].
            tokens: [B, T, Q].
            lengths_samples: [B] samples of each item; None: all of the frames.
            gain_db: [B] gain of `encode` to undo; this codec applies none.
            generator: not used, since nothing is random here.
            chunk_s: as of `encode`; attention and group norms of a chunk do not see the others.
            overlap_s: as of `encode`.
            options: none exist; a wrong name is refused.

        Returns:
            Audio [B, 1, N] in [-1, 1].

        Raises:
            ValueError: both or neither stream is given, a wrong shape, tokens out of range, or latents with NaN.
            TypeError: an option that does not exist.
        """
        refuse_options(options, self.decode)
        chunking = self._chunking(chunk_s, overlap_s)
        values, lengths, counts = prepare_streams(self, latents, tokens, lengths_samples)
        return finished(decode_items(self, values, counts, chunking), lengths, gain_db)

    def value_pieces(
        self, values: Tensor, *, chunk_s: float | None = CHUNK_S, overlap_s: float = OVERLAP_S
    ) -> Iterator[Tensor]:
        """Decodes values [B, T, D] to audio [B, 1, n], a chunk a piece; see `FrameTokenizer.value_pieces`."""
        return decode_pieces(self, values, self._chunking(chunk_s, overlap_s))

    # ------------------------------------------------------------------ live

    @torch.no_grad()
    def latents_to_audio(self, latents: Tensor) -> Tensor:
        values = fsq.latents_to_values(latents.float(), self.settings.latent_scale)
        audio: Tensor = self.decoder(self.quantiser.embed(values))
        return decoded_level(audio, None)

    def stream_encoder(
        self, *, chunk_s: float = CHUNK_S, overlap_s: float = OVERLAP_S, **options: Any
    ) -> StreamEncoder:
        """Returns a live encoder: push audio [B, C, n] at `spec.sample_rate`, get `Encoded` of ready frames.

        The codec is not causal, so that a chunk is encoded when it is complete: the latency is up to two chunks. A
        stream no longer than a chunk equals `encode`; a longer one is nearly the result of `encode` with the same
        chunk_s and overlap_s, whose resampling and normalisation see the audio before and after a chunk.

        Args:
            chunk_s: seconds of a chunk.
            overlap_s: seconds that neighbouring chunks share.
            options: none exist; a wrong name is refused.
        """
        refuse_options(options, self.stream_encoder)
        return StreamEncoder(self, self._chunking(chunk_s, overlap_s))

    def stream_decoder(
        self, *, chunk_s: float = CHUNK_S, overlap_s: float = OVERLAP_S, **options: Any
    ) -> StreamDecoder:
        """Returns a live decoder: push latents or tokens of any number of frames, get the audio [B, 1, n] that became
        ready.

        The result is that of `decode` with the same chunk_s and overlap_s, up to two chunks later.

        Args:
            chunk_s: seconds of a chunk.
            overlap_s: seconds that neighbouring chunks share.
            options: none exist; a wrong name is refused.
        """
        refuse_options(options, self.stream_decoder)
        return StreamDecoder(self, self._chunking(chunk_s, overlap_s))

    def _chunking(self, chunk_s: float | None, overlap_s: float) -> Chunking:
        return Chunking.of_seconds(chunk_s, overlap_s, self.spec.latent_rate_hz)

    # ------------------------------------------------------------------ training

    def forward(self, audio: Tensor) -> TrainingPass:
        """Computes everything that the training objective needs.

        Args:
            audio: [B, 1, N] at the encoders' rate, N of whole hops; T = N / hop.
        """
        return training_pass(self, audio)

    def fuse(self, audio: Tensor) -> Tensor:
        """Returns only the fused frames [B, T, V] of audio as of `forward`: the target that a teacher provides."""
        return hear(self, audio)[1]
