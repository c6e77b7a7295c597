"""Parts of a model that can be written as a graph of operations, for other runtimes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """A network whose operations are the same for all inputs, and how inputs of it are made."""

    name: str  # of its files
    network: nn.Module  # called with the inputs in their order
    make_inputs: Callable[[int], dict[str, Tensor]]  # of a length in latent frames, a multiple of `frame_multiple`
    # input -> axis -> name of a size that may be another in each call; `frames`, `units` (frames / frame_multiple) and
    # `batch` are those of all inputs
    free_axes: Mapping[str, Mapping[int, str]]
    outputs: tuple[str, ...]  # names of the results
    frame_multiple: int = 1
    most_frames: int = 2**14
