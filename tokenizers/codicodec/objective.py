"""Consistency training of CoDiCodec on pairs of consecutive chunks, end to end with one loss (paper, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ...core.objective import AudioBatch, Objective
from ...core.random import rand, randn
from .config import CoDiCodecConfig
from .consistency import noise_level, noise_position
from .pairs import pair_chunks, pair_samples
from .training import TrainingPass
from .waveform_loss import WaveformLoss, WaveformLossConfig

MIN_POSITION = 0.02  # on the noise schedule, about sigma = 0.004


@dataclass(frozen=True, kw_only=True)
class ConsistencyConfig:
    """Constants of the objective; the defaults are the paper's and its predecessors' (Music2Latent 1 and 2)."""

    log_sigma_mean: float = -1.1  # one of the two noise levels is log-normal, cut to [sigma_min, sigma_max]
    log_sigma_std: float = 2.0
    drawn_level: Literal["lower", "upper"] = "lower"  # which one; with `upper` a step of 1 is plain denoising
    step_start: float = 0.1  # distance dt of the two noise levels on the schedule, at the start
    step_exponent_start: float = 1.0  # dt = step_start ** exponent; the exponent grows linearly over training
    step_exponent_end: float = 3.0
    total_steps: int = 2_000_000  # training steps over which the exponent grows
    weight_exponent: float = 1.0  # the loss is divided by (difference of the noise levels) ** weight_exponent
    huber_scale: float = 0.00054  # c = huber_scale * sqrt(number of elements)
    fsq_dropout: float = 0.75  # probability, per example, that the rounding is skipped
    # Two additions of ours, for short runs that start from the weights of the objective `envelope`.
    start_probability: float = 0.0  # that both halves of a pair have the highest noise level, as where decoding starts
    waveform: WaveformLossConfig | None = None  # distances of the decoded pair's audio, which are added to the loss
    waveform_weight: float = 1.0

    def __post_init__(self) -> None:
        for name in ("fsq_dropout", "start_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, got {getattr(self, name)}")
        if self.total_steps < 1:
            raise ValueError(f"total_steps must be at least 1, got {self.total_steps}")


class ConsistencyObjective(Objective):
    """loss = pseudo-Huber(f(x + sigma(t + dt) e), stop_grad f(x + sigma(t) e)) / (sigma(t + dt) - sigma(t)).

    With the upper level drawn and a `step_exponent_start` of 0 it begins as a denoising autoencoder, since f(x,
    sigma_min) is x, and becomes consistency training as dt shrinks: for short runs, which cannot wait for the
    bootstrapping from low noise.

    Each half of a pair has its own noise level and noise; both levels of a half share the noise.
    """

    config_class = ConsistencyConfig
    uses_all_parameters = True

    def __init__(self, config: ConsistencyConfig, codec: CoDiCodecConfig):
        self.config, self.codec = config, codec
        self.hear = WaveformLoss(config.waveform, codec) if config.waveform is not None else None

    @property
    def num_samples(self) -> int:
        """Audio samples of one example."""
        return pair_samples(self.codec)

    def __call__(
        self, model: nn.Module, batch: AudioBatch, *, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the loss of batch audio [B, C, num_samples] at the codec's rate and channels."""
        clean = pair_chunks(batch.audio, self.codec)
        low, high = self._noise_levels(clean, step, generator)
        noise = randn(clean.shape, generator, clean)
        keep = rand((len(clean),), generator, clean) < self.config.fsq_dropout
        noisy_high, noisy_low = (clean + s[:, :, None, None, None] * noise for s in (high, low))
        made: TrainingPass = model(clean, keep, noisy_high, noisy_low, torch.stack((high, low)))
        estimate, target = made.estimate, made.target
        assert estimate is not None
        assert target is not None
        distance = self._pseudo_huber(estimate, target)  # [B, 2]
        loss = (distance / (high - low) ** self.config.weight_exponent).mean()
        figures: dict[str, Tensor] = {}
        if self.hear is not None:
            heard, figures = self.hear(estimate, batch.audio)
            loss = loss + self.config.waveform_weight * heard
        with torch.no_grad():
            error = (estimate - clean).square().mean((2, 3, 4))
            metrics = figures | {
                "distance": distance.mean(),
                "denoising_error": error.mean(),
                "denoising_error_high_noise": _mean_where(error, high > 1.0),
                "value_std": made.values.std(),
                "sigma_step": (high - low).mean(),
            }
        return loss, {name: value.detach() for name, value in metrics.items()}

    def _noise_levels(self, clean: Tensor, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns sigma(t) and sigma(t + dt), each [B, 2]."""
        c = self.config
        progress = min(1.0, step / c.total_steps)
        exponent = c.step_exponent_start + progress * (c.step_exponent_end - c.step_exponent_start)
        dt = c.step_start**exponent
        log_sigma = c.log_sigma_mean + c.log_sigma_std * randn(clean.shape[:2], generator, clean)
        sigma = log_sigma.exp().clamp(self.codec.sigma_min, self.codec.sigma_max)
        position = noise_position(sigma, self.codec)
        if c.drawn_level == "lower":
            lower = position.clamp(0.0, 1.0 - dt)
            upper = lower + dt
        else:
            # not so low that both levels are the same
            upper = position.clamp(min(dt, MIN_POSITION), 1.0)
            lower = (upper - dt).clamp_min(0.0)
        if c.start_probability:
            start = rand((len(clean), 1), generator, clean) < c.start_probability
            upper, lower = torch.where(start, 1.0, upper), torch.where(start, 1.0 - dt, lower)
        low, high = noise_level(lower, self.codec), noise_level(upper, self.codec)
        assert isinstance(low, Tensor)
        assert isinstance(high, Tensor)
        return low, high

    def _pseudo_huber(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Returns sqrt(|x|^2 + c^2) - c of each chunk [B, 2, 2C, F, L] as [B, 2], in units of sqrt(number of elements).

        |x| is the norm over the whole chunk and c grows with the square root of its size; the unit makes the loss
        comparable between sizes.
        """
        mean_square = (estimate - target).square().mean((2, 3, 4))
        return (mean_square + self.config.huber_scale**2).sqrt() - self.config.huber_scale


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Returns the mean over the chosen entries; 0 where there are none."""
    return (values * where).sum() / where.sum().clamp_min(1)
