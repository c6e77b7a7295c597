"""Decoded audio on disk: one int16 array of all items end to end, so that training does not wait for decoders."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ...core.errors import AudioError
from ...core.files import write_json
from ...core.folders import atomic_folder
from ...core.read_ahead import read_ahead
from ...layers.audio import to_rate
from ..data.audio.convert import select_channels
from ..data.audio.item import AudioItem
from ..data.audio.places import facts_of

logger = logging.getLogger(__name__)

FORMAT = 2  # of the cache; with another number caches are made again
FULL_SCALE = 32767.0


class CachedAudio:
    """An `AudioStore` over a memory-mapped file [samples, C] of int16."""

    def __init__(self, folder: Path, items: Sequence[AudioItem], channels: int):
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        lengths = index["lengths"]  # one per item; 0 if it could not be read
        self.items = [item for item, length in zip(items, lengths, strict=True) if length]
        self.lengths = np.array([length for length in lengths if length], dtype=np.int64)
        self.offsets = np.cumsum(self.lengths) - self.lengths
        self.failures = [(path, reason) for path, reason in index["failures"]]
        shape = (int(self.lengths.sum()), channels)
        # an empty file cannot be mapped
        self.samples = (
            np.memmap(folder / "samples.i16", "<i2", "r", shape=shape) if shape[0] else np.zeros(shape, "<i2")
        )

    @classmethod
    def prepare(
        cls, items: Sequence[AudioItem], sample_rate: int, channels: int, cache_dir: str, num_threads: int = 2
    ) -> Self:
        """Opens the cache of these items, after decoding them if it is not there yet.

        A cache is identified by the paths, sizes and modification times of the items, the rate and the channels.

        Args:
            items: the audio files.
            sample_rate: of the cached audio, in Hz.
            channels: of the cached audio.
            cache_dir: folder that holds caches.
            num_threads: that decode.

        Returns:
            The cache.
        """
        folder = Path(cache_dir) / _key(items, sample_rate, channels)
        if not (folder / "index.json").is_file():
            _build(folder, items, sample_rate, channels, num_threads)
        return cls(folder, items, channels)

    def read(self, index: int, start: int, count: int) -> Tensor:
        first = int(self.offsets[index]) + start
        last = min(first + count, int(self.offsets[index] + self.lengths[index]))
        audio = torch.from_numpy(self.samples[first:last].T.astype(np.float32)) / FULL_SCALE
        return torch.nn.functional.pad(audio, (0, count - audio.shape[-1]))


def _key(items: Sequence[AudioItem], sample_rate: int, channels: int) -> str:
    digest = hashlib.sha256(f"{FORMAT} {sample_rate} {channels}".encode())
    for item in items:
        try:
            state = facts_of(item.path)
        except (OSError, ValueError):  # ValueError: a name with NUL
            state = None
        digest.update(f"\n{item.path} {state} {item.start_s} {item.duration_s}".encode(errors="backslashreplace"))
    return digest.hexdigest()[:16]


def _build(folder: Path, items: Sequence[AudioItem], sample_rate: int, channels: int, num_threads: int) -> None:
    """Decodes all items in order; the folder gets its name only when it is complete."""
    lengths: list[int] = []
    failures: list[tuple[str, str]] = []
    with atomic_folder(folder) as part:
        decoded = _decoded(items, sample_rate, channels, num_threads)
        with open(part / "samples.i16", "wb") as file, closing(decoded):
            for number, audio in enumerate(decoded):
                if isinstance(audio, str):
                    failures.append((str(items[number].path), audio))
                    lengths.append(0)
                    continue
                file.write(audio.tobytes())
                lengths.append(len(audio))
                if (number + 1) % 500 == 0:
                    logger.info("decoded %d of %d files", number + 1, len(items))
        write_json(part / "index.json", {"lengths": lengths, "failures": failures})


def _decoded(
    items: Sequence[AudioItem], sample_rate: int, channels: int, num_threads: int
) -> Generator[np.ndarray | str, None, None]:
    """Yields samples [N, C] int16 of each item, or why there are none, in the order of the items."""

    def decode(item: AudioItem) -> np.ndarray | str:
        try:
            audio, rate = item.read()
            audio = to_rate(select_channels(audio, channels), rate, sample_rate)
        except (AudioError, ValueError) as error:
            return str(error)
        if not torch.isfinite(audio).all():
            return f"{item.path}: holds NaN or inf"
        return (audio.clamp(-1, 1) * FULL_SCALE).round().numpy().T.astype("<i2")

    return read_ahead(decode, items, num_threads=num_threads, num_ahead=2 * num_threads)
