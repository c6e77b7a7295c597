"""The interface of every audio tokenizer: its sizes (`TokenizerSpec`), its output (`Encoded`) and its methods.

Shape letters: B batch, C audio channels, N audio samples, T latent frames, D latent width, T' token frames, Q
codebooks.
"""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import torch
from torch import Tensor, nn

from ..core.config import refuse_unknown
from ..core.configured import ConfiguredModel
from ..core.errors import CheckpointError
from ..core.hub import HUB_OPTIONS, Source
from ..layers.bits import entry_bits
from .cards import place_of
from .layouts import own_config

Stream = Literal["latents", "tokens"]
STREAMS: tuple[Stream, ...] = ("latents", "tokens")


@dataclass(frozen=True, kw_only=True)
class TokenizerSpec:
    """Rates and sizes of a tokenizer's two streams: all that a dataset or a generator needs to know about it."""

    name: str  # codec family, such as "codicodec"
    sample_rate: int  # Hz, of the audio the codec works on
    channels: int  # audio channels the codec works on
    hop_samples: int  # audio samples per latent frame
    latent_dim: int  # D
    levels: tuple[tuple[int, ...], ...]  # per codebook, FSQ levels of each digit, least significant digit first
    token_hop_samples: int  # audio samples per token frame; need not be the hop of a latent frame
    chunk_latents: int = 1  # latent frames per chunk; a stream always holds whole chunks
    chunk_tokens: int = 1  # token frames per chunk
    overlap_samples: int = 0  # how far the last chunk's window reaches beyond its own hop

    def __post_init__(self) -> None:
        if self.chunk_latents * self.hop_samples != self.chunk_tokens * self.token_hop_samples:
            raise ValueError(
                f"a chunk of {self.chunk_latents} latents x {self.hop_samples} samples is not one of "
                f"{self.chunk_tokens} tokens x {self.token_hop_samples} samples"
            )

    @property
    def latent_rate_hz(self) -> float:
        return self.sample_rate / self.hop_samples

    @property
    def token_rate_hz(self) -> float:
        return self.sample_rate / self.token_hop_samples

    @property
    def chunk_samples(self) -> int:
        return self.chunk_latents * self.hop_samples

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        return tuple(math.prod(levels) for levels in self.levels)

    @property
    def tokens_per_frame(self) -> int:
        """Q, the number of codebooks."""
        return len(self.levels)

    @property
    def bitrate_bps(self) -> float:
        """Bits per second that the token stream can carry at most, log2(size) per token (arXiv 2411.19842, eq. 5)."""
        return self.token_rate_hz * sum(math.log2(size) for size in self.codebook_sizes)

    @property
    def packed_bitrate_bps(self) -> float:
        """Bits per second of tokens packed in whole bits, ceil(log2(size)) per token: the rates that papers quote.

        400, 700, 1000 and 625 for the presets of Stable Codec, where `bitrate_bps` is 388, 697, 951 and 613.
        """
        return self.token_rate_hz * sum(map(entry_bits, self.codebook_sizes))

    def num_chunks(self, num_samples: int) -> int:
        """Returns the number of chunks that contain `num_samples` samples at `sample_rate`; at least one.

        Raises:
            ValueError: fewer than 1 sample.
        """
        if num_samples < 1:
            raise ValueError(f"audio of {num_samples} samples: at least 1 is needed")
        return max(1, math.ceil((num_samples - self.overlap_samples) / self.chunk_samples))

    def nearest_chunks(self, duration_s: float) -> int:
        """Returns the number of whole chunks whose hops are nearest to `duration_s` seconds; at least one."""
        return max(1, round(duration_s * self.sample_rate / self.chunk_samples))

    def max_samples(self, num_chunks: int) -> int:
        """Returns the largest number of samples that `num_chunks` chunks contain: the inverse of `num_chunks`."""
        return num_chunks * self.chunk_samples + self.overlap_samples

    def num_latents(self, num_samples: int) -> int:
        """Returns T, the latent frames that contain `num_samples` samples."""
        return self.num_chunks(num_samples) * self.chunk_latents

    def num_tokens(self, num_samples: int) -> int:
        """Returns T', the token frames that contain `num_samples` samples."""
        return self.num_chunks(num_samples) * self.chunk_tokens

    def resampled_length(self, num_samples: int, sample_rate: int) -> int:
        """Returns the samples at the codec's rate that `num_samples` samples at `sample_rate` become; at least one."""
        return max(1, round(num_samples * self.sample_rate / sample_rate))


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """The two streams of a batch. Frames beyond an item's own (see `TokenizerSpec.num_latents`) are padding."""

    latents: Tensor  # [B, T, D] float
    tokens: Tensor  # [B, T', Q] int64
    lengths_samples: Tensor  # [B] int64, at the codec's sample rate
    gain_db: Tensor | None = None  # [B] float32, the gain that `encode` applied; None: this codec applies none


