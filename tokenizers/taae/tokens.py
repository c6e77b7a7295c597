"""The two streams of TAAE: latents, and tokens of a bottleneck that can be changed after training."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Self

from torch import Tensor

from ...core.config import config_to_dict
from ...layers import fsq
from ..base import TokenizerSpec
from ..inputs import check_latents
from ..parts.frames import FrameTokenizer
from .bottleneck import Bottleneck, BottleneckConfig
from .config import TAAEConfig

Z_LIMIT = math.atanh(fsq.ATANH_LIMIT)  # encoder output is clamped to this: beyond it tanh is 1 for every quantiser


class BottleneckTokenizer(FrameTokenizer):
    """A codec whose tokens are those of a `Bottleneck`; its latents do not depend on it."""

    settings: TAAEConfig
    bottleneck: Bottleneck

    @property
    def spec(self) -> TokenizerSpec:
        c = self.settings
        return TokenizerSpec(
            name="taae",
            sample_rate=c.sample_rate,
            channels=c.channels,
            hop_samples=c.hop_samples,
            latent_dim=c.latent_dim,
            levels=self.bottleneck.levels,
            token_hop_samples=c.hop_samples,
        )

    @property
    def codebooks(self) -> Bottleneck:
        return self.bottleneck

    def use_preset(self, name: str) -> Self:
        """Makes tokens as preset `name` does, such as `2x15625_700bps` or `native`; returns self.

        Weights and latents stay as they are; config, spec and fingerprint change.

        Raises:
            ValueError: the levels that the network was trained with do not allow it; the message lists those that they
                allow.
        """
        return self.use_bottleneck(self.bottleneck.with_preset(name).config)

    def use_bottleneck(self, config: BottleneckConfig) -> Self:
        """Makes tokens as `config` specifies: other levels, stages or partition, changed after training; returns self.

        Raises:
            ValueError: it is made for another number of dimensions.
        """
        self.bottleneck = Bottleneck(config, self.settings.latent_dim)
        self.settings = replace(self.settings, bottleneck=config)
        self.register_to_config(**config_to_dict(self.settings))
        return self

    def z_to_latents(self, z: Tensor) -> Tensor:
        """Returns latents of encoder output z [B, T, D]: atanh(tanh(z)) / scale, z itself up to clamp and scale."""
        return z.float().clamp(-Z_LIMIT, Z_LIMIT) / self.settings.latent_scale

    def latents_to_tokens(self, latents: Tensor) -> Tensor:
        check_latents(self.spec, latents)
        return self.bottleneck.z_to_tokens(latents.float() * self.settings.latent_scale)
