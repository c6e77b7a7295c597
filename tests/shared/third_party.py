"""A package of somebody else: a codec, a generator, a condition, objectives and an embedder, none of them in ours.

Its tests copy this file to a folder of their own under another name and name the classes as `module:Class`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn

from latentune.core.objective import AudioBatch, Objective
from latentune.generators.base import (
    Generated,
    LatentBatch,
    LatentGenerator,
    SamplingConfig,
    TokenizerBinding,
    TrainedOn,
)
from latentune.generators.conditioning import (
    ConditionEncoder,
    Conditioner,
    ConditionerConfig,
    ConditioningConfig,
    Encoding,
)
from latentune.generators.conditioning.frozen import FrozenEncoder
from latentune.generators.conditions import Conditions, PreparedConditions
from latentune.generators.parts.request import SampleRequest
from latentune.pipelines.measure.embedders.base import Embedder
from latentune.tokenizers.base import AudioTokenizer, Encoded, TokenizerSpec

HOP = 80  # samples at 8 kHz


@dataclass(frozen=True, kw_only=True)
class LinearConfig:
    latent_dim: int = 4


class LinearCodec(AudioTokenizer):
    """8 kHz mono, one linear map of each 10 ms to latents and one back; the token is the rounded first latent."""

    config_class = LinearConfig
    settings: LinearConfig

    def __init__(self, config: LinearConfig):
        super().__init__(config)
        self.encoder = nn.Linear(HOP, config.latent_dim)
        self.decoder = nn.Linear(config.latent_dim, HOP)

    @property
    def spec(self) -> TokenizerSpec:
        return TokenizerSpec(
            name="linear",
            sample_rate=8000,
            channels=1,
            hop_samples=HOP,
            latent_dim=self.settings.latent_dim,
            levels=((5,),),
            token_hop_samples=HOP,
            chunk_latents=1,
            chunk_tokens=1,
            overlap_samples=0,
        )

    def forward(self, audio: Tensor) -> Tensor:
        return self.decoder(self.encoder(audio.unflatten(-1, (-1, HOP)))).flatten(-2)  # type: ignore[no-any-return]

    @torch.no_grad()
    def encode(self, audio: Tensor, sample_rate: int, lengths: Tensor | None = None, **options: Any) -> Encoded:
        assert sample_rate == 8000
        lengths = torch.full((len(audio),), audio.shape[-1]) if lengths is None else lengths
        missing = -audio.shape[-1] % HOP
        latents = self.encoder(nn.functional.pad(audio[:, 0], (0, missing)).unflatten(-1, (-1, HOP)))
        return Encoded(latents=latents, tokens=self.latents_to_tokens(latents), lengths_samples=lengths)

    @torch.no_grad()
    def decode(
        self,
        *,
        latents: Tensor | None = None,
        tokens: Tensor | None = None,
        lengths_samples: Tensor | None = None,
        gain_db: Tensor | None = None,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> Tensor:
        assert latents is not None
        audio: Tensor = self.decoder(latents).flatten(1)[:, None]
        return audio if lengths_samples is None else audio[..., : int(lengths_samples.max())]

    def latents_to_tokens(self, latents: Tensor) -> Tensor:
        return (latents[..., :1].tanh() * 2).round().long() + 2

    def tokens_to_latents(self, tokens: Tensor) -> Tensor:
        raise NotImplementedError

    latents_to_values = tokens_to_values = tokens_to_latents

    def stream_encoder(self, **options: Any) -> Any:
        raise NotImplementedError

    stream_decoder = stream_encoder


@dataclass(frozen=True, kw_only=True)
class SquareConfig:
    weight: float = 1.0


class ReconstructionObjective(Objective):
    """Mean squared error of the decoded audio."""

    config_class = SquareConfig
    num_samples = 4 * HOP

    def __init__(self, config: SquareConfig, settings: LinearConfig):
        self.config = config

    def __call__(
        self, model: nn.Module, batch: AudioBatch, *, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self.config.weight * (model(batch.audio) - batch.audio).square().mean()
        return loss, {}


class VowelConditioner(Conditioner):
    """How many vowels a text has."""

    def __init__(self, width: int, config: ConditionerConfig):
        super().__init__(width, config)
        self.network = nn.Linear(1, width)
        self.null = nn.Parameter(torch.zeros(width))

    def prepare(self, values: Sequence[Any]) -> dict[str, Tensor]:
        return {"count": torch.tensor([[float(sum(c in "aeiou" for c in str(value or "")))] for value in values])}

    def forward(self, prepared: Mapping[str, Tensor], drop: Tensor) -> Encoding:
        return Encoding(vector=torch.where(drop[:, None], self.null, self.network(prepared["count"])))


@dataclass(frozen=True, kw_only=True)
class MeanConfig:
    binding: TokenizerBinding
    conditioning: ConditioningConfig = field(default_factory=lambda: ConditioningConfig(width=4, conditioners={}))
    trained_on: TrainedOn = field(default_factory=TrainedOn)


@dataclass(frozen=True, kw_only=True)
class MeanSampling(SamplingConfig):
    loudness: float = 1.0


class MeanGenerator(LatentGenerator):
    """Every frame of an item is the mean latent of its conditions."""

    config_class = MeanConfig
    sampling_class = MeanSampling
    stream = "latents"

    def __init__(self, config: MeanConfig):
        super().__init__(config)
        self.condition_encoder = ConditionEncoder(config.conditioning)
        self.to_latents = nn.Linear(config.conditioning.width, config.binding.spec.latent_dim)

    def forward(self, conditions: Conditions | PreparedConditions) -> Tensor:
        mean: Tensor = self.to_latents(self.condition_encoder(conditions).global_vector)
        return mean[:, None]

    def make_items(
        self,
        request: SampleRequest,
        sampling: MeanSampling,
        *,
        generator: torch.Generator | None,
        callback: Callable[[int, int], None] | None,
    ) -> Generated:
        latents = self(request.conditions).repeat(1, max(request.num_chunks), 1)
        return Generated(latents=latents * sampling.loudness, tokens=None, lengths_samples=request.lengths_samples)


class MeanObjective(Objective):
    """Mean squared error of the mean latent."""

    config_class = SquareConfig

    def __init__(self, config: SquareConfig, settings: MeanConfig):
        self.config = config

    def __call__(
        self, model: nn.Module, batch: LatentBatch, *, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        assert isinstance(batch.conditions, PreparedConditions), "strings end in the data loader"
        assert batch.latents is not None
        loss = self.config.weight * (model(batch.conditions) - batch.latents).square().mean()
        return loss, {}


class LevelEmbedder(Embedder):
    """A linear map of mean and level of windows of 0.1 s."""

    name = "level"
    sample_rate = 8000
    window_samples = 800
    preprocessing = "none"

    @classmethod
    def from_package(cls) -> Self:
        return cls(nn.Linear(2, 2), 2, "random weights")

    def windows(self, audio: Tensor) -> Tensor:
        count = max(1, len(audio) // self.window_samples)
        return audio.repeat(self.window_samples)[: count * self.window_samples].unflatten(0, (count, -1))

    def network_output(self, windows: Tensor) -> Tensor:
        levels: Tensor = self.network(torch.stack([windows.mean(-1), windows.std(-1)], -1))
        return levels


class LengthEncoder(FrozenEncoder):
    """A frozen encoder whose only embedding is the length of a text."""

    @classmethod
    def from_checkpoint(cls, source: str) -> LengthEncoder:
        """The encoder; it reads nothing."""
        return cls([nn.Linear(1, 1)], dim=1)

    def embed(self, values: Sequence[Any]) -> list[Tensor]:
        return [torch.tensor([[float(len(value))]]) for value in values]
