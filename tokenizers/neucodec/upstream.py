"""The official `pytorch_model.bin` with our names: a flat dict, without the semantic encoder, another model's."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...core.errors import CheckpointError
from ...core.weights import is_constant
from ...layers.weight_norm import SPELLINGS, fold_state_dict, fold_weight_norm
from ..parts.official import renamed_state
from .config import CodecConfig
from .distil_upstream import distil_tensors
from .distilled import DistillNeuCodec
from .model import NeuCodec
from .snake import half_band_filter

logger = logging.getLogger(__name__)

FILE_NAME = "pytorch_model.bin"
DISTILLED_PREFIX = "codec_encoder."  # of keys that only the distilled version has
TWIN_TOLERANCE = 1e-5
TWIN_ROUNDINGS = 4  # of half-precision weights, each of a unit in the last place of the largest
FILTER_TOLERANCE = 1e-6

ADAPTER = {"initial_conv": "conv_in", "residual_blocks.1": "conv_mid1", "residual_blocks.3": "conv_mid2",
           "final_conv": "conv_out"}  # fmt: skip
UNIT = {"0.act": "act1", "1": "conv1", "2.act": "act2", "3": "conv2"}
SNAKE = {"alpha": "log_frequency", "beta": "log_damping"}
BLOCK = {"att_norm": "attn_norm", "att.c_attn": "qkv", "att.c_proj": "attn_out", "ffn_norm": "mlp_norm",
         "mlp.fc1": "mlp_up", "mlp.fc2": "mlp_down"}  # fmt: skip
PREFIXES = (  # (official, ours) of parts with the same inner names
    ("acoustic.", "acoustic_encoder."),  # as `distil_tensors` returns them
    ("fc_prior.", "fusion."),
    ("fc_post_a.", "decoder.project_in."),
    ("fc_post_s.", "semantic_out."),
    ("generator.quantizer.", "quantiser."),
    ("generator.backbone.embed.", "decoder.stem."),
    ("generator.backbone.prior_net.", "decoder.pre."),
    ("generator.backbone.post_net.", "decoder.post."),
    ("generator.backbone.final_layer_norm.", "decoder.norm."),
    ("generator.head.out.", "decoder.head.out."),
    ("CodecEnc.conv_blocks.0.", "acoustic_encoder.stem."),
    ("CodecEnc.conv_final_block.1.", "acoustic_encoder.out."),
)
ADAPTERS = (("SemanticEncoder_module.", "semantic_adapter."), ("SemanticDecoder_module.", "semantic_decoder."))
TRAINING_ONLY = ("semantic_out.", "semantic_decoder.")
FILTER = re.compile(r"CodecEnc\..*\.filter")
WINDOW = "generator.head.istft.window"


def rename(key: str) -> str:
    """Returns our name of an official key whose weight norm is folded; unknown keys are returned unchanged."""
    for official, ours in PREFIXES:
        if key.startswith(official):
            return ours + key.removeprefix(official)
    for official, ours in ADAPTERS:
        if key.startswith(official):
            return ours + _replaced(key.removeprefix(official), ADAPTER)
    block = re.fullmatch(r"generator\.backbone\.transformers\.(\d+)\.(.+)", key)
    if block:
        return f"decoder.blocks.{block[1]}.{_replaced(block[2], BLOCK)}"
    last = re.fullmatch(r"CodecEnc\.conv_final_block\.0\.act\.(\w+)", key)
    if last:
        return f"acoustic_encoder.out_act.{SNAKE.get(last[1], last[1])}"
    stage = re.fullmatch(r"CodecEnc\.conv_blocks\.(\d+)\.block\.(.+)", key)
    return f"acoustic_encoder.stages.{int(stage[1]) - 1}.{_in_stage(stage[2])}" if stage else key


def _in_stage(rest: str) -> str:
    """Maps a stage's list: three units, the activation before the strided convolution, and that convolution."""
    unit = re.fullmatch(r"([012])\.block\.(.+)", rest)
    if unit:
        inner = _replaced(unit[2], UNIT)
        part, _, tail = inner.partition(".")
        return f"units.{unit[1]}.{part}.{SNAKE.get(tail, tail)}"
    act = re.fullmatch(r"3\.act\.(\w+)", rest)
    return f"down_act.{SNAKE.get(act[1], act[1])}" if act else rest.replace("4.", "down.", 1)


def _replaced(name: str, table: Mapping[str, str]) -> str:
    """Returns `name` with its beginning replaced where the table has it."""
    for official, ours in table.items():
        if name.startswith(f"{official}."):
            return ours + name.removeprefix(official)
    return name


def fold_official(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the state dict without weight norm.

    It contains the decoder's convolutions twice: as they are used, and as gains and directions left over from training.
    The plain weight counts; a difference is logged.

    Raises:
        CheckpointError: half of a pair is missing, or a pair does not fit.
    """
    state = dict(official)
    g_name, v_name = SPELLINGS[0]
    for key in official:
        layer = key.removesuffix("weight")
        if layer == key or layer + g_name not in state or layer + v_name not in state:
            continue
        half_ulp = torch.finfo(official[key].dtype).eps * float(official[key].abs().max())
        twin = fold_weight_norm(state.pop(layer + g_name).float(), state.pop(layer + v_name).float())
        difference = float((twin - official[key].float()).abs().max())
        if difference > max(TWIN_TOLERANCE, TWIN_ROUNDINGS * half_ulp):
            logger.warning(
                "%s differs by up to %.2g from what weight norm gives: took the plain weight", key, difference
            )
    return fold_state_dict(state)


def convert_state_dict(official: Mapping[str, Tensor], codec: NeuCodec) -> dict[str, Tensor]:
    """Returns official tensors with our names, float32, weight norm folded, without the semantic encoder.

    Raises:
        CheckpointError: keys are missing, unexpected or of another size (named), or constants have unknown values.
    """
    distilled = isinstance(codec, DistillNeuCodec)
    if distilled != is_distilled(official):
        asked = type(codec).__name__
        raise CheckpointError(f"these are weights of the {'full' if distilled else 'distilled'} NeuCodec, not {asked}")
    folded = fold_official(official)
    if distilled:
        folded = distil_tensors(folded, len(codec.settings.acoustic.depths))  # type: ignore[attr-defined]
    for key in [key for key in folded if FILTER.fullmatch(key) or key == WINDOW]:
        _check_constant(key, folded.pop(key), codec.settings)
    ours = {name: tensor for name, tensor in codec.state_dict().items() if not name.startswith("semantic_encoder.")}

    def our_name(key: str) -> str | None:
        name = rename(key)
        return None if name.startswith(TRAINING_ONLY) and name not in ours else name

    return renamed_state(folded, our_name, ours, type(codec).__name__)


def _check_constant(key: str, tensor: Tensor, config: CodecConfig) -> None:
    """Checks that buffers that we compute have the expected values."""
    expected = torch.hann_window(config.synthesis.window_samples) if key == WINDOW else half_band_filter()
    if tensor.numel() != expected.numel() or not is_constant(tensor.flatten(), expected, atol=FILTER_TOLERANCE):
        raise CheckpointError(f"the constant {key} has an unknown value: this checkpoint is of another model")


def is_distilled(official: Mapping[str, Any]) -> bool:
    """Returns whether a state dict is one of the distilled version."""
    return any(key.startswith(DISTILLED_PREFIX) for key in official)
