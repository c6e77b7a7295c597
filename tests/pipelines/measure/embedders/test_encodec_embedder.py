"""EnCodec's encoder as an embedder, at small size with random weights; the official package is a peer."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from latentune.core.errors import CheckpointError
from latentune.pipelines.measure.embedders import load_embedder
from latentune.pipelines.measure.embedders.encodec import EncodecEmbedder

transformers = pytest.importorskip("transformers")

TINY: dict[str, Any] = {
    "num_filters": 2,
    "hidden_size": 6,
    "codebook_size": 8,
    "codebook_dim": 6,
    "upsampling_ratios": [8, 5],
}
STEREO: dict[str, Any] = {
    "sampling_rate": 48_000,
    "audio_channels": 2,
    "normalize": True,
    "chunk_length_s": 1.0,
    "overlap": 0.01,
    "use_causal_conv": False,
    "norm_type": "time_group_norm",
    "target_bandwidths": [3.0],
}


def noise(num_samples: int, seed: int = 0) -> Tensor:
    return 0.2 * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


def saved_model(folder: Path, **config: Any) -> Any:
    torch.manual_seed(0)
    model = transformers.EncodecModel(transformers.EncodecConfig(**TINY, **config)).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(("config", "seconds", "rate"), [({}, 5, 24_000), (STEREO, 1, 48_000)])
def test_embeddings_are_the_encoders_output_frame_by_frame(
    config: dict[str, Any], seconds: int, rate: int, tmp_path: Path
) -> None:
    model = saved_model(tmp_path, **config)
    embedder = load_embedder("encodec", checkpoint=tmp_path, overlap=0.0)
    assert (embedder.sample_rate, embedder.window_samples) == (rate, seconds * rate)
    audio = noise(2 * seconds * rate + 1000)
    embeddings = embedder.embed(audio, batch_size=2)
    frames = embedder.embeddings_per_window
    assert embeddings.shape == (2 * frames, 6)
    assert frames == seconds * rate / 40
    for number in range(2):
        begin = number * embedder.window_samples
        window = audio[begin : begin + embedder.window_samples].expand(1, model.config.audio_channels, -1)
        with torch.no_grad():
            expected = model.encoder(window)[0].T
        torch.testing.assert_close(embeddings[number * frames :][:frames], expected, atol=1e-5, rtol=1e-4)
    assert embedder.embed(audio[:100]).shape == (frames, 6)


def test_the_identity_tells_rates_and_weights_apart(tmp_path: Path) -> None:
    saved_model(tmp_path / "a")
    saved_model(tmp_path / "b", **STEREO)
    a, b = (EncodecEmbedder.from_checkpoint(tmp_path / name).identity() for name in "ab")
    assert a == load_embedder("encodec", checkpoint=tmp_path / "a").identity()
    assert {key for key in a if a[key] != b[key]} == {"weights_sha256", "sample_rate", "window_s", "preprocessing"}


def test_what_is_no_encodec_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot load EnCodec"):
        EncodecEmbedder.from_checkpoint(tmp_path / "none")
    model = saved_model(tmp_path / "a")
    weights = {key: value for key, value in model.state_dict().items() if not key.startswith("encoder.layers.0.")}
    model.save_pretrained(tmp_path / "a", state_dict=weights)
    with pytest.raises(CheckpointError, match=r"missing \d+ \(encoder\.layers\.0\."):
        EncodecEmbedder.from_checkpoint(tmp_path / "a")


@pytest.mark.peer
@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_embeddings_are_those_of_the_official_package(rate: int, tmp_path: Path) -> None:
    """Random weights at full size through the `encodec` package as fadtk calls it, and through ours."""
    peer: Any = pytest.importorskip("encodec")
    torch.manual_seed(0)
    kind = peer.EncodecModel.encodec_model_24khz if rate == 24_000 else peer.EncodecModel.encodec_model_48khz
    official = kind(pretrained=False).eval()
    config = {} if rate == 24_000 else STEREO
    model = transformers.EncodecModel(transformers.EncodecConfig(**config))
    state = {}
    for key, value in official.encoder.state_dict().items():
        key = re.sub(r"^model\.", "", key).replace(".conv.conv.", ".conv.").replace(".conv.norm.", ".norm.")
        key = key.replace("weight_g", "parametrizations.weight.original0")
        state[key.replace("weight_v", "parametrizations.weight.original1")] = value
    model.encoder.layers.load_state_dict(state)
    model.save_pretrained(tmp_path)
    ours = load_embedder("encodec", checkpoint=tmp_path, overlap=0.0)
    audio = noise(ours.window_samples)
    with torch.no_grad():
        expected = official.encoder(audio.expand(1, official.channels, -1))[0].T
    torch.testing.assert_close(ours.embed(audio), expected, atol=1e-5, rtol=1e-4)
