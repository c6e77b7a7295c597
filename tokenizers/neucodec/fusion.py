"""From padded audio to the quantiser's input: two encoders, whose frames are fused.

Shape letters: B batch, K hops of the padded signal, S width of the semantic frames, V of the fused ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .acoustic import AcousticEncoder
from .adapter import Adapter
from .filterbank import BinMoments, utterance_moments
from .framing import hold_last
from .semantic import SemanticEncoder


class FusedEncoders(nn.Module):
    """The encoders of NeuCodec, on which it builds its adapter and its fusion; a version with others overrides them."""

    semantic_adapter: Adapter
    fusion: nn.Linear

    def _build_encoders(self, config: Any) -> tuple[int, int]:
        """Builds `semantic_encoder` and `acoustic_encoder`; returns the widths of their outputs."""
        self.semantic_encoder = SemanticEncoder(config.semantic)
        self.acoustic_encoder: nn.Module = AcousticEncoder(config.acoustic)
        return config.semantic.hidden_size, config.acoustic.out_width

    def feature_moments(self, items: Sequence[Tensor], num_samples: int) -> BinMoments | None:
        """Returns the normalisation of the semantic features of all chunks; None if there is none.

        Args:
            items: audio, each [N] of its own N.
            num_samples: of each when padded to whole hops.
        """
        return utterance_moments(items, num_samples)

    def semantic_frames(self, padded: Tensor, moments: BinMoments | None = None) -> Tensor:
        """Maps [B, K * hop] at the encoders' rate to [B, K - semantic_lag, S], without gradient.

        Args:
            padded: the audio.
            moments: of the signal, if `padded` is a chunk of it.
        """
        frames: Tensor = self.semantic_encoder(padded, moments)
        return frames

    def acoustic_frames(self, padded: Tensor) -> Tensor:
        """Maps [B, K * hop] at the encoders' rate to [B, K, width]."""
        frames: Tensor = self.acoustic_encoder(padded[:, None].to(self.fusion.weight.dtype))
        return frames

    def fused_frames(self, semantic: Tensor, padded: Tensor) -> Tensor:
        """Joins semantic frames and padded audio [B, K * hop] to [B, K, V]. Semantic channels come first."""
        acoustic = self.acoustic_frames(padded)
        semantic = hold_last(self.semantic_adapter(semantic), acoustic.shape[1])
        fused: Tensor = self.fusion(torch.cat((semantic, acoustic), dim=-1))
        return fused

    @property
    def grid_frames(self) -> int:
        """Chunks begin at a multiple of this many frames and are that much longer if necessary."""
        return 1
