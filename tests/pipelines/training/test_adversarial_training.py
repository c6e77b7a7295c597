"""The one training loop with an objective that owns a critic: two networks, two optimisers, one run."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from latentune.core.errors import CheckpointError, MismatchError, TrainingError
from latentune.core.settings import load_settings
from latentune.pipelines.data.checkpoints import last_checkpoint, run_weights
from latentune.pipelines.train import TrainSummary, train, train_config
from latentune.tokenizers.load import load_tokenizer
from latentune.tokenizers.taae.objective import TAAEObjective

RATE = 16000
CRITIC_FILES = ("critic.safetensors", "critic_optimizer.safetensors")


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(1)
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", rng.uniform(-0.3, 0.3, RATE // 4), RATE)
    return folder


def run(audio: Path, output: Path, *overrides: str, name: str = "train/taae-tiny", **options: Any) -> TrainSummary:
    keys = [f"data.source={audio}", f"output={output}", *overrides]
    if "data.valid_examples=2" in overrides:
        keys.append(f"data.valid_source={audio}")
    return train(train_config(load_settings(name, keys)), **options)


LONGER = (
    "grad_accum=2",
    "schedule={kind: cosine, warmup_steps: 2}",
    "critic_optimizer={name: radam, lr: 2e-3}",
    "data.valid_examples=2",
    "validate_every=3",
)


@pytest.fixture(scope="module")
def whole(audio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps that was not interrupted."""
    output = tmp_path_factory.mktemp("runs") / "whole"
    run(audio, output, *LONGER)
    return output


def newest(output: Path) -> Path:
    checkpoint = last_checkpoint(output)
    assert checkpoint is not None
    return checkpoint


def critic_weights(output: Path, step: int) -> dict[str, Tensor]:
    return load_file(output / "checkpoints" / f"{step:08d}" / "critic.safetensors")


def test_a_run_trains_both_and_keeps_the_critic_apart_from_the_codec(runs: Any, whole: Path) -> None:
    checkpoint = newest(whole)
    assert {path.name for path in checkpoint.glob("*.safetensors")} == {"optimizer.safetensors", *CRITIC_FILES}
    early, late = critic_weights(whole, 2), critic_weights(whole, 4)
    assert any(not torch.equal(early[key], late[key]) for key in early)
    codec = load_tokenizer(run_weights(whole))
    assert not set(codec.state_dict()) & set(late)
    for line in runs.metrics(whole):
        if "loss" in line:
            assert {"feature_matching", "stft", "critic_loss", "critic_real", "critic_gradient_norm"} <= line.keys()
            assert line["critic_gradient_norm"] > 0
        else:
            assert "valid_feature_matching" in line


@pytest.mark.parametrize("last_step", [1, 3])
def test_a_killed_and_resumed_run_is_the_uninterrupted_one_bit_by_bit(
    runs: Any, audio: Path, whole: Path, tmp_path: Path, last_step: int
) -> None:
    runs.kill_after(last_step, partial(run, audio, tmp_path, *LONGER))
    run(audio, tmp_path, *LONGER)
    runs.assert_same(whole, tmp_path, {"model", "ema", "optimizer.safetensors", *CRITIC_FILES})


