"""The options of `latentune serve`."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.config import option
from ..data.cards import PIPELINE_CARDS
from ..hosting.config import HostConfig


@dataclass(frozen=True, kw_only=True)
class ServeConfig(HostConfig):
    """The pipelines of a service, and its limits."""

    pipelines: tuple[str, ...] = option(
        (),
        "Pipeline to serve: a shipped name, a pipeline folder, a training run, or a checkpoint. By default those that "
        "ship.",
        positional=True,
        name="pipeline",
    )
    voices: dict[str, str] = option(
        factory=dict,
        help="Voice that requests may name, as NAME=RECORDING; repeat it for several.",
        name="voice",
    )

    @property
    def sources(self) -> tuple[str, ...]:
        """The pipelines that are served."""
        return self.pipelines or tuple(PIPELINE_CARDS)
