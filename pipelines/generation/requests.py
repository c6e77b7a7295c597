"""Requests to a pipeline, made of the options of sampling: the arguments of its calls.

Arguments are values that JSON holds; recordings are named by their path until the call is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...generators.conditions import Conditions
from ..data.audio.read import read_audio
from .pipeline import AudioOutput, GenerationPipeline
from .prompts import PromptLine, read_prompts
from .sample_config import SampleConfig

FILE = "file:"  # before the path of a recording that is the value of a condition
MOST_SAMPLES = 1_000_000  # of one call, whose record lists them all


class Request:
    """The request of a config.

    Raises:
        ValueError: a file without a line, or of another kind, or more samples than a call makes.
        AudioError, OSError: a recording that cannot be read.
    """

    def __init__(self, config: SampleConfig):
        self.config = config
        texts, file = (config.say, config.say_file) if config.says else (config.prompts, config.prompts_file)
        self.lines = read_prompts(texts, file)
        if (count := len(self.lines) * config.num) > MOST_SAMPLES:
            raise ValueError(
                f"{count:,} samples are too many for one folder: ask for at most {MOST_SAMPLES:,}, and for more with "
                "another seed and folder"
            )
        self.prefix = None if config.continue_from is None else read_audio(config.continue_from)
        self.voice = None if config.voice is None else read_audio(config.voice)

    def check(self, pipeline: GenerationPipeline) -> None:
        """Raises ValueError if the pipeline cannot follow the request."""
        if self.config.says:
            pipeline.check_speech([line.text for line in self.lines], voice=self.voice, speed=self.config.speed)
        call = self.call(self.lines, pipeline)
        prompts = call.get("prompt", [""] * len(self.lines))
        asked = Conditions.of(prompts, call.get("duration_s", 1.0), call["labels"])
        asked = asked.replaced(**with_recordings(call["conditions"], pipeline))
        if pipeline.spoken is not None and not self.config.says and not all(asked.values.get(pipeline.spoken, [""])):
            raise ValueError("this pipeline speaks, and has no text to say: give one with say or say_file")
        pipeline.check_conditions(asked)

    def call(self, batch: Sequence[PromptLine], pipeline: GenerationPipeline) -> dict[str, Any]:
        """Returns the arguments of the call for some of the lines."""
        return say_call(batch, self.config) if self.config.says else prompt_call(batch, self.config, pipeline)

    def sample(self, call: dict[str, Any], pipeline: GenerationPipeline, **further: Any) -> AudioOutput:
        """Makes a call that `call` returned, with further arguments of it; prompts are decoded as they are written."""
        conditions = with_recordings(call["conditions"], pipeline)
        if self.config.says:
            return pipeline.say(**{**call, "conditions": conditions, "voice": self.voice, **further})
        return pipeline(**{**call, "conditions": conditions, "given": self.prefix, "decode": False, **further})


def prompt_call(batch: Sequence[PromptLine], config: SampleConfig, pipeline: GenerationPipeline) -> dict[str, Any]:
    """Returns the arguments of a call of the pipeline.

    Args:
        batch: some of the prompts.
        config: what all of them share.
        pipeline: whose length is the default.
    """
    default_s = pipeline.defaults.duration_s if config.seconds is None else config.seconds
    return {
        "prompt": [line.text for line in batch],
        **_conditions(batch, config),
        "duration_s": [default_s if line.seconds is None else line.seconds for line in batch],
        "seconds_start": config.seconds_start,
        "seconds_total": config.seconds_total,
    }


def say_call(batch: Sequence[PromptLine], config: SampleConfig) -> dict[str, Any]:
    """Returns the arguments of `GenerationPipeline.say`.

    Raises:
        ValueError: a line that asks for a length of its own.
    """
    if long := [line for line in batch if line.seconds is not None]:
        raise ValueError(f"the text {long[0].text[:40]!r} has seconds, but its words decide how long it is: use speed")
    return {
        "text": [line.text for line in batch],
        "voice": config.voice,
        "speed": config.speed,
        "batch_size": config.batch_size,
        **_conditions(batch, config),
    }


def _conditions(batch: Sequence[PromptLine], config: SampleConfig) -> dict[str, Any]:
    asked = [{**config.conditions, **line.conditions} for line in batch]
    return {
        "labels": [config.label if line.label is None else line.label for line in batch],
        "conditions": {name: [values.get(name) for values in asked] for name in sorted({n for v in asked for n in v})},
    }


def with_recordings(conditions: dict[str, list[Any]], pipeline: GenerationPipeline) -> dict[str, list[Any]]:
    """Returns the values with the audio of each `file:PATH` in its place, of those conditions that take audio."""
    encoder = getattr(pipeline.generator, "condition_encoder", None)
    takes = {name for name, part in encoder.conditioners.items() if part.takes_audio} if encoder is not None else set()
    return {
        name: [_read(value) for value in values] if name in takes else values for name, values in conditions.items()
    }


def _read(value: Any) -> Any:
    is_file = isinstance(value, str) and value.startswith(FILE)
    return read_audio(value.removeprefix(FILE)) if is_file else value