def test_the_codec_runs_once_a_step(audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = TAAEObjective.model_loss

    def counted(self: TAAEObjective, model: nn.Module, *arguments: Any, **options: Any) -> Any:
        handle = model.register_forward_hook(lambda *_: calls.append(1))
        try:
            return original(self, model, *arguments, **options)
        finally:
            handle.remove()

    monkeypatch.setattr(TAAEObjective, "model_loss", counted)
    run(audio, tmp_path, "steps=2", "grad_accum=2")
    assert len(calls) == 2 * 2


def test_the_critic_has_an_optimiser_of_its_own(audio: Path, tmp_path: Path) -> None:
    run(audio, tmp_path / "still", "steps=2", "checkpoint_every=1", "critic_optimizer={lr: 1e-12}")
    before, after = critic_weights(tmp_path / "still", 1), critic_weights(tmp_path / "still", 2)
    assert all(torch.allclose(before[key], after[key], atol=1e-9) for key in before)
    run(audio, tmp_path / "same", "steps=2", "checkpoint_every=1", "optimizer.lr=1e-12")
    before, after = critic_weights(tmp_path / "same", 1), critic_weights(tmp_path / "same", 2)
    assert all(torch.allclose(before[key], after[key], atol=1e-9) for key in before)


def test_a_critic_can_start_later_and_resumes_before_it_did(
    runs: Any, audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TAAEObjective, "trains_critic", lambda self, step: step >= 3)
    options = ["checkpoint_every=1", "keep_checkpoints=9"]
    run(audio, tmp_path / "whole", *options)
    weights = [critic_weights(tmp_path / "whole", step) for step in (1, 2, 3, 4)]
    assert all(torch.equal(weights[0][key], weights[2][key]) for key in weights[0])
    assert any(not torch.equal(weights[2][key], weights[3][key]) for key in weights[0])
    assert load_file(tmp_path / "whole" / "checkpoints" / "00000003" / "critic_optimizer.safetensors") == {}
    assert ["critic_loss" in line for line in runs.metrics(tmp_path / "whole")] == [False, False, False, True]
    final = runs.contents(tmp_path / "whole")
    run(audio, tmp_path / "whole", *options, resume=tmp_path / "whole" / "checkpoints" / "00000002")
    again = runs.contents(tmp_path / "whole")
    assert all(torch.equal(final[key], again[key]) for key in final)


def test_bf16_trains_both(runs: Any, audio: Path, tmp_path: Path) -> None:
    summary = run(audio, tmp_path, "precision=bf16", "grad_accum=2", "steps=2")
    assert np.isfinite(summary.loss)
    assert all(v.dtype == torch.float32 and torch.isfinite(v).all() for v in runs.contents(tmp_path).values())


def test_a_stage_can_start_from_the_weights_of_another(audio: Path, whole: Path, tmp_path: Path) -> None:
    start = [f"model.init_from={newest(whole) / 'model'}", f"model.init_critic_from={newest(whole) / CRITIC_FILES[0]}"]
    run(audio, tmp_path / "next", *start, "steps=1", "optimizer.lr=1e-12")
    before, after = critic_weights(whole, 4), critic_weights(tmp_path / "next", 1)
    assert all(torch.allclose(before[key], after[key], atol=1e-9) for key in before)
    with pytest.raises(MismatchError, match="holds a critic of another config"):
        run(audio, tmp_path / "other", start[1], "model.objective.critic.filters=3")
    with pytest.raises(CheckpointError, match="the run has no critic"):
        run(audio, tmp_path / "none", f"model.init_critic_from={whole / 'critic.safetensors'}")


# ---------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("critic_optimizer={lr: 1e-3}", "critic_optimizer is given, but ConsistencyObjective has no critic"),
        ("model.init_critic_from=somewhere", "init_critic_from is given, but ConsistencyObjective has no critic"),
    ],
)
def test_a_run_without_a_critic_is_not_told_of_one(audio: Path, tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(audio, tmp_path, override, name="train/codicodec-tiny")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("critic_optimizer.name=adamw", "other critic_optimizer.name"),
        ("model.objective.critic.filters=3", "holds a critic of another config"),
    ],
)
def test_another_critic_is_not_resumed(audio: Path, whole: Path, override: str, message: str) -> None:
    with pytest.raises(MismatchError, match=message):
        run(audio, whole, *LONGER, "steps=5", override)


@pytest.mark.parametrize("name", CRITIC_FILES)
def test_a_damaged_critic_is_found(audio: Path, tmp_path: Path, name: str) -> None:
    run(audio, tmp_path, "steps=1")
    path = newest(tmp_path) / name
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match=f"is damaged .{name} has .* bytes instead of"):
        run(audio, tmp_path, "steps=2")


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_critic_that_is_not_finite_stops_the_run(
    audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def broken(self: TAAEObjective, critic: nn.Module, pair: Any) -> tuple[Tensor, dict[str, Tensor]]:
        weight = next(critic.parameters())
        zero = (weight - weight.detach()).abs().sum()
        return (zero / zero if what == "loss" else zero.sqrt()), {}  # 0 / 0, and a slope of 0 x inf

    monkeypatch.setattr(TAAEObjective, "critic_loss", broken)
    with pytest.raises(TrainingError, match=rf"the critic {what} is NaN or inf at step 0 .*\.wav at"):
        run(audio, tmp_path)


# ---------------------------------------------------------------------- several processes

LAUNCHED = """
import sys
import torch
from latentune.core.settings import load_settings
from latentune.pipelines.train import train_config
from latentune.pipelines.training.build import build_task
from latentune.pipelines.training.environment import make_accelerator
from latentune.pipelines.training.run import Run
from latentune.pipelines.training.stop import StopRequest

config = train_config(load_settings("train/taae-tiny", sys.argv[1:]))
accelerator = make_accelerator(config)
config.folder.mkdir(parents=True, exist_ok=True)
run = Run(config, accelerator, build_task(config, accelerator), None, [])
with StopRequest() as stop:
    run.go(stop)
for module in (run.stepper.model.module, run.stepper.critic.module):
    for name, weight in module.named_parameters():
        mine, other = accelerator.gather(weight.detach()[None].contiguous())
        assert torch.equal(mine, other), name
"""


@pytest.mark.slow
def test_two_processes_train_one_codec_and_one_critic(runs: Any, audio: Path, tmp_path: Path) -> None:
    (tmp_path / "launched.py").write_text(LAUNCHED)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    launch.append(str(tmp_path / "launched.py"))
    keys = [
        f"data.source={audio}",
        f"output={tmp_path / 'run'}",
        "steps=2",
        "batch_size=4",
        "grad_accum=2",
        "device=cpu",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([*launch, *keys], env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line["step"] for line in runs.metrics(tmp_path / "run")] == [1, 2]
    # a single process resumes what two have started
    run(audio, tmp_path / "run", "steps=3", "batch_size=4", "grad_accum=2")
    assert newest(tmp_path / "run").name == "00000003"
