"""Conversion of the official `codicodec.pt` to our parameters. Key names as in PyPI `codicodec` 0.1.2.

The tables map official name patterns to ours. Tensors that the official forward pass never reads are dropped by name;
its fixed resampling filters are checked and dropped, since we compute them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from ...core.errors import CheckpointError
from ...core.hub import Source
from ...core.pickles import load_pickle
from ..parts.official import renamed_state
from .config import CoDiCodecConfig

if TYPE_CHECKING:
    from .model import CoDiCodec

Codec = TypeVar("Codec", bound="CoDiCodec")

FILE_NAME = "codicodec.pt"
STATE_KEY = "gen_state_dict"
LICENCE = "CC-BY-NC-4.0"

# the official forward pass reads none of them
UNUSED = re.compile(
    r"(encoder|pre_decoder|decoder)\.linear_input\..*|(pre_decoder|decoder)\.linear_output\..*"
    r"|pre_decoder\.norm_output\..*|frontend_pre_decoder_up\.(norm_out|conv_out)\..*|fsq\._.*"
)
FIXED_FILTER = re.compile(r".*_layers\.\d+\.(down|up)\.weight")

NETWORKS = {
    "encoder": "encoder.transformer",
    "pre_decoder": "upsampler.transformer",
    "decoder": "denoiser.transformer",
    "frontend_encoder_down": "encoder.patchifier",
    "frontend_pre_decoder_up": "upsampler.depatchifier",
    "frontend_decoder_down": "denoiser.patchifier",
    "frontend_decoder_up": "denoiser.depatchifier",
}
WHOLE = {
    "latents": "encoder.summaries",
    "mask_embedding": "upsampler.mask",
    "gain_encoder": "encoder.gain",
    "more_latents_encoder": "encoder.registers",
    "more_latents_pre_decoder": "upsampler.registers",
    "more_latents_decoder": "denoiser.registers",
    "lat2patch_pre_decoder.weight": "upsampler.expand.weight",
    "lat2patch_pre_decoder.bias": "upsampler.expand.bias",
    "lat2patch.weight": "denoiser.expand.weight",
    "lat2patch.bias": "denoiser.expand.bias",
    "encoder.norm_output.norm.g": "encoder.norm_out.weight",
    "encoder.linear_output.weight": "encoder.project.weight",
    "encoder.linear_output.bias": "encoder.project.bias",
    "decoder.norm_output.cond_proj.weight": "denoiser.norm_out.project.weight",
    "decoder.norm_output.cond_proj.bias": "denoiser.norm_out.project.bias",
}
PARTS = (
    (r"^emb_proj\.(\d+)\.", lambda m: f"denoiser.noise.mlp.{int(m[1]) // 2}."),
    (r"^gain_decoder\.(\d+)\.", lambda m: f"denoiser.noise.gain.{int(m[1]) // 2}."),
    (r"\.pe$", ".positions"),
    (r"\.norm_input\.", ".norm_in."),
    (r"\.layers\.", ".blocks."),
    (r"\.attn\.mha\.to_qkv\.", ".attention.qkv."),
    (r"\.attn\.mha\.to_out\.", ".attention.out."),
    (r"\.attn\.mha\.([qk])_norm\.g$", r".attention.\1_gain"),
    (r"\.attn\.norm\.", ".attention_norm."),
    (r"\.mlp\.ff\.to_mlp\.", ".mlp.inner."),
    (r"\.mlp\.ff\.to_out\.", ".mlp.out."),
    (r"\.mlp\.norm\.", ".mlp_norm."),
    (r"\.cond_proj\.", ".project."),
    (r"\.norm\.g$", ".weight"),
    (r"(_norm|\.norm_in)\.norm\.g$", r"\1.weight"),
    (r"\.ff\.ff([12])\.", r".conv\1."),
    (r"\.conv_inp\.", ".conv_in."),
    (r"(resamplers\.\d+)\.c\.", r"\1.conv."),
)


def rename(key: str, config: CoDiCodecConfig) -> str:
    """Returns our name of an official key; unknown keys are returned unchanged."""
    if key in WHOLE:
        return WHOLE[key]
    network, _, rest = key.partition(".")
    layer = re.match(r"(down|up)_layers\.(\d+)\.(.*)", rest)
    if network in NETWORKS and layer:
        blocks = config.conv_blocks if layer[1] == "down" else config.conv_blocks[::-1]
        key = f"{NETWORKS[network]}.{_place(int(layer[2]), blocks)}.{layer[3]}"
    elif network in NETWORKS:
        key = f"{NETWORKS[network]}.{rest}"
    for pattern, replacement in PARTS:
        key = re.sub(pattern, replacement, key)
    return key


def _place(index: int, blocks: tuple[int, ...]) -> str:
    """Returns a layer's position in the official flat list: blocks of a level, resampler, blocks of the next, ..."""
    for level, count in enumerate(blocks):
        if index < count:
            return f"levels.{level}.{index}"
        if index == count:
            return f"resamplers.{level}"
        index -= count + 1
    return f"levels.{len(blocks)}.{index}"


def convert_state_dict(official: Mapping[str, Tensor], codec: CoDiCodec) -> dict[str, Tensor]:
    """Returns official tensors with our names, in our shapes.

    Raises:
        CheckpointError: keys are missing, unexpected or of another size (named), or a fixed filter is unknown.
    """
    state = dict(official)
    for key in [key for key in official if FIXED_FILTER.fullmatch(key)]:
        _check_fixed_filter(key, state.pop(key))

    def our_name(key: str) -> str | None:
        return None if UNUSED.fullmatch(key) else rename(key, codec.settings)

    return renamed_state(state, our_name, codec.state_dict(), "CoDiCodec")


def _check_fixed_filter(key: str, weight: Tensor) -> None:
    """Checks the constant first path of the official resamplers: an average down, a channel average up."""
    down = ".down.weight" in key
    # on the way up 1 / (ratio of channels), which does not follow from the tensor's own shape
    expected = 1.0 / (weight.shape[2] * weight.shape[3]) if down else float(weight.flatten()[0])
    if not torch.allclose(weight, torch.full_like(weight, expected)):
        raise CheckpointError(f"the fixed filter {key} is unknown: this checkpoint is of another model")


def read_official(path: Path) -> dict[str, Tensor]:
    """Returns the network's state dict from an official pickle, read with `weights_only=True`.

    Raises:
        CheckpointError: the file is missing, truncated, of another format, or contains objects that are not allowed.
    """
    content = load_pickle(path)
    if not isinstance(content, Mapping) or not isinstance(content.get(STATE_KEY), Mapping):
        raise CheckpointError(f"{path} has no {STATE_KEY!r}: it is not an official CoDiCodec checkpoint")
    return dict(content[STATE_KEY])


def read_codec(cls: type[Codec], source: Source, config: CoDiCodecConfig | None = None) -> Codec:
    """Implements `CoDiCodec.read_official`.

    Args:
        cls: the class to build.
        source: the file, folder or repository.
        config: for a checkpoint of another size than the official one.

    Raises:
        CheckpointError: as of `read_official` and `convert_state_dict`.
    """
    state = read_official(source.given or source.file(FILE_NAME))
    codec = cls(config or CoDiCodecConfig())
    codec.load_state_dict(convert_state_dict(state, codec), strict=True)
    codec.licence = LICENCE
    return codec
