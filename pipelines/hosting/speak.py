"""Spoken texts, whole or sentence by sentence, with the limits of the server.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

from ..data.audio.encoded import AudioFormat
from ..generation.pipeline import GenerationPipeline
from .config import HostConfig
from .generate import Made
from .jobs import Job
from .live import ByteStream
from .seeds import chosen_seed

Voice = tuple[Tensor, int]  # a recording [C, N] and its rate in Hz


def speak(
    pipeline: GenerationPipeline,
    config: HostConfig,
    job: Job,
    *,
    text: str,
    voice: Voice | None = None,
    speed: float = 1.0,
    seed: int | None = None,
) -> Made:
    """Says a text.

    Args:
        pipeline: that speaks.
        config: the limits.
        job: whose turn on the device is waited for.
        text: of any number of sentences.
        voice: a recording of it; by default the generator's own.
        speed: 2 is twice as fast as in training.
        seed: of all noise; None draws one.

    Returns:
        The audio, with its seed.

    Raises:
        ValueError: what the pipeline cannot say, or a text that takes longer than is allowed.
        JobCancelledError, JobTimeoutError: of the job.
    """
    check_length(pipeline, text, speed, config.max_seconds)
    chosen = chosen_seed(seed)
    with job.turn():
        began_s = time.perf_counter()
        output = pipeline.say(
            text,
            voice=voice,
            speed=speed,
            generator=torch.Generator().manual_seed(chosen),
            callback=job.progress,
        )
        took_s = time.perf_counter() - began_s
    return Made(audio=output.item(0), sample_rate=output.sample_rate, seed=chosen, took_s=took_s)


def spoken_stream(
    pipeline: GenerationPipeline,
    config: HostConfig,
    job: Job,
    *,
    format: AudioFormat,
    text: str,
    voice: Voice | None = None,
    speed: float = 1.0,
    seed: int | None = None,
) -> ByteStream:
    """Says a text sentence by sentence.

    Args:
        pipeline: as of `speak`.
        config: as of `speak`.
        job: a place of the queue, which closing the stream gives up.
        format: of the bytes.
        text: as of `speak`.
        voice: as of `speak`.
        speed: as of `speak`.
        seed: as of `speak`.

    Returns:
        The stream.

    Raises:
        ValueError: as of `speak`.
    """
    check_length(pipeline, text, speed, config.max_stream_s)
    chosen = chosen_seed(seed)
    noise = torch.Generator().manual_seed(chosen)
    pieces = pipeline.say_stream(text, voice=voice, speed=speed, generator=noise)
    return ByteStream(pieces, pipeline.spec.sample_rate, pipeline.spec.channels, format, job, chosen)


def check_length(pipeline: GenerationPipeline, text: str, speed: float, largest_s: float) -> None:
    """Checks how long it takes to say a text.

    Args:
        pipeline: that speaks.
        text: what to say.
        speed: as of `speak`.
        largest_s: seconds that are allowed.

    Raises:
        ValueError: it takes longer, or the pipeline cannot say it.
    """
    pieces = pipeline.pieces(text, speed)
    seconds = sum(pipeline.generator.duration_of(piece.text, speed) + piece.pause_s / speed for piece in pieces)
    if seconds > largest_s:
        raise ValueError(f"the text takes about {seconds:.0f} s, allowed are {largest_s:g}: say less of it at once")
