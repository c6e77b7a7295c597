"""Recordings that a client sent. The file has a name of our own, and what the client called it is never used.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ...core.errors import AudioError
from ..data.audio.read import AudioFile
from .config import HostConfig


def check_decodable(duration_s: float, config: HostConfig) -> None:
    """Raises ValueError for an item that is longer than the server decodes at once."""
    if duration_s > config.max_seconds:
        raise ValueError(f"the item has {duration_s:.1f} s, allowed are {config.max_seconds:g}: see --max-seconds")


def read_upload(path: str | Path | None, config: HostConfig) -> tuple[Tensor, int]:
    """Reads a recording that was sent.

    Args:
        path: of the file on this machine, where the server put it; None: nothing was sent.
        config: with the largest size and length.

    Returns:
        Audio [C, N], and its rate in Hz.

    Raises:
        AudioError: it is missing, too large, too long, or not audio. The message does not contain the path.
    """
    if path is None:
        raise AudioError("a recording is needed: upload or record one")
    try:
        size = Path(path).stat().st_size
        if size > config.max_upload_bytes:
            raise AudioError(f"the recording has {size / 1e6:.1f} MB, allowed are {config.max_upload_mb:g}")
        with AudioFile(path) as file:
            # a little more than allowed is read, since the length in the header of a file need not be true
            audio, rate = file.read(duration_s=config.max_seconds + 1.0)
    except OSError as error:
        raise AudioError("the recording is not there any more: upload it again") from error
    except AudioError as error:
        raise AudioError(str(error).replace(str(path), "the recording")) from error
    if audio.shape[1] > round(config.max_seconds * rate):
        raise AudioError(f"the recording is longer than {config.max_seconds:g} s: cut it, or start with --max-seconds")
    return audio, rate
