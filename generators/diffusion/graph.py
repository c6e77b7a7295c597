"""The step of a diffusion transformer as a graph.

Shape letters: B batch, T latent frames, D latent width, S condition tokens, W width of the conditions, symbols of what
is spread, or slots of earlier frames; H heads, E features of a head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...core.graphs import Graph
from ..conditioning import EncodedConditions
from .frame_times import FrameTimes
from .graph_past import GivenFrames

if TYPE_CHECKING:
    from .dit import DiffusionTransformer

BATCH, TOKENS = 2, 3  # of the example; sizes of 1 would be taken for fixed ones
EARLIER = ("first_frame", "seen", "keys", "values")  # inputs of `GivenFrames`


class VelocityStep(nn.Module):
    """The velocity [B, T, D] of latents at a time for each frame, under conditions that are encoded."""

    def __init__(self, model: DiffusionTransformer):
        super().__init__()
        self.model: Any = model
        encoder = model.condition_encoder
        self.names = ["latents", "times", "condition"]
        if model.settings.average_velocity:
            self.names.append("spans")
        if encoder.num_tokens:
            self.names += ["condition_tokens", "condition_mask"]
        if encoder.spreads:
            self.names += ["spread", "spread_weights"]
        if model.settings.attention == "chunk_causal":
            self.names += EARLIER

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the results."""
        return ("velocity", "own_keys", "own_values") if EARLIER[0] in self.names else ("velocity",)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Returns the velocity of inputs in the order of `names`.

        With chunk-causal attention also the keys and values [layers, B, H, T, E] of the frames.
        """
        given = dict(zip(self.names, inputs, strict=True))
        vector = given["condition"]
        tokens = given.get("condition_tokens")
        if tokens is None:
            tokens = vector.new_zeros(vector.shape[0], 0, vector.shape[-1])
        encoded = EncodedConditions(
            global_vector=vector,
            tokens=tokens,
            mask=given.get("condition_mask"),
            spread=given.get("spread"),
            spread_weights=given.get("spread_weights"),
        )
        times, latents = FrameTimes.of(given["times"], given.get("spans")), given["latents"]
        earlier = None
        if EARLIER[0] in given:
            earlier = GivenFrames(**{name: given[name] for name in EARLIER}, num_frames=latents.shape[1])
        velocity: Tensor = self.model(latents, times, conditions=encoded, cache=earlier)
        return velocity if earlier is None else (velocity, *earlier.own())


def velocity_graph(model: DiffusionTransformer) -> Graph:
    """Returns the graph of one pass: over a whole item, or with chunk-causal attention over a block.

    Raises:
        ValueError: a condition of the generator that has a value for each frame.
    """
    for name, part in model.condition_encoder.conditioners.items():
        if part.gives_frames and not part.spreads:
            raise ValueError(f"a step whose condition {name} has a value for each frame is not exported")
    settings, step = model.settings, VelocityStep(model)
    in_blocks = settings.attention == "chunk_causal"
    axes = {name: {0: "batch"} for name in step.names}
    for name in ("condition_tokens", "condition_mask"):
        axes.setdefault(name, {})[1] = "tokens"
    for name in ("spread", "spread_weights"):
        axes.setdefault(name, {})[1] = "symbols"
    if in_blocks:  # the free length is that of the past
        axes |= {"first_frame": {}, "seen": {0: "batch", 1: "frames"}}
        axes |= {name: {1: "batch", 3: "frames"} for name in ("keys", "values")}
    else:
        for name in ("latents", "times", "spans"):
            axes.setdefault(name, {})[1] = "frames"
    return Graph(
        name="step",
        network=step,
        make_inputs=lambda frames: _inputs(model, step.names, frames, settings.block_frames if in_blocks else frames),
        free_axes={name: axes[name] for name in step.names},
        outputs=step.outputs,
        frame_multiple=1 if in_blocks else model.binding.spec.chunk_latents,
        most_frames=settings.window_blocks * settings.block_frames if in_blocks else settings.max_frames,
    )


def _inputs(model: DiffusionTransformer, names: list[str], length: int, frames: int) -> dict[str, Tensor]:
    """Returns inputs of these names for T `frames`, behind a past of `length` slots where there is one."""
    generator = torch.Generator().manual_seed(length)
    settings = model.settings
    width, size = settings.conditioning.width, (BATCH, frames)
    cache = settings.depth, BATCH, settings.heads, length, settings.width // settings.heads
    mask = torch.arange(TOKENS) < torch.tensor([[TOKENS], [1]])
    times = torch.rand(size, generator=generator)
    made = {
        "latents": torch.randn(*size, model.binding.spec.latent_dim, generator=generator),
        "times": times,
        "condition": torch.randn(BATCH, width, generator=generator),
        "spans": times * torch.rand(size, generator=generator),
        "condition_tokens": torch.randn(BATCH, TOKENS, width, generator=generator),
        "condition_mask": mask,
        "spread": torch.randn(BATCH, TOKENS, width, generator=generator),
        "spread_weights": mask * torch.rand(BATCH, TOKENS, generator=generator).add(0.1),
        "first_frame": torch.tensor([length // settings.block_frames * settings.block_frames]),
        "seen": (torch.arange(length) < torch.tensor([[length], [length // 2]])).float(),
        "keys": torch.randn(*cache, generator=generator),
        "values": torch.randn(*cache, generator=generator),
    }
    return {name: made[name] for name in names}
