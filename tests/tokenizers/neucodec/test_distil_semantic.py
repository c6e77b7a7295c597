"""DistillNeuCodec's semantic encoder: it is the one of its folder, and what does not fit is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from random_weights import randomised
from torch import Tensor

from latentune.core.errors import CheckpointError
from latentune.tokenizers.neucodec.distil_semantic import (
    DistilSemanticConfig,
    DistilSemanticEncoder,
    distil_semantic_state,
)
from latentune.tokenizers.neucodec.official import read_semantic_files

SMALL_SEMANTIC = DistilSemanticConfig(
    width=32, heads=4, mlp_width=64, conv_width=16, position_kernel=16, position_groups=4
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def read_semantic(folder: Path) -> tuple[DistilSemanticConfig, dict[str, Tensor]]:
    values, weights = read_semantic_files(folder)
    return DistilSemanticConfig.from_hugging_face(values), distil_semantic_state(weights)


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A tiny DistilHuBERT of transformers, and the folder that it was saved to."""
    from transformers import HubertConfig, HubertModel

    torch.manual_seed(0)
    config = HubertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, feat_proj_layer_norm=False,
    )  # fmt: skip
    model = randomised(HubertModel(config))
    folder = tmp_path_factory.mktemp("distilhubert")
    model.save_pretrained(folder)
    return model, folder


@torch.no_grad()
def test_the_semantic_encoder_is_the_one_of_its_folder(hugging_face: tuple[Any, Path]) -> None:
    model, folder = hugging_face
    config, state = read_semantic(folder)
    assert config == SMALL_SEMANTIC
    encoder = DistilSemanticEncoder(config)
    encoder.load_state_dict(state)
    for hops in (1, 2, 31):
        audio = 0.1 * noise(2, 320 * hops)
        hidden = encoder.eval()(audio)
        assert hidden.shape == (2, hops, 32)
        assert torch.equal(encoder.train()(audio), hidden)
        expected = model(F.pad(audio, (160, 160))).last_hidden_state
        torch.testing.assert_close(hidden, expected, atol=2e-6, rtol=0)


def test_older_files_load_the_same(hugging_face: tuple[Any, Path], tmp_path: Path) -> None:
    model, folder = hugging_face
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    older = model.state_dict()
    for key in list(older):
        for new, old in names.items():
            if key.endswith(new):
                older[key.removesuffix(new) + old] = older.pop(key)
    torch.save(older, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    expected, ours = read_semantic(folder)[1], read_semantic(tmp_path)[1]
    assert expected.keys() == ours.keys()
    assert all(torch.equal(ours[key], expected[key]) for key in ours)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "wav2vec2"}, "model_type 'wav2vec2', but only 'hubert' is built"),
        ({"feat_proj_layer_norm": True}, "feat_proj_layer_norm True, but only False"),
        ({"do_stable_layer_norm": True}, "do_stable_layer_norm True"),
        ({"conv_stride": [5, 2, 2, 2, 2, 2, 4]}, "conv_stride .* is built"),
        ({"conv_dim": [16] * 6}, "conv_dim .* not 7 equal widths"),
        ({"num_attention_heads": 5}, "cannot be built: width 32 must be a multiple"),
    ],
)
def test_another_network_is_refused(hugging_face: tuple[Any, Path], values: dict[str, Any], message: str) -> None:
    config = read_semantic_files(hugging_face[1])[0]
    with pytest.raises(CheckpointError, match=message):
        DistilSemanticConfig.from_hugging_face({**config, **values})


def test_a_config_that_is_silent_about_the_projections_norm_is_refused(hugging_face: tuple[Any, Path]) -> None:
    config = read_semantic_files(hugging_face[1])[0]
    del config["feat_proj_layer_norm"]  # transformers' default is another network
    with pytest.raises(CheckpointError, match="feat_proj_layer_norm True"):
        DistilSemanticConfig.from_hugging_face(config)


def test_half_of_a_weight_norm_is_refused(hugging_face: tuple[Any, Path]) -> None:
    state = hugging_face[0].state_dict()
    del state["encoder.pos_conv_embed.conv.parametrizations.weight.original0"]
    with pytest.raises(CheckpointError, match=r"weight norm of encoder\.pos_conv_embed\.conv\.weight is incomplete"):
        distil_semantic_state(state)


def test_audio_of_another_shape_is_refused_by_the_semantic_encoder(hugging_face: tuple[Any, Path]) -> None:
    encoder = DistilSemanticEncoder(SMALL_SEMANTIC)
    for shape in ((1, 321), (1, 0), (1, 1, 320)):
        with pytest.raises(ValueError, match=r"takes audio \[B, N\], N a multiple of 320"):
            encoder(torch.zeros(shape))
