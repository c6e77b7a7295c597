"""Kinds of audio files: the suffixes that a folder is searched for, and the container that the first bytes show."""

from __future__ import annotations

from typing import Literal

AUDIO_SUFFIXES = frozenset(
    {
        *(".wav", ".wave", ".w64", ".rf64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc"),
        *(".au", ".caf", ".m4a", ".m4b", ".aac", ".mp4", ".m4v", ".mov", ".webm", ".weba", ".mkv", ".mka", ".avi"),
        *(".mpg", ".mpeg", ".ts", ".wma", ".wmv", ".ac3", ".ape", ".wv", ".3gp", ".g722"),
    }
)
RAW_FORMATS = {".g722": "g722"}  # files without a header: suffix -> FFmpeg's name of the format (16 kHz mono)

Container = Literal["riff", "w64", "aiff", "au", "caf", "flac", "ogg", "mpeg", "mp4", "matroska", "adts", "unknown"]
HEAD_BYTES = 64  # that `container_of` looks at
W64_GUID = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"

_MAGIC: tuple[tuple[int, bytes, Container], ...] = (
    (0, b"RIFF", "riff"),
    (0, b"RIFX", "riff"),
    (0, b"RF64", "riff"),
    (0, W64_GUID, "w64"),
    (0, b"FORM", "aiff"),
    (0, b".snd", "au"),
    (0, b"dns.", "au"),
    (0, b"caff", "caf"),
    (0, b"fLaC", "flac"),
    (0, b"OggS", "ogg"),
    (4, b"ftyp", "mp4"),
    (4, b"moov", "mp4"),
    (4, b"mdat", "mp4"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
)


def container_of(head: bytes) -> Container:
    """Returns the container that the first bytes of a file show, behind ID3 tags; file names play no part."""
    for place, magic, container in _MAGIC:
        if head.startswith(magic, place):
            return container
    if len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:  # the sync word of MPEG audio
        if head[1] & 0xF6 == 0xF0:  # layer 0 is AAC in ADTS
            return "adts"
        if head[1] & 0x06 and head[1] & 0x18 != 0x08 and head[2] & 0xF0 != 0xF0 and head[2] & 0x0C != 0x0C:
            return "mpeg"
    return "unknown"
