"""CoDiCodec's four networks: encoder, upsampler, denoiser and the embedding of the noise level.

Shape letters: M chunks, P groups of H = 1 or 2 consecutive chunks, W width, E width of the noise embedding, F bins,
L frames of a chunk, d FSQ dimensions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .blocks import KeyValue, ScaledLayerNorm, TransformerBlock, xavier, zeroed
from .config import CoDiCodecConfig
from .consistency import preconditioning
from .envelope import EnvelopeEncoder, LocalDeviation
from .frontend import Depatchifier, Patchifier


def _learned(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape) * shape[-1] ** -0.5)


class Transformer(nn.Module):
    """Learned absolute positions, an input norm, blocks. Sequences are [P, H, S, W], S tokens a chunk."""

    def __init__(self, config: CoDiCodecConfig, num_blocks: int, halves: int = 1, noise_channels: int | None = None):
        super().__init__()
        self.halves, self.checkpointing = halves, config.gradient_checkpointing
        self.positions = _learned(halves * config.sequence_length, config.width)
        self.norm_in = ScaledLayerNorm(config.width, noise_channels)
        self.blocks = nn.ModuleList(
            TransformerBlock(config.width, config.head_dim, config.mlp_ratio, noise_channels) for _ in range(num_blocks)
        )

    def forward(
        self, x: Tensor, queries: slice, noise: Tensor | None = None, past: list[KeyValue] | None = None
    ) -> tuple[Tensor, list[KeyValue]]:
        """Applies the blocks.

        Args:
            x: [P, H, S, W].
            queries: the token positions whose output is needed.
            noise: the noise embedding, where norms are conditioned on it.
            past: keys and values of each block for the half before; x is then the right half alone and takes the right
                half's positions.

        Returns:
            The tokens at `queries` [P, H, S', W], and each block's keys and values.
        """
        positions = self.positions.unflatten(0, (self.halves, -1))
        first = 0 if past is None else 1
        x = self.norm_in(x + positions[first : first + x.shape[1]], noise)
        key_values = []
        for index, block in enumerate(self.blocks):
            wanted = queries if index == len(self.blocks) - 1 else slice(None)
            before = None if past is None else past[index]
            if self.checkpointing and torch.is_grad_enabled():
                x, key_value = checkpoint(block, x, noise, before, wanted, use_reentrant=False)
            else:
                x, key_value = block(x, noise, before, wanted)
            key_values.append(key_value)
        return x, key_values


class Encoder(nn.Module):
    """Spectrogram of a chunk -> the unbounded FSQ input of its summary embeddings."""

    def __init__(self, config: CoDiCodecConfig):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1, 1, config.num_bins, 1))
        self.envelope = EnvelopeEncoder(config) if config.envelope_bands else None
        self.patchifier = Patchifier(config, extra_channels=config.channels if config.envelope_bands else 0)
        self.summaries = _learned(config.num_summaries, config.width)
        self.registers = _learned(config.num_registers, config.width)
        self.transformer = Transformer(config, config.encoder_blocks)
        self.norm_out = ScaledLayerNorm(config.width)
        self.project = zeroed(nn.Linear(config.width, len(config.levels)))
        self.place = SummaryPlace(config) if config.shortcuts else None
        self.first = config.num_patches
        self.last = config.num_patches + config.num_summaries

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Maps [M, 2C, F, L] to [M, summaries, d]."""
        start: Tensor | float = 0.0
        if self.envelope is not None:
            log_magnitudes, start = self.envelope(spectrogram)
            spectrogram = torch.cat((spectrogram, log_magnitudes.to(spectrogram.dtype)), dim=1)
        patches, _ = self.patchifier(spectrogram, self.gain)
        summaries = self.summaries.to(patches.dtype).expand(len(patches), -1, -1)
        if self.place is not None:
            summaries = summaries + self.place(patches)
        registers = self.registers.to(patches.dtype).expand(len(patches), -1, -1)
        sequence = torch.cat((patches, summaries, registers), dim=1).unsqueeze(1)
        x, _ = self.transformer(sequence, slice(self.first, self.last))
        z: Tensor = self.project(self.norm_out(x[:, 0])) + start
        return z


class Upsampler(nn.Module):
    """Values of a chunk's summaries -> the feature maps that guide the denoiser; independent of the noise level."""

    def __init__(self, config: CoDiCodecConfig):
        super().__init__()
        rows, self.columns = config.patch_grid
        self.mask = _learned(rows, config.width)  # one vector per frequency row, the same at all times
        self.expand = xavier(nn.Linear(len(config.levels), config.width))
        self.registers = _learned(config.num_registers, config.width)
        self.transformer = Transformer(config, config.upsampler_blocks)
        self.depatchifier = Depatchifier(config, output=False)
        self.place = PatchPlace(config) if config.shortcuts else None
        self.num_patches = config.num_patches

    def forward(self, values: Tensor) -> list[Tensor]:
        """Maps [M, summaries, d] to feature maps, shallowest first, each [M, C_level, F_level, L_level]."""
        count = values.shape[0]
        patches = self.mask.repeat_interleave(self.columns, dim=0).expand(count, -1, -1)
        if self.place is not None:
            patches = patches + self.place(values)
        registers = self.registers.expand(count, -1, -1)
        sequence = torch.cat((patches, self.expand(values), registers), dim=1).unsqueeze(1)
        x, _ = self.transformer(sequence, slice(0, self.num_patches))
        maps: list[Tensor] = self.depatchifier(x[:, 0])[1]
        return maps


class SummaryPlace(nn.Module):
    """A shortcut from patches [M, S, W] to the summaries of their place [M, summaries, W].

    The patch grid is divided into as many places as there are summaries; a place holds patches of one column.
    """

    def __init__(self, config: CoDiCodecConfig):
        super().__init__()
        rows, columns = config.patch_grid
        self.grid = (config.summaries_per_column, rows // config.summaries_per_column, columns)
        self.linear = xavier(nn.Linear(config.width, config.width))

    def forward(self, patches: Tensor) -> Tensor:
        shortcut: Tensor = self.linear(patches.unflatten(1, self.grid).mean(2).flatten(1, 2))
        return shortcut


class PatchPlace(nn.Module):
    """A shortcut from values [M, summaries, d] to all patches of their places [M, S, W]."""

    def __init__(self, config: CoDiCodecConfig):
        super().__init__()
        self.columns = config.patch_grid[1]
        self.repeat = config.patch_grid[0] // config.summaries_per_column
        self.linear = xavier(nn.Linear(len(config.levels), config.width))

    def forward(self, values: Tensor) -> Tensor:
        rows = self.linear(values).unflatten(1, (-1, self.columns))
        shortcut: Tensor = rows.repeat_interleave(self.repeat, dim=1).flatten(1, 2)
        return shortcut


class NoiseEmbedding(nn.Module):
    """Noise level -> conditioning of the denoiser's norms, and its two gains per frequency bin."""

    frequencies: Tensor

    def __init__(self, config: CoDiCodecConfig):
        super().__init__()
        width = config.noise_channels
        half = width // 2
        frequencies = 10000.0 ** -(torch.arange(half) / (half - 1))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.mlp = nn.ModuleList(xavier(nn.Linear(width, width)) for _ in range(3))
        self.gain = nn.ModuleList(
            (nn.Linear(width, width), nn.Linear(width, width), zeroed(nn.Linear(width, 2 * config.num_bins)))
        )

    def forward(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps sigma [M] to conditioning [M, E], input gain and output gain [M, 1, F, 1]."""
        # float32 island: the sine of large arguments and log(sigma) lose too much in half precision
        angles = (sigma.float().log() / 4)[:, None] * self.frequencies.float()
        waves = torch.cat((angles.sin(), angles.cos()), dim=-1).to(next(self.mlp.parameters()).dtype)
        x = gain = waves
        for layer in self.mlp:
            x = F.silu(layer(x))
        for layer in self.gain[:-1]:
            gain = F.silu(layer(gain))
        gain_in, gain_out = (1 + self.gain[-1](gain))[:, None, :, None].chunk(2, dim=2)
        return x, gain_in, gain_out


class Denoiser(nn.Module):
    """The consistency model on one chunk or on two consecutive ones: a noisy spectrogram to a clean estimate."""

    def __init__(self, config: CoDiCodecConfig):
        super().__init__()
        self.config = config
        noise = config.noise_channels
        self.noise = NoiseEmbedding(config)
        self.patchifier = Patchifier(config, noise)
        self.expand = xavier(nn.Linear(len(config.levels), config.width))
        self.registers = _learned(config.num_registers, config.width)
        self.transformer = Transformer(config, config.decoder_blocks, halves=2, noise_channels=noise)
        self.norm_out = ScaledLayerNorm(config.width, noise)
        self.depatchifier = Depatchifier(config, noise)
        self.deviation = LocalDeviation(config) if config.envelope_bands else None

    def forward(
        self,
        noisy: Tensor,
        values: Tensor,
        features: list[Tensor],
        sigma: Tensor,
        past: list[KeyValue] | None = None,
    ) -> tuple[Tensor, list[KeyValue]]:
        """Estimates the clean spectrogram.

        Args:
            noisy: [P, H, 2C, F, L] with H = 1 (the left half alone, or the right half given `past`) or H = 2.
            values: [P, H, summaries, d] bounded or quantised values.
            features: of `Upsampler`, each [P * H, ...], halves of a group next to each other.
            sigma: noise level of each half, [P, H] or [1, H] where all groups share it.
            past: keys and values that this method returned for the half before, which do not depend on the half after
                it.

        Returns:
            The estimate [P, H, 2C, F, L], and the keys and values of every block.
        """
        groups, halves = noisy.shape[:2]
        conditioning, gain_in, gain_out = self.noise(sigma.flatten())
        # one row per half for the convolutions; where all groups share sigma, the projections run on H rows only
        rows = _Rows(groups, halves, shared=len(sigma) == 1 and groups > 1)
        c_skip, c_out, c_in = self._preconditioning(sigma, values, features, noisy)
        x = (noisy * c_in).flatten(0, 1).to(conditioning.dtype)
        x, down = self.patchifier(x, rows(gain_in), rows(conditioning), features)
        sequence = self._sequence(x.unflatten(0, (groups, halves)), values)
        noise = conditioning.unflatten(0, (-1, halves))
        x, key_values = self.transformer(sequence, slice(0, self.config.num_patches), noise, past)
        x = self.norm_out(x, noise).flatten(0, 1)
        x, _ = self.depatchifier(x, rows(conditioning), down)
        x = self.depatchifier.output(x, rows(gain_out), rows(conditioning)).unflatten(0, (groups, halves))
        return c_skip * noisy + c_out * x.to(noisy.dtype), key_values

    def keys_values(self, noisy: Tensor, values: Tensor, features: list[Tensor], sigma: Tensor) -> list[KeyValue]:
        """Computes only the keys and values of a left half that the right half needs.

        Args:
            noisy: as of `forward`.
            values: as of `forward`.
            features: as of `forward`.
            sigma: as of `forward`.

        Returns:
            Keys and values of every block.
        """
        conditioning, gain_in, _ = self.noise(sigma.flatten())
        _, _, c_in = self._preconditioning(sigma, values, features, noisy)
        x = (noisy * c_in).flatten(0, 1).to(conditioning.dtype)
        rows = _Rows(noisy.shape[0], noisy.shape[1], shared=len(sigma) == 1 and len(noisy) > 1)
        x, _ = self.patchifier(x, rows(gain_in), rows(conditioning), features)
        sequence = self._sequence(x.unflatten(0, noisy.shape[:2]), values)
        noise = conditioning.unflatten(0, (-1, noisy.shape[1]))
        pairs: list[KeyValue] = self.transformer(sequence, slice(0, 1), noise)[1]
        return pairs

    def _preconditioning(
        self, sigma: Tensor, values: Tensor, features: list[Tensor], noisy: Tensor
    ) -> tuple[Tensor, ...]:
        """Returns c_skip, c_out and c_in, which broadcast with the spectrogram [P, H, 2C, F, L]."""
        deviation = None
        if self.deviation is not None:
            deviation = self.deviation(values.flatten(0, 1), features).unflatten(0, noisy.shape[:2])
        factors = preconditioning(sigma[:, :, None, None, None], self.config, deviation)
        return tuple(factor.to(noisy.dtype) for factor in factors)

    def _sequence(self, patches: Tensor, values: Tensor) -> Tensor:
        """Returns [P, H, S, W]: audio tokens, summaries, registers of each half."""
        registers = self.registers.expand(*patches.shape[:2], -1, -1).to(patches.dtype)
        return torch.cat((patches, self.expand(values.to(patches.dtype)).to(patches.dtype), registers), dim=2)


class _Rows:
    """Repeats per-half conditioning [H or P * H, ...] to one row for each of P * H halves."""

    def __init__(self, groups: int, halves: int, shared: bool):
        self.groups, self.repeat, self.single = groups, shared, halves == 1

    def __call__(self, x: Tensor) -> Tensor:
        if not self.repeat or self.single:  # a single row broadcasts by itself
            return x
        return x.repeat(self.groups, *([1] * (x.ndim - 1)))
