"""Official NeuCodec checkpoints: their outputs, every refusal, and the reference tensors where they are at hand.

The golden file holds what the official classes computed with weights that are stored in it: small parts of the codec,
whole. The complete models of reduced size are compared where LATENTUNE_REFERENCES is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentune.core.errors import CheckpointError
from latentune.tokenizers.load import load_official, load_tokenizer
from latentune.tokenizers.neucodec import DistillNeuCodec, DistillNeuCodecConfig, NeuCodec, NeuCodecConfig
from latentune.tokenizers.neucodec.acoustic import AcousticConfig
from latentune.tokenizers.neucodec.config import CodecConfig
from latentune.tokenizers.neucodec.decoder import DecoderConfig
from latentune.tokenizers.neucodec.filterbank import log_mel, normalised_frames
from latentune.tokenizers.neucodec.l3ac import DistilAcousticConfig
from latentune.tokenizers.neucodec.upstream import FILE_NAME, convert_state_dict

GOLDEN = Path(__file__).resolve().parents[2] / "assets/neucodec_golden.safetensors"
REFERENCES = os.environ.get("LATENTUNE_REFERENCES")
FEATURES, AUDIO = 5e-5, 2e-6
SHARED: dict[str, Any] = {
    "adapter_width": 48,
    "semantic_width": 24,
    "fused_width": 96,
    "synthesis": DecoderConfig(width=64, depth=2, num_heads=4),
}
SIZES: dict[str, tuple[type[NeuCodec], CodecConfig]] = {  # of the references
    "neucodec_small": (NeuCodec, NeuCodecConfig(acoustic=AcousticConfig(width=4, out_width=40), **SHARED)),
    "distill_small": (
        DistillNeuCodec,
        DistillNeuCodecConfig(
            acoustic=DistilAcousticConfig(
                widths=(8, 12, 16, 24), width=48, window=12, heads=6, head_dim=12, position_width=24
            ),
            acoustic_width=40,
            **SHARED,
        ),
    ),
}


# ---------------------------------------------------------------------- an official checkpoint made from our weights


def official_names(codec: NeuCodec) -> dict[str, Tensor]:
    """The state dict of a tiny codec as upstream lays it out, with all that it has beside the weights."""
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
        (lambda s: s.update({"generator.head.istft.window": torch.ones(1920)}), "istft.window is not the known one"),
        (lambda s: s.update({"CodecEnc.conv_blocks.1.x.filter": torch.ones(1, 1, 12)}), "filter is not the known one"),
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


def test_the_training_branch_is_read_where_the_config_asks_for_it(made: Path, tiny_neucodec: NeuCodec) -> None:
    codec = NeuCodec(NeuCodecConfig(**{**vars(tiny_neucodec.settings), "predict_semantic": True}))
    state = torch.load(made / FILE_NAME, weights_only=True)
    with pytest.raises(CheckpointError, match=r"missing 6 \(semantic_decoder\.conv_mid1\.bias"):
        convert_state_dict(state, codec)


# ---------------------------------------------------------------------- the semantic encoder's own files


def test_a_checkpoint_without_its_semantic_encoder_says_which(made: Path, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes((made / FILE_NAME).read_bytes())
    with pytest.raises(CheckpointError, match=r"needs facebook/w2v-bert-2\.0.*hf download.*semantic=FOLDER"):
        NeuCodec.from_official(tmp_path)
    with pytest.raises(CheckpointError, match=r"needs ntu-spml/distilhubert.*hf download"):
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


def test_official_weights_in_place_of_a_saved_codec_are_told(made: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no config\.json.*`latentune convert .* OUTPUT`"):
        load_tokenizer(made)


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
    with pytest.raises(CheckpointError, match="no checkpoint file at"):
        NeuCodec.from_official(tmp_path)
    with pytest.raises(CheckpointError, match="no folder of a semantic encoder at"):
        NeuCodec.from_official(made, tmp_path / "absent")
    torch.save([1, 2], tmp_path / FILE_NAME)
    with pytest.raises(CheckpointError, match="not a flat dict of tensors"):
        NeuCodec.from_official(tmp_path, made / "semantic")
    with pytest.raises(CheckpointError, match=r"cannot read the semantic encoder's config"):
        NeuCodec.from_official(made, tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="not a flat dict of tensors"):
        NeuCodec.from_official(made, tmp_path)
    (tmp_path / FILE_NAME).unlink()
    with pytest.raises(CheckpointError, match=r"holds none of model\.safetensors"):
        NeuCodec.from_official(made, tmp_path)


# ---------------------------------------------------------------------- what the official classes computed


def load_part(module: torch.nn.Module, tensors: dict[str, Tensor], prefix: str) -> Any:
    module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    return module.eval()


@torch.no_grad()
def test_parts_give_what_the_official_ones_give() -> None:
    from latentune.tokenizers.neucodec.adapter import Adapter
    from latentune.tokenizers.neucodec.head import overlap_add, polar_spectrum
    from latentune.tokenizers.neucodec.quantiser import Quantiser, QuantiserConfig

    golden = load_file(GOLDEN)
    adapter = load_part(Adapter(32, 48, 24), golden, "weights/semantic_adapter.")
    features = adapter(golden["semantic_hidden"])
    torch.testing.assert_close(features.mT, golden["semantic_features"], atol=FEATURES, rtol=0)
    quantiser = load_part(Quantiser(QuantiserConfig(), 96), golden, "weights/quantiser.")
    values = quantiser.values(golden["fused"])
    tokens = (quantiser.values_to_digits(values) * 4 ** torch.arange(8)).sum(-1)
    assert torch.equal(tokens, golden["token_ids"].long())
    torch.testing.assert_close(quantiser.straight_through(values) - 0.25, golden["fsq_values"], atol=1e-6, rtol=0)
    embedding = quantiser.embed(quantiser.straight_through(values))
    torch.testing.assert_close(embedding, golden["fsq_embedding"], atol=FEATURES, rtol=0)
    # the first six frames of a longer signal make the first four hops of its audio; some magnitudes are clipped
    assert (golden["dec_head"][..., :961].exp() > 100).any()
    audio = overlap_add(polar_spectrum(golden["dec_head"]), 1920, 480)[..., : 4 * 480]
    torch.testing.assert_close(audio, golden["decoded_audio"], atol=AUDIO, rtol=0)


@torch.no_grad()
def test_the_first_stage_and_the_front_end_give_what_the_official_ones_give() -> None:
    from latentune.tokenizers.neucodec.acoustic import Stage

    golden = load_file(GOLDEN)
    stage = load_part(Stage(4, 2, 7, (1, 3, 9)), golden, "weights/acoustic_encoder.stages.0.")
    torch.testing.assert_close(stage(golden["acoustic_block_0"]), golden["acoustic_block_1"], atol=FEATURES, rtol=0)
    frames = normalised_frames(log_mel(golden["padded_audio"][:, 0]))
    torch.testing.assert_close(frames, golden["semantic_input"], atol=FEATURES, rtol=0)


@pytest.mark.slow
@pytest.mark.skipif(REFERENCES is None, reason="LATENTUNE_REFERENCES names no folder of reference tensors")
@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_the_reference_tensors_are_matched(size: str) -> None:
    """Complete models of reduced size, every activation on the way, ids exactly."""
    folder = Path(str(REFERENCES)) / "neucodec" / size
    cls, config = SIZES[size]
    codec = cls.from_official(folder, config=config)
    hooks = {"dec_embed": codec.decoder.stem, "dec_prior": codec.decoder.pre, "dec_post": codec.decoder.post,
             "dec_final_norm": codec.decoder.norm, "dec_head": codec.decoder.head.out,
             "decoder_input": codec.decoder.project_in, "acoustic_features": codec.acoustic_encoder}  # fmt: skip
    hooks |= {f"dec_block_{i}": block for i, block in enumerate(codec.decoder.blocks)}
    if cls is NeuCodec:
        hooks["acoustic_block_0"] = codec.acoustic_encoder.stem
        hooks |= {f"acoustic_block_{i}": stage for i, stage in enumerate(codec.acoustic_encoder.stages, 1)}
    seen: dict[str, Tensor] = {}
    for name, part in hooks.items():
        part.register_forward_hook(lambda m, i, o, name=name: seen.update({name: o}))
    cases = sorted(folder.glob("case_*.safetensors"))
    assert len(cases) >= 4
    for case in cases:
        expected = load_file(case)
        padded = expected["padded_audio"][:, 0]
        num_frames = expected["fused"].shape[1]
        hidden = codec.semantic_frames(padded)
        fused = codec.fused_frames(hidden, padded)[:, :num_frames]
        seen |= {"semantic_hidden": hidden, "semantic_features": codec.semantic_adapter(hidden).mT, "fused": fused}
        seen["prefsq_latent"] = codec.quantiser.project_in(fused)
        seen["decoded_audio"] = codec.decoder(expected["fsq_embedding"])
        if cls is NeuCodec:
            seen["semantic_input"] = normalised_frames(log_mel(padded))
        for name, tensor in seen.items():
            # three log magnitudes lie beyond the clamp and are large there
            tolerance = AUDIO if name == "decoded_audio" else FEATURES
            assert (tensor - expected[name]).abs().max() <= tolerance, f"{case.stem}: {name}"
        encoded = codec.encode(expected["input_audio"], 16000, official_length=True)
        assert torch.equal(encoded.tokens[..., 0], expected["token_ids"][:, 0].long())
        decoded = codec.decode(tokens=encoded.tokens)
        torch.testing.assert_close(decoded, expected["decoded_audio"].clamp(-1, 1), atol=AUDIO, rtol=0)


# ---------------------------------------------------------------------- transformers' own NeuCodec


def transformers_names(name: str) -> str:
    """The key of one of our tensors in transformers' `NeuCodecModel`."""
    for ours, theirs in (
        ("semantic_encoder.model.", "semantic_encoder."),
        ("semantic_adapter.conv_in", "semantic_adapter.conv1"),
        ("semantic_adapter.conv_mid1", "semantic_adapter.conv2"),
        ("semantic_adapter.conv_mid2", "semantic_adapter.conv3"),
        ("semantic_adapter.conv_out", "semantic_adapter.conv4"),
        ("acoustic_encoder.stem.", "acoustic_encoder.conv1."),
        ("acoustic_encoder.out_act.", "acoustic_encoder.snake1.act."),
        ("acoustic_encoder.out.", "acoustic_encoder.conv2."),
        ("acoustic_encoder.stages.", "acoustic_encoder.block."),
        ("fusion.", "fc_encoder."),
        ("quantiser.", "quantizer."),
        ("decoder.project_in.", "acoustic_decoder.fc."),
        ("decoder.stem.", "acoustic_decoder.embed."),
        ("decoder.pre.", "acoustic_decoder.prior_net."),
        ("decoder.post.", "acoustic_decoder.post_net."),
        ("decoder.blocks.", "acoustic_decoder.layers."),
        ("decoder.norm.", "acoustic_decoder.norm."),
        ("decoder.head.out.", "acoustic_decoder.head.linear."),
    ):
        if name.startswith(ours):
            name = theirs + name.removeprefix(ours)
            break
    for ours, theirs in (
        ("units.0.", "res_unit1."),
        ("units.1.", "res_unit2."),
        ("units.2.", "res_unit3."),
        (".down_act.", ".snake1.act."),
        (".down.", ".conv1."),
        (".act1.", ".snake1.act."),
        (".act2.", ".snake2.act."),
        ("log_frequency", "alpha"),
        ("log_damping", "beta"),
        (".attn_norm.", ".input_layernorm."),
        (".mlp_norm.", ".post_attention_layernorm."),
        (".attn_out.", ".self_attn.o_proj."),
        (".mlp_up.", ".mlp.fc1."),
        (".mlp_down.", ".mlp.fc2."),
    ):
        name = name.replace(ours, theirs)
    return name


