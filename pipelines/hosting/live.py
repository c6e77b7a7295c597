"""Streams of generated audio, with the limits of the server."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..data.audio.encoded import AudioEncoder, AudioFormat
from ..generation.pipeline import GenerationPipeline
from .config import HostConfig
from .generate import checked_options, checked_seconds
from .jobs import Job
from .seeds import chosen_seed


class ByteStream:
    """Audio that is encoded while it is made, each piece in a turn of its own.

    Args:
        pieces: audio [C, n] at a time.
        sample_rate: of the audio, in Hz.
        channels: C.
        format: of the bytes.
        job: a place of the queue, which `close` gives up.
        seed: of all noise.
    """

    def __init__(
        self, pieces: Iterator[Tensor], sample_rate: int, channels: int, format: AudioFormat, job: Job, seed: int
    ):
        self.sample_rate, self.seed = sample_rate, seed
        self.made_s = 0.0  # seconds of audio so far
        self._pieces, self._job = pieces, job
        self._encoder = AudioEncoder(format, sample_rate, channels)
        self._lock = threading.Lock()  # held while a piece is made
        self.ended = False

    def next_bytes(self) -> bytes | None:
        """Makes the next piece; returns its bytes, which may be none yet, or None at the end.

        Raises:
            JobCancelledError, JobTimeoutError: of the job.
        """
        if self.ended:
            return None
        with self._lock, self._job.turn():
            audio = next(self._pieces, None)
        self._job.extend()
        if audio is None:
            self.ended = True
            return self._encoder.flush()
        self.made_s += audio.shape[-1] / self.sample_rate
        return self._encoder.push(audio)

    def close(self) -> None:
        """Gives up the place in the queue; a piece that is being made is the last one."""
        self.ended = True
        self._job.cancel()
        self._job.close()


class LiveStream(ByteStream):
    """A stream whose prompt and options may change while it is made.

    Args:
        pipeline: that generates; it must be able to stream.
        config: the limits.
        job: a place of the queue, which `close` gives up.
        format: of the bytes.
        prompt: text at the start.
        seconds: length; by default the longest that is allowed.
        seed: of all noise; None draws one.
        conditions: further conditions of the generator by name.
        options: of the generator's sampling, by the names of the command line.

    Raises:
        ValueError: a generator that cannot stream, or what it cannot do, or is not allowed here.
    """

    def __init__(
        self,
        pipeline: GenerationPipeline,
        config: HostConfig,
        job: Job,
        *,
        format: AudioFormat = "mp3",
        prompt: str = "",
        seconds: float | None = None,
        seed: int | None = None,
        conditions: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ):
        longest, chosen = config.max_stream_s, chosen_seed(seed)
        self.pipeline = pipeline
        self.session = pipeline.stream(
            prompt,
            duration_s=longest if seconds is None else checked_seconds(seconds, pipeline, longest),
            conditions=dict(conditions or {}),
            generator=torch.Generator().manual_seed(chosen),
            **checked_options(options or {}, pipeline),
        )
        super().__init__(self.session, self.session.sample_rate, pipeline.spec.channels, format, job, chosen)

    def change(self, *, prompt: str | None = None, options: Mapping[str, Any] | None = None) -> None:
        """Changes the prompt and options of the sampling from the next block on.

        Args:
            prompt: new text; None leaves it.
            options: new values, by the names of the command line.

        Raises:
            ValueError: as at the start.
        """
        chosen = checked_options(options or {}, self.pipeline)
        with self._lock:
            if prompt is not None and prompt != self.session.prompt:
                self.session.prompt = prompt
            if chosen:
                self.session.set_options(**chosen)

    def stop(self) -> None:
        """Ends the stream after the block that is being made."""
        self.session.stop()
