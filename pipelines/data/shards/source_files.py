"""The files that the items of a shard are read from, each decoded once where it can only be decoded forward."""

from __future__ import annotations

import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterable
from typing import IO

from torch import Tensor

from ..audio.concerns import Concerns, concerns_of
from ..audio.places import AudioPath, Root, content_hash, resolve
from ..audio.read import AudioFile, read_audio
from .plan import PlannedItem

SPOOL_S = 10.0  # decoded at once into a temporary file


class SourceFiles:
    """Reads items in a fixed order, from several threads.

    Threads must begin the items in this order, as those of `read_groups_ahead` do. Items of one file that can only be
    decoded forward wait for each other; all others are read independently.

    Args:
        items: all of them, in the order in which they are read.
        root: folder that their paths are relative to.
        concerns: counts what is odd about the items.
    """

    def __init__(self, items: Iterable[PlannedItem], root: Root, concerns: Concerns):
        self._root, self._concerns = root, concerns
        self._turns: dict[str, int] = {}  # id -> number among the items of its file
        starts: dict[str, list[float]] = defaultdict(list)
        for item in items:
            self._turns[item.id] = len(starts[item.path])
            starts[item.path].append(item.start_s)
        self._shared = {path: _SharedFile(resolve(root, path), own) for path, own in starts.items() if len(own) > 1}
        self._hashes: dict[str, str] = {}

    def path(self, item: PlannedItem) -> AudioPath:
        """Returns the path of an item's file."""
        return resolve(self._root, item.path)

    def read(self, item: PlannedItem) -> tuple[Tensor, int]:
        """Returns audio [C, N] of an item and its rate in Hz; raises AudioError if it cannot be read."""
        shared = self._shared.get(item.path)
        if shared is None:
            audio, rate = read_audio(self.path(item), start_s=item.start_s, duration_s=item.duration_s)
        else:
            audio, rate = shared.read(self._turns[item.id], item)
        self._concerns.add(item.id, concerns_of(audio, rate))
        return audio, rate

    def sha256(self, item: PlannedItem) -> str:
        """Returns the hex SHA-256 of the content of an item's file."""
        if item.path not in self._hashes:
            self._hashes[item.path] = content_hash(self.path(item))
        return self._hashes[item.path]

    def close(self) -> None:
        """Closes the files that are still open."""
        for shared in self._shared.values():
            shared.close()


class _SharedFile:
    """A file with several items.

    Args:
        path: of the file.
        starts: of the items in seconds, in the order in which they are read.
    """

    def __init__(self, path: AudioPath, starts: list[float]):
        self._path, self._num_items = path, len(starts)
        self._is_forward = starts == sorted(starts)
        self._changed = threading.Condition()
        self._turn = 0
        self._seekable = False
        self._file: AudioFile | None = None
        self._spool: IO[bytes] | None = None

    def read(self, turn: int, item: PlannedItem) -> tuple[Tensor, int]:
        with self._changed:
            self._changed.wait_for(lambda: self._seekable or self._turn == turn)
            if not self._seekable:
                try:
                    return self._read_in_turn(item)
                finally:
                    self._turn += 1
                    if self._turn == self._num_items:
                        self.close()
                    self._changed.notify_all()
        return read_audio(self._path, start_s=item.start_s, duration_s=item.duration_s)

    def _read_in_turn(self, item: PlannedItem) -> tuple[Tensor, int]:
        if self._file is None:
            self._file = AudioFile(self._path)
            self._seekable = self._file.seekable
            if not self._seekable and not self._is_forward:
                self._decode_into_spool(self._file)
        return self._file.read(start_s=item.start_s, duration_s=item.duration_s)

    def _decode_into_spool(self, file: AudioFile) -> None:
        """Replaces a file whose parts are needed out of order by a temporary wav file, which allows seeking."""
        import soundfile

        spool = self._spool = tempfile.NamedTemporaryFile(suffix=".wav")  # noqa: SIM115 - closed in `close`
        with soundfile.SoundFile(
            spool.name, "w", file.sample_rate, file.channels, format="RF64", subtype="FLOAT"
        ) as out:
            for block in file.blocks(SPOOL_S):
                out.write(block.T.numpy())
        file.close()
        self._file = AudioFile(spool.name)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._spool is not None:
            self._spool.close()
        self._file = self._spool = None
