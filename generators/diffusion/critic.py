"""The critic of adversarial post-training: a diffusion transformer that reads latents in place of denoising them.

Shape letters: B batch, T latent frames, D latent width, W width.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from .dit import DiffusionTransformer
from .frame_times import FrameTimes
from .past import Past

HEAD_FRAMES = 3  # that a convolution of the head sees


class LatentCritic(nn.Module):
    """A copy of the first blocks of a generator, and a head that gives each frame a logit, high for real latents.

    It knows from the start what noisy latents look like under their conditions (Novack et al., arXiv 2505.08175).

    Args:
        model: the generator, whose weights are copied.
        blocks: how many of its blocks.
    """

    def __init__(self, model: DiffusionTransformer, blocks: int):
        super().__init__()
        width = model.settings.width
        network: Any = copy.deepcopy(model)
        network.blocks = network.blocks[:blocks]
        network.to_velocity = nn.Linear(width, width)
        self.network: Any = network.requires_grad_(True)
        self.head = nn.Sequential(
            nn.SiLU(),
            nn.Conv1d(width, width, HEAD_FRAMES, padding=HEAD_FRAMES // 2),
            nn.SiLU(),
            nn.Conv1d(width, 1, HEAD_FRAMES, padding=HEAD_FRAMES // 2),
        )

    def forward(self, latents: Tensor, t: Tensor, order: Tensor, inputs: dict[str, Any]) -> Tensor:
        """Returns logits of the frames [N, T], float32.

        Args:
            latents: [N, T, D] normalised latents with noise, N being a multiple of B.
            t: [N] their times.
            order: [N] long, the number of the conditions that each is read under.
            inputs: further inputs of the generator, of B items: `conditions`, `drop_mask`, `mask` and perhaps `past`.
        """
        count = len(latents) // len(inputs["conditions"])
        mask, past = inputs["mask"], inputs.get("past")
        encoded = self.network.condition_encoder(inputs["conditions"], inputs["drop_mask"])
        if mask is not None:
            mask = mask.repeat(count, 1)
        if past is not None:
            past = Past(latents=past.latents.repeat(count, 1, 1), t=past.t.repeated(count))
        read = self.network(latents, FrameTimes.of(t), conditions=encoded.rows(order), mask=mask, past=past)
        if mask is not None:
            read = read.masked_fill(~mask.unsqueeze(-1), 0.0)
        logits: Tensor = self.head(read.transpose(1, 2))
        return logits.squeeze(1).float()
