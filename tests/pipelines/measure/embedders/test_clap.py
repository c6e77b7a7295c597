"""CLAP's audio side at small size with random weights in the official format; the official package is a peer."""

import os
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latentune.core.errors import CheckpointError
from latentune.generators.conditioning.frozen.clap_audio import HOP_SAMPLES, WINDOW_FRAMES, WINDOW_SAMPLES
from latentune.generators.conditioning.frozen.clap_audio import log_mel as clap_log_mel
from latentune.pipelines.measure.embedders import Embedder, load_embedder
from latentune.pipelines.measure.embedders.clap import ClapEmbedder, ClapFusionEmbedder, view_begins

transformers = pytest.importorskip("transformers")

SIZES: dict[str, Any] = {
    "patch_embeds_hidden_size": 8,
    "depths": [1, 2],
    "num_attention_heads": [2, 4],
    "hidden_size": 16,
    "projection_dim": 12,
}
FUSION: dict[str, Any] = {"enable_fusion": True, "fusion_type": "aff_2d", "aff_block_r": 4}


def noise(num_samples: int, seed: int = 0) -> Tensor:
    return 0.2 * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


def official_name(name: str) -> str:
    """The name in laion-clap of a tensor of transformers' audio tower (its query stands for query, key and value)."""
    if name.startswith("audio_projection."):
        return name.replace("linear1", "0").replace("linear2", "2")
    name = name.replace("audio_model.audio_encoder.", "audio_branch.")
    if ".blocks." in name:
        stem, part = name.split(".blocks.")
        number, part = part.split(".", 1)
        names = {
            "layernorm_before": "norm1",
            "layernorm_after": "norm2",
            "attention.output.dense": "attn.proj",
            "attention.self.query": "attn.qkv",
            "attention.self": "attn",
            "intermediate.dense": "mlp.fc1",
            "output.dense": "mlp.fc2",
        }
        old = next(old for old in names if part.startswith(old))
        return f"{stem}.blocks.{number}.{names[old]}{part.removeprefix(old)}"
    return name.replace("batch_norm", "bn0")


def official_state(network: Any) -> dict[str, Tensor]:
    """The network's weights and what else an official checkpoint holds, under `module.`."""
    ours = network.state_dict()
    state = {
        "logit_scale_a": torch.zeros(()),
        "text_branch.embeddings.word_embeddings.weight": torch.zeros(3, 2),
        "text_projection.0.weight": torch.zeros(2, 2),
        "audio_transform.sequential.0.weight": torch.zeros(2, 2),
        "audio_branch.spectrogram_extractor.stft.conv_real.weight": torch.zeros(2),
        "audio_branch.logmel_extractor.melW": torch.zeros(2),
        "audio_branch.tscam_conv.weight": torch.zeros(2),
        "audio_branch.head.bias": torch.zeros(2),
        "audio_branch.layers.0.blocks.1.attn_mask": torch.zeros(2),
    }
    for name, value in ours.items():
        if ".attention.self.key." in name or ".attention.self.value." in name:
            continue
        if ".attention.self.query." in name:
            value = torch.cat([ours[name.replace(".query.", f".{part}.")] for part in ("query", "key", "value")])
        state[official_name(name)] = value
    del state["audio_branch.layers.0.blocks.1.attn_mask"]
    return {f"module.{name}": value for name, value in state.items()}


def random_network(**config: Any) -> Any:
    torch.manual_seed(3)
    network = transformers.ClapAudioModelWithProjection(transformers.ClapAudioConfig(**SIZES, **config)).eval()
    for name, value in network.state_dict().items():  # else biases and norms of 0 and 1 would hide mistakes
        if value.is_floating_point():
            torch.nn.init.normal_(value, std=0.2)
            if ("norm" in name or "running_var" in name) and not name.endswith("bias"):
                value.abs_().add_(0.5)
    network.state_dict()["audio_model.audio_encoder.batch_norm.running_mean"].sub_(20)
    network.state_dict()["audio_model.audio_encoder.batch_norm.running_var"].add_(100)
    return network


@pytest.fixture(scope="module")
def network() -> Any:
    return random_network()


