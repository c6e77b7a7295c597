"""Parallel decoding with pairs that shift from step to step (paper, section 3.4), in bounded memory.

It yields audio in pieces, which overlap by one hop; see `pieces.joined`. Which chunks a network call takes follows from
counts alone, so that the host never waits for a value of the GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from .consistency import noise_level, renoise
from .noise import Key, Noise, batch_noise
from .pieces import Piece
from .spectrum import spectrogram_to_audio

if TYPE_CHECKING:
    from .model import CoDiCodec

T = TypeVar("T")


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
        self.alive: dict[Key, _Chunk] = {}
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
            first = batch_noise(self.noise, part, 0, values) * self.codec.settings.sigma_max
            for row, key in enumerate(part):
                self.alive[key] = _Chunk(values[row], [f[row] for f in features], first[row])

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

    def _denoise(self, groups: list[list[Key]], step: int) -> None:
        config = self.codec.settings
        keys = [key for group in groups for key in group]
        chunks = [self.alive[key] for key in keys]
        halves = len(groups[0])
        noisy = torch.stack([c.spectrogram for c in chunks]).unflatten(0, (-1, halves))
        clean, _ = self.codec.denoiser(
            noisy,
            torch.stack([c.values for c in chunks]).unflatten(0, (-1, halves)),
            [torch.stack(level) for level in zip(*(c.features for c in chunks), strict=True)],
            torch.full((1, halves), float(noise_level(1 - step / self.steps, config)), device=noisy.device),
        )
        made = clean.flatten(0, 1)
        if step + 1 < self.steps:  # the last noise level is sigma_min: no noise is added
            lower = float(noise_level(1 - (step + 1) / self.steps, config))
            made = renoise(made, batch_noise(self.noise, keys, step + 1, made), lower, config)
        for chunk, spectrogram in zip(chunks, made, strict=True):
            chunk.spectrogram, chunk.done = spectrogram, step + 1

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


def _batches(items: list[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(items), max(1, size)):
        yield items[start : start + max(1, size)]
