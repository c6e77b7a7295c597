"""Official laion-clap checkpoints into transformers' two CLAP towers.

Official key patterns stand on the left, transformers' on the right. The front end's constants and the classification
head are left out by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ....core.errors import CheckpointError
from ....core.hub import fetch_file
from ....core.pickles import load_pickle
from ....core.weights import describe_keys

ENCODER = "audio_model.audio_encoder."
# not read by any embedding, or computed again
UNUSED = re.compile(
    r"audio_branch\.((spectrogram_extractor|logmel_extractor|tscam_conv|head)\..*"
    r"|layers\.\d+\.blocks\.\d+\.(attn_mask|attn\.relative_position_index))"
    r"|text_branch\.embeddings\.(position_ids|token_type_ids)"
)
# buffers of transformers' towers that follow from the config
COMPUTED = (".relative_position_index", ".position_ids", ".token_type_ids")
FUSION = "audio_branch.patch_embed.fusion_model."
BLOCK = r"^audio_branch\.(layers\.\d+\.blocks\.\d+)\."
RENAMES = (
    (BLOCK + r"norm1\.", rf"{ENCODER}\1.layernorm_before."),
    (BLOCK + r"norm2\.", rf"{ENCODER}\1.layernorm_after."),
    (BLOCK + r"attn\.proj\.", rf"{ENCODER}\1.attention.output.dense."),
    (BLOCK + r"attn\.", rf"{ENCODER}\1.attention.self."),
    (BLOCK + r"mlp\.fc1\.", rf"{ENCODER}\1.intermediate.dense."),
    (BLOCK + r"mlp\.fc2\.", rf"{ENCODER}\1.output.dense."),
    (r"^audio_branch\.bn0\.", f"{ENCODER}batch_norm."),
    (r"^audio_branch\.", ENCODER),
    (r"^text_branch\.", "text_model."),
    (r"^(audio|text)_projection\.0\.", r"\1_projection.linear1."),
    (r"^(audio|text)_projection\.2\.", r"\1_projection.linear2."),
)
ROBERTA_NORM_EPS = 1e-5  # transformers' ClapTextConfig has 1e-12
ROBERTA_HEAD_WIDTH = 64
QKV = ".attention.self.qkv."


def fetch(source: str | Path) -> Path | None:
    """The local file or folder that `source` names, fetched from a hub if it is `owner/name/file.pt`.

    None means a hub id of transformers' format. Raises CheckpointError for what can be none of these.
    """
    path, text = Path(source).expanduser(), str(source)
    if path.exists():
        return path
    if text.count("/") == 2 and text.endswith(".pt") and not text.startswith((".", "/", "~")):
        return fetch_file(*text.rsplit("/", 1))
    if text.count("/") == 1 and not text.startswith((".", "/", "~")) and not text.endswith(".pt"):
        return None
    raise CheckpointError(f"no CLAP checkpoint at {source}: give a laion-clap .pt file, a folder or a hub id")


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """All tensors of an official `.pt` file, read with `weights_only=True`; keys without their `module.` prefix.

    Raises:
        CheckpointError: unreadable, or no CLAP.
    """
    content = load_pickle(path)
    state = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    if not isinstance(state, Mapping):
        state = {}
    return {str(key).removeprefix("module."): value for key, value in state.items() if isinstance(value, Tensor)}


def audio_side(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The part of an official state dict that turns audio into embeddings; CheckpointError where there is none."""
    return _side(state, "audio", path)


