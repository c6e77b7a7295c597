"""EnCodec, DAC and Mimi through transformers, with small random weights: the same audio as transformers gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import transformers
from hub_cache import make_cache
from torch import Tensor

from latentune.core.errors import CheckpointError, ConfigError
from latentune.layers.audio import to_rate
from latentune.pipelines.measure.codecs.config import ExperimentConfig
from latentune.pipelines.measure.codecs.published import PublishedCodec
from latentune.pipelines.measure.codecs.run import run_experiment

MIMI = {
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 32,
    "upsample_groups": 16,
    "codebook_dim": 8,
    "vector_quantization_hidden_dimension": 8,
}
DAC = {"encoder_hidden_size": 4, "decoder_hidden_size": 32, "n_codebooks": 3, "codebook_dim": 4}
STRIDES = {"downsampling_ratios": [2, 4], "upsampling_ratios": [4, 2]}
MODELS: dict[str, Callable[[], Any]] = {
    "encodec": lambda: transformers.EncodecModel(
        transformers.EncodecConfig(num_filters=4, hidden_size=16, codebook_size=32, target_bandwidths=[1.5, 3.0])
    ),
    "stereo": lambda: transformers.EncodecModel(
        transformers.EncodecConfig(
            num_filters=4,
            hidden_size=16,
            codebook_size=32,
            target_bandwidths=[3.0],
            audio_channels=2,
            normalize=True,
            chunk_length_s=0.1,
            overlap=0.01,
        )
    ),
    "dac": lambda: transformers.DacModel(transformers.DacConfig(codebook_size=32, **DAC, **STRIDES)),
    "mimi": lambda: transformers.MimiModel(
        transformers.MimiConfig(num_filters=4, hidden_size=16, codebook_size=32, num_quantizers=4, **MIMI)
    ),
}
# number of codebooks, codebooks that can be asked for, bit/s of all, that cannot be asked for
FACTS = {"encodec": (8, 4, 3000.0, 5), "dac": (3, 1, 30_000.0, 4), "mimi": (4, 2, 250.0, 0)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("published")
    for name, build in MODELS.items():
        torch.manual_seed(0)
        model = build()
        for key, buffer in model.named_buffers():
            if key.endswith(("embed", "embed_sum")):  # codebooks start from zero
                buffer.normal_()
        model.save_pretrained(root / name)
    return {name: root / name for name in MODELS}


def noise(*shape: int) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.parametrize("name", FACTS)
def test_audio_is_that_of_transformers(folders: dict[str, Path], name: str) -> None:
    num_codebooks, fewer, bitrate_bps, wrong = FACTS[name]
    codec = PublishedCodec(str(folders[name]))
    facts = codec.facts()
    assert (facts["model_type"], facts["num_codebooks"], facts["bitrate_bps"]) == (name, num_codebooks, bitrate_bps)
    audio = noise(2, 4800)
    model = getattr(transformers, {"encodec": "Encodec", "dac": "Dac", "mimi": "Mimi"}[name] + "Model")
    model = model.from_pretrained(folders[name]).eval()
    if name == "encodec":
        options: Any = {"bandwidth": 3.0}
    else:
        options = {"n_quantizers" if name == "dac" else "num_quantizers": num_codebooks}
    made = model(audio[:, None], **options).audio_values.reshape(2, -1)[:, :4800]
    torch.testing.assert_close(codec(audio, codec.sample_rate), made, atol=1e-5, rtol=0)
    few = PublishedCodec(f"{folders[name]}#{fewer}")
    assert few.facts()["bitrate_bps"] == pytest.approx(bitrate_bps * fewer / num_codebooks)
    assert not torch.allclose(few(audio, codec.sample_rate), made)
    with pytest.raises(ConfigError, match=f"can use .* codebooks, not {wrong}"):
        PublishedCodec(f"{folders[name]}#{wrong}")
    resampled = to_rate(codec(to_rate(audio, 44_100, codec.sample_rate), codec.sample_rate), codec.sample_rate, 44_100)
    shared = min(resampled.shape[-1], 4800) - 500  # resamplers differ in what they see at the end
    torch.testing.assert_close(codec(audio, 44_100)[:, :shared], resampled[:, :shared], atol=1e-5, rtol=0)


def test_a_stereo_codec_that_works_in_pieces(folders: dict[str, Path]) -> None:
    codec = PublishedCodec(str(folders["stereo"]))
    for channels in (1, 2):
        assert codec(noise(channels, 5001), 24_000).shape == (channels, 5001)


def test_what_is_no_published_codec(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match="of type 'bert', which is not one of encodec, dac, mimi"):
        PublishedCodec(str(tmp_path))
    with pytest.raises(CheckpointError, match=r"cannot fetch config\.json of kyutai/mimi from the hub"):
        PublishedCodec("kyutai/mimi#8")
    with pytest.raises(CheckpointError, match="neither a file or folder"):
        PublishedCodec(str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match="write the number of codebooks behind #"):
        PublishedCodec(f"{folders['mimi']}#all")
    (tmp_path / "config.json").write_text((folders["mimi"] / "config.json").read_text())
    with pytest.raises(CheckpointError, match="cannot load MimiModel"):
        PublishedCodec(str(tmp_path))


def test_they_are_measured_next_to_the_codec(
    folders: dict[str, Path], tiny_taae: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    make_cache(tmp_path / "hub", "kyutai/mimi", {path.name: path for path in folders["mimi"].iterdir()})
    rng = np.random.default_rng(0)
    for number in range(2):
        soundfile.write(tmp_path / f"{number}.wav", rng.normal(0, 0.1, 16_000), 16_000)
    config: dict[str, Any] = {
        "audio": str(tmp_path / "0.wav"),
        "figures": ("mel_distance",),
        "references": ("silence",),
        "embedder": "none",
        "device": "cpu",
        "others": {"dac": f"{folders['dac']}#2"},
    }
    table = run_experiment("reconstruction", ExperimentConfig(**config), tiny_taae).table
    assert set(table.systems) == {"latents", "tokens", "silence", "dac"}
    assert table.estimate("dac", "mel_distance").value is not None
    assert table.facts["others"]["dac"]["num_codebooks"] == 2
    with pytest.raises(ConfigError, match="two systems are called 'silence'"):
        run_experiment(
            "reconstruction", ExperimentConfig(**{**config, "others": {"silence": "kyutai/mimi"}}), tiny_taae
        )
