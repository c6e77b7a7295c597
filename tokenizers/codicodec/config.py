"""Every constant of CoDiCodec (arXiv 2509.09836). The defaults are the official model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.resources import files
from typing import Self

from ...core.config import build_config


@dataclass(frozen=True, kw_only=True)
class CoDiCodecConfig:
    """Sizes and signal constants. Read presets with `CoDiCodecConfig.preset("codicodec-mini")`."""

    sample_rate: int = 48000  # Hz
    channels: int = 2  # audio channels
    window_samples: int = 2048  # STFT window
    stft_hop_samples: int = 1024  # STFT hop; also the number of frequency bins, the Nyquist bin being dropped
    chunk_frames: int = 32  # STFT frames in a chunk, the unit that is encoded on its own
    amplitude_exponent: float = 0.65  # power law on real and imaginary parts
    amplitude_gain: float = 0.34
    edge_padding: bool = (
        True  # a hop of silence at both ends, so that no sample is faded; the official package adds none
    )

    conv_channels: tuple[int, ...] = (64, 128, 256, 512)  # per level of the patchifiers; the last is the width
    conv_blocks: tuple[int, ...] = (3, 3, 3, 1)  # residual blocks per level
    resampling: tuple[tuple[int, int], ...] = ((2, 2), (4, 1), (2, 2))  # (frequency, time) factors between levels
    head_dim: int = 128
    mlp_ratio: int = 4  # width of the gated MLP's two halves together, in units of the width
    encoder_blocks: int = 12
    upsampler_blocks: int = 12
    decoder_blocks: int = 12
    num_summaries: int = 128  # summary embeddings, and so tokens, per chunk
    num_registers: int = 8  # extra learned embeddings that are discarded
    noise_channels: int = 512  # width of the noise-level embedding
    gradient_checkpointing: bool = False  # recompute the transformer blocks in the backward pass to save memory

    # Two additions of ours, for networks that are trained from random weights on little data; off in official weights.
    shortcuts: bool = False  # each summary starts from the patches of its place, each mask token from its value
    envelope_bands: int = 0  # mel bands of a linear path around the networks (`envelope.py`); 0 leaves it out

    levels: tuple[int, ...] = (11, 11, 11, 11)  # FSQ levels per dimension
    fsq_eps: float = 1e-3  # how far the bound stays below the outermost level
    latent_scale: float = 0.8  # continuous latent = atanh(value) / scale
    latents_per_chunk: int = 8  # the summaries of a chunk are regrouped into this many latent frames

    sigma_min: float = 0.002  # noise levels of the consistency model
    sigma_max: float = 80.0
    sigma_data: float = 0.5
    rho: float = 7.0

    def __post_init__(self) -> None:
        if self.channels not in (1, 2):
            raise ValueError(f"channels must be 1 or 2, got {self.channels}")
        if self.window_samples != 2 * self.stft_hop_samples:
            raise ValueError(f"window_samples must be twice stft_hop_samples, got {self.window_samples}")
        if not len(self.conv_channels) == len(self.conv_blocks) == len(self.resampling) + 1:
            raise ValueError("conv_channels and conv_blocks need one entry per level, resampling one between levels")
        if self.width % self.head_dim:
            raise ValueError(f"width {self.width} is not a multiple of head_dim {self.head_dim}")
        if self.stft_hop_samples % self.frequency_factor or self.chunk_frames % self.time_factor:
            raise ValueError(
                f"resampling {self.resampling} does not divide {self.stft_hop_samples} x {self.chunk_frames}"
            )
        if self.num_summaries % self.latents_per_chunk:
            raise ValueError(f"{self.num_summaries} summaries cannot form {self.latents_per_chunk} latent frames")
        if (self.shortcuts or self.envelope_bands) and (
            self.num_summaries % self.patch_grid[1] or self.patch_grid[0] % self.summaries_per_column
        ):
            raise ValueError(
                f"with shortcuts or envelope_bands, {self.num_summaries} summaries must be a multiple of the columns "
                f"of the patch grid {self.patch_grid}, and its rows a multiple of the summaries of a column"
            )
        if not 0 <= self.envelope_bands <= self.num_bins:
            raise ValueError(f"envelope_bands must lie in 0..{self.num_bins}, got {self.envelope_bands}")
        if any(wide % narrow for narrow, wide in zip(self.conv_channels, self.conv_channels[1:], strict=False)):
            raise ValueError(f"each of conv_channels must be a multiple of the one before, got {self.conv_channels}")

    @classmethod
    def preset(cls, name: str) -> Self:
        """Returns a size that ships in configs/tokenizers, such as `codicodec`, `codicodec-mini` or `codicodec-k64`."""
        import yaml

        folder = files("latentune.configs") / "tokenizers"
        known = {entry.name.removesuffix(".yaml"): entry for entry in folder.iterdir() if "codicodec" in entry.name}
        if name not in known:
            raise ValueError(f"unknown tokenizer config {name!r}: known are {', '.join(sorted(known))}")
        return build_config(cls, yaml.safe_load(known[name].read_text())["config"], name)

    @classmethod
    def tiny(cls) -> Self:
        """Returns the smallest size, for tests."""
        return cls.preset("codicodec-tiny")

    @property
    def width(self) -> int:
        return self.conv_channels[-1]

    @property
    def num_bins(self) -> int:
        return self.stft_hop_samples

    @property
    def spectrum_channels(self) -> int:
        """Real and imaginary part of each audio channel."""
        return 2 * self.channels

    @property
    def frequency_factor(self) -> int:
        return math.prod(f for f, _ in self.resampling)

    @property
    def time_factor(self) -> int:
        return math.prod(t for _, t in self.resampling)

    @property
    def patch_grid(self) -> tuple[int, int]:
        """Rows (frequency) and columns (time) of a chunk's audio tokens inside the transformers."""
        return self.num_bins // self.frequency_factor, self.chunk_frames // self.time_factor

    @property
    def summaries_per_column(self) -> int:
        """Summaries whose place is one column of the patch grid (with `shortcuts` or `envelope_bands`)."""
        return self.num_summaries // self.patch_grid[1]

    @property
    def num_patches(self) -> int:
        return self.patch_grid[0] * self.patch_grid[1]

    @property
    def sequence_length(self) -> int:
        """Tokens of one chunk inside a transformer: audio, summaries, registers."""
        return self.num_patches + self.num_summaries + self.num_registers

    @property
    def chunk_samples(self) -> int:
        return self.chunk_frames * self.stft_hop_samples
