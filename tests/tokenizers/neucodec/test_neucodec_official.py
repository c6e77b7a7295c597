"""Official NeuCodec checkpoints: how they load, and every refusal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_cache import make_cache
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentune.core.errors import CheckpointError
from latentune.tokenizers.load import load_official, load_tokenizer
from latentune.tokenizers.neucodec import DistillNeuCodec, NeuCodec, NeuCodecConfig
from latentune.tokenizers.neucodec.upstream import FILE_NAME, convert_state_dict

# ---------------------------------------------------------------------- an official checkpoint made from our weights


def official_names(codec: NeuCodec) -> dict[str, Tensor]:
    """The state dict of a tiny codec as upstream lays it out, with everything that it has besides the weights."""
    from latentune.tokenizers.neucodec.snake import half_band_filter

    inverse = [
        (r"acoustic_encoder.stem.", "CodecEnc.conv_blocks.0."),
        (r"acoustic_encoder.out_act.", "CodecEnc.conv_final_block.0.act."),
        (r"acoustic_encoder.out.", "CodecEnc.conv_final_block.1."),
        ("semantic_adapter.conv_in.", "SemanticEncoder_module.initial_conv."),
        ("semantic_adapter.conv_mid1.", "SemanticEncoder_module.residual_blocks.1."),
        ("semantic_adapter.conv_mid2.", "SemanticEncoder_module.residual_blocks.3."),
        ("semantic_adapter.conv_out.", "SemanticEncoder_module.final_conv."),
        ("fusion.", "fc_prior."),
        ("quantiser.", "generator.quantizer."),
        ("decoder.project_in.", "fc_post_a."),
        ("decoder.stem.", "generator.backbone.embed."),
        ("decoder.pre.", "generator.backbone.prior_net."),
        ("decoder.post.", "generator.backbone.post_net."),
        ("decoder.norm.", "generator.backbone.final_layer_norm."),
        ("decoder.head.", "generator.head."),
        ("decoder.blocks.", "generator.backbone.transformers."),
    ]
    inner = [
        ("attn_norm", "att_norm"),
        ("qkv", "att.c_attn"),
        ("attn_out", "att.c_proj"),
        ("mlp_norm", "ffn_norm"),
        ("mlp_up", "mlp.fc1"),
        ("mlp_down", "mlp.fc2"),
        ("log_frequency", "alpha"),
        ("log_damping", "beta"),
    ]
    state = {}
    for name, tensor in codec.state_dict().items():
        if name.startswith("semantic_encoder."):
            continue
        key = name
        for ours, official in inverse:
            if key.startswith(ours):
                key = official + key.removeprefix(ours)
        if key.startswith("acoustic_encoder.stages."):
            _, _, stage, rest = key.split(".", 3)
            for ours, official in (
                ("act1.", "block.0.act."),
                ("conv1.", "block.1."),
                ("act2.", "block.2.act."),
                ("conv2.", "block.3."),
                ("down_act.", "3.act."),
                ("down.", "4."),
            ):
                rest = rest.replace(ours, official)
            key = f"CodecEnc.conv_blocks.{int(stage) + 1}.block.{rest.removeprefix('units.')}"
        for ours, official in inner:
            key = key.replace(f".{ours}.", f".{official}.") if not key.endswith(ours) else key.replace(ours, official)
        state[key] = tensor.clone()
    for key in [key for key in state if key.startswith("CodecEnc.") and key.endswith(".weight")]:
        weight = state.pop(key)
        norm = weight.flatten(1).norm(dim=1).reshape(-1, *[1] * (weight.ndim - 1))
        state |= {f"{key}_g": norm, f"{key}_v": 1.7 * weight}
    for key in [key for key in state if key.startswith("generator.backbone.") and state[key].ndim == 3]:
        norm = state[key].flatten(1).norm(dim=1).reshape(-1, 1, 1)
        state |= {f"{key}_g": norm, f"{key}_v": 0.3 * state[key]}
    state["CodecEnc.conv_blocks.1.block.0.block.0.upsample.filter"] = half_band_filter()[None, None]
    state["generator.head.istft.window"] = torch.hann_window(1920)
    state["fc_post_s.weight"] = torch.ones(16, 32)
    state["SemanticDecoder_module.initial_conv.weight"] = torch.ones(16, 16, 3)
    return state


@pytest.fixture(scope="module")
def made(tiny_neucodec: NeuCodec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an official checkpoint and its semantic encoder, of one layer more than is used."""
    folder = tmp_path_factory.mktemp("official")
    torch.save(official_names(tiny_neucodec), folder / FILE_NAME)
    model = tiny_neucodec.semantic_encoder.model
    (folder / "semantic").mkdir()
    config = model.config.to_dict() | {"num_hidden_layers": 3}
    (folder / "semantic/config.json").write_text(json.dumps(config))
    state = dict(model.state_dict())
    state |= {
        key.replace(".1.", ".2.", 1): value + 1 for key, value in state.items() if key.startswith("encoder.layers.1.")
    }
    state["masked_spec_embed"] = torch.ones(16)
    save_file(state, folder / "semantic/model.safetensors")
    return folder


