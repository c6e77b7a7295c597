"""The step of a diffusion transformer as a graph.

Shape letters: B batch, T latent frames, D latent width, S condition tokens, W width of the conditions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...core.graphs import Graph
from ..conditioning import EncodedConditions
from .frame_times import FrameTimes

if TYPE_CHECKING:
    from .dit import DiffusionTransformer

BATCH, TOKENS = 2, 3  # of the example; sizes of 1 would be taken for fixed ones


class VelocityStep(nn.Module):
    """The velocity [B, T, D] of latents at a time for each frame, under conditions that are encoded."""

    def __init__(self, model: DiffusionTransformer):
        super().__init__()
        self.model: Any = model
        self.names = ["latents", "times", "condition"]
        if model.settings.average_velocity:
            self.names.append("spans")
        if model.condition_encoder.num_tokens:
            self.names += ["condition_tokens", "condition_mask"]

    def forward(self, *inputs: Tensor) -> Tensor:
        """Returns the velocity of inputs in the order of `names`."""
        given = dict(zip(self.names, inputs, strict=True))
        vector = given["condition"]
        tokens = given.get("condition_tokens")
        if tokens is None:
            tokens = vector.new_zeros(len(vector), 0, vector.shape[-1])
        encoded = EncodedConditions(global_vector=vector, tokens=tokens, mask=given.get("condition_mask"))
        times = FrameTimes.of(given["times"], given.get("spans"))
        velocity: Tensor = self.model(given["latents"], times, conditions=encoded)
        return velocity


def velocity_graph(model: DiffusionTransformer) -> Graph:
    """Returns the graph of one pass.

    Raises:
        ValueError: conditions that change from frame to frame.
    """
    if model.condition_encoder.gives_frames:
        raise ValueError("a step with conditions of each frame is not exported")
    spec, step = model.binding.spec, VelocityStep(model)

    def make_inputs(frames: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(frames)
        width, size = model.settings.conditioning.width, (BATCH, frames)
        made = {
            "latents": torch.randn(*size, spec.latent_dim, generator=generator),
            "times": torch.rand(size, generator=generator),
            "condition": torch.randn(BATCH, width, generator=generator),
            "spans": torch.zeros(size),
            "condition_tokens": torch.randn(BATCH, TOKENS, width, generator=generator),
            "condition_mask": torch.arange(TOKENS) < torch.tensor([[TOKENS], [1]]),
        }
        made["spans"] = made["times"] * torch.rand(size, generator=generator)
        return {name: made[name] for name in step.names}

    axes = {name: {0: "batch"} for name in step.names}
    for name in ("latents", "times", "spans"):
        axes.setdefault(name, {})[1] = "frames"
    for name in ("condition_tokens", "condition_mask"):
        axes.setdefault(name, {})[1] = "tokens"
    return Graph(
        name="step",
        network=step,
        make_inputs=make_inputs,
        free_axes={name: axes[name] for name in step.names},
        outputs=("velocity",),
        frame_multiple=spec.chunk_latents,
        most_frames=model.settings.max_frames,
    )
