"""Systems that return audio: a codec with some options, silence, the original itself.

A system is any function from audio [C, N] and its sample rate to audio [C, N]. Shape letters: C channels, N samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from ....tokenizers.base import STREAMS, AudioTokenizer, Encoded, Stream
from .figures.tokens import TokenCounts

ORIGINAL = "original"


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """Audio that a system returns, with the seconds of computing where they were measured."""

    audio: Tensor  # [C, N]
    encode_s: float | None = None
    decode_s: float | None = None


T = TypeVar("T")
System = Callable[[Tensor, int], Tensor | Reconstruction]


def silence(audio: Tensor, sample_rate: int) -> Tensor:
    """Returns zeros: the baseline that keeps nothing."""
    return torch.zeros_like(audio)


def original(audio: Tensor, sample_rate: int) -> Tensor:
    """Returns the audio itself: the best that any codec could reach."""
    return audio


def untrained(tokenizer: AudioTokenizer, seed: int = 0) -> AudioTokenizer:
    """Returns a codec of the same class and settings with random weights, on the same device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made: AudioTokenizer = type(tokenizer)(tokenizer.settings).to(tokenizer.device).eval()
    return made


class CodecSystems:
    """Systems that share one codec; each file is encoded once, in however many ways it is decoded.

    Args:
        tokenizer: the codec.
        seed: of the decoder's noise, which is the same for every file, so that the order of files does not matter.
        warm_up: run each first call twice and time the second, since the first call of a network is slow.
    """

    def __init__(self, tokenizer: AudioTokenizer, seed: int = 0, *, warm_up: bool = False):
        self.tokenizer = tokenizer
        self.seed = seed
        self.warm_up = warm_up
        levels = tokenizer.spec.levels
        self.counts = TokenCounts(levels) if levels else None  # of the tokens of all files
        self._last: tuple[Tensor, Encoded, float] | None = None

    def system(self, stream: Stream = "latents", **options: Any) -> System:
        """Returns the system that encodes and decodes by `stream`; `options` are those of the codec's `decode`.

        Raises:
            ValueError: no such stream, or the codec has no tokens.
        """
        if stream not in STREAMS:
            raise ValueError(f"stream must be 'latents' or 'tokens', got {stream!r}")
        if stream == "tokens" and self.counts is None:
            raise ValueError(f"this {self.tokenizer.spec.name} has no tokens (no quantizer): measure its latents")
        cold = self.warm_up

        def run(audio: Tensor, sample_rate: int) -> Reconstruction:
            nonlocal cold
            encoded, encode_s = self._encode(audio, sample_rate)

            def decode() -> Tensor:
                noise = torch.Generator().manual_seed(self.seed)
                return self.tokenizer.decode_encoded(encoded, stream, generator=noise, **options)

            if cold:
                decode()
                cold = False
            decoded, decode_s = self._timed(decode)
            return Reconstruction(audio=decoded[0].float().cpu(), encode_s=encode_s, decode_s=decode_s)

        return run

    def facts(self) -> dict[str, Any]:
        """Returns the rates of the codec, and statistics of the tokens of all files so far."""
        spec = self.tokenizer.spec
        facts: dict[str, Any] = {
            "name": spec.name,
            "sample_rate": spec.sample_rate,
            "channels": spec.channels,
            "latent_rate_hz": spec.latent_rate_hz,
            "latent_dim": spec.latent_dim,
        }
        if self.counts is None:
            return facts
        facts |= {
            "bitrate_bps": spec.bitrate_bps,
            "packed_bitrate_bps": spec.packed_bitrate_bps,
            "token_frame_rate_hz": spec.token_rate_hz,
            "tokens_per_frame": spec.tokens_per_frame,
            "tokens_per_second": spec.token_rate_hz * spec.tokens_per_frame,
            "codebook_sizes": list(spec.codebook_sizes),
        }
        if self.counts.num_tokens:
            facts["tokens"] = self.counts.analysis(spec.token_rate_hz).to_dict()
        return facts

    def _encode(self, audio: Tensor, sample_rate: int) -> tuple[Encoded, float]:
        if self._last is None or self._last[0] is not audio:
            batch = audio[None].to(self.tokenizer.device)
            if self.warm_up and self._last is None:
                self.tokenizer.encode(batch, sample_rate)
            encoded, seconds = self._timed(lambda: self.tokenizer.encode(batch, sample_rate))
            if self.counts is not None:
                self.counts.add(encoded.tokens)
            self._last = audio, encoded, seconds
        return self._last[1:]

    def _timed(self, work: Callable[[], T]) -> tuple[T, float]:
        """Returns the result of `work` and its seconds, with the device's queue emptied before and after."""
        self._synchronise()
        begin = time.perf_counter()
        result = work()
        self._synchronise()
        return result, time.perf_counter() - begin

    def _synchronise(self) -> None:
        if torch.device(self.tokenizer.device).type == "cuda":
            torch.cuda.synchronize(self.tokenizer.device)