def test_a_checkpoint_comes_back_as_it_went(made: Path, tiny_neucodec: NeuCodec) -> None:
    codec = NeuCodec.from_official(made, config=NeuCodecConfig.tiny())
    assert codec.settings == tiny_neucodec.settings
    assert not codec.training
    assert codec.licence == "Apache-2.0"
    for name, tensor in codec.state_dict().items():
        torch.testing.assert_close(tensor, tiny_neucodec.state_dict()[name], atol=1e-6, rtol=1e-6, msg=name)
    by_file = NeuCodec.from_official(made / FILE_NAME, made / "semantic", config=NeuCodecConfig.tiny())
    assert by_file.fingerprint() == codec.fingerprint()
    assert not any(p.requires_grad for p in codec.semantic_encoder.parameters())
    assert all(p.requires_grad for p in codec.decoder.parameters())


def test_all_is_in_one_folder_once_saved(made: Path, tmp_path: Path) -> None:
    codec = NeuCodec.from_official(made, config=NeuCodecConfig.tiny())
    codec.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.fingerprint() == codec.fingerprint()
    assert again.licence == codec.licence


def test_the_version_is_told_by_the_weights(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for cls in (NeuCodec, DistillNeuCodec):
        monkeypatch.setattr(cls, "from_official", classmethod(lambda cls, path, **options: cls.__name__))
    assert load_official(made) == "NeuCodec"
    assert load_official(made / FILE_NAME) == "NeuCodec"
    torch.save({"codec_encoder.en_encoder.cache_token": torch.ones(1, 0, 4)}, tmp_path / FILE_NAME)
    assert load_official(tmp_path) == "DistillNeuCodec"
    assert load_official("neucodec") == "NeuCodec"
    assert load_official("neuphonic/distill-neucodec") == "DistillNeuCodec"


Change = Callable[[dict[str, Tensor]], Any]
EMBED = "generator.backbone.embed.weight"
STEM = "CodecEnc.conv_blocks.0.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("fc_prior.bias"), r"missing 1 \(fusion\.bias\)"),
        (lambda s: s.update({"other.weight": torch.ones(1)}), r"unexpected 1 \(other\.weight\)"),
        (lambda s: s.update({"fc_prior.bias": torch.ones(7)}), r"fc_prior\.bias has shape \(7,\).*another size"),
        (lambda s: s.pop(f"{STEM}_g"), "has CodecEnc.conv_blocks.0.weight_v but no"),
        (lambda s: s.update({"generator.head.istft.window": torch.ones(1920)}), "istft.window has an unknown value"),
        (lambda s: s.update({"CodecEnc.conv_blocks.1.x.filter": torch.ones(1, 1, 12)}), "filter has an unknown value"),
        (lambda s: s.update({"codec_encoder.x": torch.ones(1)}), "weights of the distilled NeuCodec, not NeuCodec"),
    ],
)
def test_weights_that_do_not_fit_are_named(made: Path, tiny_neucodec: NeuCodec, change: Change, message: str) -> None:
    state = torch.load(made / FILE_NAME, weights_only=True)
    change(state)
    with pytest.raises(CheckpointError, match=message):
        convert_state_dict(state, tiny_neucodec)


