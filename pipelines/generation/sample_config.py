"""The options of sampling to a folder: prompts or texts to speak, and where the audio is written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from ...core.compute import ComputeConfig
from ...core.config import option


@dataclass(frozen=True, kw_only=True)
class SampleConfig(ComputeConfig):
    """The options of `latentune sample`."""

    pipeline: str = option(
        help="Pipeline to sample from: a shipped name, a pipeline folder, a training run, or a checkpoint.",
        positional=True,
    )
    output: str = option(help="Folder for the audio.", positional=True)
    prompts: tuple[str, ...] = option(
        (),
        "Text to sample from; repeat it for several. Without a prompt and a prompts file, the samples are unprompted.",
        name="prompt",
        short="p",
    )
    prompts_file: str | None = option(
        None,
        "File of prompts: .txt with one per line, or .jsonl of objects with text, label, seconds and conditions.",
    )
    say: tuple[str, ...] = option(
        (),
        "Text to speak, of any length; repeat it for several. It takes the place of a prompt, for a pipeline that "
        "reads transcripts.",
    )
    say_file: str | None = option(None, "File of texts to speak, of the form of prompts_file.")
    voice: str | None = option(None, "Recording whose voice speaks. By default the generator's own voice.")
    speed: float = option(1.0, "How fast texts are spoken; 2 is twice as fast as the training data.")
    label: str | None = option(None, "Class label of all prompts that have none of their own.")
    adapters: tuple[str, ...] = option(
        (), "Adapter of the generator and perhaps its weight, such as runs/lora=0.8; several add up.", name="adapter"
    )
    conditions: dict[str, Any] = option(
        factory=dict,
        help="Further condition of all prompts that have none of their own, such as bpm=120. A condition that takes "
        "audio reads a file: style=file:PATH.",
        name="condition",
    )
    seconds: float | None = option(None, "Length of each sample in seconds. By default the pipeline's own length.")
    seconds_start: float | None = option(
        None, "Where in its recording each sample starts, in seconds. By default the median of the training data."
    )
    seconds_total: float | None = option(
        None, "Length in seconds of the recording that each sample is part of. By default the median in training."
    )
    num: int = option(1, "Number of samples per prompt.")
    seed: int = option(0, "Seed of the first batch; each later batch adds its offset. The same seed repeats a sample.")
    batch_size: int = option(4, "Number of samples that are computed at once. A sample depends on it.")
    continue_from: str | None = option(None, "Audio file that every sample begins with.")
    options: dict[str, Any] = option(
        factory=dict,
        help="Option of the generator's own sampling, such as steps=20 or temperature=0.9.",
        short="o",
        name="option",
    )
    decode_options: dict[str, Any] = option(
        factory=dict, help="Options of the tokenizer's own `decode`, such as steps=3.", name="decode-option"
    )
    tokenizer: str | None = option(
        None, "Tokenizer to decode with, where the pipeline does not name one: a shipped name, a folder, or a hub id."
    )
    subtype: Literal["PCM_16", "PCM_24", "FLOAT"] = option("PCM_24", "Sample format of the wav files.")
    spectrograms: bool | None = option(
        None, "Write a spectrogram (PNG) with each wav file. By default this is done where matplotlib is installed."
    )

    def __post_init__(self) -> None:
        for name, least in (("num", 1), ("batch_size", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise ValueError(f"seconds must be a positive number, got {self.seconds}")
        self._check_speech()

    @property
    def says(self) -> bool:
        """Whether texts are spoken, and not prompts followed."""
        return bool(self.say) or self.say_file is not None

    def _check_speech(self) -> None:
        """Raises ValueError for options that belong to speech where prompts are followed, or the other way round."""
        of_prompts = ("prompts", "prompts_file", "seconds", "seconds_start", "seconds_total", "continue_from")
        if self.says and (given := [name for name in of_prompts if getattr(self, name) not in ((), None)]):
            raise ValueError(
                f"{given[0]} cannot be combined with say: the text alone decides what is heard and for how long"
            )
        if not self.says and (self.voice is not None or self.speed != 1.0):
            raise ValueError("voice and speed belong to a text to speak: give one with say or say_file")
