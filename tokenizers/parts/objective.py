"""What the one training loop asks of anything that can be trained: a loss from a model and a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


class Objective(ABC):
    """`loss, metrics = objective(model, batch, step=step, generator=generator)`.

    The model may be wrapped (DistributedDataParallel, torch.compile), so an objective calls `model(...)` and nothing
    else of it. All randomness comes from `generator`, all else from the arguments: a resumed run repeats an
    uninterrupted one.
    """

    @abstractmethod
    def __call__(
        self, model: nn.Module, batch: Any, *, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar loss to minimise and named scalars to log (detached)."""


@dataclass(kw_only=True)
class AudioBatch:
    """A batch of audio crops to train a codec on."""

    audio: Tensor  # [B, C, N] float at the codec's rate
    ids: list[str]  # which item each crop came from, for messages

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> AudioBatch:
        """The same batch with its audio on `device`."""
        return AudioBatch(audio=self.audio.to(device, non_blocking=True), ids=self.ids)
