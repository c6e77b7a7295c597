"""The small network that draws a chunk as a graph. Shape letters: B batch, C values of a chunk, W width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...core.graphs import Graph

if TYPE_CHECKING:
    from .model import ContinuousAR

BATCH = 2  # of the example; a size of 1 would be taken for a fixed one


def flow_graph(model: ContinuousAR) -> Graph:
    """Returns the graph `flow`: the velocity [B, C] of a noisy chunk, at a time, given the transformer's state."""

    def make_inputs(frames: int) -> dict[str, Tensor]:
        random = torch.Generator().manual_seed(frames)
        return {
            "noisy": torch.randn(BATCH, model.settings.chunk_values, generator=random),
            "times": torch.rand(BATCH, generator=random),
            "hidden": torch.randn(BATCH, model.settings.width, generator=random),
        }

    return Graph(
        name="flow",
        network=model.head,
        make_inputs=make_inputs,
        free_axes={name: {0: "batch"} for name in ("noisy", "times", "hidden")},
        outputs=("velocity",),
    )
