"""Official NeuCodec weights with our names: those of the codec, and those of its semantic encoder.

The official `pytorch_model.bin` is a flat dict without the semantic encoder, which is that of another model, unchanged.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ...core.configured import describe_keys
from ...core.errors import CheckpointError
from ...core.hub import fetch_file, is_hub_id
from ...core.pickles import load_state_pickle
from ...layers.weight_norm import SPELLINGS, fold_state_dict, fold_weight_norm
from ..parts.official import renamed_state
from .config import CodecConfig, DistillNeuCodecConfig, NeuCodecConfig
from .distil_semantic import distil_semantic_state
from .distil_upstream import distil_tensors
from .distilled import DistillNeuCodec
from .hugging_face import find_folder, read_folder
from .model import NeuCodec
from .semantic import semantic_state
from .snake import half_band_filter

logger = logging.getLogger(__name__)
Version = TypeVar("Version", bound=NeuCodec)

FILE_NAME = "pytorch_model.bin"
SEMANTIC_FOLDER = "semantic"  # next to the weights
LICENCE = "Apache-2.0"
DISTILLED_PREFIX = "codec_encoder."  # of keys that only the distilled version has
TWIN_TOLERANCE = 1e-5
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
        twin = fold_weight_norm(state.pop(layer + g_name).float(), state.pop(layer + v_name).float())
        difference = float((twin - official[key].float()).abs().max())
        if difference > TWIN_TOLERANCE:
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
    if tensor.numel() != expected.numel() or not torch.allclose(
        tensor.flatten().float(), expected, atol=FILTER_TOLERANCE
    ):
        raise CheckpointError(f"the constant {key} has an unknown value: this checkpoint is of another model")


def is_distilled(official: Mapping[str, Any]) -> bool:
    """Returns whether a state dict is one of the distilled version."""
    return any(key.startswith(DISTILLED_PREFIX) for key in official)


def official_version(path: Path) -> type[NeuCodec]:
    """Implements `NeuCodec.official_version` for a `pytorch_model.bin` or a folder with one."""
    return DistillNeuCodec if is_distilled(load_state_pickle(_local(path), mapped=True)) else NeuCodec


def load_official(
    cls: type[Version],
    path: str | Path,
    semantic: str | Path | None = None,
    config: CodecConfig | None = None,
    **options: Any,
) -> Version:
    """Implements `NeuCodec.from_official`; the semantic encoder's sizes are read from its own config.

    Args:
        cls: the class to build.
        path: the file, folder or hub id.
        semantic: folder or hub id of the semantic encoder; None: the default places.
        config: for a checkpoint of another size than the released one.
        options: of `huggingface_hub.hf_hub_download`.

    Returns:
        The codec in eval mode.

    Raises:
        CheckpointError: as of `convert_state_dict`, or there is no semantic encoder that fits.
    """
    from accelerate import init_empty_weights

    file = fetch_file(str(path), FILE_NAME, **options) if is_hub_id(path) else _local(Path(path))
    if semantic is None:
        local = file.parent / SEMANTIC_FOLDER
        semantic = local if local.is_dir() else cls.semantic_hub_id
    official = load_state_pickle(file)
    values, semantic_weights = read_folder(find_folder(semantic))
    config = config or cls.config_class()
    # the sizes of the semantic encoder are its own; a config argument decides how many layers are used
    if isinstance(config, NeuCodecConfig):
        sizes: Any = type(config.semantic).from_hugging_face(values, config.semantic.num_layers)
        state = semantic_state(semantic_weights, sizes.num_layers)
    else:
        assert isinstance(config, DistillNeuCodecConfig)
        sizes = type(config.semantic).from_hugging_face(values)
        state = distil_semantic_state(semantic_weights)
    with init_empty_weights(include_buffers=False):  # drawing a billion random weights takes longer than reading them
        codec = cls(replace(config, semantic=sizes))
    state = {f"semantic_encoder.{key}": tensor for key, tensor in state.items()}
    _check_semantic(state, codec, semantic)
    codec.load_state_dict(convert_state_dict(official, codec) | state, strict=True, assign=True)
    codec.licence = LICENCE
    loaded: Version = codec.eval()
    return loaded


def _check_semantic(state: Mapping[str, Tensor], codec: NeuCodec, source: str | Path) -> None:
    ours = {name: tensor.shape for name, tensor in codec.state_dict().items() if name.startswith("semantic_encoder.")}
    missing, unexpected = sorted(set(ours) - set(state)), sorted(set(state) - set(ours))
    other = sorted(name for name in set(ours) & set(state) if state[name].shape != ours[name])
    if missing or unexpected or other:
        raise CheckpointError(
            f"the semantic encoder at {source} does not fit: {describe_keys('missing', missing)}, "
            f"{describe_keys('unexpected', unexpected)}, {describe_keys('of another size', other)}"
        )


def _local(path: Path) -> Path:
    return path / FILE_NAME if path.is_dir() else path
