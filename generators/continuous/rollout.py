"""One chunk after another: whole items and endless streams.

Shape letters: B batch, T latent frames, D latent width, n chunks, C values of a chunk, W width, K branches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...core.random import draw_seed, keyed_generator, randn
from ...layers.cache import KVCache
from ..conditions import Conditions
from ..parts.given_latents import known_latents
from ..parts.guidance import GuidanceBranches, guidance_branches
from ..parts.normalise import denormalise, normalise
from ..parts.request import SampleRequest
from ..stream import GeneratorStream
from .sampling import ContinuousSampling, draw_chunk

if TYPE_CHECKING:
    from .model import ContinuousAR

BLOCK_S = 0.25  # length of a block of a stream, nearly, in whole chunks


class ChunkRollout(GeneratorStream):
    """Draws one chunk after another, in constant memory.

    When the window of chunks is full, it moves on by half: what remains is read again behind conditions which say that
    the item now starts later in its recording, as training crops do.

    Args:
        model: the generator.
        conditions: of B items.
        sampling: options.
        seeds: of the noise of each item.
        known: [B, n, C] normalised chunks that are given, and the mask [B, n] bool of where; None: none are.
    """

    sampling: ContinuousSampling

    def __init__(
        self,
        model: ContinuousAR,
        conditions: Conditions,
        sampling: ContinuousSampling,
        seeds: list[int],
        known: tuple[Tensor, Tensor] | None = None,
    ):
        self.model, self.conditions, self.sampling, self.seeds, self.known = model, conditions, sampling, seeds, known
        self.chunk = 0  # number of the next chunk
        self._past = torch.zeros(len(seeds), 0, model.settings.chunk_values, device=model.device)  # of the window
        self._made_of: tuple[Conditions, ContinuousSampling, int] | None = None
        self._branches: GuidanceBranches | None = None
        self._caches: list[KVCache] = []
        self._seen: Tensor | None = None
        self._fed = 0  # chunks of the window that the caches hold

    @property
    def block_samples(self) -> int:
        spec = self.model.binding.spec
        return spec.nearest_chunks(BLOCK_S) * spec.chunk_samples

    @torch.no_grad()
    def next_block(self, num_chunks: int | None = None) -> Tensor:
        spec = self.model.binding.spec
        count = spec.nearest_chunks(BLOCK_S) if num_chunks is None else num_chunks
        made = torch.stack([self._next_chunk() for _ in range(count)], 1)  # [B, n, C]
        return denormalise(made.unflatten(-1, (spec.chunk_latents, -1)).flatten(1, 2), self.model.binding)

    def _next_chunk(self) -> Tensor:
        known, where = self._given()
        if where.all():
            x = known
        else:
            hidden = self._hidden()
            assert self._branches is not None, "the hidden state is that of its branches"
            noise = torch.stack([self._noise(seed) for seed in self.seeds])
            x = draw_chunk(self.model, hidden, self._branches.weights, noise, self.sampling)
            x = torch.where(where.unsqueeze(-1), known, x)
        self._past = torch.cat([self._past, x.unsqueeze(1)], 1)
        self.chunk += 1
        return x

    def _given(self) -> tuple[Tensor, Tensor]:
        """Returns the given chunk [B, C] at the present place, and for which items [B] there is one."""
        if self.known is None or self.chunk >= self.known[0].shape[1]:
            like = self._past
            return like.new_zeros(len(like), like.shape[-1]), like.new_zeros(len(like), dtype=torch.bool)
        return self.known[0][:, self.chunk], self.known[1][:, self.chunk]

    def _noise(self, seed: int) -> Tensor:
        like = torch.zeros((), device=self.model.device)
        return randn((self.model.settings.chunk_values,), keyed_generator(seed, "chunk", self.chunk), like)

    def _hidden(self) -> Tensor:
        """Returns the state [K * B, W] that predicts the next chunk."""
        self._begin_where_needed()
        assert self._branches is not None, "it was begun"
        count, model = len(self._branches.weights), self.model
        x = model.embed(self._past[:, self._fed :]).repeat(count, 1, 1)
        if not len(self._caches[0]):
            start, self._seen = model.start_embeddings(self._branches.encoded)
            x = torch.cat([start, x], 1)
        seen, total = self._seen, len(self._caches[0]) + x.shape[1]
        if seen is not None:
            seen = torch.nn.functional.pad(seen, (0, total - seen.shape[1]), value=True)
        state: Tensor = model.trunk(x, seen, self._caches)[:, -1]
        self._fed = self._past.shape[1]
        # the chunk that is to come is not among those that `recent` looks at
        coming = torch.nn.functional.pad(self._past[:, -model.settings.recent_chunks :], (0, 0, 0, 1))
        return state + model.recent(coming)[:, -1].repeat(count, 1)

    def _begin_where_needed(self) -> None:
        """Encodes the conditions where they changed or the window moved, and empties the caches then."""
        model, window = self.model, self.model.settings.window_chunks
        if self._past.shape[1] >= window:
            self._past = self._past[:, -(window // 2) :]
        first = self.chunk - self._past.shape[1]
        key = (self.conditions, self.sampling, first)
        if self._branches is not None and key == self._made_of:
            return
        encoder, options = model.condition_encoder, model.check_sampling(self.sampling)
        encoder.request(self.conditions)  # refuses what cannot be asked for
        seconds = first * model.binding.spec.chunk_samples / model.binding.spec.sample_rate
        conditions = encoder.later(self.conditions, seconds) if first else self.conditions
        self._branches, self._made_of, self._fed = guidance_branches(encoder, conditions, options), key, 0
        encoded = self._branches.encoded
        self._caches = model.trunk.make_caches(len(encoded), encoded.tokens.shape[1] + 2 + window)


def open_rollout(
    model: ContinuousAR,
    conditions: Conditions,
    options: ContinuousSampling,
    generator: torch.Generator | None,
    known: tuple[Tensor, Tensor] | None = None,
) -> ChunkRollout:
    """Returns the rollout of B items, whose seeds come from a generator.

    Args:
        model: the generator of the latents.
        conditions: of the items.
        options: of the sampler.
        generator: source of the seed of each item.
        known: see `ChunkRollout`.
    """
    return ChunkRollout(model, conditions, options, [draw_seed(generator) for _ in range(len(conditions))], known)


def sample_chunks(
    model: ContinuousAR,
    request: SampleRequest,
    options: ContinuousSampling,
    *,
    generator: torch.Generator | None,
    callback: Callable[[int, int], None] | None,
) -> Tensor:
    """Returns latents [B, T, D] as the codec gives them, float32, zero beyond each item's own frames.

    Args:
        model: the generator of the latents.
        request: conditions and lengths of the B items, and which chunks are given.
        options: of the sampler.
        generator: source of all noise.
        callback: called with (chunks done, chunks in all).

    Raises:
        ValueError: anything but the first chunks is given, they carry noise, or they are latents of another codec or
            hold NaN.
    """
    spec, total = model.binding.spec, max(request.num_chunks)
    like = torch.zeros(len(request), total * spec.chunk_latents, spec.latent_dim, device=model.device)
    _refuse_all_but_a_start(request)
    known, where = known_latents(model.binding, request, like)
    normal = normalise(known, model.binding).unflatten(1, (total, -1)).flatten(2)
    chunks = None if request.encoded is None else (normal, request.keep.to(model.device))
    rollout = open_rollout(model, request.conditions, options, generator, chunks)
    made = []
    for done in range(1, total + 1):
        made.append(rollout.next_block(1))
        if callback is not None:
            callback(done, total)
    latents = torch.where(where.unsqueeze(-1), known, torch.cat(made, 1))  # what is given comes out bit for bit
    ends = torch.tensor(request.num_chunks, device=model.device)[:, None] * spec.chunk_latents
    beyond = torch.arange(latents.shape[1], device=model.device) >= ends
    return latents.masked_fill(beyond.unsqueeze(-1), 0.0)


def _refuse_all_but_a_start(request: SampleRequest) -> None:
    if request.noise_level:
        raise ValueError(
            f"given chunks cannot carry noise here, got a noise_level of {request.noise_level}: leave it out, or use a "
            "diffusion generator"
        )
    gaps = (~request.keep).cumsum(1).bool() & request.keep
    if gaps.any():
        raise ValueError(
            "each chunk is drawn from those before it, so that only the start of an item can be given: use a diffusion "
            "generator for inpainting"
        )
