"""The interface of every audio tokenizer: its output (`Encoded`), its live streams and its methods.

Shape letters: B batch, C audio channels, N audio samples, T latent frames, D latent width, T' token frames, Q
codebooks.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from .pretrained import PretrainedTokenizer
from .spec import STREAMS, Stream, TokenizerSpec

if TYPE_CHECKING:
    from ..core.graphs import Graph

__all__ = ["STREAMS", "AudioTokenizer", "Encoded", "Stream", "StreamState", "TokenizerSpec"]


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


class AudioTokenizer(PretrainedTokenizer):
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
            generator: source of randomness, for codecs whose decoder draws noise; each item takes one seed from it, in
                their order.
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

    def decoder_graph(self, **options: Any) -> Graph:
        """Returns the decoder as a graph for other runtimes: latents [B, T, D] of whole items to audio [B, C, N].

        Args:
            options: of the codec.

        Raises:
            ValueError: the decoder is not one pass of a network.
            TypeError: an option that the codec does not have.
        """
        from .graph import one_pass_graph
        from .inputs import refuse_options

        refuse_options(options, self.decoder_graph)
        return one_pass_graph(self)

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
