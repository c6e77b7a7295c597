"""The first stage of training on little data: encoder and upsampler learn to transmit a spectral envelope.

There is no denoiser in it: what is decoded is noise with the deviation that the values give each cell of the
spectrogram. The second stage, `ConsistencyObjective`, starts from its weights.

Shape letters: P pairs of chunks, C audio channels, F bins, L frames of a chunk, G summaries of a column of patches,
K columns, d FSQ dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from ...core.objective import AudioBatch, Objective, weighted_sum
from ...core.random import rand, randn
from ..parts.spectral_losses import correlation_penalty
from .config import CoDiCodecConfig
from .model import CoDiCodec
from .pairs import pair_chunks, pair_samples
from .training import TrainingPass
from .waveform_loss import WaveformLoss, WaveformLossConfig


@dataclass(frozen=True, kw_only=True)
class EnvelopeConfig:
    """Constants of the objective."""

    likelihood_weight: float = 0.5  # of the normal likelihood of each cell, in nats
    waveform: WaveformLossConfig = field(default_factory=WaveformLossConfig)
    waveform_weight: float = 1.0  # of its sum of terms
    uniform_weight: float = 0.5  # of the distance of each dimension's values from a uniform distribution
    correlation_weight: float = 0.02  # of squared correlations between the dimensions of a column
    fsq_dropout: float = 0.25  # probability, per pair, that the rounding is skipped
    warm_start_pairs: int = 512  # that principal components and regressions are measured on

    def __post_init__(self) -> None:
        if not 0 <= self.fsq_dropout <= 1:
            raise ValueError(f"fsq_dropout is a probability, got {self.fsq_dropout}")
        if self.warm_start_pairs < 1:
            raise ValueError(f"warm_start_pairs must be at least 1, got {self.warm_start_pairs}")
        for name in ("likelihood", "waveform", "uniform", "correlation"):
            if getattr(self, f"{name}_weight") < 0:
                raise ValueError(f"{name}_weight must not be below 0, got {getattr(self, f'{name}_weight')}")


class EnvelopeObjective(Objective):
    """L = likelihood + waveform + uniform + correlation, each with its weight.

    `warm_start` sets the linear path of `envelope.py` from the first examples of the run.

    Raises:
        ValueError: a codec without `envelope_bands`.
    """

    config_class: ClassVar[type] = EnvelopeConfig
    uses_all_parameters = True

    def __init__(self, config: EnvelopeConfig, codec: CoDiCodecConfig):
        if not codec.envelope_bands:
            raise ValueError("the objective `envelope` needs a codec with envelope_bands above 0")
        self.config, self.codec = config, codec
        self.hear = WaveformLoss(config.waveform, codec)
        names = ("likelihood", "waveform", "uniform", "correlation")
        self.weights = {name: getattr(config, f"{name}_weight") for name in names}

    @property
    def num_samples(self) -> int:
        """Audio samples of one example."""
        return pair_samples(self.codec)

    def prepare(self, model: nn.Module) -> None:
        codec = cast(CoDiCodec, model)
        assert codec.denoiser.deviation is not None
        codec.denoiser.requires_grad_(False)
        codec.denoiser.deviation.requires_grad_(True)

    def warm_start(self, model: nn.Module, batches: Iterable[AudioBatch]) -> None:
        parts, seen = [], 0
        for batch in batches:
            parts.append(pair_chunks(batch.audio, self.codec).flatten(0, 1))
            seen += len(batch)
            if seen >= self.config.warm_start_pairs:
                break
        cast(CoDiCodec, model).fit(torch.cat(parts))

    def __call__(
        self, model: nn.Module, batch: AudioBatch, *, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the loss of batch audio [P, C, num_samples] at the codec's rate and channels."""
        clean = pair_chunks(batch.audio, self.codec)
        keep = rand((len(clean),), generator, clean) < self.config.fsq_dropout
        made: TrainingPass = model(clean, keep)
        assert made.deviation is not None
        variance = made.deviation.square() + self.codec.sigma_min**2
        noise = randn(clean.shape, generator, clean)
        heard, figures = self.hear(noise * variance.sqrt(), batch.audio)
        dimensions = self._dimensions(made.values)
        terms = {
            "likelihood": 0.5 * (variance.log() + clean.square() / variance).mean(),
            "waveform": heard,
            "uniform": distance_from_uniform(dimensions),
            "correlation": correlation_penalty(dimensions.atanh()[None]),
        }
        figures |= {name: term.detach() for name, term in terms.items()}
        figures["digit_entropy"] = self._digit_entropy(dimensions.detach())
        return weighted_sum(terms, self.weights), figures

    def _dimensions(self, values: Tensor) -> Tensor:
        """Returns values [P, 2, G * K, d] as [2P * K, G * d]: the dimensions of a column."""
        columns: Tensor = values.flatten(0, 1).unflatten(1, (self.codec.summaries_per_column, -1)).transpose(1, 2)
        return columns.flatten(2).flatten(0, 1)

    def _digit_entropy(self, dimensions: Tensor) -> Tensor:
        """Mean entropy of a digit in this batch in bits, at most log2 of its levels."""
        half = max(self.codec.levels) // 2
        digits = (dimensions * half).round()
        shares = torch.stack([(digits == level).float().mean(0) for level in range(-half, half + 1)])
        return -(shares * shares.clamp_min(1e-9).log2()).sum(0).mean()


def distance_from_uniform(values: Tensor) -> Tensor:
    """Returns the mean squared difference of sorted values [n, D] in (-1, 1) from the middles of n equal intervals."""
    count = len(values)
    wanted = (2 * torch.arange(count, device=values.device, dtype=values.dtype) + 1) / count - 1
    return (values.sort(0).values - wanted[:, None]).square().mean()
