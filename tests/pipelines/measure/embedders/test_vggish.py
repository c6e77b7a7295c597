"""VGGish with random weights in torchvggish's format; that package is a peer."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from latentune.core.errors import CheckpointError
from latentune.pipelines.measure.embedders import load_embedder, vggish
from latentune.pipelines.measure.embedders.vggish import VggishEmbedder


def noise(num_samples: int, seed: int = 0) -> Tensor:
    return 0.2 * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


def random_state(hidden: int) -> dict[str, Tensor]:
    """Names and shapes of `vggish-10086976.pth`, but for the width of the two hidden layers (4096 there)."""
    convolutions = {0: (64, 1), 3: (128, 64), 6: (256, 128), 8: (256, 256), 11: (512, 256), 13: (512, 512)}
    shapes = {f"features.{n}": (a, b, 3, 3) for n, (a, b) in convolutions.items()}
    shapes |= {"embeddings.0": (hidden, 12288), "embeddings.2": (hidden, hidden), "embeddings.4": (128, hidden)}
    generator = torch.Generator().manual_seed(1)
    state = {}
    for name, shape in shapes.items():
        fan_in = torch.Size(shape[1:]).numel()
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
        state[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)
    return state


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(vggish, "HIDDEN", 8)
    torch.save(random_state(8), tmp_path / "vggish.pth")
    return tmp_path / "vggish.pth"


def test_an_embedding_for_each_096_s(checkpoint: Path) -> None:
    embedder = load_embedder("vggish", checkpoint=checkpoint, overlap=0.0)
    audio = noise(16_000 * 3)
    embeddings = embedder.embed(audio)
    assert embeddings.shape == (3, 128)
    assert embeddings.min() < 0  # no ReLU on the last layer
    torch.testing.assert_close(embedder.embed(audio, batch_size=1), embeddings, atol=1e-4, rtol=1e-4)
    assert (embeddings[0] - embedder.embed(0.1 * audio)[0]).norm() > 0.1
    assert embedder.embed(audio[:100]).shape == (1, 128)
    with pytest.raises(ValueError, match="no classifier"):
        embedder.posteriors_of(embedder.embed_windows(embedder.windows(audio)))


def test_weights_that_do_not_fit_are_named(checkpoint: Path, tmp_path: Path) -> None:
    state = random_state(8)
    del state["features.8.bias"]
    state["features.9.bias"] = torch.zeros(2)
    state["embeddings.4.bias"] = torch.zeros(2)
    torch.save(state, tmp_path / "x.pth")
    match = r"missing 1 \(features\.8\.bias\).*unexpected 1 \(features\.9\.bias\).*misshapen 1 \(embeddings\.4\.bias\)"
    with pytest.raises(CheckpointError, match=match):
        VggishEmbedder.from_checkpoint(tmp_path / "x.pth")
    for content in ([1, 2], {"features": "x"}):
        torch.save(content, tmp_path / "x.pth")
        with pytest.raises(CheckpointError, match="not a dict of tensors"):
            VggishEmbedder.from_checkpoint(tmp_path / "x.pth")
    (tmp_path / "x.pth").write_bytes(checkpoint.read_bytes()[:3000])
    with pytest.raises(CheckpointError, match="cannot read"):
        VggishEmbedder.from_checkpoint(tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"download https://.*vggish-10086976\.pth"):
        VggishEmbedder.from_checkpoint(tmp_path / "none.pth")


@pytest.mark.peer
def test_embeddings_are_those_of_torchvggish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights at full size through the package that `frechet-audio-distance` and `fadtk` load."""
    monkeypatch.setitem(sys.modules, "resampy", ModuleType("resampy"))  # only for other rates than 16 kHz
    peer: Any = pytest.importorskip("torchvggish.torchvggish")
    examples = pytest.importorskip("torchvggish.vggish_input").waveform_to_examples
    state = random_state(4096)
    torch.save(state, tmp_path / "vggish.pth")
    network = peer.VGG(peer.make_layers(), postprocess=False)
    network.load_state_dict(state)
    network.embeddings = torch.nn.Sequential(*list(network.embeddings.children())[:-1])
    ours = load_embedder("vggish", checkpoint=tmp_path / "vggish.pth", overlap=0.0)
    audio = noise(16_000 * 5 + 77)
    features = examples(audio.double().numpy(), 16_000).detach()
    torch.testing.assert_close(ours.windows(audio), features[:, 0], atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(ours.embed(audio), network(features), atol=1e-4, rtol=1e-4)
