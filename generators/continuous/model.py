"""Continuous autoregression over the latents of any codec, after CALM (arXiv 2509.06926).

Shape letters: B batch, T latent frames, D latent width, n chunks, C values of a chunk, M draws of noise, W width,
P positions of the conditions before the sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ...core.config import option
from ...core.graphs import Graph
from ..base import Generated, LatentGenerator, SamplingConfig, TokenizerBinding, TrainedOn
from ..conditioning import ConditionEncoder, ConditioningConfig, EncodedConditions
from ..conditioning.fuse import Drop
from ..conditions import Conditions, PreparedConditions
from ..parts.prefix import left_padded
from ..parts.request import SampleRequest
from ..stream import GeneratorStream
from .graph import flow_graph
from .head import FlowHead
from .rollout import open_rollout, sample_chunks
from .sampling import ContinuousSampling
from .trunk import Trunk


@dataclass(frozen=True, kw_only=True)
class ContinuousARConfig:
    """Sizes of a continuous autoregression."""

    binding: TokenizerBinding = option(help="Codec whose latents are modelled. Training fills it in.")
    width: int = option(512, "Width of the causal transformer.")
    depth: int = option(12, "Number of its layers.")
    heads: int = option(8, "Number of its attention heads.")
    mlp_ratio: float = option(2.75, "Hidden width of its gated MLP, in units of the width.")
    head_width: int = option(512, "Width of the small network that draws a chunk.")
    head_depth: int = option(4, "Number of blocks of that network.")
    recent_chunks: int = option(
        4, "Chunks just before its own that the small network sees without noise, past the transformer."
    )
    conditioning: ConditioningConfig = option(factory=ConditioningConfig, help="Conditions that can be asked for.")
    max_chunks: int = option(
        2048, "Length of the context in chunks. Longer items are sampled with a window that moves on."
    )
    rotary_base: float = option(10_000.0, "Base of the rotary positions.")
    trained_on: TrainedOn = option(factory=TrainedOn, help="Facts about the training data. Training fills them in.")

    def __post_init__(self) -> None:
        sizes = (self.width, self.depth, self.heads, self.head_width, self.head_depth, self.recent_chunks)
        if min(sizes) < 1 or self.mlp_ratio <= 0:
            raise ValueError(
                "width, depth, heads, head_width, head_depth, recent_chunks and mlp_ratio must be positive"
            )
        if self.width % self.heads or self.width // self.heads % 2:
            raise ValueError(f"heads {self.heads} must divide width {self.width} into even parts")
        if self.max_chunks < 2:
            raise ValueError(f"max_chunks must be at least 2, got {self.max_chunks}")
        binding, dim = self.binding, self.binding.spec.latent_dim
        if not len(binding.latent_mean) == len(binding.latent_std) == dim or min(binding.latent_std, default=0) <= 0:
            raise ValueError(
                f"continuous autoregression needs mean and positive standard deviation of each of the {dim} latent "
                "channels: encode the dataset with its latents"
            )

    @property
    def chunk_values(self) -> int:
        """Values of a chunk."""
        return self.binding.spec.chunk_latents * self.binding.spec.latent_dim

    @property
    def window_chunks(self) -> int:
        """Chunks of the context in sampling: no more than in training."""
        longest = self.max_chunks
        if self.trained_on.crop_s is not None:
            chunk_s = self.binding.spec.chunk_samples / self.binding.spec.sample_rate
            longest = min(longest, round(self.trained_on.crop_s / chunk_s))
        return max(2, longest)


class ContinuousAR(LatentGenerator):
    """Conditions, BOS, chunks: from each position a small flow draws the next chunk."""

    config_class = ContinuousARConfig
    objectives: ClassVar[Mapping[str, str]] = {"chunk_flow": ".objective:ChunkFlowObjective"}
    sampling_class: ClassVar[type[SamplingConfig]] = ContinuousSampling
    adapted_layers: ClassVar[str] = "trunk."
    settings: ContinuousARConfig
    stream: Literal["latents", "tokens"] = "latents"

    def __init__(self, config: ContinuousARConfig):
        super().__init__(config)
        width, values = config.width, config.chunk_values
        self.condition_encoder = ConditionEncoder(config.conditioning)
        self.condition_encoder.refuse_frames("continuous autoregression")
        self.from_global = nn.Linear(config.conditioning.width, width)
        self.from_condition = nn.Linear(config.conditioning.width, width) if self.condition_encoder.num_tokens else None
        self.bos = nn.Parameter(torch.randn(width) * width**-0.5)
        self.from_chunk = nn.Linear(values, width)
        self.from_recent = nn.Linear(config.recent_chunks * values, width)
        self.trunk = Trunk(width, config.depth, config.heads, round(width * config.mlp_ratio), config.rotary_base)
        self.head = FlowHead(values, width, config.head_width, config.head_depth)

    @property
    def repeated_blocks(self) -> Sequence[nn.Module]:
        return list(self.trunk.blocks)

    @property
    def compiled_parts(self) -> Sequence[nn.Module]:
        """The head alone: the trunk sees another length at each step."""
        return [self.head]

    def forward(
        self,
        past: Tensor,
        chunks: Tensor,
        noisy: Tensor,
        t: Tensor,
        *,
        conditions: Conditions | PreparedConditions | EncodedConditions,
        drop_mask: Drop | None = None,
    ) -> Tensor:
        """Returns velocities [B, n, M, C] of all chunks, each given those before it. Padding comes last.

        Args:
            past: [B, n, C] normalised chunks as the transformer sees them, perhaps with noise.
            chunks: [B, n, C] the same without noise.
            noisy: [B, n, M, C] the chunks with other noise, at the times t.
            t: [B, n, M] times in [0, 1], 1 being pure noise.
            conditions: of B items; they are encoded here unless they are, so that data-parallel wrappers see those
                weights used.
            drop_mask: [B] bool, True where the conditions are replaced by "not given"; or such masks by condition.

        Raises:
            ValueError: more chunks than the context holds, or sizes that do not fit each other.
        """
        if past.shape[1] > self.settings.max_chunks:
            raise ValueError(
                f"{past.shape[1]} chunks are more than the context of {self.settings.max_chunks} (max_chunks): crop "
                "the items"
            )
        start, seen = self.start_embeddings(self.encode_conditions(conditions, drop_mask, len(past)))
        x = torch.cat([start, self.embed(past[:, :-1])], 1)
        if seen is not None:
            seen = nn.functional.pad(seen, (0, x.shape[1] - seen.shape[1]), value=True)
        hidden = self.trunk(x, seen)[:, start.shape[1] - 1 :] + self.recent(chunks)
        velocity: Tensor = self.head(noisy, t, hidden.unsqueeze(2))
        return velocity

    def start_embeddings(self, conditions: EncodedConditions) -> tuple[Tensor, Tensor | None]:
        """Returns the embeddings [B, P + 1, W] before the first chunk, BOS last; and their mask if one is ragged."""
        parts = [self.from_global(conditions.global_vector).unsqueeze(1)]
        if self.from_condition is not None:
            parts.append(self.from_condition(conditions.tokens))
        parts.append(self.bos.to(parts[0].dtype).expand(len(conditions), 1, -1))
        mask = None if conditions.mask is None else nn.functional.pad(conditions.mask, (1, 1), value=True)
        return left_padded(torch.cat(parts, 1), mask)

    def embed(self, chunks: Tensor) -> Tensor:
        """Returns embeddings [B, n, W] of normalised chunks [B, n, C]."""
        x: Tensor = self.from_chunk(chunks.to(self.bos.dtype))
        return x

    def recent(self, chunks: Tensor) -> Tensor:
        """Returns what the head sees directly [B, n, W] of the chunks before each of chunks [B, n, C]."""
        count = self.settings.recent_chunks
        padded = nn.functional.pad(chunks.to(self.bos.dtype), (0, 0, count, 0))[:, :-1]
        windows = padded.unfold(1, count, 1).transpose(2, 3)  # [B, n, recent, C]
        seen: Tensor = self.from_recent(windows.flatten(2))
        return seen

    def graphs(self) -> list[Graph]:
        """Returns the small network alone: the transformer keeps a cache of another kind between its calls."""
        return [flow_graph(self)]

    def make_items(
        self,
        request: SampleRequest,
        sampling: ContinuousSampling,
        *,
        generator: torch.Generator | None,
        callback: Callable[[int, int], None] | None,
    ) -> Generated:
        """Samples latents; see `LatentGenerator.make_items` and `sample_chunks`.

        The noise of a chunk is a function of a seed of its item and of its number, so an item depends neither on the
        others nor on its length. Only the first chunks of an item can be given, since each is drawn from those before.
        """
        latents = sample_chunks(self, request, sampling, generator=generator, callback=callback)
        return Generated(latents=latents, tokens=None, lengths_samples=request.lengths_samples)

    def make_stream(
        self, conditions: Conditions, sampling: ContinuousSampling, generator: torch.Generator | None
    ) -> GeneratorStream:
        return open_rollout(self, conditions, sampling, generator)
