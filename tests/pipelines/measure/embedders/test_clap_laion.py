"""The embedder on laion-clap's own network: what it does without the package, and with it (peer)."""

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latentune.core.errors import CheckpointError, MissingPackageError
from latentune.generators.conditioning.frozen import clap_laion as frozen_laion
from latentune.generators.conditioning.frozen.clap_audio import WINDOW_SAMPLES
from latentune.pipelines.measure.embedders import clap_laion, load_embedder

TOWER = """
import torch

class Tower(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        assert (config.model_name, config.sample_rate, config.hop_size) == ("tiny", 48000, 480)
        self.patch_embed = torch.nn.Module()
        self.patch_embed.proj = torch.nn.Linear(1, 96, bias=False)
        self.head = torch.nn.Linear(1, config.class_num, bias=False)

    def forward(self, x, mixup_lambda=None, device=None):
        windows = x["waveform"]
        return {"embedding": torch.stack([windows.mean(1), windows.std(1), windows.amax(1), windows.amin(1)], 1)}

def create_htsat_model(config, enable_fusion=False, fusion_type="None"):
    assert not enable_fusion
    return Tower(config)
"""


def noise(num_samples: int, seed: int = 0) -> Tensor:
    return 0.2 * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


def state(**more: Tensor) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "audio_branch.patch_embed.proj.weight": (96, 1),
        "audio_branch.head.weight": (5, 1),
        "audio_projection.0.weight": (8, 4),
        "audio_projection.0.bias": (8,),
        "audio_projection.2.weight": (6, 8),
        "audio_projection.2.bias": (6,),
        "text_branch.embeddings.word_embeddings.weight": (3, 2),
    }
    return {f"module.{key}": torch.randn(shape, generator=generator) for key, shape in shapes.items()} | more


@pytest.fixture
def small_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package of laion-clap's layout, whose import fails as the real one's does without a hub."""
    folder = tmp_path / "packages" / "laion_clap" / "clap_module"
    folder.mkdir(parents=True)
    for place in (folder.parent, folder):
        (place / "__init__.py").write_text("raise OSError('no hub')\n")
    (folder / "htsat.py").write_text(TOWER)
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.setattr(clap_laion, "version", lambda name: "1.1.7")
    yield
    for name in [name for name in sys.modules if name.startswith(frozen_laion.ALIAS)]:
        del sys.modules[name]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.save({"state_dict": state()}, tmp_path / "x.pt")
    return tmp_path / "x.pt"


@pytest.mark.usefixtures("small_package")
def test_only_the_tower_of_the_package_is_imported_and_windows_are_fixed(checkpoint: Path) -> None:
    embedder = load_embedder("clap_laion", checkpoint=checkpoint, overlap=0.0)
    assert embedder.name == "clap_laion"
    assert (embedder.dim, embedder.sample_rate) == (6, 48_000)
    assert "laion-clap 1.1.7" in embedder.identity()["preprocessing"]
    audio = noise(2 * WINDOW_SAMPLES + 100_000)
    found = embedder.embed(audio)
    assert found.shape == (2, 6)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    assert torch.equal(found, embedder.embed(audio)), "nothing is cropped at random"
    torch.testing.assert_close(found[1:], embedder.embed(audio[WINDOW_SAMPLES : 2 * WINDOW_SAMPLES]))
    assert (found[0] - found[1]).norm() > 0


@pytest.mark.usefixtures("small_package")
def test_checkpoints_that_do_not_fit_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    fused = {"module.audio_branch.patch_embed.fusion_model.local_att.0.weight": torch.zeros(2)}
    for name, content, message in (
        ("fused.pt", state(**fused), "with feature fusion"),
        ("more.pt", state(**{"module.audio_branch.extra": torch.zeros(2)}), r"unexpected 1 .*audio_branch\.extra"),
        ("width.pt", state(**{"module.audio_branch.patch_embed.proj.weight": torch.zeros(7, 1)}), "patches of width 7"),
        ("none.pt", {"module.audio_branch.head.weight": torch.zeros(5, 1)}, "no HTSAT audio branch"),
    ):
        torch.save({"state_dict": content}, tmp_path / name)
        with pytest.raises(CheckpointError, match=message):
            load_embedder("clap_laion", checkpoint=tmp_path / name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match=r"not a laion-clap \.pt file"):
        load_embedder("clap_laion", checkpoint=tmp_path / "folder")


def test_without_the_package_its_extra_is_named(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_laion, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'laion-clap>="):
        load_embedder("clap_laion", checkpoint=checkpoint)


@pytest.mark.peer
@pytest.mark.parametrize("size", ["HTSAT-base", "HTSAT-tiny"])
def test_the_network_of_the_package_and_that_of_transformers_agree(
    size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights at full size through `clap_laion`, through `clap` and through the package's own embedding."""
    spec = find_spec("laion_clap")
    if spec is None or spec.origin is None:
        pytest.skip("laion_clap is not installed: pip install 'latentune[laion-clap]'")
    monkeypatch.syspath_prepend(str(Path(spec.origin).parent))
    clap_module: Any = pytest.importorskip("clap_module")
    torch.manual_seed(0)
    official, _ = clap_module.create_model(size, "transformer", precision="fp32", device="cpu")
    official.eval()
    official.state_dict()["audio_branch.bn0.running_mean"].sub_(20)
    official.state_dict()["audio_branch.bn0.running_var"].add_(100)
    path = tmp_path / "official.pt"
    torch.save({"state_dict": {f"module.{key}": value for key, value in official.state_dict().items()}}, path)
    ours, other = (load_embedder(name, checkpoint=path, overlap=0.0) for name in ("clap_laion", "clap"))
    audio = noise(WINDOW_SAMPLES)
    waveform = torch.from_numpy(np.trunc(audio.numpy() * 32767).astype(np.int16) / np.float32(32767))
    with torch.no_grad():
        expected = official.get_audio_embedding([{"waveform": waveform, "longer": torch.tensor([False])}])
    torch.testing.assert_close(ours.embed(audio), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(ours.embed(audio), other.embed(audio), atol=1e-4, rtol=1e-3)
    assert ours.embed(noise(130_000)).shape == (1, 512)
