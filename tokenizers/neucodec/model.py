"""NeuCodec (Julian et al., arXiv 2509.09550) and its distilled version as audio tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, cast

import torch
from torch import Tensor, nn

from ..base import AudioTokenizer, Encoded, TokenizerSpec
from ..inputs import (
    check_latents,
    check_one_stream,
    check_tokens,
    decode_lengths,
    prepare_audio,
    refuse_options,
    silence_beyond,
)
from ..parts import fsq
from ..parts.chunking import plan_chunks
from ..parts.loudness import decoded_level
from .acoustic import AcousticEncoder
from .adapter import Adapter
from .config import CodecConfig, DistillNeuCodecConfig, NeuCodecConfig
from .decoder import Decoder
from .distil_semantic import DistilSemanticEncoder
from .framing import hold_last, official_frames, pad_to_hops, padded_hops
from .l3ac import DistilAcousticEncoder
from .quantiser import Quantiser
from .semantic import SemanticEncoder
from .stream import StreamDecoder, StreamEncoder

CHUNK_S = 30.0  # default length beyond which signals are worked on in pieces
OVERLAP_S = 4.0


class TrainingPass(NamedTuple):
    """What a training objective needs of one forward pass."""

    reconstruction: Tensor  # [B, 1, T * hop] at the decoder's rate
    fused: Tensor  # [B, T, V] what goes into the quantiser: where a distilled encoder is compared with its teacher
    values: Tensor  # [B, T, d] rounded, with straight-through gradient
    semantic_target: Tensor  # [B, T, S] what the semantic encoder said, without gradient
    semantic_prediction: Tensor | None  # [B, T, S] of the semantic decoder, where the config has one


class NeuCodec(AudioTokenizer):
    """Both streams of NeuCodec: 16 kHz in, 24 kHz out, 50 tokens a second of one codebook.

    The spec counts at the decoder's rate: `sample_rate` is 24 kHz, a hop 480 samples. Audio of any rate is resampled
    straight to the encoders' 16 kHz, and comes back at 24 kHz, as long as it was.

    The first floor(seconds * 50) tokens are those of the official package, which drops what does not fill a frame. The
    frame for that rest is made of its acoustic frame and the last semantic one.

    Nothing here can work bit by bit: the features are normalised over the utterance, attention and group norms see all
    of it. Items of a batch that differ in their number of frames therefore run one after the other.
    """

    config_class: ClassVar[type] = NeuCodecConfig
    semantic_lag: ClassVar[int] = 1  # frames that the semantic encoder gives fewer than the acoustic one
    settings: CodecConfig

    def __init__(self, config: CodecConfig):
        super().__init__(config)
        semantic_features, acoustic_features = self._build_encoders(config)
        width = config.semantic_width
        self.semantic_adapter = Adapter(semantic_features, config.adapter_width, width)
        self.fusion = nn.Linear(width + acoustic_features, config.fused_width)
        self.quantiser = Quantiser(config.fsq, config.fused_width)
        self.decoder = Decoder(config.synthesis, config.fused_width)
        if config.predict_semantic:
            self.semantic_out = nn.Linear(config.fused_width, width)
            self.semantic_decoder = Adapter(width, config.adapter_width, semantic_features)

    def _build_encoders(self, config: Any) -> tuple[int, int]:
        """Makes `semantic_encoder` and `acoustic_encoder`; returns the width of what each gives."""
        self.semantic_encoder = SemanticEncoder(config.semantic)
        self.acoustic_encoder: nn.Module = AcousticEncoder(config.acoustic)
        return config.semantic.hidden_size, config.acoustic.out_width

    @classmethod
    def from_official(cls, path: str | Path, semantic: str | Path | None = None, **options: Any) -> Self:
        """Load official weights from a `pytorch_model.bin`, a folder or a hub id, in eval mode.

        Args:
            semantic: folder or hub id of the semantic encoder, whose weights the official file does not hold; None: the
                folder `semantic` beside the weights if there is one, else the hub id that upstream takes.
            options: `config` for another size than the released one; others are of
                `huggingface_hub.hf_hub_download`, such as `revision`, for a hub id.

        Raises:
            CheckpointError: nothing there, no semantic encoder (the message says which), not that format, or keys that
                do not fit (named).
        """
        from .upstream import load_official

        return cast(Self, load_official(cls, path, semantic, **options))

    @property
    def spec(self) -> TokenizerSpec:
        c = self.settings
        return TokenizerSpec(
            name="neucodec",
            sample_rate=c.sample_rate,
            channels=1,
            hop_samples=c.synthesis.hop_samples,
            latent_dim=len(c.fsq.levels),
            levels=(c.fsq.levels,),
            token_hop_samples=c.synthesis.hop_samples,
        )

    @property
    def encoder_hop_samples(self) -> int:
        """Samples of a frame at the encoders' rate."""
        return self.settings.synthesis.hop_samples * self.settings.encoder_rate // self.settings.sample_rate

    # ------------------------------------------------------------------ both streams

    def latents_to_values(self, latents: Tensor) -> Tensor:
        """Latents [B, T, D] to values [B, T, D] in (-1, 1), not rounded to levels."""
        check_latents(self.spec, latents)
        return fsq.latents_to_values(latents.float(), self.settings.latent_scale)

    def tokens_to_values(self, tokens: Tensor) -> Tensor:
        """Tokens [B, T, 1] to the values [B, T, D] that they stand for, exactly."""
        check_tokens(self.spec, tokens)
        digits = fsq.indices_to_digits(tokens[..., 0], self.settings.fsq.levels)
        return self.quantiser.digits_to_values(digits)

    def values_to_tokens(self, values: Tensor) -> Tensor:
        """Values [B, T, D] to the nearest tokens [B, T, 1]."""
        digits = self.quantiser.values_to_digits(values)
        return fsq.digits_to_indices(digits, self.settings.fsq.levels)[..., None]

    def tokens_to_latents(self, tokens: Tensor) -> Tensor:
        return fsq.values_to_latents(self.tokens_to_values(tokens), self.settings.latent_scale)

    def latents_to_tokens(self, latents: Tensor) -> Tensor:
        return self.values_to_tokens(self.latents_to_values(latents))

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
        **options: Any,
    ) -> Encoded:
        """Encode audio [B, C, N]; see `AudioTokenizer.encode`.

        Args:
            chunk_s: longer items are cut into chunks of this many seconds, each encoded as a signal of its own. This
                bounds the memory and changes the result; None: never. On 74 s of speech and the reference models
                (random weights), 98 % of the digits and 83 % of the tokens stay what they are for the whole
                (distilled: 99 % and 93 %).
            overlap_s: that neighbouring chunks share; half of it is trimmed on either side.
            official_length: exactly the frames that the official package gives, so that the audio that comes back is
                shorter than what went in, or longer (distilled), by up to a frame.

        Raises:
            ValueError: as there; with official_length also audio too short for a frame.
        """
        refuse_options(options, self.encode)
        chunk, overlap = self._chunk_frames(chunk_s, overlap_s)
        items, lengths = self._prepare(audio, sample_rate, lengths)
        hop = self.encoder_hop_samples
        if official_length:
            frames = [official_frames(len(item), hop, semantic_lag=self.semantic_lag) for item in items]
            if not min(frames):
                raise ValueError(f"the official package has no frame for less than {hop} samples")
            lengths = torch.tensor(frames) * self.spec.hop_samples
        counts = [self.spec.num_latents(int(n)) for n in lengths]
        hops = [padded_hops(len(item), hop) for item in items]
        values: dict[int, Tensor] = {}
        for group in groups_of_equal(hops):
            padded = torch.stack([pad_to_hops(items[i], hops[i], hop) for i in group])
            values.update(zip(group, self._encode_padded(padded, chunk, overlap), strict=True))
        latents = torch.nn.utils.rnn.pad_sequence(
            [fsq.values_to_latents(values[i][:count], self.settings.latent_scale) for i, count in enumerate(counts)],
            batch_first=True,
        )
        return Encoded(latents=latents, tokens=self.latents_to_tokens(latents), lengths_samples=lengths)

    def fuse(self, audio: Tensor) -> Tensor:
        """Audio [B, 1, N] at the encoders' rate, N of whole hops, to fused frames [B, T, V], T = N / hop."""
        padded = self._padded(audio)
        return self._fused(self._semantic_frames(padded), padded)[:, : self._hops(audio)]

    def _prepare(self, audio: Tensor, sample_rate: int, lengths: Tensor | None) -> tuple[list[Tensor], Tensor]:
        """Each item [N] at the encoders' rate, and lengths [B] at the decoder's."""
        heard_spec = replace(self.spec, sample_rate=self.settings.encoder_rate)
        heard, heard_lengths = prepare_audio(heard_spec, audio, sample_rate, lengths, self.device)
        given = [audio.shape[-1]] * len(audio) if lengths is None else lengths.tolist()
        items = [item[0, :length] for item, length in zip(heard, heard_lengths.tolist(), strict=True)]
        return items, torch.tensor([self.spec.resampled_length(length, sample_rate) for length in given])

    def _encode_padded(self, padded: Tensor, chunk: int | None, overlap: int) -> Tensor:
        """Padded audio [B, K * hop] to values [B, K, D]."""
        hop = self.encoder_hop_samples
        num_hops = padded.shape[1] // hop
        chunks = plan_chunks(num_hops, chunk or num_hops, overlap if chunk else 0)
        pieces = []
        for piece in chunks:
            start = piece.start - piece.start % self._grid_frames
            own = padded[:, start * hop : piece.stop * hop]
            if piece.stop < num_hops:  # padded as a signal of its own would be
                own = pad_to_hops(own, piece.stop - start + 1, hop)
            values = self.quantiser.values(self._fused(self._semantic_frames(own), own))
            pieces.append(values[:, piece.keep_start - start : piece.keep_stop - start])
        return torch.cat(pieces, dim=1)

    def _fused(self, semantic: Tensor, padded: Tensor) -> Tensor:
        """What the two encoders make of padded audio [B, K * hop], joined: [B, K, V]. Semantic channels come first."""
        acoustic = self._acoustic_frames(padded)
        semantic = hold_last(self.semantic_adapter(semantic), acoustic.shape[1])
        return self.fusion(torch.cat((semantic, acoustic), dim=-1))

    @property
    def _grid_frames(self) -> int:
        """Chunks begin at a multiple of this many frames, being that much longer if need be."""
        return 1

    def _semantic_frames(self, padded: Tensor) -> Tensor:
        """[B, K * hop] to [B, K - semantic_lag, S], without gradient."""
        return self.semantic_encoder(padded)

    def _acoustic_frames(self, padded: Tensor) -> Tensor:
        """[B, K * hop] to [B, K, width]."""
        return self.acoustic_encoder(padded[:, None].to(self.fusion.weight.dtype))

    def _hops(self, audio: Tensor) -> int:
        """Hops of training audio [B, 1, N]; raises ValueError unless they are whole."""
        hops, rest = divmod(audio.shape[-1], self.encoder_hop_samples)
        if audio.ndim != 3 or audio.shape[1] != 1 or rest or not hops:
            raise ValueError(
                f"training takes audio [B, 1, N] at {self.settings.encoder_rate} Hz, N a multiple of "
                f"{self.encoder_hop_samples}, got {tuple(audio.shape)}"
            )
        return hops

    def _padded(self, audio: Tensor) -> Tensor:
        return pad_to_hops(audio[:, 0], self._hops(audio) + 1, self.encoder_hop_samples)

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
        """Decode latents or tokens to audio [B, 1, N]; see `AudioTokenizer.decode`.

        Latents are decoded as they are, not rounded to levels.

        Args:
            generator: not drawn from, for nothing is random here.
            chunk_s, overlap_s: as of `encode`; attention and group norms of a chunk do not see the others.
        """
        refuse_options(options, self.decode)
        chunk, overlap = self._chunk_frames(chunk_s, overlap_s)
        check_one_stream(latents, tokens)
        values = self.latents_to_values(latents) if latents is not None else self.tokens_to_values(cast(Tensor, tokens))
        values = values.to(self.device)
        lengths = decode_lengths(self.spec, len(values), values.shape[1], lengths_samples)
        counts = [self.spec.num_latents(int(n)) for n in lengths]
        audio = values.new_zeros(len(values), 1, int(lengths.max()))
        for group in groups_of_equal(counts):
            part = self._decode_values(values[group, : counts[group[0]]], chunk, overlap)[..., : audio.shape[-1]]
            audio[group, :, : part.shape[-1]] = part
        return decoded_level(silence_beyond(audio, lengths), gain_db)

    def _decode_values(self, values: Tensor, chunk: int | None, overlap: int) -> Tensor:
        """Values [B, T, D] to audio [B, 1, T * hop] float32, not clipped."""
        num_frames, hop = values.shape[1], self.spec.hop_samples
        pieces = []
        for piece in plan_chunks(num_frames, chunk or num_frames, overlap if chunk else 0):
            made = self.decoder(self.quantiser.embed(values[:, piece.start : piece.stop]))
            pieces.append(made[..., piece.scaled(hop).kept])
        return torch.cat(pieces, dim=-1)

    def _chunk_frames(self, chunk_s: float | None, overlap_s: float) -> tuple[int | None, int]:
        """Chunk and overlap in frames, the overlap even."""
        if chunk_s is None:
            return None, 0
        rate = self.spec.latent_rate_hz
        chunk, overlap = round(chunk_s * rate), 2 * round(overlap_s * rate / 2)
        if chunk < 2 or not 0 <= overlap < chunk:
            raise ValueError(
                f"chunk_s must be 2 frames of {1 / rate} s or more, overlap_s at least 0 and shorter, "
                f"got {chunk_s} and {overlap_s}"
            )
        return chunk, overlap

    # ------------------------------------------------------------------ live

    def stream_encoder(
        self, *, chunk_s: float = CHUNK_S, overlap_s: float = OVERLAP_S, **options: Any
    ) -> StreamEncoder:
        """A live encoder: push audio [B, C, n] at `spec.sample_rate`, get `Encoded` of the frames that became ready.

        The codec is not causal, so that a chunk is encoded when it is whole: the latency is up to two chunks. A stream
        no longer than a chunk equals `encode`; a longer one is nearly what `encode` gives with the same chunk_s and
        overlap_s, whose resampling knows what comes before and after a chunk.
        """
        refuse_options(options, self.stream_encoder)
        return StreamEncoder(self, *cast(tuple[int, int], self._chunk_frames(chunk_s, overlap_s)))

    def stream_decoder(
        self, *, chunk_s: float = CHUNK_S, overlap_s: float = OVERLAP_S, **options: Any
    ) -> StreamDecoder:
        """A live decoder: push latents or tokens of any number of frames, get the audio [B, 1, n] that became ready.

        It gives what `decode` gives with the same chunk_s and overlap_s, up to two chunks later.
        """
        refuse_options(options, self.stream_decoder)
        return StreamDecoder(self, *cast(tuple[int, int], self._chunk_frames(chunk_s, overlap_s)))

    # ------------------------------------------------------------------ training

    def forward(self, audio: Tensor) -> TrainingPass:
        """All that the training objective needs, in one call.

        Args:
            audio: [B, 1, N] at the encoders' rate, N of whole hops; T = N / hop.
        """
        num_frames, padded = self._hops(audio), self._padded(audio)
        hidden = self._semantic_frames(padded)
        fused = self._fused(hidden, padded)[:, :num_frames]
        values = self.quantiser.straight_through(self.quantiser.values(fused))
        embedding = self.quantiser.embed(values)
        predicted = None
        if self.settings.predict_semantic:
            predicted = self.semantic_decoder(self.semantic_out(embedding))
        return TrainingPass(
            reconstruction=self.decoder(embedding),
            fused=fused,
            values=values,
            semantic_target=hidden[:, :num_frames],
            semantic_prediction=predicted,
        )


