"""The promise of an audio file's header, and how far it can be believed.

A header is read with a few short reads and never trusted with an allocation. Sources: the formats RIFF, RF64 (EBU Tech
3306), Wave64, AIFF, Sun AU and Core Audio for the sizes of their data chunks; RFC 9639 section 8.2 (FLAC), RFC 3533
section 6 (pages of Ogg), ISO/IEC 14496-12 section 4.2 (boxes of MP4), RFC 8794 section 6 (Matroska).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from ....core.errors import AudioError
from .formats import HEAD_BYTES, W64_GUID, Container, container_of
from .mpeg import read_mpeg_frames

SMALLEST_FLAC_FRAME = 10  # bytes: a header of 6, one constant subframe of 2, a checksum of 2
OGG_PAGE_HEAD = struct.Struct("<4sBBqIIIB")  # capture, version, flags, granule, serial, sequence, checksum, segments
FIRST_OF_STREAM = 2  # flag of an Ogg page


@dataclass(frozen=True, kw_only=True)
class Header:
    """The facts about a file that are known before it is decoded."""

    container: Container
    exact: bool = True  # False where the format or this file does not guarantee the length in its header
    present_bytes: int = 1  # of the promised ones
    missing_bytes: int = 0  # that the header promises beyond the end of the file
    promised_samples: int | None = None  # per channel, where it must be compared with what is decoded
    links: tuple[tuple[int, int], ...] = field(default=())  # bytes [from, to) of the streams of a chained Ogg file


def read_header(file: int, size: int) -> Header:
    """Reads the header of an open file.

    Args:
        file: descriptor.
        size: of the file in bytes.

    Returns:
        The container, decided by content, and its promise.

    Raises:
        AudioError: an Ogg file that ends within a page.
    """
    begin = _behind_id3(file)
    container = container_of(os.pread(file, HEAD_BYTES, begin))
    read = _READERS.get(container)
    try:
        return Header(container=container) if read is None else read(file, begin, size)
    except struct.error:  # too short for its own header: whoever decodes it says why it cannot
        return Header(container=container)


def _behind_id3(file: int) -> int:
    """Returns where the audio begins: ID3v2 tags lie before MPEG audio, and wrongly before FLAC and others."""
    place = 0
    while (tag := os.pread(file, 10, place))[:3] == b"ID3" and len(tag) == 10:
        length = (tag[6] & 127) << 21 | (tag[7] & 127) << 14 | (tag[8] & 127) << 7 | tag[9] & 127
        place += 10 + length + 10 * (tag[5] >> 4 & 1)
    return place


def _promise(container: Container, begin: int, length: int, size: int, exact: bool = True) -> Header:
    """Returns the header of a file whose audio is said to be the `length` bytes from `begin`."""
    missing = max(0, begin + length - size)
    return Header(container=container, exact=exact, present_bytes=max(1, length - missing), missing_bytes=missing)


def _is_placeholder(length: int) -> bool:
    """Returns whether a 32-bit length is what programs write that do not know it, into a pipe for example."""
    return length == 0 or 0x7FFFF000 <= length <= 0x80000000 or length >= 0xFFFFFF00


def _riff(file: int, begin: int, size: int) -> Header:
    order = ">" if os.pread(file, 4, begin) == b"RIFX" else "<"
    (whole,) = struct.unpack(order + "I", os.pread(file, 4, begin + 4))
    place, wide = begin + 12, 0
    while place + 8 <= size:
        name, length = struct.unpack(order + "4sI", os.pread(file, 8, place))
        if name == b"ds64":
            (wide,) = struct.unpack("<Q", os.pread(file, 8, place + 16))
        elif name == b"data" and wide and length == 0xFFFFFFFF:
            return _promise("riff", place + 8, wide, size)
        elif name == b"data" and _is_placeholder(length):
            # libsndfile reads to the end of the file, but takes a length of 0 as it is
            empty = place + 8 >= size or whole == size - begin - 8
            return Header(container="riff", exact=length > 0 or empty)
        elif name == b"data":
            return _promise("riff", place + 8, length, size)
        place += 8 + length + length % 2
    return Header(container="riff")


def _w64(file: int, begin: int, size: int) -> Header:
    place = begin + 40
    while place + 24 <= size:
        name, length = struct.unpack("<16sQ", os.pread(file, 24, place))
        if name[:4] == b"data" and name[5:] != W64_GUID[5:]:
            return _promise("w64", place, length, size)
        place += max(24, -(-length // 8) * 8)
    return Header(container="w64")


def _aiff(file: int, begin: int, size: int) -> Header:
    place = begin + 12
    while place + 8 <= size:
        name, length = struct.unpack(">4sI", os.pread(file, 8, place))
        if name == b"SSND":
            return Header(container="aiff") if _is_placeholder(length) else _promise("aiff", place + 8, length, size)
        place += 8 + length + length % 2
    return Header(container="aiff")


def _au(file: int, begin: int, size: int) -> Header:
    head = os.pread(file, 12, begin)
    start, length = struct.unpack(">II" if head.startswith(b".snd") else "<II", head[4:])
    return Header(container="au") if _is_placeholder(length) else _promise("au", begin + start, length, size)


def _caf(file: int, begin: int, size: int) -> Header:
    place = begin + 8
    while place + 12 <= size:
        name, length = struct.unpack(">4sq", os.pread(file, 12, place))
        if name == b"data" or length < 0:
            return Header(container="caf") if length < 0 else _promise("caf", place + 12, length, size)
        place += 12 + length
    return Header(container="caf")


def _flac(file: int, begin: int, size: int) -> Header:
    largest_block, facts = struct.unpack(">2xH6xQ", os.pread(file, 18, begin + 8))
    total = facts & (1 << 36) - 1  # 0 where the encoder wrote into a pipe
    return Header(container="flac", exact=0 < total <= size // SMALLEST_FLAC_FRAME * max(largest_block, 16))


def _ogg(file: int, begin: int, size: int) -> Header:
    """Walks over all pages: another stream that begins after the audio of the first is another link (RFC 3533, 4)."""
    starts, place, in_heads = [begin], begin, True
    while place < size:
        head = os.pread(file, OGG_PAGE_HEAD.size + 255, place)
        if not head.startswith(b"OggS"):
            break  # other data, such as an ID3v1 tag
        if len(head) < OGG_PAGE_HEAD.size + head[26]:
            raise AudioError("truncated, its last Ogg page is not whole")
        first = bool(head[5] & FIRST_OF_STREAM)
        if first and not in_heads:
            starts.append(place)
        in_heads = first
        place += OGG_PAGE_HEAD.size + head[26] + sum(head[27 : 27 + head[26]])
    if place > size:
        raise AudioError("truncated, its last Ogg page is not whole")
    ends = [*starts[1:], place]
    return Header(container="ogg", links=tuple(zip(starts, ends, strict=True)) if len(starts) > 1 else ())


def _mpeg(file: int, begin: int, size: int) -> Header:
    frames = read_mpeg_frames(file, begin, size)
    if frames is None:
        return Header(container="mpeg", exact=False)
    return Header(
        container="mpeg", exact=frames.fits_the_file, promised_samples=frames.num_samples if frames.is_cut_off else None
    )


def _mp4(file: int, begin: int, size: int) -> Header:
    place = begin
    while place + 8 <= size:
        (length,) = struct.unpack(">I4x", os.pread(file, 8, place))
        if length == 1:
            (length,) = struct.unpack(">Q", os.pread(file, 8, place + 8))
        if length < 8:  # 0: to the end of the file
            break
        if place + length > size:
            return _promise("mp4", begin, place + length - begin, size, exact=False)
        place += length
    return Header(container="mp4", exact=False)


def _matroska(file: int, begin: int, size: int) -> Header:
    place = begin
    for _ in range(2):  # the EBML header, then the segment with everything else
        length, width = _vint(os.pread(file, 8, place + 4))
        place += 4 + width
        if length is None:
            return Header(container="matroska", exact=False)
        place += length
    return _promise("matroska", begin, place - begin, size, exact=False)


def _vint(data: bytes) -> tuple[int | None, int]:
    """Returns a variable-size integer, None where it stands for an unknown size, and its width in bytes."""
    width = 9 - data[0].bit_length() if data else 9
    if not 1 <= width <= len(data):
        raise struct.error("no size")
    value = int.from_bytes(data[:width], "big") & (1 << 7 * width) - 1
    return (None if value == (1 << 7 * width) - 1 else value), width


def _decoded_only(container: Container) -> Callable[[int, int, int], Header]:
    return lambda file, begin, size: Header(container=container, exact=False)


_READERS: dict[Container, Callable[[int, int, int], Header]] = {
    "riff": _riff,
    "w64": _w64,
    "aiff": _aiff,
    "au": _au,
    "caf": _caf,
    "flac": _flac,
    "ogg": _ogg,
    "mpeg": _mpeg,
    "mp4": _mp4,
    "matroska": _matroska,
    "adts": _decoded_only("adts"),
}