class StreamState(Protocol):
    """A codec at work on a live stream: push each piece as it arrives, and get the output that is ready."""

    def push(self, chunk: Any) -> Any | None:
        """Takes the next piece; returns the output that became ready, or None."""
        ...

    def flush(self) -> Any | None:
        """Ends the stream; returns the output that was held back, or None."""
        ...


class AudioTokenizer(ConfiguredModel):
    """An audio codec as a tokenizer with a continuous and a discrete stream from one encoder.

    The two streams are images of each other up to quantisation: `latents_to_tokens(tokens_to_latents(t)) == t`.
    Continuous latents are atanh(y) / scale of the bottleneck's bounded values y: roughly unit Gaussian.
    """

    card_tags: ClassVar[Sequence[str]] = ("audio-codec", "audio-tokenizer", "neural-audio-codec")
    card_loader: ClassVar[str] = "load_tokenizer"

    def card_facts(self) -> dict[str, str]:
        spec = self.spec
        sizes = " and ".join(map(str, spec.codebook_sizes)) or "none"
        return {
            "audio": f"{spec.sample_rate / 1000:g} kHz, {spec.channels} channel{'s' if spec.channels > 1 else ''}",
            "latents": f"{spec.latent_dim} dimensions at {spec.latent_rate_hz:.4g} Hz",
            "tokens": f"{spec.token_rate_hz:.4g} Hz, codebooks: {sizes}; {spec.bitrate_bps:.0f} bit/s",
        }

    @property
    def licence(self) -> str:
        """The licence of the weights, kept in config.json; it is written into datasets and model cards."""
        licence: str = self.config.get("_licence", "unknown")
        return licence

    @licence.setter
    def licence(self, name: str) -> None:
        self.register_to_config(_licence=name)

    @classmethod
    def from_pretrained(cls, path: str | Path, **options: Any) -> Self:
        """Loads a tokenizer of this class in eval mode: one that `save_pretrained` wrote, or official weights.

        `AudioTokenizer.from_pretrained` loads a tokenizer of any class, as `load_tokenizer` does.

        Args:
            path: a folder, a file of official weights, a hub id, or a shipped or official name.
            options: `torch_dtype`, `device_map`, those of the hub (`revision`, `subfolder`, `cache_dir`, `token`,
                `local_files_only`, `force_download`), and for official weights the codec's own.

        Returns:
            The tokenizer.

        Raises:
            CheckpointError: nothing usable is there, or keys do not fit (named).
        """
        if cls is AudioTokenizer:
            from .load import load_tokenizer

            loaded: Self = load_tokenizer(path, **options)  # type: ignore[assignment]  # any class is this one's
            return loaded
        source = Source(place_of(path), {name: options[name] for name in HUB_OPTIONS if name in options})
        if own_config(source) is None:
            return cls.from_official(path, **options)
        if source.is_remote:
            return super().from_pretrained(source.place, **options)
        return super().from_pretrained(source.folder, **{k: v for k, v in options.items() if k != "subfolder"})

    @classmethod
    def from_official(
        cls, path: str | Path, *, torch_dtype: torch.dtype | str | None = None, device_map: Any = None, **options: Any
    ) -> Self:
        """Loads weights in an official format of the codec, in eval mode.

        Args:
            path: a file, a folder, a hub id, or an official name.
            torch_dtype: of the weights; None: float32.
            device_map: the device of the whole network; None: the CPU.
            options: those of the hub (`revision`, `subfolder`, `cache_dir`, `token`, `local_files_only`,
                `force_download`); and the codec's own.

        Returns:
            The tokenizer.

        Raises:
            CheckpointError: nothing is there, it has another format, or keys do not fit (named).
            TypeError: an unknown option.
        """
        hub_options = {name: options.pop(name) for name in HUB_OPTIONS if name in options}
        source = Source(place_of(path), hub_options)
        if own_config(source) is not None:
            return cls.from_pretrained(path, torch_dtype=torch_dtype, device_map=device_map, **hub_options)
        own = [name for name in inspect.signature(cls.read_official).parameters if name != "source"]
        refuse_unknown(options, own, f"{cls.__name__}.from_official", [*HUB_OPTIONS, "torch_dtype", "device_map"])
        loaded: Self = cls.read_official(source, **options).eval()
        loaded.place(torch_dtype, device_map)
        return loaded

    @classmethod
    def read_official(cls, source: Source) -> Self:
        """Builds the tokenizer with official weights, in float32 on the CPU; the codec's options are its arguments.

        Raises:
            CheckpointError: nothing is there, it has another format, or keys do not fit (named).
        """
        raise CheckpointError(f"{source} holds no {cls.__name__} that save_pretrained wrote, its only format")

    @classmethod
    def official_version(cls, source: Source) -> type[AudioTokenizer]:
        """Returns the class that official weights are of: this one, or another version of the same codec.

        Raises:
            CheckpointError: nothing is there, or it has another format.
        """
        return cls

    @property
    def compiled_parts(self) -> Sequence[nn.Module]:
        """The modules that `encode` and `decode` call; these methods themselves are not one graph."""
        return list(self.children())

    @property
    @abstractmethod
    def spec(self) -> TokenizerSpec:
        """Rates and sizes."""

    @property
    def encoder_rate(self) -> int:
        """The rate in Hz of the encoder's input: audio that has it is not resampled."""
        return self.spec.sample_rate

    @abstractmethod
    def encode(self, audio: Tensor, sample_rate: int, lengths: Tensor | None = None, **options: Any) -> Encoded:
        """Encodes audio of any rate, mono or stereo, of any length from one sample up.

        Args:
            audio: [B, C, N] in [-1, 1].
            sample_rate: of the audio, in Hz.
            lengths: [B] valid samples of each item, at `sample_rate`; the rest is taken as silence.
            options: of the codec.

        Returns:
            Both streams.

        Raises:
            ValueError: wrong shape, zero length, or NaN/inf in the audio.
        """

    @abstractmethod
    def decode(
        self,
        *,
        latents: Tensor | None = None,
        tokens: Tensor | None = None,
        lengths_samples: Tensor | None = None,
        gain_db: Tensor | None = None,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> Tensor:
        """Decodes one of the two streams to audio.

        Args:
            latents: [B, T, D].
            tokens: [B, T', Q].
            lengths_samples: [B], as `encode` returned it; the result then has the length of the longest item and zeros
                beyond each item's own.
            gain_db: [B], as `encode` returned it; it is undone, so that the audio has its own level again.
            generator: source of randomness, for codecs whose decoder draws noise.
            options: of the codec.

        Returns:
            Audio [B, C, N] in [-1, 1] at `spec.sample_rate`.

        Raises:
            ValueError: both or neither stream is given, a wrong shape, tokens out of range, or latents with NaN.
        """

    def decode_pieces(
        self,
        *,
        latents: Tensor | None = None,
        tokens: Tensor | None = None,
        lengths_samples: Tensor | None = None,
        gain_db: Tensor | None = None,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> Iterator[Tensor]:
        """Decodes one item piece by piece, so that a long one can be written to a file as it is decoded.

        The pieces, joined, are the result of `decode` with the same arguments, bit for bit. Here they are one piece; a
        codec that bounds its memory gives as many as that takes.

        Args:
            latents: [1, T, D].
            tokens: [1, T', Q].
            lengths_samples: [1], as of `decode`.
            gain_db: [1], as of `decode`.
            generator: as of `decode`.
            options: as of `decode`; the one that bounds the memory also sets the length of the pieces.

        Returns:
            Pieces of audio [C, n] in [-1, 1] at `spec.sample_rate`, any n, which are decoded as they are asked for.

        Raises:
            ValueError: as `decode`, or more than one item; raised at once, before the first piece.
        """
        streams = {"latents": latents, "tokens": tokens}
        for stream in streams.values():
            if stream is not None and len(stream) != 1:
                raise ValueError(f"decode_pieces takes one item, [1, frames, ...], got a batch of {len(stream)}")
        audio = self.decode(**streams, lengths_samples=lengths_samples, gain_db=gain_db, generator=generator, **options)
        return iter(audio)

    def latents_to_audio(self, latents: Tensor) -> Tensor:
        """Returns audio [B, C, N] of latents [B, T, D] of whole items, in one pass and without checks, for export.

        Raises:
            ValueError: the decoder is not one pass of a network.
        """
        raise ValueError(f"the decoder of {type(self).__name__} is not exported: it is not one pass of a network")

    def decode_encoded(
        self,
        encoded: Encoded,
        stream: Stream = "latents",
        *,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> Tensor:
        """Decodes one stream of an `encode` result, at the length and the level of the encoded audio.

        Args:
            encoded: the result of `encode`.
            stream: which stream.
            generator: source of randomness, for codecs whose decoder draws noise.
            options: of `decode`.

        Returns:
            Audio [B, C, N] in [-1, 1] at `spec.sample_rate`.

        Raises:
            ValueError: there is no such stream.
        """
        if stream not in STREAMS:
            raise ValueError(f"stream must be 'latents' or 'tokens', got {stream!r}")
        return self.decode(
            **{stream: getattr(encoded, stream)},
            lengths_samples=encoded.lengths_samples,
            gain_db=encoded.gain_db,
            generator=generator,
            **options,
        )

    @abstractmethod
    def latents_to_values(self, latents: Tensor) -> Tensor:
        """Returns the decoder's input of latents [B, T, D]: values [B, chunks, ...], not rounded to levels.

        Raises:
            ValueError: a wrong shape, NaN or inf.
        """

    @abstractmethod
    def tokens_to_values(self, tokens: Tensor) -> Tensor:
        """Returns the decoder's input of tokens [B, T', Q]: exactly the values that they stand for.

        Raises:
            ValueError: a wrong shape, or tokens out of range.
            TypeError: the tokens are not integers.
        """

    @abstractmethod
    def tokens_to_latents(self, tokens: Tensor) -> Tensor:
        """Returns latents [B, T, D] of tokens [B, T', Q]."""

    @abstractmethod
    def latents_to_tokens(self, latents: Tensor) -> Tensor:
        """Returns the nearest tokens [B, T', Q] of latents [B, T, D]."""

    @abstractmethod
    def stream_encoder(self, **options: Any) -> StreamState:
        """Returns a live encoder: push audio [B, C, n], get `Encoded` of the chunks that are complete."""

    @abstractmethod
    def stream_decoder(self, **options: Any) -> StreamState:
        """Returns a live decoder: push latents or tokens of one chunk, get its audio [B, C, n]."""
