"""A diffusion transformer over the continuous stream of any codec (after DiT, arXiv 2212.09748).

Shape letters: B batch, T latent frames, D latent width, S condition tokens, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ...layers.rotary import rotary_angles
from ...tokenizers.base import Encoded
from ..base import Conditions, Generated, LatentGenerator, TokenizerBinding
from ..conditioning import ConditionEncoder, ConditioningConfig, EncodedConditions
from ..parts.request import check_request, refuse_options
from .blocks import Block, time_features
from .normalise import check_latents
from .sampling import sample_latents

TIME_FEATURES = 256  # sinusoids of the diffusion time


@dataclass(frozen=True, kw_only=True)
class DiffusionTransformerConfig:
    """Sizes of a diffusion transformer."""

    binding: TokenizerBinding  # the codec whose latents it models
    width: int = 512  # W
    depth: int = 12  # blocks
    heads: int = 8
    mlp_ratio: float = 2.75  # hidden width of the gated MLP, in units of the width
    conditioning: ConditioningConfig = field(default_factory=ConditioningConfig)
    max_frames: int = 8192  # longest item, in latent frames
    rotary_base: float = 10_000.0

    def __post_init__(self) -> None:
        if min(self.width, self.depth, self.heads, self.max_frames) < 1 or self.mlp_ratio <= 0:
            raise ValueError("width, depth, heads, max_frames and mlp_ratio must be positive")
        if self.width % self.heads or self.width // self.heads % 2:
            raise ValueError(f"heads {self.heads} must divide width {self.width} into even parts")
        binding, dim = self.binding, self.binding.spec.latent_dim
        if not len(binding.latent_mean) == len(binding.latent_std) == dim:
            raise ValueError(
                f"a diffusion transformer needs mean and standard deviation of each of the {dim} latent channels, "
                f"got {len(binding.latent_mean)} and {len(binding.latent_std)}: encode the dataset with its latents"
            )
        if min(binding.latent_std) <= 0:
            raise ValueError(f"latent_std must be positive, got {min(binding.latent_std)}")


class DiffusionTransformer(LatentGenerator):
    """Predicts the rectified-flow velocity `noise - data` of normalised latents.

    The frames of a chunk need not be in time order (CoDiCodec's are an unordered set), so their rotary position is the
    chunk's index and a learned embedding tells which frame of the chunk it is. With one frame a chunk that is time.
    """

    config_class = DiffusionTransformerConfig
    objectives: ClassVar[Mapping[str, str]] = {"rectified_flow": ".objective:RectifiedFlowObjective"}
    settings: DiffusionTransformerConfig
    stream: Literal["latents", "tokens"] = "latents"

    def __init__(self, config: DiffusionTransformerConfig):
        super().__init__(config)
        width, spec = config.width, config.binding.spec
        self.condition_encoder = ConditionEncoder(config.conditioning)
        self.from_latents = nn.Linear(spec.latent_dim, width)
        self.frame_embedding = nn.Parameter(torch.randn(spec.chunk_latents, width) * 0.02)
        self.from_time = nn.Sequential(nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))
        self.from_global = nn.Linear(config.conditioning.width, width)
        self.to_modulation = nn.Linear(width, 6 * width)
        context_width = config.conditioning.width if self.condition_encoder.num_tokens else None
        hidden = round(width * config.mlp_ratio)
        self.blocks = nn.ModuleList(Block(width, config.heads, hidden, context_width) for _ in range(config.depth))
        self.final_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.final_modulation = nn.Linear(width, 2 * width)
        self.to_velocity = nn.Linear(width, spec.latent_dim)
        for zero in (self.to_modulation, self.final_modulation, self.to_velocity):
            nn.init.zeros_(zero.weight)
            nn.init.zeros_(zero.bias)

    def forward(
        self,
        noisy: Tensor,
        t: Tensor,
        *,
        conditions: Conditions | EncodedConditions,
        mask: Tensor | None = None,
        drop_mask: Tensor | None = None,
    ) -> Tensor:
        """Velocity [B, T, D] at normalised latents `noisy` [B, T, D] and times t [B] in [0, 1], 1 being pure noise.

        Args:
            conditions: of B items; raw ones are encoded here, so that data-parallel wrappers see those weights used.
            mask: [B, T] bool, True where a frame is real; what lies elsewhere has no effect on these.
            drop_mask: [B] bool, True where the conditions are replaced by "not given".

        Raises:
            ValueError: latents of a wrong shape, longer than `max_frames`, or another number of times than items.
        """
        check_latents(noisy, self.binding)
        spec = self.binding.spec
        num_chunks = noisy.shape[1] // spec.chunk_latents
        if noisy.shape[1] > self.settings.max_frames:
            raise ValueError(
                f"{noisy.shape[1]} latent frames are more than this generator's max_frames, {self.settings.max_frames}"
            )
        if not len(noisy) == len(t) == len(conditions):
            raise ValueError(f"{len(noisy)} items, but {len(t)} times and {len(conditions)} conditions")
        encoded: EncodedConditions = (
            conditions if isinstance(conditions, EncodedConditions) else self.condition_encoder(conditions, drop_mask)
        )
        dtype = self.to_velocity.weight.dtype
        x = self.from_latents(noisy.to(dtype)) + self.frame_embedding.repeat(num_chunks, 1)
        vector = self.from_time(time_features(t, TIME_FEATURES).to(dtype)) + self.from_global(encoded.global_vector)
        vector = nn.functional.silu(vector)
        modulation = self.to_modulation(vector).unflatten(-1, (6, -1))
        chunk_index = torch.arange(num_chunks, device=noisy.device).repeat_interleave(spec.chunk_latents)
        angles = rotary_angles(chunk_index, self.settings.width // self.settings.heads, self.settings.rotary_base)
        for block in self.blocks:
            x = block(x, modulation, mask, angles, encoded.tokens, encoded.mask)
        shift, scale = self.final_modulation(vector).unsqueeze(1).chunk(2, -1)
        return self.to_velocity(self.final_norm(x) * (1 + scale) + shift)

    def sample(
        self,
        conditions: Conditions,
        lengths_samples: Tensor,
        *,
        generator: torch.Generator | None = None,
        guidance_scale: float = 1.0,
        prefix: Encoded | None = None,
        callback: Callable[[int, int], None] | None = None,
        num_inference_steps: int = 50,
        scheduler: Any | None = None,
        **options: Any,
    ) -> Generated:
        """Sample latents; see `LatentGenerator.sample`.

        Noise is drawn item after item, so an item does not depend on how many are sampled with it.

        Args:
            num_inference_steps: steps of the scheduler.
            scheduler: any flow-matching scheduler of diffusers; `FlowMatchEulerDiscreteScheduler` by default.

        Raises:
            ValueError: see `check_request`, `ConditionEncoder.refuse` and `sample_latents`.
            TypeError: an option that does not exist.
        """
        refuse_options(options, ("num_inference_steps", "scheduler"))
        request = check_request(self.binding.spec, conditions, lengths_samples, guidance_scale, prefix)
        self.condition_encoder.refuse(conditions)
        latents = sample_latents(
            self,
            conditions,
            request,
            generator=generator,
            guidance_scale=guidance_scale,
            prefix=prefix,
            callback=callback,
            num_inference_steps=num_inference_steps,
            scheduler=scheduler,
        )
        return Generated(latents=latents, tokens=None, lengths_samples=request.lengths_samples)
