"""The pipelines that have a name: where each is, its size, and the terms of its weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PipelineCard:
    """One row of the table of pipelines."""

    place: str  # folder inside the package
    class_name: str  # of the generator
    tokenizer: str  # name of the tokenizer whose streams it was trained on
    parameters_m: float  # size of the generator in millions of parameters
    conditions: str  # that it was trained with
    licence: str  # of the weights


PIPELINE_CARDS = {
    "melcodec-music-dit": PipelineCard(
        place="pipelines/generation/weights/melcodec-music-dit",
        class_name="DiffusionTransformer",
        tokenizer="melcodec-music",
        parameters_m=3.7,
        conditions="text",
        licence="Apache-2.0",
    ),
    "melcodec-music-lm": PipelineCard(
        place="pipelines/generation/weights/melcodec-music-lm",
        class_name="TokenLM",
        tokenizer="melcodec-music",
        parameters_m=4.0,
        conditions="text",
        licence="Apache-2.0",
    ),
    "melcodec-speech-say": PipelineCard(
        place="pipelines/generation/weights/melcodec-speech-say",
        class_name="DiffusionTransformer",
        tokenizer="melcodec-speech",
        parameters_m=4.1,
        conditions="transcript",
        licence="Apache-2.0",
    ),
}
