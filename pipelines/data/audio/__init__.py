"""Audio files in and out: find, read, convert, write."""

from .convert import normalise_loudness, resample, select_channels, to_channels
from .find import find_audio
from .item import AudioItem
from .read import AudioInfo, probe, read_audio
from .write import write_audio

__all__ = [
    "AudioInfo",
    "AudioItem",
    "find_audio",
    "normalise_loudness",
    "probe",
    "read_audio",
    "resample",
    "select_channels",
    "to_channels",
    "write_audio",
]