class DistillNeuCodec(NeuCodec):
    """NeuCodec with light encoders: DistilHuBERT and an L3AC-like one, whose frames are projected before the fusion.

    All frames are official ones; of audio of whole hops the last official frame, all silence, is dropped.
    """

    config_class: ClassVar[type] = DistillNeuCodecConfig
    semantic_lag: ClassVar[int] = 0

    def _build_encoders(self, config: Any) -> tuple[int, int]:
        self.semantic_encoder: Any = DistilSemanticEncoder(config.semantic).requires_grad_(False)
        self.acoustic_encoder = DistilAcousticEncoder(config.acoustic)
        self.acoustic_proj = nn.Linear(config.acoustic.width, config.acoustic_width)
        return config.semantic.width, config.acoustic_width

    @property
    def _grid_frames(self) -> int:
        """The acoustic encoder's attention has windows that count from the start of the signal."""
        return cast(DistillNeuCodecConfig, self.settings).acoustic.window

    @torch.no_grad()
    def _semantic_frames(self, padded: Tensor) -> Tensor:
        return self.semantic_encoder(padded.to(self.fusion.weight.dtype))

    def _acoustic_frames(self, padded: Tensor) -> Tensor:
        return self.acoustic_proj(super()._acoustic_frames(padded))


def groups_of_equal(counts: Sequence[int]) -> list[list[int]]:
    """Places of the items that have the same count, for each count."""
    return [[i for i, count in enumerate(counts) if count == size] for size in sorted(set(counts))]
