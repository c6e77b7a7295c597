"""transformers' NeuCodecModel at a small size: what its `save_pretrained` writes loads, and computes the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_cache import make_cache
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentune.core.errors import CheckpointError
from latentune.tokenizers.load import load_tokenizer
from latentune.tokenizers.neucodec import DistillNeuCodec, NeuCodec

transformers = pytest.importorskip("transformers", minversion="5.17", reason="its NeuCodec is not older")

SAMPLES = 16_123  # not whole hops
CONFIG = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "encoder_hidden_size": 4,
    "quantization_dim": 96,  # the widths of both encoders' outputs together
    "semantic_model_config": {
        "model_type": "wav2vec2-bert",
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    },
}


@pytest.fixture(scope="module")
def audio() -> Tensor:
    return 0.1 * torch.randn(1, 1, SAMPLES, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def model(audio: Tensor) -> Any:
    """The model with random weights everywhere, whose tokens use many levels."""
    model = transformers.NeuCodecModel(transformers.NeuCodecConfig(**CONFIG)).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        std = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.2
        torch.nn.init.normal_(parameter, std=std, generator=generator)
    with torch.no_grad():  # centre and scale what the quantiser takes
        codec_input = {"input_values": audio, "input_features": torch.randn(1, 50, 160, generator=generator)}
        seen: list[Tensor] = []
        hook = model.quantizer.project_in.register_forward_hook(lambda module, inputs, output: seen.append(output[0]))
        model.encode(**codec_input)
        hook.remove()
        layer = model.quantizer.project_in
        layer.weight /= seen[0].std(0)[:, None]
        layer.bias -= seen[0].mean(0)
        layer.bias /= seen[0].std(0)
    return model


@pytest.fixture(scope="module")
def saved(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transformers")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def codec(saved: Path) -> NeuCodec:
    codec = NeuCodec.from_pretrained(saved)
    assert not codec.training
    assert codec.licence == "Apache-2.0"
    return codec


@torch.no_grad()
def test_tokens_and_audio_are_those_of_transformers(model: Any, codec: NeuCodec, audio: Tensor) -> None:
    pytest.importorskip("torchaudio", reason="transformers' features need it")
    extractor = transformers.NeuCodecFeatureExtractor()
    inputs = extractor(audio=audio[0, 0].numpy(), sampling_rate=16_000, return_tensors="pt")
    theirs = model.encode(**inputs).audio_codes  # [1, 1, T]
    ours = codec.encode(audio, 16_000, official_length=True).tokens
    assert torch.equal(ours, theirs.mT.long())
    assert len(theirs.unique()) > 10
    played = codec.decode(tokens=ours)
    torch.testing.assert_close(played, model.decode(audio_codes=theirs).audio_values, atol=1e-6, rtol=0)


@torch.no_grad()
def test_tokens_of_audio_at_another_rate_are_the_official_ones_with_the_official_resampler(
    model: Any, codec: NeuCodec
) -> None:
    functional = pytest.importorskip("torchaudio.functional", exc_type=ImportError)
    audio = 0.1 * torch.randn(1, 1, 72_000, generator=torch.Generator().manual_seed(3))
    heard = functional.resample(audio, 44_100, 16_000)
    inputs = transformers.NeuCodecFeatureExtractor()(
        audio=heard[0, 0].numpy(), sampling_rate=16_000, return_tensors="pt"
    )
    theirs = model.encode(**inputs).audio_codes.mT.long()
    assert torch.equal(codec.encode(audio, 44_100, official_length=True, resampler="torchaudio").tokens, theirs)
    assert not torch.equal(codec.encode(audio, 44_100, official_length=True).tokens, theirs)


def test_every_form_and_place_loads_the_same(saved: Path, codec: NeuCodec, model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "shards", max_shard_size="200KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    (tmp_path / "pickled").mkdir()
    shutil.copy(saved / "config.json", tmp_path / "pickled")
    torch.save(load_file(saved / "model.safetensors"), tmp_path / "pickled/pytorch_model.bin")
    make_cache(tmp_path, "neuphonic/neucodec", {path.name: path for path in saved.iterdir()})
    places = [saved, saved / "model.safetensors", saved / "config.json", tmp_path / "shards", tmp_path / "pickled"]
    for place in [*places, "neucodec", "neuphonic/neucodec"]:
        loaded = load_tokenizer(place, cache_dir=tmp_path, torch_dtype=torch.bfloat16)
        assert (loaded.dtype, loaded.fingerprint()) == (torch.bfloat16, codec.fingerprint())
    loaded.save_pretrained(tmp_path / "ours")
    assert load_tokenizer(tmp_path / "ours").settings == codec.settings


def test_half_precision_on_disk(saved: Path, codec: NeuCodec, tmp_path: Path) -> None:
    shutil.copy(saved / "config.json", tmp_path)
    state = load_file(saved / "model.safetensors")
    save_file({key: tensor.half() for key, tensor in state.items()}, tmp_path / "model.safetensors")
    half = NeuCodec.from_official(tmp_path)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.fusion.weight, codec.fusion.weight, atol=1e-3, rtol=0)


def changed(saved: Path, folder: Path, config: dict[str, Any]) -> Path:
    shutil.copytree(saved, folder, dirs_exist_ok=True)
    values = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps({key: value for key, value in values.items() if value != "absent"}))
    return folder


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"attention_bias": True}, "attention_bias True is not built here, only False"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not built"),
        ({"num_key_value_heads": 1}, "width 64 with 2 heads of 32 and 1 heads of keys"),
        ({"hidden_size": "absent"}, r"cannot be built: KeyError\('hidden_size'\)"),
        ({"quantization_levels": [5] * 8}, "cannot be built: .*even numbers"),
        ({"num_hidden_layers": 3}, r"missing 6 \(decoder\.blocks\.2\.attn_norm\.weight"),
        ({"num_hidden_layers": 1}, r"unexpected 6 \(acoustic_decoder\.layers\.1\.input_layernorm\.weight"),
        ({"encoder_hidden_size": 8}, r"acoustic_encoder\..* has shape .*another size"),
        ({"model_type": "xcodec2"}, "neither|none of pytorch_model.bin|not the config of a tokenizer"),
    ],
)
def test_a_model_that_we_do_not_build_is_refused(
    saved: Path, tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_tokenizer(changed(saved, tmp_path, config))


def test_weights_of_transformers_in_the_wrong_place(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="never those of DistillNeuCodec"):
        DistillNeuCodec.from_official(saved)
    shutil.copy(saved / "model.safetensors", tmp_path)
    with pytest.raises(CheckpointError, match=r"need their config\.json in the same folder"):
        NeuCodec.from_official(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"contains none of pytorch_model\.bin"):
        NeuCodec.from_official(tmp_path)
    state = load_file(saved / "model.safetensors")
    semantic = {key: state.pop(key) for key in list(state) if key.startswith("semantic_encoder.encoder.layers.2.")}
    assert semantic
    save_file(state, changed(saved, tmp_path, {}) / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"the semantic encoder at .* does not fit: missing"):
        NeuCodec.from_official(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((saved / "model.safetensors").read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="if the download was interrupted, delete it and fetch it again"):
        NeuCodec.from_official(tmp_path)
