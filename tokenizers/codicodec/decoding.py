"""Parallel decoding with shifting pairs, and autoregressive decoding (paper, section 3.4), in bounded memory.

Both yield audio in pieces, which overlap by one hop; see `pieces.joined`.
Noise is a function of (item, chunk, draw), so that the order of the work does not change the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from torch import Tensor

from ...core.random import keyed_seed
from .config import CoDiCodecConfig
from .consistency import noise_level, renoise
from .pieces import Piece
from .spectrum import spectrogram_to_audio

if TYPE_CHECKING:
    from .model import CoDiCodec

PROMPT_POSITION = 0.4  # position on the noise schedule to which the previous chunk is brought back (autoregressive)
PROMPT_DRAW = 1_000_000  # number of the draw that re-noises the previous chunk; beyond any number of steps

T = TypeVar("T")


class Noise(Protocol):
    """Standard normal noise [2C, F, L] of one chunk of one item; draw 0 is the start, draw k is added after step k."""

    def __call__(self, item: int, chunk: int, draw: int) -> Tensor: ...


class SeededNoise:
    """Noise keyed by position: each item takes one seed from the generator, in the order of the batch."""

    def __init__(self, config: CoDiCodecConfig, items: int, generator: torch.Generator | None):
        self.shape = (config.spectrum_channels, config.num_bins, config.chunk_frames)
        device = generator.device if generator is not None else "cpu"
        self.seeds = torch.randint(2**62, (items,), generator=generator, device=device).tolist()
        self.generator = torch.Generator(device=device)

    def __call__(self, item: int, chunk: int, draw: int) -> Tensor:
        self.generator.manual_seed(keyed_seed(self.seeds[item], chunk, draw))
        return torch.randn(self.shape, generator=self.generator, device=self.generator.device)


@dataclass
class _Chunk:
    """A chunk on its way through the denoising steps."""

    values: Tensor  # [summaries, d]
    features: list[Tensor]  # each [C_level, F_level, L_level]
    spectrogram: Tensor  # [2C, F, L], noisy; clean after the last step
    done: int = 0  # denoising steps so far


def pairing(step: int, count: int) -> list[tuple[int, ...]]:
    """Returns the groups of chunks that are processed together in step number `step`.

    Even steps pair (0, 1), (2, 3), ...; odd steps (0), (1, 2), (3, 4), ...; a chunk that is left over stays alone. A
    chunk alone is the left half of a pair whose right half is empty: the left half cannot see the right one, so that
    the empty half is not computed.
    """
    first: list[tuple[int, ...]] = [(0,)] if step % 2 else []
    rest = range(step % 2, count, 2)
    return (first + [(k, k + 1) if k + 1 < count else (k,) for k in rest])[: max(1, count)]


def decode_parallel(
    codec: CoDiCodec, values: Tensor, counts: Sequence[int], noise: Noise, steps: int, max_chunks: int | None
) -> Iterator[Piece]:
    """Decodes all chunks of all items together: they start at sigma_max and share each step's noise level.

    With a bound, the items are decoded one after the other, each in a wave along time: a block of chunks is admitted,
    every step runs on all groups whose members are ready, and finished chunks leave. At most max_chunks + steps + 1 are
    alive.

    Args:
        codec: the codec.
        values: [B, K, summaries, d].
        counts: chunks of each item.
        noise: noise of each chunk.
        steps: denoising steps.
        max_chunks: bound of the chunks in one network call; None: no bound.

    Yields:
        Pieces of audio.
    """
    if max_chunks is None or sum(counts) <= max_chunks:
        works = [_Work(codec, values, counts, range(len(values)), noise, steps)]
        block = max(counts)
    else:
        works = [_Work(codec, values, counts, (item,), noise, steps) for item in range(len(values))]
        block = max_chunks
    for work in works:
        for start in range(0, max(counts[i] for i in work.items), block):
            work.admit(start, start + block, max_chunks)
            for step in range(steps):
                work.run(step, max_chunks)
            yield from work.finished()


class _Work:
    """The chunks that are alive in a parallel decode of some items."""

    def __init__(
        self, codec: CoDiCodec, values: Tensor, counts: Sequence[int], items: Sequence[int], noise: Noise, steps: int
    ):
        self.codec, self.values, self.counts, self.items = codec, values, counts, items
        self.noise, self.steps = noise, steps
        self.alive: dict[tuple[int, int], _Chunk] = {}
        self.emitted = dict.fromkeys(items, 0)

    def admit(self, start: int, stop: int, max_chunks: int | None) -> None:
        """Admits the chunks start..stop-1 of each item: their features and their first noise.

        Args:
            start: first chunk.
            stop: end of the range.
            max_chunks: bound of the chunks in one network call; None: no bound.
        """
        keys = [(i, k) for i in self.items for k in range(start, min(stop, self.counts[i]))]
        for part in _batches(keys, max_chunks or len(keys)):
            values = torch.stack([self.values[i, k] for i, k in part])
            features = self.codec.upsampler(values.to(self.codec.dtype))
            for row, (i, k) in enumerate(part):
                first = self.noise(i, k, 0).to(values) * self.codec.settings.sigma_max
                self.alive[i, k] = _Chunk(values[row], [f[row] for f in features], first)

    def run(self, step: int, max_chunks: int | None) -> None:
        """Runs one denoising step on every group whose members are all present and ready for it."""
        groups = [
            [(i, k) for k in group]
            for i in self.items
            for group in pairing(step, self.counts[i])
            if all((i, k) in self.alive and self.alive[i, k].done == step for k in group)
        ]
        for size in (1, 2):
            same = [group for group in groups if len(group) == size]
            for part in _batches(same, max(1, (max_chunks or len(same) * size) // size)):
                self._denoise(part, step)

    def _denoise(self, groups: list[list[tuple[int, int]]], step: int) -> None:
        config = self.codec.settings
        members = [[self.alive[key] for key in group] for group in groups]
        flat = [chunk for group in members for chunk in group]
        sigma = float(noise_level(1 - step / self.steps, config))
        halves = len(members[0])
        noisy = torch.stack([c.spectrogram for c in flat]).unflatten(0, (-1, halves))
        clean, _ = self.codec.denoiser(
            noisy,
            torch.stack([c.values for c in flat]).unflatten(0, (-1, halves)),
            [torch.stack(level) for level in zip(*(c.features for c in flat), strict=True)],
            torch.full((1, halves), sigma, device=noisy.device),
        )
        lower = float(noise_level(1 - (step + 1) / self.steps, config))
        for group, row in zip(groups, clean, strict=True):
            for (i, k), estimate in zip(group, row, strict=True):
                chunk = self.alive[i, k]
                last = step + 1 == self.steps  # the last noise level is sigma_min: no noise is added
                fresh = estimate if last else renoise(estimate, self.noise(i, k, step + 1).to(estimate), lower, config)
                chunk.spectrogram, chunk.done = fresh, step + 1

    def finished(self) -> Iterator[Piece]:
        """Yields the audio of the finished chunks that are next in line and removes them."""
        config = self.codec.settings
        for i in self.items:
            ready: list[Tensor] = []
            start = self.emitted[i]
            while (i, start + len(ready)) in self.alive and self.alive[i, start + len(ready)].done == self.steps:
                ready.append(self.alive.pop((i, start + len(ready))).spectrogram)
            for k, spectrogram in enumerate(ready, start):
                yield i, k * config.chunk_samples, spectrogram_to_audio(spectrogram[None], config)[0]
            self.emitted[i] = start + len(ready)


def decode_autoregressive(
    codec: CoDiCodec, values: Tensor, counts: Sequence[int], noise: Noise, steps: int, max_chunks: int | None
) -> Iterator[Piece]:
    """Decodes chunk after chunk, each as the right half after the previous one.

    Args:
        codec: the codec.
        values: [B, K, summaries, d].
        counts: chunks of each item.
        noise: noise of each chunk.
        steps: denoising steps.
        max_chunks: bound of the items that are decoded together; None: no bound.

    Yields:
        Pieces of audio.
    """
    for batch in _batches(list(range(len(values))), max_chunks or len(values)):
        past: dict[int, Tensor] = {}
        for k in range(max(counts[i] for i in batch)):
            items = [i for i in batch if k < counts[i]]  # items that have ended leave the batch
            before = torch.stack([past[i] for i in items]) if k else None
            clean = next_chunk(
                codec,
                values[items, k],
                values[items, k - 1] if k else None,
                before,
                [(i, k) for i in items],
                noise,
                steps,
            )
            past = dict(zip(items, clean, strict=True))
            for i, spectrogram in past.items():
                yield i, k * codec.settings.chunk_samples, spectrogram_to_audio(spectrogram[None], codec.settings)[0]


def next_chunk(
    codec: CoDiCodec,
    values: Tensor,
    past_values: Tensor | None,
    past: Tensor | None,
    keys: Sequence[tuple[int, int]],
    noise: Noise,
    steps: int,
) -> Tensor:
    """Denoises one chunk of each item after its previous one.

    Args:
        codec: the codec.
        values: [B, summaries, d] of this chunk.
        past_values: [B, summaries, d] of the chunk before; None for the first chunk.
        past: [B, 2C, F, L], the clean spectrogram of the chunk before; None for the first chunk.
        keys: (item, chunk) of each row, to draw its noise.
        noise: noise of each chunk.
        steps: denoising steps.

    Returns:
        The clean spectrogram [B, 2C, F, L].
    """
    config = codec.settings

    def draw(number: int) -> Tensor:
        return torch.stack([noise(i, k, number) for i, k in keys]).to(values)

    prompt = None
    if past is not None and past_values is not None:
        level = float(noise_level(PROMPT_POSITION, config))
        noisy = renoise(past, draw(PROMPT_DRAW), level, config)[:, None]
        features = codec.upsampler(past_values.to(codec.dtype))
        sigma = torch.full((1, 1), level, device=values.device)
        # the left half does not see the right one, so that its keys and values serve all steps
        prompt = codec.denoiser.keys_values(noisy, past_values[:, None], features, sigma)
    features = codec.upsampler(values.to(codec.dtype))
    x = draw(0) * config.sigma_max
    for step in range(steps):
        sigma = torch.full((1, 1), float(noise_level(1 - step / steps, config)), device=values.device)
        clean, _ = codec.denoiser(x[:, None], values[:, None], features, sigma, prompt)
        x = clean[:, 0]
        if step + 1 < steps:
            x = renoise(x, draw(step + 1), float(noise_level(1 - (step + 1) / steps, config)), config)
    return x


def _batches(items: list[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(items), max(1, size)):
        yield items[start : start + max(1, size)]
