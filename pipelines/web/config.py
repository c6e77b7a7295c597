"""The options of `latentune web`."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.config import option
from ...tokenizers.cards import SHIPPED_CARDS
from ..data.cards import PIPELINE_CARDS
from ..hosting.config import HostConfig


@dataclass(frozen=True, kw_only=True)
class WebConfig(HostConfig):
    """The models and datasets of the page, and its limits."""

    pipelines: tuple[str, ...] = option(
        (),
        "Pipeline to generate with: a shipped name, a pipeline folder, a training run, or a checkpoint. By default "
        "those that ship.",
        positional=True,
        name="pipeline",
    )
    tokenizers: tuple[str, ...] = option(
        (),
        "Tokenizer to look into: a shipped or official name, a folder, or a hub id; repeat it for several. By default "
        "those that ship.",
        name="tokenizer",
    )
    datasets: tuple[str, ...] = option(
        (), "Dataset of `latentune encode` to browse; repeat it for several. By default none.", name="dataset"
    )
    port: int = option(7860, "Port to listen on; 0 takes a free one.")

    @property
    def pipeline_sources(self) -> tuple[str, ...]:
        """The pipelines of the page."""
        return self.pipelines or tuple(PIPELINE_CARDS)

    @property
    def tokenizer_sources(self) -> tuple[str, ...]:
        """The tokenizers of the page."""
        return self.tokenizers or tuple(SHIPPED_CARDS)
