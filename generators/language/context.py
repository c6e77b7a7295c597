"""The past of a sequence that is being sampled, which the next position can see.

Shape letters: N items, G branches of the guidance, R rows (N * G, the branches of an item in a row), K digits of a
frame, W width, P positions of the conditions before the sequence. A frame is what the network draws at a time: a patch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ...layers.cache import SlotCache
from ..conditions import Conditions
from ..parts.guidance import guidance_branches
from .draw import DigitFilter
from .repetition import Repetition
from .trunk import rotary_turns, run_trunk

if TYPE_CHECKING:
    from .lm import TokenLM
    from .sampling import TokenSampling

BLOCK = 128  # slots: a step reads whole blocks of the cache, as far as it is filled
PIECE = 256  # positions that are read at a time, which bounds the memory of their attention


class Context:
    """Conditions, BOS and the frames of the window so far, once for each branch of the guidance.

    The window holds at most `max_frames` token frames, in whole chunks. When it is full it moves on by half of that:
    the older frames are forgotten, and the conditions say that the item now starts later in its recording, as training
    crops do.

    Args:
        model: the language model.
        conditions: of N items.
        options: of the sampler.
        num_patches: of the longest item; None: there is no end.
    """

    branch_weights: tuple[float, ...]  # of the guidance
    end_logits: Tensor | None  # [N'] that the patch drawn last is the last of its item; None: not learned
    _x: Tensor | None  # embeddings [R, W] of the last position, which a step reads; None: not known
    _filled: int  # slots whose keys and values are written
    _slots: Tensor  # [slots] their numbers
    _turns: Tensor  # [slots, 1, E / 2, 2]
    _bias: Tensor  # [R, 1, 1, slots] 0 where a slot is seen, -inf elsewhere
    _filters: DigitFilter
    _guidance: Tensor | None
    _repetition: Repetition | None
    _added: Tensor | None  # [R, W] of the conditions, added to each frame

    def __init__(self, model: TokenLM, conditions: Conditions, options: TokenSampling, num_patches: int | None = None):
        self.model, self.weights = model, model.packed_weights.of(model)
        settings = model.settings
        self.window = min(settings.window_patches, num_patches or settings.window_patches)
        num_digits = len(model.head.levels)
        self.first_patch = 0  # of the window
        self._past = torch.zeros(len(conditions), self.window, num_digits, dtype=torch.int64, device=model.device)
        self._count = 0  # patches of the window that are past
        self._cache: SlotCache | None = None
        self._read_part: tuple[tuple[int, int], SlotCache] | None = None
        self.ask(conditions, options)

    def ask(self, conditions: Conditions, options: TokenSampling) -> None:
        """Changes the conditions and options; the patches of the window are then read again behind the new ones."""
        self.conditions, self.options = conditions, options
        self._start = self._begin()

    def feed(self, past: Tensor) -> None:
        """Takes the digits [N, n, K] of a past that was not drawn here, at the very beginning."""
        while past.shape[1] - self.first_patch >= self.model.settings.window_patches:
            self.first_patch += self.model.settings.window_step
        self._count = past.shape[1] - self.first_patch
        self._past[:, : self._count] = past[:, self.first_patch :]
        self._start = self._begin()

    @torch.no_grad()
    def draw(self, uniform: Tensor, known: Tensor | None = None) -> Tensor:
        """Draws the next patch.

        Args:
            uniform: [N', K] numbers in [0, 1) for the first N' items; the others have ended.
            known: [N', K] digits that are given, -1 where one is to be drawn; None: all are drawn.

        Returns:
            Digits [N', K] int64.
        """
        items, rows = len(uniform), len(uniform) * len(self.branch_weights)
        if self._count == self.model.settings.window_patches:
            self._move_window()
        x, cache = self._read(items) if self._x is None or self._cache is None else (self._x[:rows], self._cache)
        digits: Tensor
        digits, self._x, self.end_logits = self.model.step(
            self.weights,
            self._part(cache, rows, (self._filled // BLOCK + 1) * BLOCK),
            x,
            self._slots[self._filled : self._filled + 1],
            self._turns,
            self._bias[:rows],
            self._place(rows),
            dense(uniform),
            None if known is None else dense(known),
            self._filters,
            self._guidance,
            None if self._repetition is None else self._repetition.rows(items),
        )
        self._past[:items, self._count] = digits
        self._count += 1
        self._filled += 1
        return digits

    def _place(self, rows: int) -> Tensor:
        """Returns what is added to the embedding of the next patch, [W] or [R', W] of the first rows."""
        place = self.model.embed_place(self._count)
        return place if self._added is None else place + self._added[:rows]

    def _part(self, cache: SlotCache, rows: int, slots: int) -> SlotCache:
        """Returns what a step reads of the cache, which is the same for many steps."""
        if self._read_part is None or self._read_part[0] != (rows, slots):
            self._read_part = (rows, slots), cache.part(rows, slots)
        return self._read_part[1]

    def _move_window(self) -> None:
        step = self.model.settings.window_step
        self.first_patch += step
        self._count -= step
        self._past[:, : self._count] = self._past[:, step:].clone()
        self._start = self._begin()

    def _begin(self) -> tuple[Tensor, Tensor | None]:
        """Returns the embeddings [R, P + 1, W] of conditions and BOS, and their mask [R, P + 1] if one is ragged."""
        self._x = None
        encoder = self.model.condition_encoder
        seconds = self.first_patch * self.model.settings.patch_frames / self.model.binding.spec.token_rate_hz
        conditions = encoder.later(self.conditions, seconds) if seconds else self.conditions
        branches = guidance_branches(encoder, conditions, self.options)
        self.branch_weights = branches.weights
        start, mask = self.model.start_embeddings(branches.encoded)
        count, dtype = len(branches.weights), self.model.bos.dtype
        added = self.model.added_to_frames(branches.encoded)
        self._added = None if added is None else item_by_item(added.to(dtype), count)
        self._filters = DigitFilter.of(self.options, start)
        self._guidance = torch.tensor(branches.weights, device=start.device) if count > 1 else None
        frames = self.model.to_frames(self._past[:, : self._count])
        self._repetition = Repetition.of(self.options, self.model.binding.spec.levels, frames)
        return item_by_item(start.to(dtype), count), None if mask is None else item_by_item(mask, count)

    def _read(self, items: int) -> tuple[Tensor, SlotCache]:
        """Writes conditions, BOS and the window into the cache, all but the last position, whose embedding it returns.

        Args:
            items: how many of the items have not ended.
        """
        start, mask = self._start
        count = len(self.branch_weights)
        rows = items * count
        past = self.model.embed(self._past[:items, : self._count]).to(start.dtype)
        past = past.repeat_interleave(count, 0)
        x = torch.cat([start[:rows], past if self._added is None else past + self._added[:rows, None]], 1)
        cache = self._allocate(start)
        self._filled = x.shape[1] - 1
        hidden = None if mask is None else F.pad(~mask, (0, cache.capacity - mask.shape[1]), value=False)
        for begin in range(0, self._filled, PIECE):
            end = min(begin + PIECE, self._filled)
            bias = x.new_full((1, 1, end - begin, end), -torch.inf).triu(begin + 1)
            if hidden is not None:
                bias = bias.expand(rows, -1, -1, -1).masked_fill(hidden[:rows, None, None, :end], -torch.inf)
                bias.diagonal(begin, -2, -1).zero_()  # padding, which nothing else sees, sees itself
            slots, turns = self._slots[begin:end], self._turns[begin:end].unsqueeze(0)
            run_trunk(self.weights.trunk, cache.part(rows, end), x[:, begin:end], slots, turns, bias)
        self._bias = x.new_full((len(start), 1, 1, cache.capacity), -torch.inf)
        self._bias[..., : self._filled] = 0.0
        if hidden is not None:
            self._bias.masked_fill_(hidden[:, None, None], -torch.inf)
        return dense(x[:, -1]), cache

    def _allocate(self, start: Tensor) -> SlotCache:
        """Returns the cache, which is made again only for other branches."""
        settings = self.model.settings
        head_dim = settings.width // settings.heads
        capacity = -(-(start.shape[1] + self.window) // BLOCK) * BLOCK
        shape = (len(start), settings.heads, capacity, head_dim)
        if self._cache is None or self._cache.keys[0].shape != shape:
            self._cache, self._read_part = SlotCache.allocate(settings.depth, shape, start), None
            self._slots = torch.arange(capacity, device=start.device)
            turned = self.model.rotary_dim
            self._turns = rotary_turns(capacity, turned, head_dim, settings.rotary_base, start)
        return self._cache


def item_by_item(x: Tensor, count: int) -> Tensor:
    """Returns x [N * G, ...] of items in the order of the branches, with the G branches of each item in a row."""
    rows: Tensor = x.unflatten(0, (count, -1)).transpose(0, 1).flatten(0, 1)
    return rows


def dense(x: Tensor) -> Tensor:
    """Returns a copy of x whose strides are those of its shape.

    A slice with one row keeps the stride of the tensor that it is part of, which `contiguous` leaves as it is, and for
    each such stride a compiled step would be compiled again.
    """
    return x.clone(memory_format=torch.contiguous_format)
