"""From normalized log mel spectra to z: their principal components, and what a network adds to them.

Shape letters: B batch, T frames, F values per frame, D latent width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..parts.principal import whitening_projection
from .blocks import ConvNeXtBlock, FrameLinear
from .config import MelCodecConfig
from .stages import ChainStream, Stage

LEARNED_GAIN = 0.15  # of the network's part of z at the start


class Encoder(nn.Module):
    """Features [B, T, F] to z [B, T, D], not yet bounded.

    z = spectra @ principal + network(features), where spectra are the features without autocorrelations. `principal`
    holds whitened principal components once `fit` has seen training data, and is not trained: from the first step on
    the digits are about independent and evenly used.
    """

    def __init__(self, config: MelCodecConfig):
        super().__init__()
        self.config = config
        self.principal: Tensor
        start = torch.zeros(config.num_features, config.latent_dim)  # until `fit`: a group of bands per digit
        for digit, bands in enumerate(torch.arange(config.num_features).tensor_split(config.latent_dim)):
            start[bands, digit] = config.latent_scale / max(1, len(bands))
        self.register_buffer("principal", start)
        width, gain = config.encoder_width, 1.0 / max(1, config.encoder_blocks)
        self.embed = FrameLinear(config.front_width, width)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(width, config.kernel_frames, config.expansion, causal=config.causal, branch_gain=gain)
            for _ in range(config.encoder_blocks)
        )
        self.project = FrameLinear(width, config.latent_dim, norm=True, gain=LEARNED_GAIN)

    @property
    def stages(self) -> list[Stage]:
        """The network, layer by layer."""
        return [self.embed, *self.blocks, self.project]

    def fit(self, features: Tensor) -> None:
        """Takes the whitened principal components of normalized features [M, F], as wide as `latent_scale`."""
        features = features[:, : self.config.num_features]
        self.principal.copy_(whitening_projection(features, self.config.latent_dim, self.config.latent_scale))

    def forward(self, features: Tensor) -> Tensor:
        hidden = features.to(self.embed.linear.weight.dtype)
        for stage in self.stages:
            hidden = stage(hidden)
        return self.project_principal(features) + hidden.float()

    def project_principal(self, features: Tensor) -> Tensor:
        """The principal components [B, T, D] of features, in float32."""
        with torch.autocast(features.device.type, enabled=False):
            return features[..., : self.config.num_features].float() @ self.principal.float()


class EncoderStream:
    """Front and encoder at work on audio [B, n] that comes in pieces of whole hops: z [B, n', D] as of the whole."""

    def __init__(self, front: Stage, encoder: Encoder):
        self.front, self.encoder = ChainStream([front]), encoder
        self.network = ChainStream(encoder.stages)
        self.waiting: Tensor | None = None  # principal components of frames that the network has not given yet

    def push(self, audio: Tensor) -> Tensor | None:
        """Returns the frames that became certain, if any.

        Raises:
            ValueError: another batch than before.
        """
        features = self.front.push(audio)
        return None if features is None else self._join(self._hear(features))

    def flush(self) -> Tensor | None:
        """Ends the signal; returns the frames that waited. The stream starts over."""
        features = self.front.flush()
        parts = [self._hear(features) if features is not None else None, self.network.flush()]
        return self._join(*parts)

    def _hear(self, features: Tensor) -> Tensor | None:
        principal = self.encoder.project_principal(features)
        self.waiting = principal if self.waiting is None else torch.cat((self.waiting, principal), dim=1)
        return self.network.push(features.to(self.encoder.embed.linear.weight.dtype))

    def _join(self, *parts: Tensor | None) -> Tensor | None:
        learned = [part for part in parts if part is not None]
        if not learned:
            return None
        assert self.waiting is not None
        network = torch.cat(learned, dim=1).float()
        z = self.waiting[:, : network.shape[1]] + network
        rest = self.waiting[:, network.shape[1] :]
        self.waiting = rest.clone() if rest.shape[1] else None
        return z
