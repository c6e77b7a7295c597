"""Random crops of audio files, which depend only on (seed, number).

Shape letters: B batch, C channels, N samples of a crop.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ...core.config import nearest_hint
from ...core.errors import AudioError, ConfigError, TrainingError
from ...core.objective import AudioBatch
from ...core.read_ahead import read_ahead
from ...layers.audio import to_rate
from ..data.audio.convert import select_channels
from ..data.audio.find import find_audio
from ..data.audio.item import AudioItem
from ..data.audio.places import AudioPath
from ..data.audio.read import read_audio
from .data_config import AudioDataConfig

logger = logging.getLogger(__name__)

PROBES_AHEAD = 64  # files
MAX_REDRAWS = 100  # crops in a row that cannot be read


class AudioStore(Protocol):
    """Audio items at one rate and channel count, readable in parts."""

    items: list[AudioItem]
    lengths: np.ndarray  # [items] int64, samples at the target rate
    failures: list[tuple[str, str]]  # (path, reason) of files that could not be read

    def read(self, index: int, start: int, count: int) -> Tensor:
        """Returns audio [C, count] float32 of an item.

        Args:
            index: of the item.
            start: first sample.
            count: number of samples; what lies after the end of the item is silence.

        Raises:
            AudioError: this part cannot be read.
        """
        ...


class AudioFiles:
    """Audio that is read from the files at each access, by seeking."""

    def __init__(self, items: Sequence[AudioItem], sample_rate: int, channels: int, num_threads: int = 2):
        self.sample_rate, self.channels = sample_rate, channels
        self.failures: list[tuple[str, str]] = []
        self.items: list[AudioItem] = []
        lengths = []
        probed = read_ahead(self._length, items, num_threads=num_threads, num_ahead=PROBES_AHEAD)
        for item, length in zip(items, probed, strict=True):
            if isinstance(length, str):
                self.failures.append((str(item.path), length))
            else:
                self.items.append(item)
                lengths.append(length)
        self.lengths = np.array(lengths, dtype=np.int64)

    def _length(self, item: AudioItem) -> int | str:
        try:
            info = item.probe()
            _, duration_s = item.part(info.duration_s)
        except AudioError as error:
            return str(error)
        return max(1, round(duration_s * self.sample_rate))

    def read(self, index: int, start: int, count: int) -> Tensor:
        item = self.items[index]
        start_s = item.start_s + start / self.sample_rate
        audio, rate = read_audio(item.path, start_s=start_s, duration_s=count / self.sample_rate)
        audio = to_rate(select_channels(audio, self.channels), rate, self.sample_rate)[:, :count]
        return torch.nn.functional.pad(audio, (0, count - audio.shape[-1]))


@dataclass(kw_only=True)
class _Group:
    """Items that are drawn with one weight, each in proportion to its duration."""

    indices: np.ndarray
    cumulative: np.ndarray


class AudioCrops:
    """Endless examples: crop number n is drawn with a random generator seeded by (seed, n).

    Args:
        store: the audio.
        config: how to draw.
        crop_samples: length of a crop.
        seed: of the draws.
        augment: apply the random speed, gain and mixing of the config.
    """

    def __init__(self, store: AudioStore, config: AudioDataConfig, crop_samples: int, seed: int, augment: bool = True):
        self.store, self.config, self.crop_samples = store, config, crop_samples
        self.seed, self.augment = seed, augment
        self.groups, self.shares = _groups(store, config)
        self.unreadable: dict[AudioPath, str] = {}  # reasons of files with crops that could not be read

    @property
    def num_items(self) -> int:
        return len(self.store.items)

    def keys(self, first: int, count: int) -> range:
        return range(first, first + count)

    def batch(self, keys: Sequence[int]) -> AudioBatch:
        """Returns the crops of some numbers as audio [B, C, N]."""
        examples = [self.load(number) for number in keys]
        return AudioBatch(audio=torch.stack([audio for audio, _ in examples]), ids=[name for _, name in examples])

    def load(self, number: int) -> tuple[Tensor, str]:
        """Returns crop [C, N] of number `number`, and the names of what is in it."""
        random = np.random.default_rng((self.seed, number))
        audio, name = self._draw(random)
        if self.augment:
            audio = audio * _gain(random, self.config.gain_db)
            if random.random() < self.config.mix_probability:
                other, other_name = self._draw(random)
                audio, name = audio + other * _gain(random, self.config.mix_gain_db), f"{name} + {other_name}"
        return audio, name

    def _draw(self, random: np.random.Generator) -> tuple[Tensor, str]:
        """Returns a crop, another one if it cannot be read.

        Whether a crop is drawn again depends on it alone and not on what was read before, so that a resumed run draws
        the same ones.
        """
        for _ in range(MAX_REDRAWS):
            try:
                return self._draw_once(random)
            except AudioError:
                continue
        raise TrainingError(
            f"{MAX_REDRAWS} crops in a row could not be read: {'; '.join(list(self.unreadable.values())[:3])}"
        )

    def _note_unreadable(self, path: AudioPath, reason: str) -> None:
        if path not in self.unreadable:
            self.unreadable[path] = reason
            logger.warning(
                "crops that cannot be read are replaced, in %d of %d files so far: %s",
                len(self.unreadable),
                self.num_items,
                reason,
            )

    def _draw_once(self, random: np.random.Generator) -> tuple[Tensor, str]:
        group = self.groups[int(np.searchsorted(self.shares, random.random(), side="right"))]
        place = random.random() * group.cumulative[-1]
        index = int(group.indices[np.searchsorted(group.cumulative, place, side="right")])
        speed = self._speed(random)
        wanted = round(self.crop_samples * speed)
        spare = int(self.store.lengths[index]) - wanted
        start = int(random.integers(min(spare, 0), max(spare, 0) + 1))  # below 0 if the item starts inside the crop
        try:
            audio = self.store.read(index, max(start, 0), min(wanted, int(self.store.lengths[index])))
        except AudioError as error:
            self._note_unreadable(self.store.items[index].path, str(error))
            raise
        left = max(-start, 0)
        audio = torch.nn.functional.pad(audio, (left, wanted - left - audio.shape[-1]))
        if wanted != self.crop_samples:
            audio = to_rate(audio, wanted, self.crop_samples)
        return audio, f"{self.store.items[index].name} at {max(start, 0)}"

    def _speed(self, random: np.random.Generator) -> float:
        """Returns the speed of the next crop. Nothing is drawn if only one speed is possible."""
        low, high = self.config.speed
        if not self.augment or low == high == 1.0:
            return 1.0
        return float(random.uniform(low, high)) if random.random() < self.config.speed_probability else 1.0


def _groups(store: AudioStore, config: AudioDataConfig) -> tuple[list[_Group], np.ndarray]:
    """Returns the groups to draw from, and the upper ends of their shares of [0, 1)."""
    column = config.weight_column
    values = ["" if column is None else str(item.metadata.get(column)) for item in store.items]
    names = sorted(set(values))
    for name in config.weights:
        if name not in names:
            raise ConfigError(
                f"data.weights names {name!r}, but no item has it as {column}: {nearest_hint(name, names)}"
            )
    groups, weights = [], []
    for name in names:
        indices = np.array([i for i, value in enumerate(values) if value == name])
        weight = config.weights.get(name, 0.0) if config.weights else 1.0
        if weight > 0:
            groups.append(_Group(indices=indices, cumulative=np.cumsum(store.lengths[indices])))
            weights.append(weight)
    shares = np.cumsum(weights) / np.sum(weights)
    shares[-1] = 1.0
    return groups, shares


def _gain(random: np.random.Generator, range_db: tuple[float, float]) -> float:
    return float(10 ** (random.uniform(*range_db) / 20))


def open_audio(config: AudioDataConfig, sample_rate: int, channels: int, held_out: bool = False) -> AudioStore:
    """Opens the training or the held-out audio. Files that cannot be read are logged and listed in `failures`.

    Args:
        config: names the audio.
        sample_rate: of the codec, in Hz.
        channels: of the codec.
        held_out: open the held-out audio.

    Returns:
        The audio at the rate and with the channels of the codec.

    Raises:
        FileNotFoundError, ValueError: the source does not exist or is empty.
        TrainingError: no file can be read, or all are too short.
    """
    source = (config.valid_source or config.source) if held_out else config.source
    where: dict[str, Any] | None = config.valid_where if held_out else config.where
    items = find_audio(source, where=where or None)
    if config.cache_dir is not None:
        from .cache import CachedAudio

        store: AudioStore = CachedAudio.prepare(items, sample_rate, channels, config.cache_dir, config.num_threads)
    else:
        store = AudioFiles(items, sample_rate, channels, config.num_threads)
    for _, reason in store.failures:
        logger.warning("left out: %s", reason)
    if store.failures:
        logger.warning("%d of %d audio files of %s cannot be read", len(store.failures), len(items), source)
    if not store.items:
        raise TrainingError(f"nothing to train on: none of the {len(items)} audio files of {source} can be read")
    return _long_enough(store, config.min_duration_s, sample_rate)


def _long_enough(store: AudioStore, min_duration_s: float, sample_rate: int) -> AudioStore:
    keep = np.flatnonzero(store.lengths >= min_duration_s * sample_rate)
    if not len(keep):
        raise TrainingError(f"nothing to train on: all {len(store.items)} files are shorter than {min_duration_s:g} s")
    if len(keep) < len(store.items):
        logger.info("%d files shorter than %g s left out", len(store.items) - len(keep), min_duration_s)
    return AudioSubset(store, keep)


class AudioSubset:
    """Some items of a store."""

    def __init__(self, store: AudioStore, indices: np.ndarray):
        self.store, self.indices = store, indices
        self.items = [store.items[i] for i in indices]
        self.lengths = store.lengths[indices]
        self.failures = store.failures

    def read(self, index: int, start: int, count: int) -> Tensor:
        return self.store.read(int(self.indices[index]), start, count)
