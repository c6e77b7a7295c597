"""Diffusion times of frames, few of which differ.

Shape letters: B batch, T latent frames, K different times of an item.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False)
class FrameTimes:
    """The times of an item, and which of them each frame has.

    What a network computes from a time is computed once for each of the K times and then spread over the frames. Where
    a part of an item is given, K is 2 whatever the number of frames.
    """

    values: Tensor  # [B, K] in 0..1; 1 is pure noise
    index: Tensor | None = None  # [B, T] long, within 0..K - 1; None: K is 1 and serves all frames, or K is T
    # [B, K] how far below each time the interval ends over which the velocity is averaged; None: 0, the velocity at it
    spans: Tensor | None = None

    @classmethod
    def of(cls, t: Tensor, spans: Tensor | None = None) -> FrameTimes:
        """Returns the times [B] of items, or [B, T] of all their frames, perhaps with spans of the same shape."""
        if t.ndim == 1:
            t, spans = t.unsqueeze(1), None if spans is None else spans.unsqueeze(1)
        return cls(t, spans=spans)

    def each(self) -> Tensor:
        """Returns the time of each frame [B, T], or [B, 1] where all frames of an item have the same."""
        return self.values if self.index is None else self.values.gather(1, self.index)

    def given(self, where: Tensor) -> FrameTimes:
        """Returns these times with 0 for the frames that `where` [B, T] marks."""
        num_times, num_frames = self.values.shape[1], where.shape[1]
        index = self._index(num_frames).masked_fill(where, num_times)
        return FrameTimes(F.pad(self.values, (0, 1)), index, None if self.spans is None else F.pad(self.spans, (0, 1)))

    def repeated(self, count: int) -> FrameTimes:
        """Returns the times of the items `count` times over."""
        index, spans = (None if x is None else x.repeat(count, 1) for x in (self.index, self.spans))
        return FrameTimes(self.values.repeat(count, 1), index, spans)

    def then(self, other: FrameTimes, num_frames: int) -> FrameTimes:
        """Returns the times of `num_frames` frames of these, and after them as many of the other ones."""
        index = torch.cat([self._index(num_frames), other._index(num_frames) + self.values.shape[1]], 1)
        values = torch.cat([self.values, other.values], 1)
        if self.spans is None and other.spans is None:
            return FrameTimes(values, index)
        return FrameTimes(values, index, torch.cat([self.all_spans(), other.all_spans()], 1))

    def all_spans(self) -> Tensor:
        """Returns the span [B, K] of each time."""
        return torch.zeros_like(self.values) if self.spans is None else self.spans

    def weights(self, dtype: torch.dtype) -> Tensor | None:
        """Returns 1 where a frame has a time, else 0, [B, T, K], for `spread`; None where nothing is to be spread."""
        return None if self.index is None else F.one_hot(self.index, self.values.shape[1]).to(dtype)

    def _index(self, num_frames: int) -> Tensor:
        if self.index is not None:
            return self.index
        size, num_times = self.values.shape
        device = self.values.device
        if num_times == 1:
            return torch.zeros(size, num_frames, dtype=torch.long, device=device)
        return torch.arange(num_frames, device=device).expand(size, num_frames)


def spread(x: Tensor, weights: Tensor | None) -> Tensor:
    """Returns what each frame has, [B, T, ...], of what its item's times have, [B, K, ...].

    A product of matrices does that faster than indexing, whose gradient is a sum over scattered places.

    Args:
        x: [B, K, ...].
        weights: of `FrameTimes.weights`; None returns x.
    """
    return x if weights is None else (weights @ x.flatten(2)).unflatten(2, x.shape[2:])