def text_side(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The part of an official state dict that turns text into embeddings; CheckpointError where there is none."""
    return _side(state, "text", path)


def _side(state: Mapping[str, Tensor], name: str, path: Path) -> dict[str, Tensor]:
    side = {k: v for k, v in state.items() if k.startswith((f"{name}_branch.", f"{name}_projection."))}
    if not any(key.startswith(f"{name}_branch.") for key in side):
        raise CheckpointError(f"{path} has no {name}_branch: it is not a laion-clap checkpoint")
    return side


def audio_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of transformers' `ClapAudioConfig` for the sizes found in an official state dict."""
    try:
        patches = state["audio_branch.patch_embed.proj.weight"]
        table = "audio_branch.layers.{}.blocks.0.attn.relative_position_bias_table"
        depths: list[int] = []
        heads: list[int] = []
        while (first := table.format(len(depths))) in state:
            layer = len(depths)
            blocks = {m[1] for key in state if (m := re.match(rf"audio_branch\.layers\.{layer}\.blocks\.(\d+)\.", key))}
            depths.append(len(blocks))
            heads.append(state[first].shape[1])
        window = (round(state[table.format(0)].shape[0] ** 0.5) + 1) // 2
        inner = state["audio_branch.layers.0.blocks.0.mlp.fc1.weight"]
        return {
            "patch_embeds_hidden_size": patches.shape[0],
            "patch_size": patches.shape[-1],
            "depths": depths,
            "num_attention_heads": heads,
            "window_size": window,
            "mlp_ratio": inner.shape[0] / inner.shape[1],
            "num_mel_bins": len(state["audio_branch.bn0.weight"]),
            "hidden_size": state["audio_projection.0.weight"].shape[1],
            "projection_dim": state["audio_projection.2.weight"].shape[0],
            "num_hidden_layers": len(depths),
            **_fusion_config(state),
        }
    except KeyError as error:
        raise CheckpointError(f"no HTSAT audio branch in this checkpoint: it lacks {error}") from error


def _fusion_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Feature fusion is attentional and in two dimensions (`aff_2d`) in all published models that have it."""
    inner = state.get(f"{FUSION}local_att.0.weight")
    if inner is None:
        return {}
    return {"enable_fusion": True, "fusion_type": "aff_2d", "aff_block_r": inner.shape[1] // inner.shape[0]}


def text_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of transformers' `ClapTextConfig` for the sizes found in an official state dict."""
    try:
        words = state["text_branch.embeddings.word_embeddings.weight"]
        types = state["text_branch.embeddings.token_type_embeddings.weight"]
        if len(types) != 1:
            raise CheckpointError("the text branch of this checkpoint is not a RoBERTa, which all published CLAPs have")
        layers = {m[1] for key in state if (m := re.match(r"text_branch\.encoder\.layer\.(\d+)\.", key))}
        return {
            "vocab_size": words.shape[0],
            "hidden_size": words.shape[1],
            "num_hidden_layers": len(layers),
            "num_attention_heads": max(1, words.shape[1] // ROBERTA_HEAD_WIDTH),
            "intermediate_size": len(state["text_branch.encoder.layer.0.intermediate.dense.bias"]),
            "max_position_embeddings": len(state["text_branch.embeddings.position_embeddings.weight"]),
            "type_vocab_size": len(types),
            "projection_dim": len(state["text_projection.2.bias"]),
            "layer_norm_eps": ROBERTA_NORM_EPS,
        }
    except KeyError as error:
        raise CheckpointError(f"no RoBERTa text branch in this checkpoint: it lacks {error}") from error


def model_state(state: Mapping[str, Tensor], model: nn.Module, source: str) -> dict[str, Tensor]:
    """Converts an official state dict to that of `model`.

    Args:
        state: official keys without `module.`.
        model: one of transformers' towers.
        source: of the state dict, for messages.

    Returns:
        The state dict of `model`.

    Raises:
        CheckpointError: keys that do not fit, which it names.
    """
    wanted = model.state_dict()
    converted = {key: value for key, value in wanted.items() if key.endswith(COMPUTED)}
    for key, value in state.items():
        if not UNUSED.fullmatch(key):
            converted.update(_convert(key, value))
    missing, unexpected = sorted(wanted.keys() - converted.keys()), sorted(converted.keys() - wanted.keys())
    misshapen = sorted(k for k in wanted.keys() & converted.keys() if wanted[k].shape != converted[k].shape)
    if missing or unexpected or misshapen:
        raise CheckpointError(
            f"weights of {source} do not fit: {describe_keys('missing', missing)}, "
            f"{describe_keys('unexpected', unexpected)}, {describe_keys('misshapen', misshapen)}"
        )
    return converted


def _convert(key: str, value: Tensor) -> dict[str, Tensor]:
    """One official tensor under its new name; query, key and value are stored as one and come apart."""
    for pattern, name in RENAMES:
        renamed, hits = re.subn(pattern, name, key)
        if hits:
            break
    else:
        renamed = key
    if QKV not in renamed or value.shape[0] % 3:
        return {renamed: value}
    return {
        renamed.replace(".qkv.", f".{part}."): third.clone()
        for part, third in zip(("query", "key", "value"), value.chunk(3), strict=True)
    }
