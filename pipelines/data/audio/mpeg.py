"""The frame count of MPEG audio (mp3), which only a Xing or Info header in the first frame gives.

Without one, every length is an estimate from the bit rate of the first frames. Source of the layout: the Xing SDK's
`dxhead.c` and ISO/IEC 11172-3 section 2.4 for the frame header.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

HAS_FRAMES, HAS_BYTES = 1, 2  # flags of a Xing header
LARGEST_FRAME = 2881  # bytes: 160 kbit/s at 8 kHz with a padding byte
APE_FOOTER = 32  # bytes
ID3V1_BYTES = 128


@dataclass(frozen=True, kw_only=True)
class MpegFrames:
    """The promise of a Xing header, compared with the size of the file."""

    num_samples: int  # per channel, encoder delay and padding included
    excess_bytes: int  # that the file has beyond the promise; negative where it is shorter

    @property
    def fits_the_file(self) -> bool:
        """Whether the promise and the file agree to one frame."""
        return abs(self.excess_bytes) <= LARGEST_FRAME

    @property
    def is_cut_off(self) -> bool:
        """Whether the file is shorter than promised."""
        return self.excess_bytes < -LARGEST_FRAME


def read_mpeg_frames(file: int, begin: int, size: int) -> MpegFrames | None:
    """Returns the frame count of the first frame's Xing header, or None without one.

    Args:
        file: descriptor.
        begin: place of the first frame.
        size: of the file in bytes.
    """
    head = os.pread(file, 64, begin)
    if len(head) < 64:
        return None
    mpeg1, mono = head[1] & 0x18 == 0x18, head[3] & 0xC0 == 0xC0
    place = 4 + ((17 if mono else 32) if mpeg1 else (9 if mono else 17))
    name, flags, frames, num_bytes = struct.unpack(">4sIII", head[place : place + 16])
    if name not in (b"Xing", b"Info") or flags & (HAS_FRAMES | HAS_BYTES) != HAS_FRAMES | HAS_BYTES:
        return None
    excess = size - _tail_bytes(file, size) - begin - num_bytes
    return MpegFrames(num_samples=frames * (1152 if mpeg1 else 576), excess_bytes=excess)


def _tail_bytes(file: int, size: int) -> int:
    """Returns the length of the tags at the end: ID3v1 and, before it, APEv2."""
    tail = ID3V1_BYTES if os.pread(file, 3, max(0, size - ID3V1_BYTES)) == b"TAG" else 0
    footer = os.pread(file, APE_FOOTER, max(0, size - tail - APE_FOOTER))
    if footer.startswith(b"APETAGEX"):
        length, flags = struct.unpack("<12xI4xI8x", footer)
        tail += length + (APE_FOOTER if flags >> 31 else 0)
    return tail
