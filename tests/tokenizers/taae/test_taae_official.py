"""Official Stable Codec checkpoints: their outputs, every refusal, and the reference tensors where they are at hand.

The golden file was written by `demos/bench/taae_golden.py`, which runs the official classes on small models whose
weights are a function of their names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bench_scripts import load_script
from hub_cache import make_cache
from official_size import official_parameter_count
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentune.core.errors import CheckpointError
from latentune.tokenizers.load import load_tokenizer
from latentune.tokenizers.taae import TAAE
from latentune.tokenizers.taae.patching import audio_to_patches, patches_to_audio
from latentune.tokenizers.taae.upstream import CONFIG_FILE

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests/assets/taae_network_golden.safetensors"
REFERENCES = os.environ.get("LATENTUNE_REFERENCES")
TOLERANCE = 2e-5


golden, peer = load_script("taae_golden"), load_script("official_taae")


def official_state(name: str) -> dict[str, Tensor]:
    with safe_open(GOLDEN, "pt") as file:
        return golden.golden_state(json.loads(file.metadata()[name]))


def official_config(name: str = "snake") -> dict[str, Any]:
    return peer.official_config(golden.GOLDEN_CONFIGS[name])


def write(folder: Path, config: dict[str, Any], state: dict[str, Tensor] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    if state is not None:
        save_file(state, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module", params=golden.GOLDEN_CONFIGS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def codec(name: str, tmp_path_factory: pytest.TempPathFactory) -> TAAE:
    folder = write(tmp_path_factory.mktemp(name), official_config(name), official_state(name))
    return TAAE.from_official(folder)


# the smaller golden model, for everything that asks about keys and files
@pytest.fixture(scope="module")
def small_state() -> dict[str, Tensor]:
    return official_state("snake")


@torch.no_grad()
def test_outputs_are_the_official_ones(codec: TAAE, name: str) -> None:
    expected = load_file(GOLDEN)
    z = codec.encoder(audio_to_patches(golden.golden_audio(), 320))
    torch.testing.assert_close(z, expected[f"{name}/z"], atol=TOLERANCE, rtol=0)
    audio = patches_to_audio(codec.decoder(expected[f"{name}/z"].tanh()), 320)
    torch.testing.assert_close(audio, expected[f"{name}/audio"], atol=TOLERANCE, rtol=0)


def test_the_config_is_the_official_one(codec: TAAE, name: str) -> None:
    assert codec.settings == golden.GOLDEN_CONFIGS[name]
    assert codec.licence == "Stability AI Community License"
    assert not codec.training


def test_it_has_as_many_parameters_as_the_official_class(codec: TAAE, name: str) -> None:
    buffers = ("norm.beta", "rope.inv_freq")
    official = sum(t.numel() for k, t in official_state(name).items() if not k.endswith(buffers))
    assert official_parameter_count(codec) == official


def test_converted_weights_reload_as_the_same_codec(codec: TAAE, tmp_path: Path) -> None:
    codec.save_pretrained(tmp_path)
    again = TAAE.from_pretrained(tmp_path)
    assert again.fingerprint() == codec.fingerprint()
    assert again.licence == codec.licence


def newer_weight_norm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    return {
        (f"{head}.{names[tail]}" if tail in names else key): value
        for key, value in state.items()
        for head, _, tail in [key.rpartition(".")]
    }


def test_every_official_form_loads_the_same(small_state: dict[str, Tensor], tmp_path: Path) -> None:
    codec = TAAE.from_official(write(tmp_path / "plain", official_config(), small_state))
    assert TAAE.from_official(tmp_path / "plain" / "model.safetensors").fingerprint() == codec.fingerprint()
    newer = write(tmp_path / "newer", official_config(), newer_weight_norm(small_state))
    assert TAAE.from_official(newer).fingerprint() == codec.fingerprint()
    pickled = write(tmp_path / "pickled", official_config())
    torch.save({"state_dict": small_state}, pickled / "model.ckpt")
    assert TAAE.from_official(pickled).fingerprint() == codec.fingerprint()
    training = {f"autoencoder.{key}": value for key, value in small_state.items()} | {"discriminator.w": torch.ones(3)}
    torch.save({"state_dict": training, "global_step": 7}, pickled / "epoch.ckpt")
    assert TAAE.from_official(pickled / "epoch.ckpt").fingerprint() == codec.fingerprint()


def test_of_a_training_checkpoint_the_averaged_weights_count(small_state: dict[str, Tensor], tmp_path: Path) -> None:
    codec = TAAE.from_official(write(tmp_path, official_config(), small_state))
    last = {key: value + 0.5 * ("weight_v" in key) for key, value in small_state.items()}
    training = {f"autoencoder.{key}": value for key, value in last.items()}
    training |= {f"autoencoder_ema.online_model.{key}": value for key, value in last.items()}
    training |= {f"autoencoder_ema.ema_model.{key}": value for key, value in small_state.items()}
    training |= {"autoencoder_ema.initted": torch.tensor([True]), "autoencoder_ema.step": torch.tensor([9])}
    torch.save({"state_dict": training}, tmp_path / "epoch.ckpt")
    assert TAAE.from_official(tmp_path / "epoch.ckpt").fingerprint() == codec.fingerprint()
    of_last = TAAE.from_official(tmp_path / "epoch.ckpt", ema=False).fingerprint()
    assert of_last != codec.fingerprint()
    training["autoencoder_ema.initted"] = torch.tensor([False])  # the averages are the initial weights still
    torch.save({"state_dict": training}, tmp_path / "epoch.ckpt")
    assert TAAE.from_official(tmp_path / "epoch.ckpt").fingerprint() == of_last


def test_every_place_of_an_official_checkpoint(small_state: dict[str, Tensor], tmp_path: Path) -> None:
    """A folder, its files and a cached repository, of which the pickle is the second try."""
    folder = write(tmp_path / "folder", official_config(), small_state)
    fingerprint = TAAE.from_official(folder).fingerprint()
    for place in (folder, folder / "model.safetensors", folder / CONFIG_FILE):
        assert load_tokenizer(place).fingerprint() == TAAE.from_pretrained(place).fingerprint() == fingerprint
    torch.save({"state_dict": small_state}, tmp_path / "model.ckpt")
    hub_id = "stabilityai/stable-codec-speech-16k"
    make_cache(tmp_path, hub_id, {CONFIG_FILE: folder / CONFIG_FILE, "model.ckpt": tmp_path / "model.ckpt"})
    for name in (hub_id, "stable-codec-speech-16k"):
        loaded = load_tokenizer(name, cache_dir=tmp_path, torch_dtype=torch.bfloat16, device_map="cpu", token="x")
        assert (loaded.dtype, loaded.fingerprint()) == (torch.bfloat16, fingerprint)
    assert TAAE.from_pretrained(hub_id, cache_dir=tmp_path, local_files_only=True).fingerprint() == fingerprint


Change = Callable[[dict[str, Any]], Any]
NETWORK = "encoder.layers.2.layers.2.1."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop(NETWORK + "ff.ff.2.bias"),
            r"missing 1 \(encoder\.stages\.1\.transformer\.blocks\.0\.mlp\.out",
        ),
        (lambda s: s.update({"proj_head.weight": torch.ones(1)}), r"unexpected 1 \(proj_head\.weight\)"),
        (lambda s: s.update({"decoder.layers.5.bias": torch.ones(320)}), r"unexpected 1 \(decoder\.layers\.5\.bias\)"),
        (lambda s: s.update({NETWORK + "conformer.w": torch.ones(1)}), "unexpected 1"),
        (lambda s: s.update({"encoder.layers.5.bias": torch.ones(8)}), "another size"),
        (lambda s: s[NETWORK + "pre_norm.beta"].fill_(0.1), "norm bias .* is not zero"),
        (lambda s: s[NETWORK + "rope.inv_freq"].mul_(1.01), "rotary frequencies"),
        (lambda s: s.pop("encoder.layers.0.weight_g"), r"has encoder\.layers\.0\.weight_v but no"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    small_state: dict[str, Tensor], tmp_path: Path, change: Change, message: str
) -> None:
    state = {key: value.clone() for key, value in small_state.items()}
    change(state)
    with pytest.raises(CheckpointError, match=message):
        TAAE.from_official(write(tmp_path, official_config(), state))


def test_a_checkpoint_of_another_size_says_so(small_state: dict[str, Tensor], tmp_path: Path) -> None:
    config = official_config()
    both("channels", 256)(config)
    with pytest.raises(CheckpointError, match=r"the config has \(256.*another size"):
        TAAE.from_official(write(tmp_path, config, small_state))


def both(key: str, value: Any) -> Change:
    """Change a key in the config of both networks."""
    return lambda c: [c["model"][side]["config"].update({key: value}) for side in ("encoder", "decoder")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (both("conformer", True), "conformer modules are not built"),
        (both("use_dilated_conv", True), "dilated residual units are not built"),
        (both("layer_scale", False), "blocks without layer scale are not built"),
        (both("windw", 3), "unknown key 'windw'"),
        (both("soft_clip", True), "unknown key 'soft_clip'"),  # belongs next to the config
        (lambda c: c["model"]["bottleneck"]["config"].update(level=3), "unknown key 'level': did you mean 'levels'"),
        (lambda c: c["model"].update(in_channels=2), r"model\.in_channels 2, but 1 follows"),
        (both("c_mults", [1, 2, 4]), "stages of one width"),
        (both("channels", 100), "cannot be built: config TAAEConfig: width 100 is not a multiple of head_dim 128"),
        (both("transformer_depths", [1, 2]), "cannot be built: config TAAEConfig: depths"),
        (both("latent_dim", 8), "latent_dim"),
        (both("sliding_window", None), "has a size of the wrong type"),
        (both("transformer_depths", 3), "has a size of the wrong type"),
        (both("channels", None), "has a size of the wrong type"),
        (lambda c: c["model"]["decoder"].update(soft_clip="yes"), "soft_clip must be true or false, got 'yes'"),
        (lambda c: c.update(sample_rate="16000"), "cannot be built: .*sample_rate: expected int, got '16000'"),
        (lambda c: c.update(sample_rate=0), "cannot be built: .*sample_rate must be at least 1 Hz"),
        (
            lambda c: c["model"]["encoder"]["config"].update(sliding_window=[1, 2]),
            "encoder and decoder differ in window",
        ),
        (lambda c: c["model"]["encoder"]["config"].pop("strides"), "lacks strides"),
        (lambda c: c["model"]["encoder"].update(type="oobleck"), "of type 'oobleck', only 'taae'"),
        (lambda c: c["model"]["bottleneck"].update(type="vae"), "of type 'vae', only 'dithered_fsq'"),
        (lambda c: c["model"]["bottleneck"]["config"].update(num_codebooks=2), "2 codebooks is not built"),
        (lambda c: c["model"]["pretransform"].update(type="pqmf"), "of type 'pqmf', only 'patched'"),
        (lambda c: c["model"].update(downsampling_ratio=640), "downsampling_ratio 640, but 1280 follows"),
        (lambda c: c.update(audio_channels=2), "audio_channels 2, but 1 follows"),
        (lambda c: c.update(model_type="diffusion_cond"), "of type 'diffusion_cond', not an autoencoder"),
        (lambda c: c.update(model=[1]), "model must be a mapping"),
    ],
)
def test_a_config_that_we_do_not_build_is_refused(tmp_path: Path, change: Change, message: str) -> None:
    config = official_config()
    change(config)
    folder = write(tmp_path, config)
    (folder / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match=message):
        TAAE.from_official(folder)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_that_were_stored_in_half_precision_load(
    small_state: dict[str, Tensor], tmp_path: Path, dtype: torch.dtype
) -> None:
    rounded = {name: value.to(dtype) for name, value in small_state.items()}
    whole = TAAE.from_official(write(tmp_path / "whole", official_config(), small_state))
    half = TAAE.from_official(write(tmp_path / "half", official_config(), rounded))
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(half.state_dict()[name], value, rtol=0.02, atol=0.02)
    other = {name: value * (1.1 if "inv_freq" in name else 1) for name, value in rounded.items()}
    with pytest.raises(CheckpointError, match=r"rotary frequencies .* are unknown"):
        TAAE.from_official(write(tmp_path / "other", official_config(), other))


def test_what_says_the_same_in_other_words_is_accepted(small_state: dict[str, Tensor], tmp_path: Path) -> None:
    config = official_config()
    config["model"]["decoder"]["config"].update(channels=64, c_mults=[2, 2, 2], checkpointing=True)
    config["model"]["bottleneck"]["config"]["levels"] = [5, 5, 5, 9, 9, 9]
    config["training"] = {"anything": 1}
    codec = TAAE.from_official(write(tmp_path, config, small_state))
    assert codec.settings.bottleneck.levels == (5, 5, 5, 9, 9, 9)


def test_keys_outside_the_networks_are_those_that_upstream_reads(
    small_state: dict[str, Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = official_config()
    model = config["model"]
    model["decoder"]["soft_clip"] = True
    model["encoder"]["requires_grad"] = model["bottleneck"]["requires_grad"] = False
    model["pretransform"]["scale"] = 1.0
    model["in_channels"] = model["out_channels"] = 1
    assert TAAE.from_official(write(tmp_path, config, small_state)).settings.soft_clip
    assert not caplog.records
    config["dataset"] = model["comment"] = model["bottleneck"]["note"] = "x"
    TAAE.from_official(write(tmp_path, config, small_state))
    assert [record.getMessage() for record in caplog.records] == [
        "model_config.json has keys that are not read: dataset",
        "model has keys that are not read: comment",
        "model.bottleneck has keys that are not read: note",
    ]


def test_a_model_without_bottleneck_has_no_tokens(small_state: dict[str, Tensor], tmp_path: Path) -> None:
    config = official_config()
    del config["model"]["bottleneck"]
    assert TAAE.from_official(write(tmp_path, config, small_state)).spec.tokens_per_frame == 0


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="neither a file or folder at"):
        TAAE.from_official(tmp_path / "absent.safetensors")
    with pytest.raises(CheckpointError, match=r"contains none of model\.safetensors, model\.ckpt"):
        TAAE.from_official(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(CheckpointError, match=r"contains none of model_config\.json"):
        TAAE.from_official(tmp_path)
    (tmp_path / CONFIG_FILE).write_text("{")
    with pytest.raises(CheckpointError, match="cannot read the official config"):
        TAAE.from_official(tmp_path)
    write(tmp_path, official_config())
    with pytest.raises(CheckpointError, match=r"as safetensors.*if the download was interrupted, delete it"):
        TAAE.from_official(tmp_path)
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(CheckpointError, match="has no 'state_dict'"):
        TAAE.from_official(tmp_path / "list.ckpt")
    with pytest.raises(CheckpointError, match=r"cannot fetch model\.safetensors of stabilityai/absent"):
        TAAE.from_official("stabilityai/absent", cache_dir=tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(REFERENCES is None, reason="LATENTUNE_REFERENCES names no folder of reference tensors")
@torch.no_grad()
def test_the_reference_tensors_are_matched() -> None:
    """Outputs of the official classes on a model of width 128, for whole clips, and every activation on the way."""
    folder = Path(str(REFERENCES)) / "taae"
    codec, reference = TAAE.from_official(folder), load_file(folder / "reference.safetensors")
    seen: dict[str, Tensor] = {}
    for side, network in (("encoder", codec.encoder), ("decoder", codec.decoder)):
        network.conv_in.register_forward_hook(lambda m, i, o, key=f"{side}.layers.0": seen.update({key: o.mT}))
        network.conv_out.register_forward_hook(lambda m, i, o, key=f"{side}.layers.4": seen.update({key: o.mT}))
        place = 2 if side == "encoder" else 0  # of the blocks in a stage's official list
        for number, stage in enumerate(network.stages, 1):
            key = f"{side}.layers.{number}"
            stage.register_forward_hook(lambda m, i, o, key=key: seen.update({key: o[0].mT}))
            for index, block in enumerate(stage.transformer.blocks, 1):
                inner = f"{key}.layers.{place}.{index}"
                parts = {"": block, ".pre_norm": block.attention_norm, ".self_attn": block.attention.out,
                         ".ff_norm": block.mlp_norm, ".ff": block.mlp}  # fmt: skip
                for suffix, part in parts.items():
                    part.register_forward_hook(lambda m, i, o, key=inner + suffix: seen.update({key: o}))
    cases = sorted({key.split("/")[0] for key in reference if "/swa_fp32/" in key})
    assert len(cases) == 3
    for case in cases:
        z = reference[f"{case}/swa_fp32/latents"].mT
        ours = codec.encoder(audio_to_patches(reference[f"{case}/normalized"], 320))
        torch.testing.assert_close(ours, z, atol=TOLERANCE, rtol=0)
        values = {"audio_noquant": z.tanh()}
        for key in reference:
            if key.startswith(f"{case}/swa_fp32/quantized_"):
                values[key.rpartition("/")[2].replace("quantized", "audio")] = reference[key].mT
        for name, value in values.items():
            audio = patches_to_audio(codec.decoder(value), 320)
            torch.testing.assert_close(audio, reference[f"{case}/swa_fp32/{name}"], atol=TOLERANCE, rtol=0)
    codec.encoder(reference["act/patched"].mT)
    codec.decoder(reference["act/encoder.layers.4"].mT.tanh())
    compared = [key for key in seen if f"act/{key}" in reference]
    assert len(compared) > 25
    for key in compared:
        torch.testing.assert_close(seen[key], reference[f"act/{key}"], atol=TOLERANCE, rtol=0, msg=key)
