"""Where a set of audio comes from: files, or a dataset of latents or tokens that its tokenizer decodes.

A source travels to other processes; what is costly to load is loaded where audio is first read. Shape letters: C
channels, N samples.
"""

from __future__ import annotations

import hashlib
import json
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....core.errors import AudioError
from ....tokenizers.base import AudioTokenizer
from ....tokenizers.load import load_tokenizer
from ...data.audio.find import find_audio
from ...data.audio.places import content_hash
from ...data.audio.record import check_records
from ...data.shards.dataset_files import DATASET_FILE
from ...data.shards.decode import choose_stream, decode_item
from ...data.shards.read import LatentDataset, check_tokenizer

DECODE_SEED = 0  # with an item's number it determines the noise of a codec that draws some


@dataclass(frozen=True, kw_only=True)
class SourceItem:
    """One piece of audio of a source."""

    name: str  # relative to the source
    path: str  # for messages
    index: int  # within the source
    metadata: dict[str, Any] = field(default_factory=dict)


class Source(ABC):
    """A set of audio by name."""

    items: list[SourceItem]

    def to(self, device: torch.device | str) -> None:  # noqa: B027 - files have nothing to decode
        """Decodes on another device, if there is something to decode."""

    @abstractmethod
    def read(self, item: SourceItem, max_duration_s: float | None) -> tuple[Tensor, int]:
        """Audio [C, N] and its rate in Hz; raises AudioError where there is none. Threads may call it at once."""

    @abstractmethod
    def content_hash(self, item: SourceItem) -> str:
        """Hex SHA-256 of all that the whole audio of an item depends on; raises AudioError where it cannot be read."""


class FileSource(Source):
    """Audio files: one, a folder of them, or a manifest's."""

    def __init__(self, source: str, where: dict[str, Any] | None):
        check_records(Path(source).expanduser())
        self.audio = find_audio(source, where=where)
        self.items = [
            SourceItem(name=item.name, path=str(item.path), index=index, metadata=item.metadata)
            for index, item in enumerate(self.audio)
        ]

    def read(self, item: SourceItem, max_duration_s: float | None) -> tuple[Tensor, int]:
        return self.audio[item.index].read(max_duration_s=max_duration_s)

    def content_hash(self, item: SourceItem) -> str:
        audio = self.audio[item.index]
        try:
            content = content_hash(audio.path)
        except (OSError, ValueError) as error:  # ValueError: a name with NUL
            raise AudioError(f"{item.path}: {getattr(error, 'strerror', None) or error}") from error
        part = f" {audio.start_s} {audio.duration_s}" if audio.start_s or audio.duration_s else ""
        return hashlib.sha256((content + part).encode()).hexdigest() if part else content


class DatasetSource(Source):
    """The items of a shard dataset, decoded by the tokenizer that encoded them: latents where it holds them."""

    def __init__(self, path: str, where: dict[str, Any] | None, device: torch.device | str = "cpu"):
        self.path, self.where, self.device = path, where, str(device)
        self._open()
        self.items = [
            SourceItem(name=meta["id"], path=f"{path}: {meta['id']}", index=index, metadata=meta["metadata"])
            for index, meta in enumerate(self.dataset.metas())
        ]
        if not self.items:
            raise ValueError(f"{path} holds no items: encode it first")

    def to(self, device: torch.device | str) -> None:
        self.device = str(device)

    def _open(self) -> None:
        self.dataset = LatentDataset(Path(self.path).expanduser(), where=self.where)
        self.stream = choose_stream(self.dataset, None)
        self.tokenizer: AudioTokenizer | None = None
        self._lock = threading.Lock()  # a codec is not made for several threads at once

    def __getstate__(self) -> dict[str, Any]:
        """Neither memory maps nor weights travel: the other side opens the same folder."""
        return {key: getattr(self, key) for key in ("path", "where", "device", "items")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def read(self, item: SourceItem, max_duration_s: float | None) -> tuple[Tensor, int]:
        with self._lock:
            if self.tokenizer is None:
                tokenizer = load_tokenizer(self.dataset.info["tokenizer"]["source"]).to(self.device)
                check_tokenizer(self.dataset, tokenizer)
                self.tokenizer = tokenizer
            audio = decode_item(self.dataset, item.index, self.tokenizer, self.stream, seed=DECODE_SEED).float().cpu()
        rate = self.dataset.spec.sample_rate
        return audio if max_duration_s is None else audio[:, : max(1, round(max_duration_s * rate))], rate

    def content_hash(self, item: SourceItem) -> str:
        frames = getattr(self.dataset[item.index], self.stream)
        facts = [self.dataset.fingerprint, self.stream, DECODE_SEED, item.index, self.dataset.meta(item.index)]
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
        digest.update(frames.contiguous().numpy().tobytes())
        return digest.hexdigest()


def open_source(source: str, where: dict[str, Any] | None = None, device: torch.device | str = "cpu") -> Source:
    """Opens a source of audio.

    Args:
        source: a dataset's folder, or a path that `find_audio` takes.
        where: metadata values that the rows of a manifest or dataset must have.
        device: on which the tokenizer of a dataset decodes.

    Returns:
        The source; audio is read when it is asked for.

    Raises:
        FileNotFoundError, ValueError: no such source, no audio in it, or a manifest that cannot be read.
        DatasetError: a dataset that is corrupt.
    """
    if (Path(source).expanduser() / DATASET_FILE).is_file():
        return DatasetSource(source, where, device)
    return FileSource(source, where)
