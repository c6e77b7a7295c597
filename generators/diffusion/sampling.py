"""From noise to latents, around the chunks that are given.

Shape letters: B batch, T latent frames, D latent width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...core.config import option
from ...core.random import randn
from ...tokenizers.base import Encoded
from ..base import SamplingConfig
from ..conditions import PreparedConditions
from ..parts.request import SampleRequest, lay_given
from .guidance import guided_network
from .known import KnownFrames
from .normalise import check_latents, denormalise, normalise
from .solve import integrate

if TYPE_CHECKING:
    from .dit import DiffusionTransformer


@dataclass(frozen=True, kw_only=True)
class DiffusionSampling(SamplingConfig):
    """Options of `DiffusionTransformer.sample`."""

    num_inference_steps: int = option(50, "Number of sampling steps.", name="steps")
    # from Python alone: an object, any flow-matching scheduler of diffusers; None: FlowMatchEulerDiscreteScheduler
    scheduler: Any = option(None, "Flow-matching scheduler of diffusers, as an object.", hidden=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_inference_steps < 1:
            raise ValueError(f"num_inference_steps must be at least 1, got {self.num_inference_steps}")


@torch.no_grad()
def sample_latents(
    model: DiffusionTransformer,
    conditions: PreparedConditions,
    request: SampleRequest,
    options: DiffusionSampling,
    *,
    encoded: Encoded | None,
    generator: torch.Generator | None,
    callback: Callable[[int, int], None] | None,
) -> Tensor:
    """Returns latents [B, T, D] as the codec gives them, float32, zero beyond each item's own frames.

    Chunks that are given without noise come out bit for bit. Where every frame is given with noise, the schedule
    starts at that noise level (SDEdit; Meng et al., arXiv 2108.01073).

    Args:
        model: the network.
        conditions: of the B items.
        request: their lengths and which chunks are given.
        options: of the sampler.
        encoded: the given audio, of 1 or B items; None where nothing is given.
        generator: source of all noise.
        callback: called with (steps done, steps in all).

    Raises:
        ValueError: an item longer than the generator's max_frames, a scheduler that is not one of flow matching, or
            given latents of another codec or with NaN.
    """
    spec = model.binding.spec
    frames = [n * spec.chunk_latents for n in request.num_chunks]
    if max(frames) > model.settings.max_frames:
        longest_s = model.settings.max_frames / spec.latent_rate_hz
        raise ValueError(f"this generator makes at most {longest_s:.1f} s at once: ask for less")
    mask = (torch.arange(max(frames)) < torch.tensor(frames)[:, None]).to(model.device)
    noise = torch.zeros(len(request), max(frames), spec.latent_dim, device=model.device)
    for item, count in enumerate(frames):
        noise[item, :count] = randn((count, spec.latent_dim), generator, noise)
    known, where = _known(model, request, encoded, like=noise)
    given = KnownFrames(
        latents=torch.zeros_like(noise) if encoded is None else normalise(known, model.binding),
        where=where,
        noise=noise,
        level=request.noise_level,
        own_times=bool(model.trained_on.given),
    )
    # fused attention kernels take no mask tensor, so a full batch passes none
    padding = None if min(frames) == max(frames) else mask
    network = guided_network(model, conditions, padding, options.guidance_scale)
    nothing_free = bool((where | ~mask).all())
    x = integrate(
        given.velocity(network),
        given.start,
        options,
        start=request.noise_level if nothing_free else 1.0,
        device=noise.device,
        generator=generator,
        callback=callback,
    )
    latents = denormalise(x, model.binding)
    if not request.noise_level:
        latents = torch.where(where[..., None], known, latents)
    return latents.masked_fill(~mask[..., None], 0.0)


def _known(
    model: DiffusionTransformer, request: SampleRequest, encoded: Encoded | None, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns the given latents laid into [B, T, D], and the mask [B, T] of where they lie."""
    if encoded is None:
        return torch.zeros_like(like), torch.zeros(like.shape[:2], dtype=torch.bool, device=like.device)
    check_latents(encoded.latents, model.binding)
    known, where = lay_given(encoded.latents, request.keep, model.binding.spec.chunk_latents, like)
    if not torch.isfinite(known).all():
        raise ValueError("the given latents hold NaN or inf")
    return known, where
