"""Semantic encoder of DistillNeuCodec: DistilHuBERT (arXiv 2110.01900) through transformers' `HubertModel`.

Shape letters: B batch, N audio samples, k frames, W width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core.errors import CheckpointError
from ...core.extras import import_class
from ...layers.weight_norm import SPELLINGS, fold_weight_norm

HOP_SAMPLES = 320  # of a frame, at 16 kHz
EDGE_SAMPLES = 160  # zeros on both sides of the audio, so that N samples have N / 320 frames
KERNELS = (10, 3, 3, 3, 3, 2, 2)  # of the convolutions on the waveform
STRIDES = (5, 2, 2, 2, 2, 2, 2)

# the values of a HuBERT config that are built; an absent key has transformers' default, the same unless listed below
BUILT: dict[str, Any] = {
    "model_type": "hubert",
    "conv_kernel": list(KERNELS),
    "conv_stride": list(STRIDES),
    "conv_bias": False,
    "do_stable_layer_norm": False,
    "feat_extract_norm": "group",
    "feat_extract_activation": "gelu",
    "feat_proj_layer_norm": False,
    "conv_pos_batch_norm": False,
    "hidden_act": "gelu",
}
DROPOUTS = ("activation_dropout", "attention_dropout", "feat_proj_dropout", "hidden_dropout", "layerdrop")
HF_DEFAULTS: dict[str, Any] = {  # of the sizes of the network, and of the one key above that differs
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "conv_dim": [512] * 7,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "layer_norm_eps": 1e-5,
    "feat_proj_layer_norm": True,
}


@dataclass(frozen=True, kw_only=True)
class DistilSemanticConfig:
    """Sizes of the network. The defaults are those of ntu-spml/distilhubert."""

    width: int = 768  # W
    num_layers: int = 2
    heads: int = 12
    mlp_width: int = 3072
    conv_width: int = 512  # of the seven convolutions on the waveform
    position_kernel: int = 128  # of the convolution that encodes positions
    position_groups: int = 16
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % self.position_groups:
            raise ValueError(
                f"width {self.width} must be a multiple of heads {self.heads} and of position_groups "
                f"{self.position_groups}"
            )

    @classmethod
    def from_hugging_face(cls, values: Mapping[str, Any]) -> Self:
        """Returns the config that the content of a HuBERT `config.json` describes.

        Raises:
            CheckpointError: a kind of network that is not built here.
        """
        values = HF_DEFAULTS | dict(values)
        for key, wanted in BUILT.items():
            if values.get(key, wanted) != wanted:
                raise CheckpointError(
                    f"the semantic encoder's config has {key} {values[key]!r}, but only {wanted!r} is built"
                )
        if len(set(values["conv_dim"])) != 1 or len(values["conv_dim"]) != len(KERNELS):
            raise CheckpointError(
                f"the semantic encoder's config has conv_dim {values['conv_dim']}, not 7 equal widths"
            )
        try:
            return cls(
                width=values["hidden_size"],
                num_layers=values["num_hidden_layers"],
                heads=values["num_attention_heads"],
                mlp_width=values["intermediate_size"],
                conv_width=values["conv_dim"][0],
                position_kernel=values["num_conv_pos_embeddings"],
                position_groups=values["num_conv_pos_embedding_groups"],
                norm_eps=values["layer_norm_eps"],
            )
        except ValueError as error:
            raise CheckpointError(f"the semantic encoder's config cannot be built: {error}") from error


class DistilSemanticEncoder(nn.Module):
    """HuBERT's last hidden state; every frame sees all frames, without a mask or a normalisation of the audio.

    It is random until weights are loaded (`distil_semantic_state`), and computes the same in training as in evaluation:
    nothing is dropped or masked.
    """

    def __init__(self, config: DistilSemanticConfig):
        super().__init__()
        self.config = config
        config_class, model_class = (
            import_class(f"Hubert{part}", "the semantic encoder of DistillNeuCodec") for part in ("Config", "Model")
        )
        values: dict[str, Any] = {key: value for key, value in BUILT.items() if key != "model_type"}
        values |= dict.fromkeys(DROPOUTS, 0.0)
        values["mask_time_prob"] = 0.0  # so that there is no parameter for masked frames
        self.hubert = model_class(
            config_class(
                hidden_size=config.width,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.heads,
                intermediate_size=config.mlp_width,
                conv_dim=(config.conv_width,) * len(KERNELS),
                num_conv_pos_embeddings=config.position_kernel,
                num_conv_pos_embedding_groups=config.position_groups,
                layer_norm_eps=config.norm_eps,
                **values,
            )
        )
        position = self.hubert.encoder.pos_conv_embed.conv
        torch.nn.utils.parametrize.remove_parametrizations(position, "weight")  # weight norm; loaded weights have none

    def forward(self, padded_audio: Tensor) -> Tensor:
        """Maps audio [B, N] at 16 kHz, N a multiple of 320, to [B, N / 320, W].

        Raises:
            ValueError: another shape.
        """
        if padded_audio.ndim != 2 or padded_audio.shape[1] == 0 or padded_audio.shape[1] % HOP_SAMPLES:
            raise ValueError(
                f"the encoder takes audio [B, N], N a multiple of {HOP_SAMPLES}, got {tuple(padded_audio.shape)}"
            )
        frames: Tensor = self.hubert(F.pad(padded_audio, (EDGE_SAMPLES, EDGE_SAMPLES))).last_hidden_state
        return frames


def distil_semantic_state(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the weights of transformers' `HubertModel` with our names, the position convolution's weight norm folded.

    Raises:
        CheckpointError: a weight norm is incomplete.
    """
    layer = "encoder.pos_conv_embed.conv."
    state = {key: tensor.float() for key, tensor in official.items() if key != "masked_spec_embed"}
    for g_name, v_name in SPELLINGS:
        if layer + g_name not in state and layer + v_name not in state:
            continue
        try:
            # this one has a gain for each tap, axis 2
            g, v = (state.pop(layer + name).transpose(0, 2) for name in (g_name, v_name))
            state[layer + "weight"] = fold_weight_norm(g, v).transpose(0, 2).contiguous()
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"weight norm of {layer}weight is incomplete: {error}") from error
    return {f"hubert.{key}": tensor for key, tensor in state.items()}
