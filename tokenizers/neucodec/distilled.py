"""DistillNeuCodec: NeuCodec with light encoders. Shape letters: B batch, K hops of the padded signal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ..parts.init import keep_variance_
from .config import DistillNeuCodecConfig
from .distil_semantic import DistilSemanticEncoder
from .filterbank import BinMoments
from .l3ac import DistilAcousticEncoder
from .model import NeuCodec


class DistillNeuCodec(NeuCodec):
    """NeuCodec with light encoders: DistilHuBERT and an L3AC-like one, whose frames are projected before the fusion.

    All frames are official ones; for audio of whole hops the last official frame, all silence, is dropped.
    """

    config_class: ClassVar[type] = DistillNeuCodecConfig
    semantic_lag: ClassVar[int] = 0
    semantic_hub_id: ClassVar[str] = "ntu-spml/distilhubert"

    def _build_encoders(self, config: Any) -> tuple[int, int]:
        self.semantic_encoder: Any = DistilSemanticEncoder(config.semantic).requires_grad_(False)
        self.acoustic_encoder = DistilAcousticEncoder(config.acoustic)
        self.acoustic_proj = nn.Linear(config.acoustic.width, config.acoustic_width)
        keep_variance_(self.acoustic_proj)
        return config.semantic.width, config.acoustic_width

    @property
    def grid_frames(self) -> int:
        """The windows of the acoustic encoder's attention, which count from the start of the signal."""
        return cast(DistillNeuCodecConfig, self.settings).acoustic.window

    def feature_moments(self, items: Sequence[Tensor], num_samples: int) -> None:
        return None

    @torch.no_grad()
    def semantic_frames(self, padded: Tensor, moments: BinMoments | None = None) -> Tensor:
        """Maps [B, K * hop] to [B, K, S], without gradient."""
        frames: Tensor = self.semantic_encoder(padded.to(self.fusion.weight.dtype))
        return frames

    def acoustic_frames(self, padded: Tensor) -> Tensor:
        """Maps [B, K * hop] to [B, K, acoustic_width], projected."""
        frames: Tensor = self.acoustic_proj(super().acoustic_frames(padded))
        return frames
