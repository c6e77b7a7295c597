"""Every constant of TAAE (arXiv 2411.19842). The defaults are the released Stable Codec model, `base`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Self

from ...core.config import build_config
from .bottleneck import BottleneckConfig

PRESETS = ("taae-base", "taae-540m", "taae-240m", "taae-12hz", "taae-mini", "taae-tiny")


@dataclass(frozen=True, kw_only=True)
class TAAEConfig:
    """Sizes and signal constants. Stages run from the outer one (nearest the audio) to the inner one, on both sides."""

    sample_rate: int = 16000  # Hz
    channels: int = 1  # audio channels
    patch_samples: int = 320  # samples of a frame of the outermost stage
    depths: tuple[int, ...] = (8, 20)  # transformer blocks of each stage
    strides: tuple[int, ...] = (1, 2)  # frames of the outer stage that become one; 1: no convolution
    width: int = 1024
    latent_dim: int = 6

    head_dim: int = 128
    rotary_dim: int = 64  # features of a head that are rotated; the others pass
    rotary_base: float = 10000.0
    window: tuple[int, int] = (63, 64)  # keys before and after a query that it sees, at every rate
    mlp_ratio: int = 4
    norm_eps: float = 1e-2  # added to the variance: near-silence is not amplified by more than 20 dB
    qk_norm_eps: float = 1e-6
    layer_scale_init: float = 1e-2
    outer_kernel: int = 7  # of the convolutions next to the audio
    inner_kernel: int = 3  # of the convolutions next to the latents
    use_snake: bool = False  # Snake activation before the convolutions
    soft_clip: bool = False  # tanh on the waveform
    causal: bool = False  # convolutions and window see the past alone (appendix A.4); `window` is then (n, 0)

    bottleneck: BottleneckConfig = field(default_factory=BottleneckConfig)
    latent_scale: float = 1.0  # continuous latent = atanh(value) / scale
    loudness_lufs: float | None = -20.0  # to which `encode` brings each item; None: it is left as it is
    gradient_checkpointing: bool = False  # recompute the transformer blocks in the backward pass to save memory

    def __post_init__(self) -> None:
        if not len(self.depths) == len(self.strides) >= 1:
            raise ValueError(f"depths {self.depths} and strides {self.strides} need one entry per stage")
        if self.sample_rate < 1:
            raise ValueError(f"sample_rate must be at least 1 Hz, got {self.sample_rate}")
        if self.width % self.head_dim:
            raise ValueError(f"width {self.width} is not a multiple of head_dim {self.head_dim}")
        if self.rotary_dim % 2 or not 0 <= self.rotary_dim <= self.head_dim:
            raise ValueError(f"rotary_dim must be even and within head_dim {self.head_dim}, got {self.rotary_dim}")
        if min(self.window) < 0 or (self.causal and self.window[1]):
            raise ValueError(f"window must be (before, after), after being 0 in a causal model, got {self.window}")
        if self.outer_kernel % 2 == 0 or self.inner_kernel % 2 == 0:
            raise ValueError(f"kernels must be odd, got {self.outer_kernel} and {self.inner_kernel}")

    @classmethod
    def preset(cls, name: str) -> Self:
        """Returns a size that ships in configs/tokenizers, such as `taae-base` or `taae-mini`."""
        import yaml

        if name not in PRESETS:
            raise ValueError(f"unknown tokenizer config {name!r}: known are {', '.join(PRESETS)}")
        text = (files("latentune.configs") / f"tokenizers/{name}.yaml").read_text()
        return build_config(cls, yaml.safe_load(text)["config"], name)

    @classmethod
    def tiny(cls) -> Self:
        """Returns the smallest size, for tests."""
        return cls.preset("taae-tiny")

    @property
    def patch_width(self) -> int:
        """Channels of a patch."""
        return self.channels * self.patch_samples

    @property
    def stride(self) -> int:
        """Patches of one latent frame."""
        return math.prod(self.strides)

    @property
    def hop_samples(self) -> int:
        return self.patch_samples * self.stride
