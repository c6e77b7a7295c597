"""Codec2, a speech codec of radio links, as a further system on a channel of bits: Debian's package `codec2`.

Its bits are those of the program c2enc, Gray code of its parameters included. Shape letters: C channels, N samples.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....core.errors import ConfigError
from ..codecs.references import codec2_decode, codec2_encode

MODES = (3200, 2400, 1600, 1400, 1200)  # bit/s; the others pad their frames to whole bytes
PROGRAMS = ("c2enc", "c2dec")


@dataclass(frozen=True)
class Codec2:
    """One mode of Codec2."""

    mode: int

    @property
    def name(self) -> str:
        """The name of the system."""
        return f"codec2-{self.mode}"

    def facts(self, p: float) -> dict[str, Any]:
        """Returns the facts of the system at one p."""
        return {
            "system": self.name,
            "p": p,
            "stream": self.name,
            "labelling": "gray",
            "receiver": "plain",
            "bitrate_bps": float(self.mode),
        }

    def encode(self, audio: Tensor, sample_rate: int) -> Tensor:
        """Returns the bits [n] bool that are sent for audio [C, N]."""
        data = np.frombuffer(codec2_encode(audio, sample_rate, str(self.mode)), np.uint8)
        return torch.from_numpy(np.unpackbits(data).astype(bool))

    def decode(self, bits: Tensor, like: Tensor, sample_rate: int) -> Tensor:
        """Decodes bits, damaged or not.

        Args:
            bits: [n] bool.
            like: [C, N], whose shape the result has.
            sample_rate: in Hz, of the result.

        Returns:
            Audio [C, N].
        """
        data = np.packbits(bits.numpy()).tobytes()
        return codec2_decode(data, str(self.mode), sample_rate, like.shape[0], like.shape[1])


def find_codec2(modes: tuple[int, ...]) -> list[Codec2]:
    """Returns the modes as systems.

    Raises:
        ConfigError: the programs are not installed.
    """
    if modes and (missing := [name for name in PROGRAMS if shutil.which(name) is None]):
        raise ConfigError(f"codec2: {missing[0]} is not installed: apt-get install codec2, or leave codec2 out")
    return [Codec2(mode) for mode in modes]
