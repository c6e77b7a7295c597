"""Official names of the distilled acoustic encoder as ours; weight norm is folded before (`layers.weight_norm`)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

CONTEXTS = {
    "down_trans.trans": "context_fine",
    "down_trans.down_layer": "context_down",
    "local_trans": "context_coarse",
}
LAYER_PARTS = {
    "0.norm": "attention_norm",
    "0.to_qkv": "qkv",
    "0.to_out": "attention_out",
    "1.0": "mlp_norm",
    "1.1": "mlp_up",
    "1.4": "mlp_down",
}
UNIT_PARTS = {
    "dw_conv": "depthwise",
    "pw_conv1": "expand",
    "act.alpha": "frequency",
    "grn.gamma": "response_gain",
    "grn.beta": "response_bias",
    "pw_conv2": "contract",
}
STEM_PARTS = {"conv_1": "expand", "conv_2": "merge"}
UNUSED = "codec_encoder.en_encoder.cache_token"  # of shape [1, 0, D]


def distil_names(key: str, num_stages: int = 4) -> str | None:
    """Returns our name of an official key of the distilled acoustic encoder or of the projection after it.

    The name is None for the one that holds nothing; keys that are not of these parts are returned unchanged.
    """
    if key == UNUSED:
        return None
    if key.startswith("fc_sq_prior."):
        return key.replace("fc_sq_prior", "acoustic_proj")
    blocks = re.fullmatch(r"codec_encoder\.encoder\.blocks\.(\d+)\.(.+)", key)
    if blocks:
        inner = _block_name(int(blocks[1]), blocks[2], num_stages)
        return f"acoustic.{inner}" if inner else key
    for official, name in CONTEXTS.items():
        prefix = f"codec_encoder.en_encoder.{official}."
        if key.startswith(prefix):
            return f"acoustic.{name}.{_context_name(key.removeprefix(prefix))}"
    return key


def distil_tensors(folded: Mapping[str, Tensor], num_stages: int = 4) -> dict[str, Tensor]:
    """Returns an official state dict, weight norm folded, with our names and without leading axes of 1."""
    renamed = {}
    for key, tensor in folded.items():
        name = distil_names(key, num_stages)
        if name is not None:
            vector = name.endswith((".frequency", ".response_gain", ".response_bias"))
            renamed[name] = tensor.reshape(-1) if vector else tensor
    return renamed


def _block_name(place: int, rest: str, num_stages: int) -> str | None:
    """Maps a position in the official list: stem, then units and downsampling in turns, then the last convolution."""
    if place == 0:
        band = re.fullmatch(r"blocks\.(\d+)\.1\.(.+)", rest)
        part, _, tail = rest.partition(".")
        return f"stem.bands.{band[1]}.{band[2]}" if band else f"stem.{STEM_PARTS.get(part, part)}.{tail}"
    if place == 2 * num_stages:
        return f"out.{rest}"
    index, _, tail = rest.partition(".")
    if place % 2 == 0:
        return f"stages.{place // 2 - 1}.down.{tail}" if index == "0" else None
    module = tail.removeprefix("module.")
    for official, name in UNIT_PARTS.items():
        if module == official or module.startswith(f"{official}."):
            return f"stages.{place // 2}.units.{index}.{name}{module.removeprefix(official)}"
    return None


def _context_name(rest: str) -> str:
    bias = re.fullmatch(r"dynamic_pos_bias\.mlp\.([024])\.(.+)", rest)
    if bias:
        return f"distance_bias.layers.{int(bias[1]) // 2}.{bias[2]}"
    layer = re.fullmatch(r"layers\.(\d+)\.(.+)\.(weight|bias)", rest)
    return f"layers.{layer[1]}.{LAYER_PARTS.get(layer[2], layer[2])}.{layer[3]}" if layer else rest