@pytest.fixture(scope="module")
def fused_network() -> Any:
    return random_network(**FUSION)


@pytest.fixture(scope="module")
def fused_checkpoint(fused_network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clap") / "fusion.pt"
    torch.save({"state_dict": official_state(fused_network)}, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clap") / "official.pt"
    torch.save({"epoch": 15, "name": "x", "score": np.float64(0.9), "state_dict": official_state(network)}, path)
    return path


@pytest.fixture(scope="module")
def embedder(checkpoint: Path) -> Embedder:
    return load_embedder(checkpoint=checkpoint)


@pytest.mark.parametrize("num_samples", [WINDOW_SAMPLES, 130_000, 1000])
def test_embeddings_are_those_of_transformers_on_the_same_weights(
    network: Any, embedder: Embedder, num_samples: int
) -> None:
    audio = noise(num_samples)
    quantised = np.trunc(audio.numpy() * 32767).astype(np.float32) / 32767
    extractor = transformers.ClapFeatureExtractor(truncation="rand_trunc", frequency_min=50, frequency_max=14_000)
    features = extractor(quantised, sampling_rate=48_000, return_tensors="pt")["input_features"].float()
    with torch.no_grad():
        expected = torch.nn.functional.normalize(network(input_features=features).audio_embeds, dim=-1)
    torch.testing.assert_close(clap_log_mel(embedder.windows(audio)), features[:, 0], atol=2e-3, rtol=1e-4)
    torch.testing.assert_close(embedder.embed(audio), expected, atol=2e-4, rtol=1e-3)
    assert expected.std() > 0.1


def test_different_audio_has_different_embeddings(embedder: Embedder) -> None:
    a, b = embedder.embed(noise(48_000)), embedder.embed(noise(48_000, seed=1).cumsum(0) / 50)
    assert (a - b).norm() > 0.01
    assert a.norm() == pytest.approx(1.0, abs=1e-5)


def test_windows_are_fixed_and_end_to_end(embedder: Embedder) -> None:
    audio = noise(2 * WINDOW_SAMPLES + 100_000)
    windows = embedder.windows(audio)
    assert windows.shape == (2, WINDOW_SAMPLES)
    assert (windows - audio[: 2 * WINDOW_SAMPLES].reshape(2, -1).clamp(-1, 1)).abs().max() <= 1 / 32767
    short = embedder.windows(noise(200_000))  # twice, then zeros
    assert torch.equal(short[0, :200_000], short[0, 200_000:400_000])
    assert not short[0, 400_000:].any()
    assert torch.equal(embedder.embed(audio), embedder.embed(audio))


def test_a_checkpoint_of_transformers_and_an_official_one_are_one_embedder(
    network: Any, embedder: Embedder, tmp_path: Path
) -> None:
    network.save_pretrained(tmp_path / "hf")
    other = load_embedder(checkpoint=tmp_path / "hf")
    assert other.identity() == embedder.identity()
    torch.testing.assert_close(other.embed(noise(9000)), embedder.embed(noise(9000)))


def test_keys_that_do_not_fit_are_named(network: Any, tmp_path: Path) -> None:
    state = official_state(network)
    del state["module.audio_branch.layers.1.blocks.0.mlp.fc2.bias"]
    state["module.audio_branch.layers.0.blocks.0.extra.weight"] = torch.zeros(2)
    torch.save({"state_dict": state}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"missing 1 .*output\.dense\.bias.*unexpected 1 .*extra\.weight"):
        ClapEmbedder.from_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize("seconds", [31.3, 10.011, 4.0])
def test_a_fused_file_is_what_transformers_makes_of_it_with_the_middle_views(
    fused_network: Any, fused_checkpoint: Path, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = load_embedder("clap_fusion", checkpoint=fused_checkpoint)
    audio = noise(round(48_000 * seconds)) * torch.linspace(0.1, 1, round(48_000 * seconds))
    monkeypatch.setattr(np.random, "choice", lambda run: run[len(run) // 2])
    extractor = transformers.ClapFeatureExtractor(truncation="fusion", frequency_min=50, frequency_max=14_000)
    quantised = np.trunc(audio.numpy() * 32767).astype(np.float32) / 32767
    found = extractor(quantised, sampling_rate=48_000, return_tensors="pt")
    longer = torch.tensor([[seconds > 10]])  # the extractor calls a lone short clip longer, at random
    with torch.no_grad():
        embeds = fused_network(input_features=found["input_features"].float(), is_longer=longer).audio_embeds
    windows = embedder.windows(audio)
    assert windows.shape == (1, 4, WINDOW_FRAMES, 64)
    if seconds > 10:
        torch.testing.assert_close(windows, found["input_features"].float(), atol=5e-3, rtol=1e-4)
    else:
        assert windows[0, 1:].isnan().all()
    torch.testing.assert_close(
        embedder.embed(audio), torch.nn.functional.normalize(embeds, dim=-1), atol=2e-4, rtol=1e-3
    )


def test_fused_files_do_not_depend_on_their_company_in_a_batch(fused_checkpoint: Path) -> None:
    embedder = load_embedder("clap_fusion", checkpoint=fused_checkpoint)
    windows = [embedder.windows(noise(length, seed)) for seed, length in enumerate((700_000, 100_000))]
    alone = torch.cat([embedder.embed_windows(each) for each in windows])
    torch.testing.assert_close(embedder.embed_windows(torch.cat(windows)), alone, atol=1e-5, rtol=1e-4)
    assert (alone[0] - embedder.network_output(windows[0].index_fill(1, torch.arange(1, 4), 0.0))[0]).norm() > 1e-4


def test_a_fused_model_hears_windows_without_fusing_them(fused_checkpoint: Path) -> None:
    by_window, by_file = (
        load_embedder(name, checkpoint=fused_checkpoint, overlap=0.0) for name in ("clap", "clap_fusion")
    )
    audio = noise(2 * WINDOW_SAMPLES)
    assert by_window.embed(audio).shape == (2, 12)
    by_file.set_overlap(0.5)
    assert by_file.embed(audio).shape == (1, 12), "one window holds the whole file"
    first = audio[:WINDOW_SAMPLES]
    torch.testing.assert_close(by_window.embed(first), by_file.embed(first), atol=1e-5, rtol=1e-4)
    assert by_window.identity() != by_file.identity()
    assert "HTK" in by_window.preprocessing


@pytest.mark.parametrize(("more", "begins"), [(1, [0, 1, 0]), (2, [0, 1, 2]), (299, [50, 150, 250])])
def test_views_lie_in_the_middle_of_each_third(more: int, begins: list[int]) -> None:
    assert view_begins(WINDOW_FRAMES + more) == begins


def test_a_model_without_fusion_cannot_read_files_whole(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="without feature fusion"):
        ClapFusionEmbedder.from_checkpoint(checkpoint)


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("harmed",)


def test_unusable_checkpoints_are_refused(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.pt").write_bytes(checkpoint.read_bytes()[:5000])
    torch.save({"state_dict": {"audio_branch.bn0.weight": Harmful()}}, tmp_path / "harmful.pt")
    torch.save({"state_dict": {"weight": torch.zeros(2)}}, tmp_path / "other.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("cut.pt", "harmful.pt"):
        with pytest.raises(CheckpointError, match="cannot read"):
            ClapEmbedder.from_checkpoint(tmp_path / name)
    for name in ("other.pt", "list.pt"):
        with pytest.raises(CheckpointError, match="not a laion-clap"):
            ClapEmbedder.from_checkpoint(tmp_path / name)
    with pytest.raises(CheckpointError, match="no CLAP checkpoint"):
        ClapEmbedder.from_checkpoint(tmp_path / "none.pt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match="cannot load CLAP"):
        ClapEmbedder.from_checkpoint(tmp_path / "folder")
    assert not (tmp_path / "harmed").exists()


def official_package(monkeypatch: pytest.MonkeyPatch) -> Any:
    """laion-clap's `clap_module`: importing laion_clap itself asks a hub for tokenizers, its parts do not."""
    spec = find_spec("laion_clap")
    if spec is None:
        pytest.skip("laion_clap is not installed: pip install 'latentune[laion-clap]'")
    monkeypatch.syspath_prepend(str(Path(spec.origin).parent))
    return pytest.importorskip("clap_module")


def official_model(clap_module: Any, path: Path, size: str, **options: Any) -> Any:
    """A random model at full size; its checkpoint is written to `path`."""
    torch.manual_seed(0)
    official, _config = clap_module.create_model(size, "transformer", precision="fp32", device="cpu", **options)
    official.eval()
    for name, value in official.state_dict().items():
        if "relative_position_bias_table" in name or name.endswith(("norm1.bias", "norm2.bias", "proj.bias")):
            torch.nn.init.normal_(value, std=0.05)
    official.state_dict()["audio_branch.bn0.running_mean"].sub_(20)
    official.state_dict()["audio_branch.bn0.running_var"].add_(100)
    torch.save({"state_dict": {f"module.{k}": v for k, v in official.state_dict().items()}}, path)
    return official


@pytest.mark.peer
@pytest.mark.parametrize("size", ["HTSAT-base", "HTSAT-tiny"])
def test_embeddings_are_those_of_laion_clap(size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights at full size through the official model and front end, and through ours."""
    official = official_model(official_package(monkeypatch), tmp_path / "official.pt", size)
    ours = load_embedder(checkpoint=tmp_path / "official.pt", overlap=0.0)
    for seed, num_samples in enumerate((WINDOW_SAMPLES, 130_000)):
        audio = noise(num_samples, seed)
        waveform = torch.from_numpy(np.trunc(audio.numpy() * 32767).astype(np.int16) / np.float32(32767))
        repeated = waveform.repeat(WINDOW_SAMPLES // num_samples)
        padded = torch.nn.functional.pad(repeated, (0, WINDOW_SAMPLES - len(repeated)))
        with torch.no_grad():
            expected = official.get_audio_embedding([{"waveform": padded, "longer": torch.tensor([False])}])
        torch.testing.assert_close(ours.embed(audio), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.peer
def test_fused_embeddings_are_those_of_laion_clap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, with feature fusion; the official views are made the middle ones, its shrinking that of training."""
    clap_module = official_package(monkeypatch)
    for name in ("BertTokenizer", "RobertaTokenizer", "BartTokenizer"):  # the module loads three from a hub
        monkeypatch.setattr(getattr(transformers, name), "from_pretrained", lambda *args, **options: None)
    for name in ("braceexpand", "pandas", "webdataset", "wget"):  # what it needs for training alone
        if find_spec(name) is None:
            monkeypatch.setitem(sys.modules, name, module_from_spec(ModuleSpec(name, None)))
    data = pytest.importorskip("training.data")
    resize = data.torchvision.transforms.Resize
    monkeypatch.setattr(data.torchvision.transforms, "Resize", lambda size: resize(size, antialias=False))
    monkeypatch.setattr(np.random, "choice", lambda run: run[len(run) // 2])
    official = official_model(
        clap_module, tmp_path / "official.pt", "HTSAT-tiny", enable_fusion=True, fusion_type="aff_2d"
    )
    front_end = {
        "sample_rate": 48_000,
        "window_size": 1024,
        "hop_size": 480,
        "mel_bins": 64,
        "fmin": 50,
        "fmax": 14_000,
    }
    by_file, by_window = (
        load_embedder(n, checkpoint=tmp_path / "official.pt", overlap=0.0) for n in ("clap_fusion", "clap")
    )
    for seed, num_samples in enumerate((1_100_000, WINDOW_SAMPLES + HOP_SAMPLES + 3, WINDOW_SAMPLES, 130_000)):
        audio = noise(num_samples, seed)
        waveform = torch.from_numpy(np.trunc(audio.numpy() * 32767).astype(np.int16) / np.float32(32767))
        sample = data.get_audio_features({}, waveform, WINDOW_SAMPLES, "fusion", "repeatpad", front_end)
        with torch.no_grad():
            expected = official.get_audio_embedding([sample])
        torch.testing.assert_close(by_file.embed(audio), expected, atol=1e-4, rtol=1e-3)
        if num_samples <= WINDOW_SAMPLES:
            torch.testing.assert_close(by_window.embed(audio), expected, atol=1e-4, rtol=1e-3)
