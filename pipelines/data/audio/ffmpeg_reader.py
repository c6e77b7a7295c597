"""Audio files that FFmpeg (PyAV) decodes: forward only, with a length that only decoding shows.

FFmpeg's seeking is not exact to the sample in most of these formats. Shape letters: C channels, n samples of a block.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from ....core.errors import AudioError
from .header import Header
from .reader import TRUNCATED_S, AudioReader, truncated

if TYPE_CHECKING:
    from av import AudioFrame, AudioResampler, AudioStream
    from av.container import InputContainer

logger = logging.getLogger(__name__)

# Containers that FFmpeg may open: none that name other files, such as playlists (HLS, ffconcat, DASH)
DEMUXERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,dtshd,eac3,ea,flac,flv,g722,iff,loas,matroska,webm,mov,mp4,"
    "m4a,3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,mpegts,nut,ogg,oma,opus,rm,tak,truehd,tta,voc,w64,wav,wv,xwma"
)
# codecs whose streams may be cut and joined anywhere
RESYNCHRONISES = frozenset({"mp1", "mp2", "mp3", "mp1float", "mp2float", "mp3float"})


class FFmpegReader(AudioReader):
    """The default audio stream of a file, as FFmpeg chooses it.

    Args:
        path: of the file.
        header: of the file.
        raw_format: FFmpeg's name of the format of a file without a header.

    Raises:
        AudioError: it has no audio stream, no decoder for it, or ends before its header says.
        av.FFmpegError: FFmpeg cannot decode it.
    """

    seekable = False

    def __init__(self, path: Path, header: Header, raw_format: str | None = None):
        self._path, self._header, self._raw_format = path, header, raw_format
        self._restart()
        if not self._rest.shape[-1]:
            raise AudioError("holds no audio samples")

    def _restart(self) -> None:
        self._blocks = self._decode()
        self._place = 0  # sample where `_rest` begins
        self._rest = next(self._blocks, np.zeros((1, 0), np.float32))

    def read(self, start: int, count: int | None) -> np.ndarray:
        if start < self._place:
            self.close()
            self._restart()
        end = math.inf if count is None else start + count
        parts = [np.zeros((self.channels, 0), np.float32)]
        while (length := self._rest.shape[-1]) and self._place < end:
            used = int(min(length, end - self._place))
            if self._place + used > start:
                parts.append(self._rest[:, max(0, start - self._place) : used])
            self._place += used
            self._rest = self._rest[:, used:] if used < length else self._next_block()
        return np.concatenate(parts, -1) if len(parts) != 2 else parts[1]

    def count(self) -> int:
        while self._rest.shape[-1]:
            self._place += self._rest.shape[-1]
            self._rest = self._next_block()
        return self._place

    def _next_block(self) -> np.ndarray:
        """Returns the block that follows, empty at the end of the file."""
        for block in self._blocks:
            if block.shape[-1]:
                return block
        self._check_end()
        return np.zeros((self.channels, 0), np.float32)

    def _check_end(self) -> None:
        missing = (self._header.promised_samples or 0) - self._place
        if missing > TRUNCATED_S * self.sample_rate:
            raise AudioError(truncated(missing / self.sample_rate))

    def close(self) -> None:
        self._blocks.close()

    def _decode(self) -> Generator[np.ndarray, None, None]:
        """Yields blocks [C, n] float32 at the rate of the first frame."""
        import av

        options = {"format_whitelist": DEMUXERS, "protocol_whitelist": "file"}
        with av.open(f"file:{self._path}", format=self._raw_format, options=options) as container:
            stream = _default_stream(container)
            self._refuse_truncated(container)
            resampler = None
            shape = None
            for frame in _frames(container, stream):
                frame.pts = None  # otherwise gaps in the time stamps would be filled
                if (frame.sample_rate, frame.layout.name, frame.format.name) != shape:
                    yield from _converted(resampler, None)
                    if shape is None:
                        self.sample_rate, self.channels = frame.sample_rate, frame.layout.nb_channels
                    elif frame.layout.nb_channels != self.channels:
                        raise AudioError(
                            f"its stream changes from {self.channels} to {frame.layout.nb_channels} channels: split it"
                        )
                    shape = (frame.sample_rate, frame.layout.name, frame.format.name)
                    resampler = av.AudioResampler(format="fltp", layout=frame.layout.name, rate=self.sample_rate)
                yield from _converted(resampler, frame)
            yield from _converted(resampler, None)

    def _refuse_truncated(self, container: InputContainer) -> None:
        header = self._header
        if not header.missing_bytes:
            return
        whole_s = (container.duration or 0) / 1e6
        missing_s = whole_s * header.missing_bytes / (header.missing_bytes + header.present_bytes)
        if missing_s > TRUNCATED_S or not whole_s:
            raise AudioError(truncated(missing_s) if whole_s else "truncated, it ends before its header says")


def _converted(resampler: AudioResampler | None, frame: AudioFrame | None) -> Iterator[np.ndarray]:
    if resampler is not None:
        yield from (out.to_ndarray() for out in resampler.resample(frame))


def _default_stream(container: InputContainer) -> AudioStream:
    """Returns the audio stream that FFmpeg would choose: the one that is marked as default, if any."""
    stream = container.streams.best("audio")
    if stream is not None:
        return cast("AudioStream", stream)
    if not container.streams.audio:
        raise AudioError("holds no audio stream")
    raise AudioError("FFmpeg has no decoder for its audio stream")


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """Yields the decoded frames. Packets of MPEG audio that cannot be decoded are left out."""
    import av

    lost = 0
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.error.InvalidDataError:
            if stream.codec_context.name not in RESYNCHRONISES:
                raise
            lost += 1
    if lost:
        logger.info("%s: %d packets of MPEG audio could not be decoded", container.name, lost)
