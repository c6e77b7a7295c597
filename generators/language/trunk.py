"""The decoder of a language model for sampling: x-transformers' weights, laid out for steps of few positions.

x-transformers' own cache grows by concatenation and rotates all its keys in each step, so the time of a step grows with
the past and no two steps have the same shapes. Here the keys lie rotated in the slots of a fixed cache. The gains of
the norms are multiplied into the matrices behind them, the matrices of queries, keys and values are one, and all are
stored input first, which the CPU's products of few rows read faster.

Shape letters: R rows, n new positions, W width, H heads, E features of a head, F hidden width of the MLP, S slots.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from x_transformers import Decoder

from ...layers.cache import SlotCache
from ...layers.rotary import rotary_angles, turn_pairs, turns_of


class LayerWeights(NamedTuple):
    """One layer of attention and the MLP behind it."""

    qkv: Tensor  # [W, 3 H E]
    qk_gain: Tensor  # [2 H, E]
    out: Tensor  # [H E, W]
    up: Tensor  # [W, 2 F], values and gates
    up_bias: Tensor  # [2 F]
    down: Tensor  # [F, W]


class TrunkWeights(NamedTuple):
    """All layers, and the gain of the last norm."""

    layers: tuple[LayerWeights, ...]
    gain: Tensor  # [W]
    floor: Tensor  # [] smallest length of a vector that is normalised


def input_first(linear: nn.Module, size: int, like: Tensor) -> Tensor:
    """Returns the matrix [in, out] of a linear layer without its bias, adapted or not.

    Args:
        linear: a linear map of vectors of `size` entries; an adapter's counts too.
        size: of its input.
        like: a tensor of the dtype and device of the input.
    """
    if type(linear) is nn.Linear:
        return linear.weight.detach().t()
    offset: Tensor = linear(like.new_zeros(1, size))
    rows: Tensor = linear(torch.eye(size, dtype=like.dtype, device=like.device))  # what it makes of each unit vector
    return rows - offset


def norm_gain(norm: Any) -> Tensor:
    """Returns what x-transformers' RMS norm multiplies a vector of length 1 by, [W]."""
    gain: Tensor = (norm.g + float(norm.unit_offset)) * norm.scale
    return gain


@torch.no_grad()
def trunk_weights(decoder: Decoder) -> TrunkWeights:
    """Returns the weights of a decoder as `run_trunk` takes them: copies, valid until the decoder is changed."""
    modules: Any = decoder.layers
    layers = []
    for (norms, attention, _), (mlp_norms, mlp, _) in zip(modules[::2], modules[1::2], strict=True):
        gain = norm_gain(norms[0])
        width = len(gain)
        qkv = torch.cat(
            [input_first(part, width, gain) for part in (attention.to_q, attention.to_k, attention.to_v)], 1
        )
        qk_gain = torch.cat([attention.q_rmsnorm.gamma, attention.k_rmsnorm.gamma]).squeeze(1) + 1.0
        proj, down = mlp.ff[0].proj, mlp.ff[2]
        hidden = proj.weight.shape[0] // 2
        mlp_gain = norm_gain(mlp_norms[0])
        layers.append(
            LayerWeights(
                qkv=(gain[:, None] * qkv).contiguous(),
                qk_gain=qk_gain * qk_gain.shape[-1] ** 0.5,
                out=input_first(attention.to_out, attention.to_v.weight.shape[0], gain).contiguous(),
                up=(mlp_gain[:, None] * input_first(proj, width, gain)).contiguous(),
                up_bias=proj.bias.detach().clone(),
                down=input_first(down, hidden, gain).contiguous(),
            )
        )
    last = norm_gain(decoder.final_norm)
    return TrunkWeights(tuple(layers), last, last.new_full((), 1e-6))


def rotary_turns(num_positions: int, rotary_dim: int, head_dim: int, base: float, like: Tensor) -> Tensor:
    """Returns the turns that `run_trunk` takes.

    Args:
        num_positions: the positions are 0 ... `num_positions` - 1.
        rotary_dim: features of a head that turn, the first ones.
        head_dim: E.
        base: of the wavelengths, as in `rotary_angles`.
        like: a tensor on the device of the result.

    Returns:
        [positions, 1, E / 2, 2].
    """
    angles = rotary_angles(torch.arange(num_positions, device=like.device), rotary_dim, base)
    return turns_of(F.pad(angles, (0, (head_dim - rotary_dim) // 2))).unsqueeze(1)


def unit(x: Tensor, floor: Tensor) -> Tensor:
    """Returns x [..., W] at length 1; `floor` keeps a vector of zeros finite."""
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    if torch.compiler.is_exporting():  # ONNX has no hypot
        return x / (length.square() + floor.square()).sqrt()
    return x / torch.hypot(length, floor)


def run_trunk(weights: TrunkWeights, cache: SlotCache, x: Tensor, slots: Tensor, turns: Tensor, bias: Tensor) -> Tensor:
    """Returns the hidden states [R, n, W] of new positions, whose keys and values are written into the cache.

    Args:
        weights: of the decoder.
        cache: of R rows, all of whose S slots are read.
        x: [R, n, W] embeddings.
        slots: [n] int64, where the keys and values of the new positions are written.
        turns: [1 or R, n, 1, E / 2, 2] of the new positions.
        bias: [1 or R, 1, 1 or n, S] 0 where a new position sees a slot and -inf elsewhere.
    """
    rows, count, width = x.shape
    heads, floor = cache.keys[0].shape[1], weights.floor
    turns = turns if _in_real_numbers(x) else torch.view_as_complex(turns)
    x = x.reshape(rows * count, width)
    for layer, keys, values in zip(weights.layers, cache.keys, cache.values, strict=True):
        qk, v = (unit(x, floor) @ layer.qkv).view(rows, count, 3 * heads, -1).split((2 * heads, heads), 2)
        q, k = _turn(unit(qk, floor) * layer.qk_gain, turns).transpose(1, 2).split(heads, 1)
        keys.index_copy_(2, slots, k)
        values.index_copy_(2, slots, v.transpose(1, 2))
        # torch's own, without the checks of `attend`, which take a third of its time for one position
        seen = F.scaled_dot_product_attention(q, keys, values, bias)
        x = torch.addmm(x, seen.transpose(1, 2).reshape(rows * count, -1), layer.out)
        up, gate = torch.addmm(layer.up_bias, unit(x, floor), layer.up).chunk(2, -1)
        x = torch.addmm(x, up * F.silu(gate), layer.down)
    return (unit(x, floor) * weights.gain).view(rows, count, width)


def _in_real_numbers(x: Tensor) -> bool:
    """Returns whether vectors are turned without complex numbers, which compilers and half precision lack."""
    return torch.compiler.is_compiling() or x.dtype != torch.float32


def _turn(qk: Tensor, turns: Tensor) -> Tensor:
    """Returns contiguous queries and keys turned as by `turn_pairs`, faster where the turns are complex."""
    return (qk.view(torch.complex64) * turns).view(torch.float32) if turns.is_complex() else turn_pairs(qk, turns)
