"""The bottleneck of TAAE (arXiv 2411.19842, section 3.2): its quantiser, its training and the numbering of tokens.

A network is trained once, and its tokens are chosen afterwards: as one large codebook, as residual stages of small
ones, at fewer levels, or as parallel codebooks of a few dimensions each. The latents do not change with that choice.

Vocabulary: z is the unbounded encoder output; a value is tanh(z), or its quantised form, in [-1, 1]. Shape letters: B
batch, T latent frames, D latent width, Q codebooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ...layers import fsq, fsq_symmetric
from ...layers.fsq_symmetric import Rounding, Stage

QUANTISE, NOISE, KEEP = 0, 1, 2  # the modes of `Bottleneck.train`

# (levels in each of six dimensions, scale) of every stage; the names are the official ones
PRESETS: dict[str, tuple[tuple[int, float], ...]] = {
    "1x46656_400bps": ((6, 1.0),),
    "2x15625_700bps": ((5, 1.0), (5, 1 / 4)),
    "4x729_1000bps": ((3, 1.0), (3, 1 / 2), (3, 1 / 4), (3, 1 / 8)),
}
PRESET_DIMS = 6


@dataclass(frozen=True, kw_only=True)
class BottleneckConfig:
    """The quantiser between encoder and decoder. The defaults are the released model's."""

    kind: Literal["fsq", "none"] = "fsq"  # none: values pass unchanged, and there are no tokens
    levels: tuple[int, ...] = (17,) * 6  # of each latent dimension, as the network was trained; any L >= 2
    preset: str = "native"  # how tokens are made: native (`levels` as they are) or a name of PRESETS
    stages: tuple[Stage, ...] = ()  # residual stages of your own, in place of a preset
    partition: tuple[int, ...] = ()  # dimensions of each parallel codebook of a stage, in order; (): one codebook
    clip: bool = True  # clip the sum of residual stages to [-1, 1], as the paper advises; released code: False
    # The paper rounds ties up, the released code to even. Only exact ties differ; even is what official tokens need.
    rounding: Rounding = "half_even"

    def __post_init__(self) -> None:
        if self.kind not in ("fsq", "none"):
            raise ValueError(f"kind must be 'fsq' or 'none', got {self.kind!r}")
        if self.rounding not in ("half_even", "half_up"):
            raise ValueError(f"rounding must be 'half_even' or 'half_up', got {self.rounding!r}")
        if self.kind == "none":
            if self.preset != "native" or self.stages or self.partition:
                raise ValueError("a bottleneck of kind 'none' has no tokens: omit preset, stages and partition")
            return
        Stage(levels=self.levels)
        if self.stages and self.preset != "native":
            raise ValueError(f"set either preset {self.preset!r} or stages of your own, not both")
        allowed = allowed_presets(self.levels)
        if self.preset not in allowed:
            raise ValueError(
                f"levels {self.levels} do not allow preset {self.preset!r}: allowed are {', '.join(allowed)}"
            )
        dims = len(self.levels)
        for stage in self.stages:
            if len(stage.levels) != dims:
                raise ValueError(f"a stage has levels {stage.levels}, but the network has {dims} dimensions")
        if self.partition and (min(self.partition) < 1 or sum(self.partition) != dims):
            raise ValueError(f"partition {self.partition} must be positive and sum to the {dims} dimensions")


def allowed_presets(levels: Sequence[int]) -> list[str]:
    """Returns the names of the presets that a network trained with `levels` can use; `native` is always one.

    Presets are made for six dimensions. A preset of several stages has to equal exactly the network's own grid; a
    preset of a single stage changes the levels after training, which a network trained with noise tolerates.
    """
    spelled = fsq_symmetric.decompositions(levels)
    named = {name: _preset_stages(name) for name in PRESETS if len(levels) == PRESET_DIMS}
    return ["native", *(name for name, stages in named.items() if len(stages) == 1 or stages in spelled)]


def _preset_stages(name: str) -> tuple[Stage, ...]:
    return tuple(Stage(levels=(size,) * PRESET_DIMS, scale=scale) for size, scale in PRESETS[name])


