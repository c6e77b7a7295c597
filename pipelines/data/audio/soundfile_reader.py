"""Audio files that libsndfile decodes: seekable, with a length that is known beforehand.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence

import numpy as np

from ....core.errors import AudioError
from .header import Header
from .reader import TRUNCATED_S, AudioReader, truncated

BLOCK_VALUES = 1 << 22  # decoded at once, over all channels: a header's promise allocates no more than that


class SoundfileReader(AudioReader):
    """A file, or one link of a chained Ogg file, that libsndfile decodes.

    Args:
        file: descriptor, which is left open, or bytes of the file.
        header: of the file.

    Raises:
        AudioError: the file ends before its header says.
        soundfile.LibsndfileError: libsndfile cannot decode it.
    """

    seekable = True

    def __init__(self, file: int | io.BytesIO, header: Header):
        import soundfile

        if isinstance(file, int):
            os.lseek(file, 0, os.SEEK_SET)
        self._file = soundfile.SoundFile(file, closefd=False)
        self.num_samples: int = self._file.frames
        self.sample_rate, self.channels = self._file.samplerate, self._file.channels
        missing_s = header.missing_bytes / header.present_bytes * self.num_samples / self.sample_rate
        if missing_s > TRUNCATED_S:
            self.close()
            raise AudioError(truncated(missing_s))

    def read(self, start: int, count: int | None) -> np.ndarray:
        start = min(start, self.num_samples)
        wanted = self.num_samples - start if count is None else min(count, self.num_samples - start)
        if start != self._file.tell():
            self._file.seek(start)
        blocks = list(self._blocks(wanted))
        audio = blocks[0] if len(blocks) == 1 else np.concatenate(blocks or [np.zeros((self.channels, 0), "f4")], -1)
        missing_s = (wanted - audio.shape[-1]) / self.sample_rate
        if missing_s > TRUNCATED_S:
            raise AudioError(truncated(missing_s))
        return audio

    def count(self) -> int:
        return self.num_samples

    def _blocks(self, wanted: int) -> Iterator[np.ndarray]:
        most = max(1, BLOCK_VALUES // self.channels)
        while wanted > 0:
            block = self._file.read(min(wanted, most), dtype="float32", always_2d=True).T
            if not block.shape[-1]:
                return
            wanted -= block.shape[-1]
            yield block

    def close(self) -> None:
        self._file.close()


class ChainedReader(AudioReader):
    """A chained Ogg file: streams one after the other, of which libsndfile decodes one at a time.

    Args:
        file: descriptor, which is left open.
        links: bytes [from, to) of each stream.

    Raises:
        AudioError: the streams have different rates or channels.
        soundfile.LibsndfileError: libsndfile cannot decode one.
    """

    seekable = True

    def __init__(self, file: int, links: Sequence[tuple[int, int]]):
        self._file, self._links = file, links
        self._number, self._link = 0, self._open(0)
        self.sample_rate, self.channels = self._link.sample_rate, self._link.channels
        self._starts = [0]
        for number in range(len(links)):
            self._starts.append(self._starts[-1] + self._at(number).num_samples)
        self.num_samples: int = self._starts[-1]

    def count(self) -> int:
        return self.num_samples

    def _open(self, number: int) -> SoundfileReader:
        begin, end = self._links[number]
        return SoundfileReader(io.BytesIO(os.pread(self._file, end - begin, begin)), Header(container="ogg"))

    def _at(self, number: int) -> SoundfileReader:
        """Returns link `number`, the only one that is open."""
        if number == self._number:
            return self._link
        self._link.close()
        self._number, self._link = number, self._open(number)
        if (self._link.sample_rate, self._link.channels) != (self.sample_rate, self.channels):
            raise AudioError(
                f"a chained Ogg file whose stream {number + 1} has {self._link.sample_rate} Hz and "
                f"{self._link.channels} channels, the first {self.sample_rate} Hz and {self.channels}: split it"
            )
        return self._link

    def read(self, start: int, count: int | None) -> np.ndarray:
        end = self.num_samples if count is None else min(self.num_samples, start + count)
        parts = [np.zeros((self.channels, 0), np.float32)]
        for number in range(len(self._links)):
            first, last = self._starts[number], self._starts[number + 1]
            if start < last and end > first:
                begin = max(start, first)
                parts.append(self._at(number).read(begin - first, min(end, last) - begin))
        return np.concatenate(parts, -1)

    def close(self) -> None:
        self._link.close()