def test_full_weights_are_not_taken_for_distilled_ones(made: Path, tiny_distill_neucodec: NeuCodec) -> None:
    state = torch.load(made / FILE_NAME, weights_only=True)
    with pytest.raises(CheckpointError, match="weights of the full NeuCodec, not DistillNeuCodec"):
        convert_state_dict(state, tiny_distill_neucodec)


def test_of_twins_the_plain_weight_counts(
    made: Path, tiny_neucodec: NeuCodec, caplog: pytest.LogCaptureFixture
) -> None:
    state = torch.load(made / FILE_NAME, weights_only=True)
    plain = state[EMBED].clone()
    convert_state_dict(state, tiny_neucodec)
    assert not caplog.records
    state[f"{EMBED}_g"] = state[f"{EMBED}_g"] * 1.01
    assert torch.equal(convert_state_dict(state, tiny_neucodec)["decoder.stem.weight"], plain)
    assert f"{EMBED} differs by up to" in caplog.text
    del state[EMBED]
    torch.testing.assert_close(convert_state_dict(state, tiny_neucodec)["decoder.stem.weight"], 1.01 * plain)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_checkpoint_in_half_precision_loads_without_a_word(
    made: Path, tiny_neucodec: NeuCodec, dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    state = {name: value.to(dtype) for name, value in torch.load(made / FILE_NAME, weights_only=True).items()}
    converted = convert_state_dict(state, tiny_neucodec)
    assert not caplog.records
    for name, value in converted.items():
        torch.testing.assert_close(value.float(), tiny_neucodec.state_dict()[name], atol=0.03, rtol=0.03, msg=name)
    for constant in ("generator.head.istft.window", "CodecEnc.conv_blocks.1.block.0.block.0.upsample.filter"):
        with pytest.raises(CheckpointError, match=f"constant {constant} has an unknown value"):
            convert_state_dict({**state, constant: state[constant] * 1.1}, tiny_neucodec)


def test_offline_both_repositories_are_named_at_once() -> None:
    for cls, place, semantic in (
        (NeuCodec, "neuphonic/neucodec", "facebook/w2v-bert-2.0"),
        (DistillNeuCodec, "neuphonic/distill-neucodec", "ntu-spml/distilhubert"),
    ):
        with pytest.raises(CheckpointError, match=f"hf download {place} .*hf download {semantic} .*/semantic"):
            cls.from_official(place)


def test_the_training_branch_is_read_where_the_config_asks_for_it(made: Path, tiny_neucodec: NeuCodec) -> None:
    codec = NeuCodec(NeuCodecConfig(**{**vars(tiny_neucodec.settings), "predict_semantic": True}))
    state = torch.load(made / FILE_NAME, weights_only=True)
    with pytest.raises(CheckpointError, match=r"missing 6 \(semantic_decoder\.conv_mid1\.bias"):
        convert_state_dict(state, codec)


# ---------------------------------------------------------------------- the semantic encoder's own files


def test_a_checkpoint_without_its_semantic_encoder_says_which(made: Path, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes((made / FILE_NAME).read_bytes())
    with pytest.raises(
        CheckpointError, match=r"needs the semantic encoder facebook/w2v-bert-2\.0.*hf download.*semantic=FOLDER"
    ):
        NeuCodec.from_official(tmp_path)
    with pytest.raises(CheckpointError, match=r"needs the semantic encoder ntu-spml/distilhubert.*hf download"):
        DistillNeuCodec.from_official(tmp_path)


def test_a_saved_codec_without_its_semantic_encoder_says_which_and_where_it_is(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    NeuCodec.from_official(made, config=NeuCodecConfig.tiny()).save_pretrained(tmp_path)
    file = next(tmp_path.glob("*.safetensors"))
    state = {name: tensor for name, tensor in load_file(file).items() if not name.startswith("semantic_encoder.")}
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"missing 68 .*facebook/w2v-bert-2\.0.*hf download.*semantic=FOLDER"):
        load_tokenizer(tmp_path)
    assert "TRAIN this model" not in capsys.readouterr().err
    del state["fusion.bias"]
    save_file(state | {"semantic_encoder.x": torch.ones(1)}, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"missing 69 .*unexpected 1 \(semantic_encoder\.x\)"):
        load_tokenizer(tmp_path)


def test_every_place_of_an_official_checkpoint(made: Path, tmp_path: Path, tiny_neucodec: NeuCodec) -> None:
    """A folder, also with a config.json that is not ours, the file, and two cached repositories."""
    options: dict[str, Any] = {"config": NeuCodecConfig.tiny()}
    fingerprint = NeuCodec.from_official(made, **options).fingerprint()
    folder = tmp_path / "folder"
    shutil.copytree(made, folder)
    (folder / "config.json").write_text('{"model_type": "neucodec", "architectures": ["NeuCodec"]}')
    for place in (made, made / FILE_NAME, folder, folder / FILE_NAME, folder / "config.json"):
        for load in (load_tokenizer, NeuCodec.from_pretrained):
            assert load(place, **options).fingerprint() == fingerprint
    make_cache(tmp_path, "neuphonic/neucodec", {FILE_NAME: made / FILE_NAME})
    options["cache_dir"] = tmp_path
    with pytest.raises(CheckpointError, match=r"fetch config\.json of facebook/w2v-bert-2\.0.*pytest-"):
        load_tokenizer("neucodec", **options)
    make_cache(tmp_path, "facebook/w2v-bert-2.0", {path.name: path for path in (made / "semantic").iterdir()})
    for name in ("neucodec", "neuphonic/neucodec"):
        loaded = load_tokenizer(name, torch_dtype=torch.bfloat16, token="x", local_files_only=True, **options)
        assert (loaded.dtype, loaded.fingerprint()) == (torch.bfloat16, fingerprint)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position_embeddings_type": "rotary"}, "position_embeddings_type 'rotary' is not built"),
        ({"num_hidden_layers": 1}, "has 1 layers, 2 are needed"),
        ({"hidden_size": 8}, "does not fit: missing none, unexpected none, of another size"),
    ],
)
def test_another_semantic_encoder_is_refused(made: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    values = json.loads((made / "semantic/config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(values))
    (tmp_path / "model.safetensors").write_bytes((made / "semantic/model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=message):
        NeuCodec.from_official(made, tmp_path, config=NeuCodecConfig.tiny())


def test_unreadable_files_are_named(made: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"contains none of pytorch_model\.bin"):
        NeuCodec.from_official(tmp_path)
    with pytest.raises(CheckpointError, match="no folder of a semantic encoder at"):
        NeuCodec.from_official(made, tmp_path / "absent")
    torch.save([1, 2], tmp_path / FILE_NAME)
    with pytest.raises(CheckpointError, match="not a flat dict of tensors"):
        NeuCodec.from_official(tmp_path, made / "semantic")
    with pytest.raises(CheckpointError, match=r"needs the semantic encoder .*contains none of config\.json"):
        NeuCodec.from_official(made, tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="not a flat dict of tensors"):
        NeuCodec.from_official(made, tmp_path)
    (tmp_path / FILE_NAME).unlink()
    with pytest.raises(CheckpointError, match=r"contains none of model\.safetensors"):
        NeuCodec.from_official(made, tmp_path)
