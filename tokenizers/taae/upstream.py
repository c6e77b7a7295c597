"""Official Stable Codec weights with our names. Key names as in stable-audio-tools.

The official network is a flat list of layers. In ours, encoder and decoder each have `conv_in`, `stages` in the order
in which frames pass them, and `conv_out`. Weight norm is folded into plain weights.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from ...core.errors import CheckpointError
from ...core.hub import Source
from ...core.pickles import load_pickle
from ...core.weights import is_constant
from ...layers.rotary import rotary_angles
from ...layers.weight_norm import fold_state_dict
from ..parts.official import read_safetensors, renamed_state
from .config import TAAEConfig
from .upstream_config import official_config

if TYPE_CHECKING:
    from .model import TAAE

logger = logging.getLogger(__name__)
Codec = TypeVar("Codec", bound="TAAE")

CONFIG_FILE = "model_config.json"
WEIGHT_FILES = ("model.safetensors", "model.ckpt")  # the first that exists
TRAINING_PREFIX = "autoencoder."  # of the codec's keys in a training checkpoint
EMA_PREFIX = "autoencoder_ema.ema_model."  # of their moving averages
EMA_STARTED = "autoencoder_ema.initted"  # False before the first update, when the averages are the initial weights
LICENCE = "Stability AI Community License"

LAYER = re.compile(r"(encoder|decoder)\.layers\.(\d+)\.(.+)")
STAGE_PARTS = {  # places in a stage's own list: (blocks, activation, convolution)
    "encoder": {"2": "transformer.blocks", "0": "activation", "1": "down"},
    "decoder": {"0": "transformer.blocks", "1": "activation", "2": "up"},
}
BLOCK_PARTS = {
    "pre_norm.gamma": "attention_norm.weight",
    "self_attn.to_qkv.weight": "attention.qkv.weight",
    "self_attn.to_out.weight": "attention.out.weight",
    "self_attn.q_norm.weight": "attention.q_norm.weight",
    "self_attn.q_norm.bias": "attention.q_norm.bias",
    "self_attn.k_norm.weight": "attention.k_norm.weight",
    "self_attn.k_norm.bias": "attention.k_norm.bias",
    "self_attn_scale.scale": "attention_scale",
    "ff_norm.gamma": "mlp_norm.weight",
    "ff.ff.0.proj.weight": "mlp.inner.weight",
    "ff.ff.0.proj.bias": "mlp.inner.bias",
    "ff.ff.2.weight": "mlp.out.weight",
    "ff.ff.2.bias": "mlp.out.bias",
    "ff_scale.scale": "mlp_scale",
}
SNAKE_PARTS = {"alpha": "log_frequency", "beta": "log_damping"}
ZERO_BIAS = re.compile(r".*\.(pre_norm|ff_norm)\.beta")  # a buffer: the official norms learn no bias
FREQUENCIES = re.compile(r".*\.rope\.inv_freq")


def rename(key: str, num_stages: int) -> str:
    """Returns our name of an official key whose weight norm is folded; unknown keys are returned unchanged."""
    match = LAYER.fullmatch(key)
    if not match:
        return key
    side, place, rest = match[1], int(match[2]), match[3]
    if place == 0:
        return f"{side}.conv_in.{rest}"
    if place == num_stages + 1:
        return f"{side}.activation_out.{SNAKE_PARTS.get(rest, rest)}"
    if place == num_stages + 2:
        return f"{side}.conv_out.{rest}"
    inner = re.fullmatch(r"layers\.(\d+)\.(.+)", rest)
    part = STAGE_PARTS[side].get(inner[1]) if inner else None
    if inner is None or part is None:
        return key
    name, rest = f"{side}.stages.{place - 1}.{part}", inner[2]
    if part == "activation":
        return f"{name}.{SNAKE_PARTS.get(rest, rest)}"
    if part != "transformer.blocks":
        return f"{name}.{rest}"
    # the block list begins with a transposition, so its blocks count from 1
    index, _, rest = rest.partition(".")
    return f"{name}.{int(index) - 1}.{BLOCK_PARTS.get(rest, rest)}" if index.isdigit() else key


def convert_state_dict(official: Mapping[str, Tensor], codec: TAAE) -> dict[str, Tensor]:
    """Returns official tensors with our names, float32, weight norm folded.

    Raises:
        CheckpointError: keys are missing, unexpected or of another size (named), or constants have unknown values.
    """
    config, state = codec.settings, fold_state_dict(official)
    for key in [key for key in state if ZERO_BIAS.fullmatch(key) or FREQUENCIES.fullmatch(key)]:
        _check_constant(key, state.pop(key), config)
    return renamed_state(state, lambda key: rename(key, len(config.depths)), codec.state_dict(), "TAAE")


def _check_constant(key: str, tensor: Tensor, config: TAAEConfig) -> None:
    """Checks that buffers that we compute or leave out have the expected values."""
    if ZERO_BIAS.fullmatch(key):
        if tensor.any():
            raise CheckpointError(f"the norm bias {key} is not zero: this checkpoint is of another model")
        return
    expected = rotary_angles(torch.ones(1), config.rotary_dim, config.rotary_base)[0]
    if tensor.shape != expected.shape or not is_constant(tensor, expected):
        raise CheckpointError(f"the rotary frequencies {key} are unknown: this checkpoint is of another model")


def read_official(path: Path, ema: bool = True) -> dict[str, Tensor]:
    """Returns the codec's state dict of an official `model.safetensors`, `model.ckpt` or a training checkpoint.

    From a training checkpoint only the codec's own keys are taken, not the discriminator and the like.

    Args:
        path: the file.
        ema: take the averaged weights of a training checkpoint, where it has them.

    Raises:
        CheckpointError: the file is missing, truncated, of another format, or contains objects that are not allowed.
    """
    if path.suffix == ".safetensors":
        state: Any = read_safetensors(path)
    else:
        state = load_pickle(path)
        state = state.get("state_dict") if isinstance(state, Mapping) else None
        if not isinstance(state, Mapping):
            raise CheckpointError(f"{path} has no 'state_dict': it is not an official TAAE checkpoint")
    averaged, own = _under(EMA_PREFIX, state), _under(TRAINING_PREFIX, state)
    started = bool(state.get(EMA_STARTED, torch.tensor(True)).all())
    if averaged and started and ema:
        logger.info("%s is a training checkpoint: took the averaged weights (ema=false: the last ones)", path)
        return averaged
    if own:
        logger.info("%s is a training checkpoint: took %d keys of the codec of %d in all", path, len(own), len(state))
    return own or dict(state)


def _under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the part of a state dict whose keys begin with `prefix`, without it."""
    return {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}


def read_codec(cls: type[Codec], source: Source, ema: bool = True) -> Codec:
    """Implements `TAAE.read_official`; a config that cannot be built here raises CheckpointError as well."""
    from accelerate import init_empty_weights

    weights = source.given or source.file(*WEIGHT_FILES)
    config = official_config(source.file(CONFIG_FILE))
    state = read_official(weights, ema)
    with init_empty_weights(include_buffers=False):  # drawing a billion random weights takes longer than reading them
        codec = cls(config)
    codec.load_state_dict(convert_state_dict(state, codec), strict=True, assign=True)
    codec.licence = LICENCE
    return codec
