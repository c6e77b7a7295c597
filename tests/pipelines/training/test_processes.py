"""Several processes train the model that one process trains."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from made_dataset import make_dataset
from safetensors.torch import load_file
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.state_dict_loader import load

from latentune.core.errors import ConfigError
from latentune.core.settings import load_settings
from latentune.pipelines.data.checkpoints import run_weights
from latentune.pipelines.train import train, train_config
from latentune.pipelines.training.environment import Processes

LAUNCHED = """
import sys
from accelerate import PartialState
from latentune.core.settings import load_settings
from latentune.pipelines.train import train, train_config
name, *keys = sys.argv[1:]
train(train_config(load_settings(name, keys)))
print(f"one of {PartialState().num_processes} processes")
"""
# several processes without a GPU are started as if they had one: `--cpu` starts a single process
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
WEIGHTS = "diffusion_pytorch_model.safetensors"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Six items of different lengths, so that batches hold padding."""
    return make_dataset(tmp_path_factory.mktemp("made"), seconds=(0.3, 0.09, 0.2, 0.13, 0.25, 0.09))


def keys_of(made: dict[str, Path], output: Path, *overrides: str) -> list[str]:
    return [
        f"data.source={made['data']}",
        f"data.tokenizer={made['codec']}",
        f"output={output}",
        "data.crop_s=0.17",
        "batch_size=4",
        "steps=6",
        "log_every=1",
        "device=cpu",
        *overrides,
    ]


def launch(launcher: list[str], script: Path, *arguments: str, processes: int = 2) -> None:
    """Runs a training in several processes."""
    script.write_text(LAUNCHED)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([*launcher, str(script), *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count(f"one of {processes} processes") == processes


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run_weights(run) / WEIGHTS)


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["train/dit-tiny", pytest.param("train/lm-tiny", marks=pytest.mark.slow)])
def test_two_processes_train_the_model_that_one_trains(made: dict[str, Path], tmp_path: Path, name: str) -> None:
    measured = [
        f"data.valid_source={made['data']}",
        "data.valid_examples=3",
        "validate_every=3",
        "preview_every=6",
        "preview={seconds: 0.1, prompts: [a, b, c]}",
        "fad_every=6",
        f"fad.reference={made['audio']}",
        "fad={num: 3, batch_size: 1, seconds: 0.1}",
    ]
    both = {"one": ["grad_accum=1"], "two": ["grad_accum=2"]}
    train(train_config(load_settings(name, keys_of(made, tmp_path / "one", *measured, *both["one"]))))
    launch(TORCHRUN, tmp_path / "launched.py", name, *keys_of(made, tmp_path / "two", *measured, *both["two"]))
    one, two = (weights(tmp_path / folder) for folder in both)
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, atol=1e-5, rtol=1e-4, msg=key)
    first, second = (metrics(tmp_path / folder) for folder in both)
    assert [line["step"] for line in second] == [line["step"] for line in first], "one process writes"
    for expected, found in zip(first, second, strict=True):
        for figure, value in expected.items():
            if "loss_t" not in figure and figure != "examples_per_s":
                assert found[figure] == pytest.approx(value, rel=2e-3, abs=1e-5), figure
    previews = [sorted(p.name for p in (tmp_path / run / "previews" / "00000006").iterdir()) for run in both]
    assert previews[0] == previews[1]
    assert {"00.wav", "01.wav", "02.wav", "samples.safetensors"} <= set(previews[1])
    # a single process resumes what two have started
    summary = train(train_config(load_settings(name, keys_of(made, tmp_path / "two", "steps=7", "grad_accum=2"))))
    assert summary.checkpoint.endswith("00000007")


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "launches"),
    [
        ("train/dit-tiny", (2, 1)),
        pytest.param("train/lm-tiny", (1, 2), marks=pytest.mark.slow),
        pytest.param("train/dit-tiny", (2, 3, 1), marks=pytest.mark.slow),
    ],
)
def test_a_sharded_run_is_resumed_by_another_number_of_processes_and_is_that_of_one(
    made: dict[str, Path], tmp_path: Path, name: str, launches: tuple[int, ...]
) -> None:
    options = ["validate_every=3", f"data.valid_source={made['data']}", "data.valid_examples=3", "batch_size=6"]
    train(train_config(load_settings(name, keys_of(made, tmp_path / "one", *options))))
    for number, processes in enumerate(launches, start=1):
        steps, parts = 6 // len(launches) * number, 1 if processes == 2 else 2
        keys = keys_of(made, tmp_path / "two", *options, f"steps={steps}", f"grad_accum={parts}", "shard=true")
        if processes == 1:
            train(train_config(load_settings(name, keys)))
            continue
        launcher = ACCELERATE if processes == 2 else [*TORCHRUN[:-1], f"--nproc-per-node={processes}"]
        launch(launcher, tmp_path / "launched.py", name, *keys, processes=processes)
        check_shares(tmp_path / "two" / "checkpoints" / f"{steps:08d}", processes)
    one, two = (load_checkpoint(tmp_path / folder) for folder in ("one", "two"))
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, atol=1e-5, rtol=1e-4, msg=key)
    expected, found = (by_step(tmp_path / folder) for folder in ("one", "two"))
    assert expected.keys() <= found.keys()  # the end of each launch is validated as well
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=2e-3), key