@torch.no_grad()
def test_the_complete_model_is_transformers_own(tiny_neucodec: NeuCodec) -> None:
    """Tokens and audio of a small random model, from the waveform on."""
    transformers = pytest.importorskip("transformers", minversion="5.17")
    tiny = vars(NeuCodecConfig.tiny())
    # transformers ties widths to each other: fused = semantic + decoder, acoustic = decoder
    config = NeuCodecConfig(**{**tiny, "acoustic": AcousticConfig(width=2, out_width=64), "fused_width": 80})
    torch.manual_seed(3)
    codec = NeuCodec(config).eval()
    torch.nn.init.normal_(codec.quantiser.project_in.weight, std=0.5)
    for name, parameter in codec.named_parameters():
        if name.endswith(("log_frequency", "log_damping")):
            torch.nn.init.normal_(parameter, std=0.2)
    theirs = transformers.NeuCodecModel(
        transformers.NeuCodecConfig(
            hidden_size=64,
            intermediate_size=256,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=32,
            encoder_hidden_size=2,
            quantization_dim=80,
            semantic_model_config=codec.semantic_encoder.model.config.to_dict(),
        )
    ).eval()
    state = {transformers_names(name): tensor for name, tensor in codec.state_dict().items()}
    for key in [key for key in state if key.endswith(".qkv.weight")]:
        parts = zip("qkv", state.pop(key).chunk(3), strict=True)
        state |= {key.replace(".qkv.", f".self_attn.{part}_proj."): tensor for part, tensor in parts}
    result = theirs.load_state_dict(state, strict=False)
    assert not result.unexpected_keys
    assert all(key.endswith(("masked_spec_embed", ".filter")) for key in result.missing_keys), result.missing_keys
    audio = 0.2 * torch.randn(1, 1, 16123, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(audio, (0, 320 - 16123 % 320))
    expected = theirs.encode(input_values=padded, input_features=normalised_frames(log_mel(padded[:, 0])))
    encoded = codec.encode(audio, 16000, official_length=True)
    assert torch.equal(encoded.tokens[..., 0], expected.audio_codes[:, 0].long())
    made = theirs.decode(audio_codes=expected.audio_codes)
    made = getattr(made, "audio_values", made[0])
    ours = codec.decode(tokens=encoded.tokens)
    torch.testing.assert_close(ours, made.reshape(ours.shape).clamp(-1, 1), atol=AUDIO, rtol=0)
