"""The interface of an open audio file, whichever library decodes it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

import numpy as np

TRUNCATED_S = 0.1  # a file whose audio ends this much before what its header promises is truncated


class AudioReader(ABC):
    """An open audio file. One thread at a time may use it.

    What a decoder raises goes through; `read.open_audio` turns it into an AudioError.
    """

    sample_rate: int  # Hz
    channels: int
    seekable: bool  # False if reading before the last place means decoding from the beginning again

    @abstractmethod
    def read(self, start: int, count: int | None) -> np.ndarray:
        """Returns samples [C, n] float32, fewer than `count` at the end of the file.

        Args:
            start: first sample.
            count: number of samples; None reads to the end.

        Raises:
            AudioError: the file ends before its header says.
        """

    @abstractmethod
    def close(self) -> None:
        """Closes the file."""

    @abstractmethod
    def count(self) -> int:
        """Returns the number of samples per channel, by decoding everything if need be, in bounded memory."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def truncated(missing_s: float) -> str:
    """Returns the reason for a file that ends too early."""
    return f"truncated, the header promises {missing_s:.2f} s more than there are"
