"""The systems that are compared on a channel: sources of tokens (`TokenStream`) and ways to receive them (`System`).

Shape letters: T token frames, Q codebooks, K chunks, D latent width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ....tokenizers.base import AudioTokenizer, Encoded
from ..codecs.rvq import RVQBaseline
from .channel import BitChannel, lose_packets, move_levels
from .concealment import CONCEALMENTS
from .labelling import Labelling
from .soft import ValueMap, word_posteriors

PLAIN, SOFT = "plain", "soft"
CLEAN = "clean"  # system of the rows without a channel, with the name of the token stream
Streams = dict[str, Tensor]  # arguments of the codec's `decode`: tokens [1, T, Q] or latents [1, T, D]


class TokenStream(ABC):
    """Tokens from the encoder of a codec, and the ways back to the input of its decoder."""

    name: str
    ordered: bool  # whether digits that differ by one sound alike

    def __init__(self, tokenizer: AudioTokenizer):
        self.tokenizer = tokenizer

    @property
    @abstractmethod
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """As in `TokenizerSpec`."""

    @property
    @abstractmethod
    def chunk_frames(self) -> int:
        """The token frames of a chunk."""

    @abstractmethod
    def tokens(self, encoded: Encoded) -> Tensor:
        """Returns tokens [T, Q] of a batch of one, on the CPU."""

    @abstractmethod
    def streams(self, tokens: Tensor) -> Streams:
        """Returns the input of the decoder for tokens [T, Q]."""

    @abstractmethod
    def latents(self, tokens: Tensor) -> Tensor:
        """Returns latents [T', D] of tokens [T, Q], on the CPU."""

    @abstractmethod
    def mean_latents(self, posteriors: Sequence[Tensor]) -> Tensor:
        """Returns the mean latents [1, T', D] under posteriors [T, L] of every digit, in the order of `Labelling`."""

    def frame_rate_hz(self) -> float:
        """Returns the token frames per second."""
        spec = self.tokenizer.spec
        return spec.sample_rate / spec.chunk_samples * self.chunk_frames


class OwnTokens(TokenStream):
    """The codec's own tokens."""

    name, ordered = "own", True

    def __init__(self, tokenizer: AudioTokenizer):
        super().__init__(tokenizer)
        self._map: ValueMap | None = None

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        return self.tokenizer.spec.levels

    @property
    def chunk_frames(self) -> int:
        return self.tokenizer.spec.chunk_tokens

    def tokens(self, encoded: Encoded) -> Tensor:
        return encoded.tokens[0].cpu()

    def streams(self, tokens: Tensor) -> Streams:
        return {"tokens": tokens[None].to(self.tokenizer.device)}

    def latents(self, tokens: Tensor) -> Tensor:
        return self.tokenizer.tokens_to_latents(self.streams(tokens)["tokens"])[0].cpu()

    def mean_latents(self, posteriors: Sequence[Tensor]) -> Tensor:
        if self._map is None:
            self._map = ValueMap.probe(self.tokenizer)
        return self._map.latents(posteriors)


class RVQTokens(TokenStream):
    """Residual codebooks fitted to the codec's latents."""

    name, ordered = "rvq", False

    def __init__(self, tokenizer: AudioTokenizer, baseline: RVQBaseline):
        super().__init__(tokenizer)
        self.baseline = baseline

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        return self.baseline.levels

    @property
    def chunk_frames(self) -> int:
        return self.tokenizer.spec.chunk_latents

    def tokens(self, encoded: Encoded) -> Tensor:
        return self.baseline.encode(encoded.latents[0])

    def streams(self, tokens: Tensor) -> Streams:
        return {"latents": self.latents(tokens)[None]}

    def latents(self, tokens: Tensor) -> Tensor:
        return self.baseline.decode(tokens)

    def mean_latents(self, posteriors: Sequence[Tensor]) -> Tensor:
        return self.baseline.mean_latents(posteriors)[None]


@dataclass(frozen=True, kw_only=True)
class Reception:
    """The received input of the decoder, and the damage of the channel."""

    streams: Streams
    intact: bool  # the decoder receives what was sent
    figures: dict[str, float | int | None]  # CHANNEL_FIGURES


CHANNEL_FIGURES = (
    "num_sent",  # bits, digits, or packets
    "num_damaged",  # bits flipped (an erased one counts if the random bit in its place is wrong), digits or packets
    "num_invalid_words",  # without a level, read as the nearest one
    "token_intact",
    "digit_intact",
    "digit_within_one",
    "digit_rms",  # in levels
    "value_cosine",  # of the decoder's input and the same without a channel, mean over frames (of CoDiCodec: chunks)
)


@dataclass(frozen=True, kw_only=True)
class System:
    """One way to send a token stream and to receive it."""

    name: str
    stream: TokenStream
    labelling: Labelling
    receiver: str = PLAIN  # plain, soft, or of packets the name of a concealment, or soft
    priors: Sequence[Tensor] | None = None  # of a soft receiver, of each word; None: all levels alike
    fallback: Tensor | None = None  # latents [F, D] of a chunk, played where all packets are lost
    distance: int = 0  # levels that a damaged digit moves

    @property
    def bitrate_bps(self) -> float:
        """The bits per second that are sent."""
        return self.stream.frame_rate_hz() * self.labelling.bits_per_frame

    def receive_bits(self, tokens: Tensor, channel: BitChannel, p: float, generator: torch.Generator) -> Reception:
        """Sends tokens through a channel of bits.

        Args:
            tokens: [T, Q].
            channel: out of `channel.BIT_CHANNELS`.
            p: of the channel.
            generator: of its draws.

        Returns:
            The reception.
        """
        bits = self.labelling.tokens_to_bits(tokens)
        received = channel(bits, p, generator)
        got, num_invalid = self.labelling.bits_to_tokens(received.bits)
        if self.receiver == SOFT:
            posteriors = word_posteriors(received, self.labelling, self.priors)
            streams: Streams = {"latents": self.stream.mean_latents(posteriors)}
            intact = not received.flip_probability.any()  # a doubt moves the mean even if the bit is right
        else:
            streams = self.stream.streams(got)
            intact = torch.equal(received.bits, bits)
        damaged = int((received.bits != bits).sum())
        figures: dict[str, float | int | None] = {"num_sent": bits.numel(), "num_damaged": damaged}
        figures["num_invalid_words"] = num_invalid
        figures |= {**self._token_figures(tokens, got), "value_cosine": self._value_cosine(tokens, streams)}
        return Reception(streams=streams, intact=intact, figures=figures)

    def receive_levels(self, tokens: Tensor, p: float, generator: torch.Generator) -> Reception:
        """Moves digits by `distance` levels.

        Args:
            tokens: [T, Q].
            p: probability that a digit is hit.
            generator: of the draws.

        Returns:
            The reception.
        """
        labelling = Labelling(self.stream.levels)
        digits = labelling.tokens_to_digits(tokens)
        moved = move_levels(digits, torch.tensor(labelling.word_levels), self.distance, p, generator)
        got, damaged = labelling.digits_to_tokens(moved), int((moved != digits).sum())
        streams = self.stream.streams(got)
        figures: dict[str, float | int | None] = {"num_sent": digits.numel(), "num_damaged": damaged}
        figures |= {"num_invalid_words": 0, **self._token_figures(tokens, got)}
        figures["value_cosine"] = self._value_cosine(tokens, streams)
        return Reception(streams=streams, intact=not damaged, figures=figures)

    def receive_packets(self, tokens: Tensor, packet_chunks: int, p: float, generator: torch.Generator) -> Reception:
        """Sends tokens in packets, some of which are lost and concealed.

        Args:
            tokens: [T, Q].
            packet_chunks: chunks in a packet.
            p: probability that a packet is lost.
            generator: of the draws.

        Returns:
            The reception.
        """
        num_chunks = len(tokens) // self.stream.chunk_frames
        lost_packets = lose_packets(-(-num_chunks // packet_chunks), p, generator)
        lost = lost_packets.repeat_interleave(packet_chunks)[:num_chunks]
        if self.receiver == SOFT:
            latents = self._expected(tokens, lost)
        else:
            assert self.fallback is not None
            chunks = self.stream.latents(tokens).unflatten(0, (num_chunks, -1))
            latents = CONCEALMENTS[self.receiver](chunks, lost, self.fallback).flatten(0, 1)[None]
        damaged = int(lost_packets.sum())
        figures: dict[str, float | int | None] = dict.fromkeys(CHANNEL_FIGURES)
        figures |= {
            "num_sent": len(lost_packets),
            "num_damaged": damaged,
            "token_intact": 1 - lost.double().mean().item(),
        }
        streams: Streams = {"latents": latents}
        figures["value_cosine"] = self._value_cosine(tokens, streams)
        return Reception(streams=streams, intact=not damaged, figures=figures)

    def _expected(self, tokens: Tensor, lost: Tensor) -> Tensor:
        """Latents [1, T', D] whose lost chunks are the mean of all that could have been sent."""
        digits = self.labelling.tokens_to_digits(tokens)
        lost = lost.repeat_interleave(self.stream.chunk_frames)
        posteriors = []
        for word, size in enumerate(self.labelling.word_levels):
            prior = torch.ones(size) if self.priors is None else self.priors[word]
            posteriors.append(torch.eye(size, dtype=torch.float64)[digits[:, word]])
            posteriors[-1][lost] = (prior / prior.sum()).double()
        return self.stream.mean_latents(posteriors)

    def _value_cosine(self, tokens: Tensor, received: Streams) -> float:
        """Cosine of the values that the decoder gets and would get, the output of the quantizer; mean over frames."""
        sent, got = (self._values(streams) for streams in (self.stream.streams(tokens), received))
        return torch.cosine_similarity(sent, got, dim=-1).mean().item()

    def _values(self, streams: Streams) -> Tensor:
        """Values [frames, width] on the CPU."""
        codec = self.stream.tokenizer
        is_tokens = "tokens" in streams
        values = codec.tokens_to_values(streams["tokens"]) if is_tokens else codec.latents_to_values(streams["latents"])
        return values[0].flatten(1).double().cpu()

    def _token_figures(self, sent: Tensor, got: Tensor) -> dict[str, float | int | None]:
        figures: dict[str, float | int | None] = {
            "token_intact": (sent == got).double().mean().item(),
            "digit_intact": None,
            "digit_within_one": None,
            "digit_rms": None,
        }
        if self.stream.ordered:
            digits = Labelling(self.stream.levels)
            shift = (digits.tokens_to_digits(got) - digits.tokens_to_digits(sent)).abs().double()
            figures["digit_intact"] = (shift == 0).double().mean().item()
            figures["digit_within_one"] = (shift <= 1).double().mean().item()
            figures["digit_rms"] = shift.square().mean().sqrt().item()
        return figures
