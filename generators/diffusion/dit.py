"""A diffusion transformer over the continuous stream of any codec (after DiT, arXiv 2212.09748).

Shape letters: B batch, T latent frames, D latent width, S condition tokens, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ...core.graphs import Graph
from ...layers.attention import KeyPadding
from ...layers.rotary import rotary_angles
from ..base import Generated, LatentGenerator, SamplingConfig
from ..conditioning import ConditionEncoder, EncodedConditions
from ..conditioning.fuse import Drop
from ..conditions import Conditions, PreparedConditions
from ..parts.normalise import check_latents
from ..parts.packing import Packing
from ..parts.request import SampleRequest
from ..parts.times import TIME_FEATURES, time_features
from ..stream import GeneratorStream
from .block_sampling import gives_future, open_rollout, sample_blocks
from .blocks import Block
from .config import DiffusionTransformerConfig
from .frame_times import FrameTimes, spread
from .graph import velocity_graph
from .packing import packed_frames, packed_tokens
from .past import EarlierFrames, Past, View, doubled_view, plain_view
from .sampling import sample_latents
from .sampling_config import DiffusionSampling


class DiffusionTransformer(LatentGenerator):
    """Predicts the rectified-flow velocity `noise - data` of normalised latents.

    The frames of a chunk need not be in time order (CoDiCodec's are an unordered set), so their rotary position is the
    chunk's index and a learned embedding marks which frame of the chunk it is. With one frame a chunk that is time.
    """

    config_class = DiffusionTransformerConfig
    objectives: ClassVar[Mapping[str, str]] = {
        "rectified_flow": ".objective:RectifiedFlowObjective",
        "mean_flow": ".mean_flow:MeanFlowObjective",
        "adversarial": ".adversarial:AdversarialFlowObjective",
    }
    sampling_class: ClassVar[type[SamplingConfig]] = DiffusionSampling
    adapted_layers: ClassVar[str] = "blocks."
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
        if self.condition_encoder.spreads and config.attention != "full":
            raise ValueError("symbols are spread over whole items, which needs attention full: set spread to false")
        if self.condition_encoder.gives_frames:
            self.from_frames = nn.Linear(config.conditioning.width, width)
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
        if config.average_velocity:
            self._add_spans()

    def give_average_velocity(self) -> None:
        """Makes the network take spans of times, which at first change nothing of what it gives."""
        if not self.settings.average_velocity:
            self.replace_settings(average_velocity=True)
            self._add_spans()
            self.from_span.to(self.to_velocity.weight)

    def _add_spans(self) -> None:
        width = self.settings.width
        last = nn.Linear(width, width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.from_span = nn.Sequential(nn.Linear(TIME_FEATURES, width), nn.SiLU(), last)

    @property
    def can_pack(self) -> bool:
        return True

    @property
    def repeated_blocks(self) -> Sequence[nn.Module]:
        return list(self.blocks)

    @property
    def longest_s(self) -> float | None:
        if self.settings.attention == "chunk_causal":
            return None
        longest_s = self.settings.max_frames / self.binding.spec.latent_rate_hz
        return longest_s if self.trained_on.crop_s is None else min(longest_s, self.trained_on.crop_s)

    def forward(
        self,
        noisy: Tensor,
        t: Tensor | FrameTimes,
        *,
        conditions: Conditions | PreparedConditions | EncodedConditions,
        mask: Tensor | None = None,
        drop_mask: Drop | None = None,
        past: Past | None = None,
        cache: EarlierFrames | None = None,
        store: bool = False,
    ) -> Tensor:
        """Returns the velocity [B, T, D], averaged over the spans of the times where they have any.

        Args:
            noisy: [B, T, D] normalised latents.
            t: [B] times in [0, 1], 1 being pure noise, or [B, T] times of each frame: 0 for one that is given. Few
                different times cost less as `FrameTimes`, which also have spans.
            conditions: of B items; they are encoded here unless they are, so that data-parallel wrappers see those
                weights used.
            mask: [B, T] bool, True where a frame is real; what lies elsewhere has no effect on these.
            drop_mask: [B] bool, True where the conditions are replaced by "not given"; or such masks by condition.
            past: what each block sees of those before it, for training. With the attention `both`, all frames see each
                other without it.
            cache: what the frames, which are the next block, see of those before it, for sampling.
            store: whether the frames are added to the cache.

        Raises:
            ValueError: latents of a wrong shape, longer than `max_frames`, times that do not fit them, a past or a
                cache with attention full, or spans that the network was not trained for.
        """
        self._check(noisy, t, conditions, past, cache)
        encoded: EncodedConditions = (
            conditions if isinstance(conditions, EncodedConditions) else self.condition_encoder(conditions, drop_mask)
        )
        times = t if isinstance(t, FrameTimes) else FrameTimes.of(t)
        start = 0 if cache is None else cache.position
        index = torch.arange(noisy.shape[1], device=noisy.device) + start  # of frames
        if past is not None:
            noisy, index = torch.cat([past.latents, noisy], 1), index.repeat(2)
            times = past.t.then(times, past.latents.shape[1])
        x = self._embed(noisy, index, encoded, mask, cache)
        vector = self.from_time(time_features(times.values).to(x.dtype))  # [B, K, W]
        if self.settings.average_velocity:
            vector = vector + self.from_span(time_features(times.all_spans()).to(x.dtype))
        vector = nn.functional.silu(vector + self.from_global(encoded.global_vector).unsqueeze(1))
        modulation, weights = self.to_modulation(vector).unflatten(-1, (6, -1)), times.weights(x.dtype)
        chunk_index = index.div(self.binding.spec.chunk_latents, rounding_mode="floor")
        angles = rotary_angles(chunk_index, self.settings.width // self.settings.heads, self.settings.rotary_base)
        context = encoded.tokens
        packing = None
        if self.packed and mask is not None and cache is None:
            packing = Packing.of(mask if past is None else mask.repeat(1, 2))
        if packing is None:
            views = self._views(mask, past, cache, store, x)
            tokens = View(mask=None if encoded.mask is None else KeyPadding(encoded.mask))
        else:
            x, modulation, weights = packing.pack(x), packing.pack(spread(modulation, weights)), None
            angles = packing.pack(angles.unsqueeze(0))[0]
            views = [packed_frames(self.settings, packing, past is not None, x)] * len(self.blocks)
            context, tokens = packed_tokens(packing, context, encoded.mask)
        for block, view in zip(self.blocks, views, strict=True):
            x = block(x, modulation, weights, view, angles, context, tokens)
        x = x if packing is None else packing.unpack(x)
        shift, scale = spread(self.final_modulation(vector), times.weights(x.dtype)).chunk(2, -1)
        velocity: Tensor = self.to_velocity(self.final_norm(x) * (1 + scale) + shift)
        return velocity if past is None else velocity[:, past.latents.shape[1] :]

    def _check(
        self,
        noisy: Tensor,
        t: Tensor | FrameTimes,
        conditions: Sized,
        past: Past | None,
        cache: EarlierFrames | None,
    ) -> None:
        check_latents(noisy, self.binding)
        if noisy.shape[1] > self.settings.max_frames:
            raise ValueError(
                f"{noisy.shape[1]} latent frames are more than this generator's max_frames, {self.settings.max_frames}"
            )
        shape = (t.each() if isinstance(t, FrameTimes) else t).shape
        # `len` would fix the number of items in an exported graph
        asked = conditions.global_vector.shape[0] if isinstance(conditions, EncodedConditions) else len(conditions)
        if not noisy.shape[0] == shape[0] == asked:
            raise ValueError(f"{noisy.shape[0]} items, but {shape[0]} times and {asked} conditions")
        if len(shape) != 1 and shape != noisy.shape[:2] and not (isinstance(t, FrameTimes) and shape[1] == 1):
            raise ValueError(f"times must be [B] or [B, T], got {tuple(shape)} for {tuple(noisy.shape[:2])} frames")
        if self.settings.attention == "full" and (past is not None or cache is not None):
            raise ValueError("frames see all others with attention 'full': a past needs 'chunk_causal' or 'both'")
        if isinstance(t, FrameTimes) and t.spans is not None and not self.settings.average_velocity:
            raise ValueError("this generator gives no average velocity: train it with objective.kind=mean_flow")

    def _embed(
        self, noisy: Tensor, index: Tensor, encoded: EncodedConditions, mask: Tensor | None, cache: EarlierFrames | None
    ) -> Tensor:
        """Returns hidden states [B, T, W] of latents [B, T, D] that are the frames `index` [T] of their items."""
        dtype, place = self.to_velocity.weight.dtype, index % len(self.frame_embedding)
        x: Tensor = self.from_latents(noisy.to(dtype)) + self.frame_embedding[place]
        if encoded.frames is not None:
            given, needed = encoded.frames.shape[1], int(index[-1]) + 1
            if given < needed or (given > needed and cache is None):
                raise ValueError(f"conditions of {given} frames for {needed} latent frames")
            x = x + self.from_frames(encoded.frames[:, index].to(dtype))
        # `len` would fix the sizes in an exported graph
        lengths = index.new_full(x.shape[:1], index.shape[0]) if mask is None else mask.sum(1)
        laid = encoded.laid_out(lengths, x.shape[1])
        return x if laid is None else x + self.from_frames(laid.to(dtype))

    def _views(
        self, mask: Tensor | None, past: Past | None, cache: EarlierFrames | None, store: bool, x: Tensor
    ) -> list[View]:
        """Returns what the frames x [B, T or 2 T, W] see of each other, one view per layer."""
        if cache is not None:
            return cache.views(mask, store)
        view = plain_view(self.settings, mask) if past is None else doubled_view(self.settings, mask, x)
        return [view] * len(self.blocks)

    def make_items(
        self,
        request: SampleRequest,
        sampling: DiffusionSampling,
        *,
        generator: torch.Generator | None,
        callback: Callable[[int, int], None] | None,
    ) -> Generated:
        """Samples latents; see `LatentGenerator.make_items`, `sample_latents` and `sample_blocks`.

        Noise is drawn item after item, so an item does not depend on how many are sampled with it. Any chunks of an
        item can be given; with chunk-causal attention none after a block in which something is sampled.
        """
        attention = self.settings.attention
        together = attention == "full" or (attention == "both" and gives_future(self, request))
        sample_stream = sample_latents if together else sample_blocks
        latents = sample_stream(self, request, sampling, generator=generator, callback=callback)
        return Generated(latents=latents, tokens=None, lengths_samples=request.lengths_samples)

    def make_stream(
        self, conditions: Conditions, sampling: DiffusionSampling, generator: torch.Generator | None
    ) -> GeneratorStream:
        if self.settings.attention == "full":
            raise ValueError(
                "this generator denoises all frames of an item together and cannot stream: train one with "
                "model.config.attention=both"
            )
        return open_rollout(self, conditions, sampling, generator)

    def graphs(self) -> list[Graph]:
        return [velocity_graph(self)]
