"""Whole items and endless streams out of a chunk-causal transformer.

Shape letters: B batch, T latent frames, D latent width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...core.random import draw_seed
from ..conditions import Conditions
from ..parts.given_latents import known_latents
from ..parts.request import SampleRequest
from .rollout import BlockRollout
from .sampling_config import DiffusionSampling

if TYPE_CHECKING:
    from .dit import DiffusionTransformer


def sample_blocks(
    model: DiffusionTransformer,
    request: SampleRequest,
    options: DiffusionSampling,
    *,
    generator: torch.Generator | None,
    callback: Callable[[int, int], None] | None,
) -> Tensor:
    """Returns latents [B, T, D] as the codec gives them, float32, zero beyond each item's own frames.

    The items may be longer than `max_frames`: the window of what a block sees moves on.

    Args:
        model: the network, with chunk-causal attention.
        request: conditions and lengths of the B items, and which chunks are given.
        options: of the sampler.
        generator: source of all noise.
        callback: called with (blocks done, blocks in all).

    Raises:
        ValueError: chunks that are given after a block in which something is sampled, or latents of another codec or
            with NaN.
    """
    if gives_future(model, request):
        spec = model.binding.spec
        block_s = model.settings.block_chunks * spec.chunk_samples / spec.sample_rate
        raise ValueError(
            "this generator sees only the past (attention chunk_causal): what is sampled must reach to the end, or lie "
            f"in one block of {block_s:g} s after which all is sampled. Give nothing after it, or use a generator that "
            "was trained with model.config.attention=both or full, which fills gaps and makes loops"
        )
    rollout = open_rollout(model, request.conditions, options, generator, request)
    left, latents, size = max(request.num_chunks), [], model.settings.block_chunks
    total = -(-left // size)
    while left:
        latents.append(rollout.next_block(min(size, left)))
        left -= min(size, left)
        if callback is not None:
            callback(len(latents), total)
    return torch.cat(latents, 1)


def open_rollout(
    model: DiffusionTransformer,
    conditions: Conditions,
    options: DiffusionSampling,
    generator: torch.Generator | None,
    request: SampleRequest | None = None,
) -> BlockRollout:
    """Returns the rollout of B items, whose noise comes from a generator.

    Args:
        model: the network, with chunk-causal attention.
        conditions: of the items.
        options: of the sampler.
        generator: source of the seed of each item.
        request: lengths and which chunks are given; None: without an end, and nothing is given.
    """
    seeds = [draw_seed(generator) for _ in range(len(conditions))]
    known = None
    if request is not None and request.encoded is not None:
        frames = max(request.num_chunks) * model.binding.spec.chunk_latents
        like = torch.zeros(len(request), frames, model.binding.spec.latent_dim, device=model.device)
        known = known_latents(model.binding, request, like)
    return BlockRollout(
        model,
        conditions,
        options,
        seeds=seeds,
        num_chunks=None if request is None else request.num_chunks,
        known=known,
        noise_level=0.0 if request is None else request.noise_level,
    )


def gives_future(model: DiffusionTransformer, request: SampleRequest) -> bool:
    """Returns whether something is given, without noise, after a block in which something is sampled."""
    if request.noise_level:
        return False
    block_chunks = model.settings.block_chunks
    ends = torch.tensor(request.num_chunks)
    free = ~request.keep & (torch.arange(request.keep.shape[1]) < ends[:, None])
    padding = (0, -free.shape[1] % block_chunks)
    free, kept = (
        torch.nn.functional.pad(part, padding).unflatten(1, (-1, block_chunks)).any(-1) for part in (free, request.keep)
    )
    return bool((kept & (free.cumsum(1) - free.long() > 0)).any())