def by_step(run: Path) -> dict[tuple[int, str], float]:
    figures = ("loss", "gradient_norm", "valid_loss")
    return {(line["step"], name): line[name] for line in metrics(run) for name in figures if name in line}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sharded_adapter_is_resumed_by_one_process(made: dict[str, Path], tmp_path: Path) -> None:
    name = "train/dit-tiny"
    train(train_config(load_settings(name, keys_of(made, tmp_path / "base", "steps=1"))))
    options = [f"model.init_from={run_weights(tmp_path / 'base')}", "adapter.rank=2", "optimizer.lr=1e-2"]
    train(train_config(load_settings(name, keys_of(made, tmp_path / "one", *options))))
    keys = keys_of(made, tmp_path / "two", *options, "shard=true")
    launch(TORCHRUN, tmp_path / "launched.py", name, *keys, "steps=3")
    (first, _) = sorted((tmp_path / "two" / "checkpoints" / "00000003" / "shares").iterdir())
    assert all("lora" in key for key in load_file(first) if key.startswith("model/")), "the base stays where it is"
    train(train_config(load_settings(name, keys)))
    one, two = (load_file(run_weights(tmp_path / run) / "pytorch_lora_weights.safetensors") for run in ("one", "two"))
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, atol=1e-5, rtol=1e-4, msg=key)


def check_shares(checkpoint: Path, processes: int) -> None:
    """Each process wrote its part of weights and optimizer state, and no pickles; the averaged weights are whole."""
    files = {path.relative_to(checkpoint).as_posix() for path in checkpoint.rglob("*") if path.is_file()}
    shares = {name for name in files if name.startswith("shares/")}
    assert files - shares == {"state.json", "ema/config.json", "ema/diffusion_pytorch_model.safetensors"}
    assert len(shares) == processes
    sizes = [sum(value.numel() for value in load_file(checkpoint / name).values()) for name in shares]
    assert max(sizes) < 1.1 * sum(sizes) / processes


def load_checkpoint(run: Path) -> dict[str, torch.Tensor]:
    """All tensors of a run's last checkpoint: weights, averaged weights and the state of the optimizer."""
    checkpoint = run_weights(run).parent
    found = {f"ema/{name}": value for name, value in load_file(checkpoint / "ema" / WEIGHTS).items()}
    if not (checkpoint / "shares").is_dir():
        found |= {f"model/{name}": value for name, value in load_file(checkpoint / "model" / WEIGHTS).items()}
        optimizer = load_file(checkpoint / "optimizer.safetensors")
        return found | {f"optimizer/{name}": value for name, value in optimizer.items()}
    reader: Any = HuggingFaceStorageReader(str(checkpoint / "shares"))
    facts = reader.read_metadata().state_dict_metadata
    shared = {name: torch.zeros(fact.size, dtype=fact.properties.dtype) for name, fact in facts.items()}
    load(shared, storage_reader=reader, no_dist=True)
    return found | shared


def test_what_cannot_be_sharded_is_told(made: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="shard cannot be combined with compile"):
        train_config(load_settings("train/dit-tiny", keys_of(made, tmp_path, "shard=true", "compile=true")))


def test_shares_of_work_are_put_back_in_order() -> None:
    assert [list(Processes(rank, 3).share(7)) for rank in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]
    assert Processes().gather(["a", "b"]) == ["a", "b"]
