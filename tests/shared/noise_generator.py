"""The smallest generator, of noise, for tests of pipelines."""

from dataclasses import dataclass, field
from typing import Any

import torch

from latentune.core.random import randn
from latentune.generators.base import Generated, LatentGenerator, SamplingConfig, TokenizerBinding, TrainedOn
from latentune.generators.parts.request import SampleRequest, lay_given


@dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    binding: TokenizerBinding
    stream: str = "latents"
    trained_on: TrainedOn = field(default_factory=lambda: TrainedOn(conditions=("text", "label", "bpm")))


@dataclass(frozen=True, kw_only=True)
class NoiseSampling(SamplingConfig):
    strength: float = 1.0


class NoiseGenerator(LatentGenerator):
    """The smallest generator: each item's stream is noise of its own, with its prompt's length added."""

    config_class = NoiseConfig
    sampling_class = NoiseSampling

    def __init__(self, config: NoiseConfig):
        super().__init__(config)
        self.stream = config.stream  # type: ignore[assignment]
        self.gain = torch.nn.Parameter(torch.ones(1))
        self.calls: list[dict[str, Any]] = []

    def make_items(
        self, request: SampleRequest, sampling: NoiseSampling, *, generator: torch.Generator | None, callback: Any
    ) -> Generated:
        conditions, lengths_samples = request.conditions, request.lengths_samples
        self.calls.append({"conditions": conditions, "guidance_scale": sampling.guidance_scale, "options": sampling})
        spec, texts = self.binding.spec, conditions.values["text"]
        frames = spec.num_latents(int(lengths_samples.max()))
        noise = torch.stack([randn((frames, spec.latent_dim), generator, self.gain) for _ in texts])
        latents = noise * self.gain * sampling.strength + torch.tensor([len(t) / 50 for t in texts])[:, None, None]
        if request.encoded is not None:
            known, where = lay_given(request.encoded.latents, request.keep, spec.chunk_latents, latents)
            latents = torch.where(where[..., None], known, latents)
        if callback is not None:
            callback(1, 1)
        tokens = None
        if self.stream == "tokens":
            chunks = spec.num_chunks(int(lengths_samples.max()))
            tokens = torch.randint(5, (len(conditions), chunks * spec.chunk_tokens, 1), generator=generator)
        return Generated(
            latents=None if tokens is not None else latents.detach(), tokens=tokens, lengths_samples=lengths_samples
        )


def binding_of(codec: Any) -> TokenizerBinding:
    return TokenizerBinding(spec=codec.spec, fingerprint=codec.fingerprint())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
