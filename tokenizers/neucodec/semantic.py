"""The semantic encoder: the first sixteen layers of w2v-BERT 2.0, frozen.

Shape letters: B batch, N samples at 16 kHz, K hops of 320, S width, H heads, T frames, E features of a head.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import CheckpointError
from ...core.extras import import_class
from ...layers.attention import attend
from .filterbank import NUM_BINS, STACK, BinMoments, log_mel, normalised_frames

BLOCK_QUERIES = 512  # per attention call: memory grows linearly with the length
# the values of a Wav2Vec2BertConfig for which the network is built
FIXED: dict[str, Any] = {
    "hidden_act": "swish",
    "position_embeddings_type": "relative_key",
    "feature_projection_input_dim": STACK * NUM_BINS,
    "layer_norm_eps": 1e-5,
    "add_adapter": False,
}


@dataclass(frozen=True, kw_only=True)
class SemanticConfig:
    """Sizes of w2v-BERT. The released NeuCodec uses the output of layer 16 of 24; the other layers are not built."""

    hidden_size: int = 1024
    num_layers: int = 16
    num_heads: int = 16
    intermediate_size: int = 4096
    conv_kernel: int = 31
    left_positions: int = 64  # distances to keys before a query that have an embedding of their own
    right_positions: int = 8

    @classmethod
    def from_hugging_face(cls, config: Mapping[str, Any], num_layers: int | None = None) -> SemanticConfig:
        """Returns the config that the `config.json` of a w2v-BERT model describes.

        Args:
            config: its content.
            num_layers: the layers that are used; None: the default, or all that it has.

        Raises:
            CheckpointError: a model of another structure, or with too few layers.
        """
        for key, value in FIXED.items():
            if config.get(key, value) != value:
                raise CheckpointError(f"a w2v-BERT with {key} {config[key]!r} is not built here, only {value!r}")
        has = int(config.get("num_hidden_layers", 24))
        if num_layers is not None and num_layers > has:
            raise CheckpointError(f"the semantic model has {has} layers, {num_layers} are needed")
        return cls(
            hidden_size=config.get("hidden_size", 1024),
            num_layers=min(cls.num_layers, has) if num_layers is None else num_layers,
            num_heads=config.get("num_attention_heads", 16),
            intermediate_size=config.get("intermediate_size", 4096),
            conv_kernel=config.get("conv_depthwise_kernel_size", 31),
            left_positions=config.get("left_max_position_embeddings", 64),
            right_positions=config.get("right_max_position_embeddings", 8),
        )


class SemanticEncoder(nn.Module):
    """Encoder from padded audio [B, K * 320] at 16 kHz to frames [B, K - 1, S].

    It is always in eval mode and without gradients: the released codec uses w2v-BERT as it is.
    """

    def __init__(self, config: SemanticConfig):
        super().__init__()
        self.model = _build(config)
        for layer in self.model.encoder.layers:
            layer.self_attn = RelativeKeyAttention(config)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> SemanticEncoder:
        """Stays in eval mode: training would mask and drop."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, audio: Tensor, moments: BinMoments | None = None) -> Tensor:
        """Normalises every bin over the utterance and encodes: added silence changes the result, the level does not.

        Args:
            audio: [B, K * 320].
            moments: of the utterance, if `audio` is a chunk of it.
        """
        frames = normalised_frames(log_mel(audio), moments)
        encoded: Tensor = self.model(frames.to(self.model.dtype)).last_hidden_state
        return encoded


class RelativeKeyAttention(nn.Module):
    """Self-attention with an embedding for each clipped distance, as a second set of keys.

    It replaces transformers' own, which builds a [T, T, E] tensor of embeddings: here the product of each query with
    the few embeddings is spread by distance. The weights have transformers' names.
    """

    def __init__(self, config: SemanticConfig):
        super().__init__()
        width = config.hidden_size
        self.num_heads, self.left, self.right = config.num_heads, config.left_positions, config.right_positions
        self.linear_q, self.linear_k = nn.Linear(width, width), nn.Linear(width, width)
        self.linear_v, self.linear_out = nn.Linear(width, width), nn.Linear(width, width)
        self.distance_embedding = nn.Embedding(self.left + self.right + 1, width // config.num_heads)

    def forward(self, hidden_states: Tensor, **unused: Any) -> tuple[Tensor, None]:
        """Maps frames [B, T, S] to [B, T, S]; the other arguments of a w2v-BERT layer (masks) are not needed."""
        layers = (self.linear_q, self.linear_k, self.linear_v)
        q, k, v = (layer(hidden_states).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for layer in layers)
        mixed = [self._attend(q, k, v, start) for start in range(0, q.shape[2], BLOCK_QUERIES)]
        return self.linear_out(torch.cat(mixed, dim=1)), None

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, start: int) -> Tensor:
        """Returns the result [B, T', S] of a block of queries."""
        q = q[:, :, start : start + BLOCK_QUERIES]
        scores = (q @ self.distance_embedding.weight.mT) * q.shape[-1] ** -0.5  # [B, H, T', left + right + 1]
        queries = torch.arange(start, start + q.shape[2], device=q.device)
        distance = torch.arange(k.shape[2], device=q.device) - queries[:, None]
        places = distance.clamp(-self.left, self.right) + self.left
        bias = scores.gather(-1, places.expand(*scores.shape[:2], -1, -1))
        return attend(q, k, v, bias=bias).transpose(1, 2).flatten(2)


def semantic_state(official: Mapping[str, Tensor], num_layers: int) -> dict[str, Tensor]:
    """Returns `SemanticEncoder`'s state dict, float32, of a w2v-BERT model's, without the layers that are not used."""
    unused = re.compile(r"(.*\.)?masked_spec_embed|encoder\.layers\.(\d+)\..*|adapter\..*")
    state = {}
    for key, tensor in official.items():
        key = key.removeprefix("wav2vec2_bert.")  # of models with a head
        match = unused.fullmatch(key)
        if match is None or (match[2] is not None and int(match[2]) < num_layers):
            state[f"model.{key}"] = tensor.to(torch.float32)
    return state


def _build(config: SemanticConfig) -> Any:
    """Returns transformers' `Wav2Vec2BertModel` with random weights."""
    purpose = "the semantic encoder of NeuCodec"
    config_class, model_class = (import_class(f"Wav2Vec2Bert{part}", purpose) for part in ("Config", "Model"))
    return model_class(
        config_class(
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            intermediate_size=config.intermediate_size,
            conv_depthwise_kernel_size=config.conv_kernel,
            left_max_position_embeddings=config.left_positions,
            right_max_position_embeddings=config.right_positions,
            mask_time_prob=0.0,  # otherwise there is an embedding for masked frames
            **FIXED,
        )
    )
