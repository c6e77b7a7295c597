"""Where an item ends: learned with its tokens, and decided while they are sampled.

Shape letters: B batch, n patches, W width, C token frames of a patch, T' token frames.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RARE = -4.0  # first logit that a patch is the last one: few are


class EndHead(nn.Module):
    """The logit that the next patch is the last one of its item."""

    def __init__(self, width: int):
        super().__init__()
        self.to_logit = nn.Linear(width, 1)
        nn.init.zeros_(self.to_logit.weight)
        nn.init.constant_(self.to_logit.bias, RARE)

    def forward(self, hidden: Tensor) -> Tensor:
        """Returns logits [...] float32 of hidden states [..., W]."""
        logits: Tensor = self.to_logit(hidden).squeeze(-1)
        return logits.float()


def end_nats(logits: Tensor, mask: Tensor, patch_frames: int) -> Tensor:
    """Returns the sum [] of -log p of where the items of a batch end, in nats.

    An item that fills the crop may be longer: whether its last patch is an end is not known, and has no loss.

    Args:
        logits: [B, n] that a patch is the last one.
        mask: [B, T'] bool, True where a token frame is real.
        patch_frames: C.
    """
    frames = mask.sum(1, keepdim=True)
    last = (frames - 1).div(patch_frames, rounding_mode="floor")  # [B, 1]
    patch = torch.arange(logits.shape[1], device=logits.device)
    is_last = patch == last
    known = (patch < last) | (is_last & (frames < mask.shape[1]))
    return (F.binary_cross_entropy_with_logits(logits, is_last.float(), reduction="none") * known).sum()


class Ends:
    """Decides where items end that are being sampled: where it is more likely than not that they have ended.

    This is the median of the ends that the model expects. Nothing is random, and an item ends with a whole chunk.

    Args:
        num_items: B.
        chunk_tokens: token frames of a chunk.
        patch_frames: C.
        device: of the logits.
    """

    def __init__(self, num_items: int, chunk_tokens: int, patch_frames: int, device: torch.device):
        self._chunk_tokens, self._patch_frames = chunk_tokens, patch_frames
        self._survival = torch.zeros(num_items, device=device)  # log of the probability that an item continues
        self._chunks = torch.zeros(num_items, dtype=torch.int64, device=device)  # of each item; 0: not known yet

    def see(self, patch: int, logits: Tensor, given: Tensor) -> None:
        """Takes what the model says of a patch of the first items.

        Args:
            patch: its number.
            logits: [B'] that it is the last one.
            given: [B'] bool, where it is given, so that the item does not end with it.
        """
        chunks = (patch + 1) * self._patch_frames // self._chunk_tokens
        if chunks == patch * self._patch_frames // self._chunk_tokens:
            return  # no chunk is complete
        survival, known = self._survival[: len(logits)], self._chunks[: len(logits)]
        survival += F.logsigmoid(-logits).masked_fill(given, 0.0)
        known.masked_fill_((known == 0) & ~given & (survival < math.log(0.5)), chunks)

    def have_ended(self, count: int) -> bool:
        """Returns whether the first `count` items all have ended."""
        return bool((self._chunks[:count] > 0).all())

    def chunks(self, most: Tensor) -> Tensor:
        """Returns the chunks [B] int64 on the CPU of each item, which are `most` [B] where it has not ended."""
        known = self._chunks.cpu()
        return torch.where(known > 0, known.minimum(most), most)
