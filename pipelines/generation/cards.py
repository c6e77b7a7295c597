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
    "codicodec-mini-dit": PipelineCard(
        place="pipelines/generation/weights/codicodec-mini-dit",
        class_name="DiffusionTransformer",
        tokenizer="codicodec-mini",
        parameters_m=4.3,
        conditions="text, seconds",
        licence="Apache-2.0",
    ),
    "codicodec-mini-lm": PipelineCard(
        place="pipelines/generation/weights/codicodec-mini-lm",
        class_name="TokenLM",
        tokenizer="codicodec-mini",
        parameters_m=3.9,
        conditions="text, seconds",
        licence="Apache-2.0",
    ),
}
