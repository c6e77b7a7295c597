"""Options that change how a step is computed and not what it computes: compilation, checkpointing, optimizers."""

import functools
from pathlib import Path

import pytest
import torch
from made_dataset import make_dataset
from safetensors.torch import load_file
from torch._dynamo.testing import CompileCounter

from latentune.core.errors import ConfigError
from latentune.core.settings import load_settings
from latentune.pipelines.data.checkpoints import run_weights
from latentune.pipelines.train import train, train_config


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Items of one length whose texts have 0 ... 35 bytes."""
    return make_dataset(tmp_path_factory.mktemp("made"), seconds=[0.2] * 6)


@pytest.fixture(scope="module")
def ragged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Items of different lengths."""
    return make_dataset(tmp_path_factory.mktemp("ragged"), seconds=(0.3, 0.09, 0.2, 0.05))


def run(made: dict[str, Path], name: str, output: Path, *overrides: str) -> dict[str, torch.Tensor]:
    keys = [f"data.source={made['data']}", "data.crop_s=0.17", f"output={output}", "batch_size=2", "steps=3"]
    train(train_config(load_settings(f"train/{name}", [*keys, "device=cpu", *overrides])))
    return load_file(run_weights(output) / "diffusion_pytorch_model.safetensors")


@pytest.mark.parametrize("name", ["dit-tiny", pytest.param("lm-tiny", marks=pytest.mark.slow)])
def test_a_model_is_compiled_for_each_shape_and_never_for_a_prompt(
    name: str, made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch._dynamo.reset()
    counter, graphs = CompileCounter(), list[int]()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=counter, fullgraph=True))
    config = ["steps=9", "batch_size=1"]  # every item three times: texts of six lengths, in two sizes of padding
    keys = [f"data.source={made['data']}", "data.crop_s=0.17", f"output={tmp_path / 'compiled'}", *config]
    settings = load_settings(f"train/{name}", [*keys, "device=cpu", "compile=true"])
    train(train_config(settings), progress=lambda *_: graphs.append(counter.frame_count))
    assert graphs[0] == 1
    assert graphs[-1] <= 2, graphs
    for key, value in run(made, name, tmp_path / "eager", *config).items():
        saved = load_file(run_weights(tmp_path / "compiled") / "diffusion_pytorch_model.safetensors")
        torch.testing.assert_close(saved[key], value, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["dit-tiny", "lm-tiny"])
def test_gradient_checkpointing_changes_nothing(name: str, made: dict[str, Path], tmp_path: Path) -> None:
    plain = run(made, name, tmp_path / "plain")
    for key, value in run(made, name, tmp_path / "checkpointed", "gradient_checkpointing=true").items():
        assert torch.equal(value, plain[key]), key


@pytest.mark.parametrize(
    ("name", "config"),
    [("dit-tiny", []), ("dit-tiny", ["model.config={attention: chunk_causal, max_frames: 64}"]), ("lm-tiny", [])],
)
def test_packed_batches_train_the_weights_of_padded_ones(
    name: str, config: list[str], tmp_path: Path, ragged: dict[str, Path]
) -> None:
    config = [*config, "batch_size=4", "gradient_checkpointing=true"]
    padded = run(ragged, name, tmp_path / "padded", *config)
    for key, value in run(ragged, name, tmp_path / "packed", *config, "packed=true").items():
        torch.testing.assert_close(value, padded[key], atol=1e-5, rtol=1e-4, msg=key)


def test_muon_resumes_and_is_not_adamw(made: dict[str, Path], tmp_path: Path) -> None:
    whole = run(made, "dit-tiny", tmp_path / "whole", "optimizer.name=muon")
    run(made, "dit-tiny", tmp_path / "parts", "optimizer.name=muon", "steps=2")
    for key, value in run(made, "dit-tiny", tmp_path / "parts", "optimizer.name=muon").items():
        assert torch.equal(value, whole[key]), key
    state = load_file(tmp_path / "whole" / "checkpoints" / "00000003" / "optimizer.safetensors")
    assert "blocks.0.mlp.to_out.weight/momentum_buffer" in state
    assert {"blocks.0.table/exp_avg", "to_velocity.weight/exp_avg"} <= set(state)


def test_what_a_network_without_blocks_cannot_do_is_told(made: dict[str, Path], tmp_path: Path) -> None:
    keys = [f"data.source={made['audio']}", f"output={tmp_path}", "device=cpu"]
    for override, message in (
        ("gradient_checkpointing=true", "has no repeated blocks: leave gradient_checkpointing out"),
        ("optimizer.name=muon", "has no repeated blocks that learn for Muon"),
    ):
        with pytest.raises(ValueError, match=message):
            train(train_config(load_settings("train/codicodec-tiny", [*keys, override])))
    with pytest.raises(ConfigError, match=r"optimizer\.name"):
        train_config(load_settings("train/codicodec-tiny", [*keys, "optimizer.name=lion"]))
