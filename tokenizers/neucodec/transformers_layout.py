"""transformers' `NeuCodecModel` (`model_type: neucodec`): its config and its weights as ours.

One file holds everything, the semantic encoder's layers that are used included; there is no distilled version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...core.errors import CheckpointError
from ..parts.official import renamed_state
from .acoustic import AcousticConfig
from .config import NeuCodecConfig
from .decoder import DecoderConfig
from .model import NeuCodec
from .quantiser import QuantiserConfig
from .semantic import SemanticConfig

MODEL_TYPE = "neucodec"
# values of a config for which the network is built, transformers' defaults; positions of the rotary embedding are the
# numbers of the heads, so that it has no effect whatever its parameters
FIXED: dict[str, Any] = {"attention_bias": False, "hidden_act": "silu", "rms_norm_eps": 1e-6}
WINDOW_HOPS = 4  # hops of the decoder's window

SNAKE = r"snake(\d)\.act\.(alpha|beta)"
SNAKE_PARTS = {"alpha": "log_frequency", "beta": "log_damping"}
ADAPTER = {"conv1": "conv_in", "conv2": "conv_mid1", "conv3": "conv_mid2", "conv4": "conv_out"}
BLOCK = {
    "input_layernorm": "attn_norm",
    "self_attn.qkv": "qkv",
    "self_attn.o_proj": "attn_out",
    "post_attention_layernorm": "mlp_norm",
    "mlp.fc1": "mlp_up",
    "mlp.fc2": "mlp_down",
}
PREFIXES = {  # official -> ours, of parts with the same inner names
    "fc_encoder.": "fusion.",
    "quantizer.": "quantiser.",
    "acoustic_encoder.conv1.": "acoustic_encoder.stem.",
    "acoustic_encoder.conv2.": "acoustic_encoder.out.",
    "acoustic_decoder.fc.": "decoder.project_in.",
    "acoustic_decoder.embed.": "decoder.stem.",
    "acoustic_decoder.prior_net.": "decoder.pre.",
    "acoustic_decoder.post_net.": "decoder.post.",
    "acoustic_decoder.norm.": "decoder.norm.",
    "acoustic_decoder.head.linear.": "decoder.head.out.",
}
# (official, ours of a match) of the others
PATTERNS: tuple[tuple[re.Pattern[str], Any], ...] = (
    (re.compile(rf"acoustic_encoder\.{SNAKE}"), lambda m: f"acoustic_encoder.out_act.{SNAKE_PARTS[m[2]]}"),
    (
        re.compile(rf"acoustic_encoder\.block\.(\d+)\.{SNAKE}"),
        lambda m: f"acoustic_encoder.stages.{m[1]}.down_act.{SNAKE_PARTS[m[3]]}",
    ),
    (
        re.compile(r"acoustic_encoder\.block\.(\d+)\.conv1\.(\w+)"),
        lambda m: f"acoustic_encoder.stages.{m[1]}.down.{m[2]}",
    ),
    (
        re.compile(rf"acoustic_encoder\.block\.(\d+)\.res_unit(\d)\.{SNAKE}"),
        lambda m: f"acoustic_encoder.stages.{m[1]}.units.{int(m[2]) - 1}.act{m[3]}.{SNAKE_PARTS[m[4]]}",
    ),
    (
        re.compile(r"acoustic_encoder\.block\.(\d+)\.res_unit(\d)\.(conv\d\.\w+)"),
        lambda m: f"acoustic_encoder.stages.{m[1]}.units.{int(m[2]) - 1}.{m[3]}",
    ),
    (re.compile(r"semantic_adapter\.(conv\d)\.(\w+)"), lambda m: f"semantic_adapter.{ADAPTER[m[1]]}.{m[2]}"),
    (
        re.compile(rf"acoustic_decoder\.layers\.(\d+)\.({'|'.join(map(re.escape, BLOCK))})\.weight"),
        lambda m: f"decoder.blocks.{m[1]}.{BLOCK[m[2]]}.weight",
    ),
)


def is_of_transformers(official: Mapping[str, Any]) -> bool:
    """Returns whether a state dict has transformers' names."""
    return any(key.startswith("acoustic_decoder.") for key in official)


def transformers_config(values: Mapping[str, Any]) -> NeuCodecConfig:
    """Returns the config that the `config.json` of a `NeuCodecModel` describes.

    Raises:
        CheckpointError: a value is missing, or describes a model that is not built here.
    """
    for key, value in FIXED.items():
        if values.get(key, value) != value:
            raise CheckpointError(f"a NeuCodec with {key} {values[key]!r} is not built here, only {value!r}")
    try:
        width, heads = values["hidden_size"], values["num_attention_heads"]
        semantic = SemanticConfig.from_hugging_face(
            values["semantic_model_config"], values["semantic_model_config"]["num_hidden_layers"]
        )
        if values["num_key_value_heads"] != heads or values["head_dim"] * heads != width:
            raise CheckpointError(
                f"a NeuCodec of width {width} with {heads} heads of {values['head_dim']} and "
                f"{values['num_key_value_heads']} heads of keys is not built here"
            )
        acoustic = AcousticConfig(
            width=values["encoder_hidden_size"], strides=tuple(values["downsampling_ratios"]), out_width=width
        )
        rates = {"encoder_rate": values["input_sampling_rate"], "sample_rate": values["output_sampling_rate"]}
        hop = acoustic.hop_samples * rates["sample_rate"] // rates["encoder_rate"]
        return NeuCodecConfig(
            **rates,
            adapter_width=semantic.hidden_size,
            semantic_width=semantic.hidden_size,
            fused_width=width + semantic.hidden_size,
            fsq=QuantiserConfig(levels=tuple(values["quantization_levels"])),
            synthesis=DecoderConfig(
                width=width,
                depth=values["num_hidden_layers"],
                num_heads=heads,
                mlp_ratio=values["intermediate_size"] // width,
                dropout=values["activation_dropout"],
                hop_samples=hop,
                window_samples=WINDOW_HOPS * hop,
            ),
            semantic=semantic,
            acoustic=acoustic,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the config describes a NeuCodec that cannot be built: {error!r}") from error


def convert_transformers(official: Mapping[str, Tensor], codec: NeuCodec) -> dict[str, Tensor]:
    """Returns transformers' tensors with our names, float32, without the semantic encoder.

    Raises:
        CheckpointError: keys are missing, unexpected or of another size (named).
    """
    own = {key: tensor for key, tensor in official.items() if not key.startswith("semantic_encoder.")}
    ours = {name: tensor for name, tensor in codec.state_dict().items() if not name.startswith("semantic_encoder.")}
    return renamed_state(_joined_projections(own), rename, ours, type(codec).__name__)


def _joined_projections(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns a state dict whose three projections of each attention are one."""
    joined = dict(official)
    for key in [key for key in official if key.endswith(".self_attn.q_proj.weight")]:
        layer = key.removesuffix("q_proj.weight")
        names = [f"{layer}{part}_proj.weight" for part in "qkv"]
        if all(name in joined for name in names):
            joined[f"{layer}qkv.weight"] = torch.cat([joined.pop(name) for name in names])
    return joined


def rename(key: str) -> str:
    """Returns our name of one of transformers' keys whose projections are joined; unknown keys stay as they are."""
    for official, ours in PREFIXES.items():
        if key.startswith(official):
            return ours + key.removeprefix(official)
    for pattern, name in PATTERNS:
        if (match := pattern.fullmatch(key)) is not None:
            return str(name(match))
    return key