class Bottleneck:
    """Conversion of values to tokens and back, and the training-time substitutes for rounding. It owns no parameters.

    Tokens are stage-major: the codebooks of stage 0 in the order of the dimensions, then those of stage 1, ...

    Args:
        config: the quantiser.
        latent_dim: D of the network.

    Raises:
        ValueError: the number of levels is not D.
    """

    def __init__(self, config: BottleneckConfig, latent_dim: int):
        if config.kind == "fsq" and len(config.levels) != latent_dim:
            raise ValueError(f"the bottleneck has {len(config.levels)} levels, the network {latent_dim} dimensions")
        self.config = config
        self.latent_dim = latent_dim
        self.stages = _stages(config)
        self.partition = config.partition or (latent_dim,)

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """Levels of each codebook's dimensions, the least significant first, as in `TokenizerSpec.levels`."""
        ends = [sum(self.partition[: k + 1]) for k in range(len(self.partition))]
        groups = [slice(end - width, end) for end, width in zip(ends, self.partition, strict=True)]
        return tuple(stage.levels[group] for stage in self.stages for group in groups)

    def with_preset(self, preset: str) -> Bottleneck:
        """Returns the same network's bottleneck with other tokens.

        Raises:
            ValueError: the levels do not allow the preset; the message lists those that they allow.
        """
        return Bottleneck(replace(self.config, preset=preset, stages=()), self.latent_dim)

    # ------------------------------------------------------------------ tokens

    def z_to_tokens(self, z: Tensor) -> Tensor:
        """Returns exactly the official tokens [..., Q] int64 of encoder output z [..., D].

        As in the released code, tanh is computed in float32 for native tokens and in float64 for all others.
        """
        return self.values_to_tokens(torch.tanh(z.float() if self._is_native else z.double()))

    def values_to_tokens(self, values: Tensor) -> Tensor:
        """Returns the nearest tokens [..., Q] int64 of values [..., D] in [-1, 1]; Q is 0 for kind `none`.

        For a single stage, tokens -> values -> tokens is the identity. Residual stages overlap, so that a value in the
        middle between two levels of a stage has two spellings, and encoding takes that of the side of the value. The
        values of encoded tokens always return exactly; their tokens return in the spelling that rounding prefers for
        that very value, and do not change after that.
        """
        self._check_last(values, self.latent_dim, "values")
        if not self.stages:
            return torch.zeros(*values.shape[:-1], 0, dtype=torch.int64, device=values.device)
        values = values.to(torch.promote_types(values.dtype, torch.float32 if self._is_native else torch.float64))
        digits = fsq_symmetric.residual_digits(values, self.stages, self.config.rounding)
        parts = torch.cat(digits, -1).split([len(sizes) for sizes in self.levels], -1)
        tokens = [fsq.digits_to_indices(part, sizes) for part, sizes in zip(parts, self.levels, strict=True)]
        return torch.stack(tokens, -1)

    def tokens_to_values(self, tokens: Tensor) -> Tensor:
        """Returns values [..., D] float32 of tokens [..., Q].

        Raises:
            ValueError: another number of codebooks, a token out of its codebook's range, or a bottleneck without
                codebooks.
            TypeError: the tokens are not integers.
        """
        if not self.stages:
            raise ValueError("this bottleneck has no tokens (kind 'none'): decode latents instead")
        self._check_last(tokens, len(self.levels), "tokens")
        pairs = zip(tokens.unbind(-1), self.levels, strict=True)
        digits = torch.cat([fsq.indices_to_digits(codes, sizes) for codes, sizes in pairs], -1)
        return fsq_symmetric.residual_values(digits.split(self.latent_dim, -1), self.stages, self.config.clip)

    @property
    def _is_native(self) -> bool:
        return self.config.preset == "native" and not self.config.stages

    @staticmethod
    def _check_last(tensor: Tensor, size: int, name: str) -> None:
        if tensor.ndim < 1 or tensor.shape[-1] != size:
            raise ValueError(f"{name} must be [..., {size}], got {tuple(tensor.shape)}: is it of another tokenizer?")

    # ------------------------------------------------------------------ training

    def train(self, z: Tensor, mode: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        """Returns the values that the decoder is trained on.

        Args:
            z: encoder output [B, T, D].
            mode: [B] int64 of each item: QUANTISE (rounded, with straight-through gradient), NOISE (uniform noise of
                one step, eq. 2) or KEEP (tanh alone). Kind `none` always keeps.
            noise: [B, T, D] uniform in [-0.5, 0.5).
            levels: [D] or [B, D] int64, the levels that define the step.

        Returns:
            Values [B, T, D] float32.
        """
        values = torch.tanh(z.float())
        if not self.stages:
            return values
        levels = levels.unsqueeze(-2)  # [1, D] or [B, 1, D]: the same in every frame
        mode = mode[:, None, None]
        quantised = fsq_symmetric.symmetric_straight_through(values, levels, self.config.rounding)
        noisy = fsq_symmetric.symmetric_noise(values, levels, noise)
        return torch.where(mode == QUANTISE, quantised, torch.where(mode == NOISE, noisy, values))


def _stages(config: BottleneckConfig) -> tuple[Stage, ...]:
    if config.kind == "none":
        return ()
    if config.preset != "native":
        return _preset_stages(config.preset)
    return config.stages or (Stage(levels=config.levels),)
