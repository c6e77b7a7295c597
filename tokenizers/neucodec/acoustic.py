"""The acoustic encoder: a convolutional stack from audio to one frame per hop, as BigCodec's without its LSTM.

Shape letters: B batch, C channels of a level, N samples (320 per frame), K frames, W output width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ..parts.init import BRANCH_GAIN, SPEECH_GAIN, keep_variance_
from .snake import AntiAliasedSnake


@dataclass(frozen=True, kw_only=True)
class AcousticConfig:
    """Sizes of the acoustic encoder; the channels double at every stride."""

    width: int = 48  # channels at the audio's rate
    strides: tuple[int, ...] = (2, 2, 4, 4, 5)
    dilations: tuple[int, ...] = (1, 3, 9)  # of the residual units of a stage
    kernel: int = 7
    out_width: int = 1024

    def __post_init__(self) -> None:
        if not self.strides or min(self.strides) < 2:
            raise ValueError(f"strides must be one or more numbers of at least 2, got {self.strides}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")

    @property
    def hop_samples(self) -> int:
        """Samples of a frame."""
        return math.prod(self.strides)


class Unit(nn.Module):
    """x + conv(snake(dilated conv(snake(x))))."""

    def __init__(self, channels: int, kernel: int, dilation: int):
        super().__init__()
        self.act1 = AntiAliasedSnake(channels)
        self.conv1 = nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=dilation * (kernel // 2))
        self.act2 = AntiAliasedSnake(channels)
        self.conv2 = nn.Conv1d(channels, channels, 1)
        keep_variance_(self.conv1)
        keep_variance_(self.conv2, BRANCH_GAIN)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv2(self.act2(self.conv1(self.act1(x))))
        return out


class Stage(nn.Module):
    """Residual units, then a strided convolution to twice the channels: [B, C, N] to [B, 2C, N / stride]."""

    def __init__(self, channels: int, stride: int, kernel: int, dilations: Sequence[int]):
        super().__init__()
        self.units = nn.Sequential(*(Unit(channels, kernel, dilation) for dilation in dilations))
        self.down_act = AntiAliasedSnake(channels)
        self.down = nn.Conv1d(channels, 2 * channels, 2 * stride, stride=stride, padding=math.ceil(stride / 2))
        keep_variance_(self.down)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(self.down_act(self.units(x)))
        return out


class AcousticEncoder(nn.Module):
    """Encoder from padded audio [B, 1, N] of whole hops to frames [B, K, W]."""

    def __init__(self, config: AcousticConfig):
        super().__init__()
        self.stem = nn.Conv1d(1, config.width, config.kernel, padding=config.kernel // 2)
        self.stages = nn.Sequential(
            *(
                Stage(config.width * 2**level, stride, config.kernel, config.dilations)
                for level, stride in enumerate(config.strides)
            )
        )
        top = config.width * 2 ** len(config.strides)
        self.out_act = AntiAliasedSnake(top)
        self.out = nn.Conv1d(top, config.out_width, 3, padding=1)
        keep_variance_(self.stem, SPEECH_GAIN)
        keep_variance_(self.out)

    def forward(self, audio: Tensor) -> Tensor:
        features: Tensor = self.out(self.out_act(self.stages(self.stem(audio)))).mT
        return features
