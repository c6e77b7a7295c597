"""Block after block out of a chunk-causal transformer, each behind those before it in a cache.

Shape letters: B batch, T latent frames, n frames of a block, D latent width.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...core.random import keyed_generator, randn
from ..conditions import Conditions
from ..parts.guidance import GuidanceBranches, guidance_branches
from ..parts.normalise import normalise
from ..parts.times import shift_factor
from ..stream import GeneratorStream
from .guidance import store_frames
from .known import KnownFrames
from .past import FrameCache
from .sampling import codec_latents, solve_frames
from .sampling_config import DiffusionSampling

if TYPE_CHECKING:
    from .dit import DiffusionTransformer

MOST_FRAMES = 2**16  # positions of a cache: float32 angles of higher ones lose precision


class BlockRollout(GeneratorStream):
    """Denoises one block after another, each with the clean blocks before it in a cache.

    The noise of an item is a function of a seed of its own and of the number of the block, so that an item depends
    neither on the others nor on how many blocks follow.

    Args:
        model: a transformer with chunk-causal attention.
        conditions: of B items.
        sampling: options.
        seeds: of the noise of each item.
        num_chunks: chunks of each item; None: without an end.
        known: [B, T, D] latents of the codec that are given, and the mask [B, T] bool of where; None: nothing is.
        noise_level: of what is given.
    """

    sampling: DiffusionSampling

    def __init__(
        self,
        model: DiffusionTransformer,
        conditions: Conditions,
        sampling: DiffusionSampling,
        *,
        seeds: list[int],
        num_chunks: tuple[int, ...] | None = None,
        known: tuple[Tensor, Tensor] | None = None,
        noise_level: float = 0.0,
    ):
        self.model, self.conditions, self.sampling = model, conditions, sampling
        self.seeds, self.num_chunks, self.noise_level = seeds, num_chunks, noise_level
        self.known = known
        self.block = 0  # number of the next block
        self.frame = 0  # number of its first frame
        self._recent: deque[tuple[Tensor, Tensor]] = deque(maxlen=model.settings.window_blocks)
        self._pending = False  # whether the cache lacks the last of the recent blocks
        self._cache: FrameCache | None = None
        self._branches: GuidanceBranches | None = None
        self._made_of: tuple[Conditions, DiffusionSampling, int] | None = None

    @property
    def block_samples(self) -> int:
        return self.model.settings.block_frames * self.model.binding.spec.hop_samples

    @torch.no_grad()
    def next_block(self, num_chunks: int | None = None) -> Tensor:
        chunk = self.model.binding.spec.chunk_latents
        count = self.model.settings.block_frames if num_chunks is None else num_chunks * chunk
        branches, cache = self._prepare(count)
        mask = self._mask(count)
        noise = torch.stack([self._draw(item, "noise", count) for item in range(len(self.seeds))])
        known, where = self._known(noise)
        given = KnownFrames(
            latents=normalise(known, self.model.binding),
            where=where,
            noise=noise,
            level=self.noise_level,
            own_times=bool(self.model.trained_on.given),
        )
        if where.all() and not self.noise_level:
            x = given.latents
        else:
            x = solve_frames(
                self.model,
                branches,
                given,
                mask,
                self.sampling,
                start=self.noise_level if bool((where | ~mask).all()) else 1.0,
                shift=shift_factor(count, self.sampling.time_shift, self.sampling.shift_frames),
                sources=[keyed_generator(seed, "steps", self.block) for seed in self.seeds],
                cache=cache,
            )
        latents = codec_latents(self.model, x, given, known)
        self._recent.append((x, mask))
        self._pending = True
        self.block, self.frame = self.block + 1, self.frame + count
        return latents.masked_fill(~mask[..., None], 0.0)

    def _prepare(self, count: int) -> tuple[GuidanceBranches, FrameCache]:
        """Returns conditions and cache for the next block of `count` frames; the block before is added to the cache.

        It is added only now, so that its audio need not wait for that.
        """
        before, cache = self._branches, self._cache
        branches = self._current_branches(count)
        batch = len(branches.encoded)
        if before is None or cache is None or cache.batch != batch or cache.position + 2 * count > MOST_FRAMES:
            settings, device = self.model.settings, self.model.device
            cache = self._cache = FrameCache(settings, batch, self.model.dtype, device)
            missing, by = list(enumerate(self._recent, self.block - len(self._recent))), branches
        else:
            missing, by = [(self.block - 1, self._recent[-1])] if self._pending else [], before
        for number, (x, mask) in missing:
            self._store(by, cache, number, x, mask)
        self._pending = False
        cache.move_on()
        return branches, cache

    def _store(self, branches: GuidanceBranches, cache: FrameCache, number: int, x: Tensor, mask: Tensor) -> None:
        level = self.sampling.past_noise
        if level:
            drawn = [self._draw(item, "past", x.shape[1], number) for item in range(len(x))]
            x = (1.0 - level) * x + level * torch.stack(drawn)
        cache.move_on()
        store_frames(self.model, branches, x, level, None if bool(mask.all()) else mask, cache)

    def _current_branches(self, count: int) -> GuidanceBranches:
        """Returns the present conditions with guidance, which are encoded where they changed."""
        shift = self._shift(count)
        key = (self.conditions, self.sampling, shift)
        if self._branches is None or key != self._made_of:
            encoder, options = self.model.condition_encoder, self.model.check_sampling(self.sampling)
            encoder.request(self.conditions)  # refuses what cannot be asked for
            seconds = shift / self.model.binding.spec.latent_rate_hz
            conditions = encoder.later(self.conditions, seconds) if shift else self.conditions
            self._branches, self._made_of = guidance_branches(encoder, conditions, options), key
        return self._branches

    def _shift(self, count: int) -> int:
        """Returns by how many frames the start of the item has moved on, so that it is no longer than in training."""
        settings = self.model.settings
        longest = (settings.window_blocks + 1) * settings.block_frames
        step = (settings.window_blocks + 1) // 2 * settings.block_frames
        return -(-max(0, self.frame + count - longest) // step) * step

    def _draw(self, item: int, purpose: str, count: int, block: int | None = None) -> Tensor:
        """Returns noise [n, D] of a block of an item."""
        like = torch.zeros((), device=self.model.device)
        source = keyed_generator(self.seeds[item], purpose, self.block if block is None else block)
        return randn((count, self.model.binding.spec.latent_dim), source, like)

    def _mask(self, count: int) -> Tensor:
        """Returns which frames [B, n] bool of the next block are real."""
        if self.num_chunks is None:
            return torch.ones(len(self.seeds), count, dtype=torch.bool, device=self.model.device)
        ends = torch.tensor(self.num_chunks) * self.model.binding.spec.chunk_latents
        return (torch.arange(self.frame, self.frame + count) < ends[:, None]).to(self.model.device)

    def _known(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the given latents [B, n, D] of the next block, and where [B, n] they lie."""
        known, where = torch.zeros_like(like), torch.zeros(like.shape[:2], dtype=torch.bool, device=like.device)
        if self.known is not None:
            latents, lies = (part[:, self.frame : self.frame + like.shape[1]] for part in self.known)
            known[:, : latents.shape[1]], where[:, : lies.shape[1]] = latents, lies
        return known, where
