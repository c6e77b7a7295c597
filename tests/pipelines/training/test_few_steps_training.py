"""Training for few steps through the loop: from a trained generator, resumed, and sampled with its own solver."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from made_dataset import make_dataset

from latentune.core.errors import MismatchError
from latentune.core.settings import load_settings
from latentune.generators.load import load_generator
from latentune.pipelines.data.checkpoints import run_weights
from latentune.pipelines.generation.load import load_pipeline
from latentune.pipelines.train import TrainConfig, train, train_config

ADVERSARIAL = ("model.objective.kind=adversarial", "critic_optimizer.lr=1e-3", "steps=4", "checkpoint_every=1")
FILES = {"model", "ema", "optimizer.safetensors", "critic.safetensors", "critic_optimizer.safetensors"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A dataset, and the run `base` of a generator."""
    root = tmp_path_factory.mktemp("made")
    found = make_dataset(root, seconds=(0.2, 0.2)) | {"base": root / "base"}
    train(config(found, found["base"], "steps=2"))
    return found


def config(made: dict[str, Path], output: Path, *overrides: str) -> TrainConfig:
    keys = [f"data.source={made['data']}", f"data.tokenizer={made['codec']}", "data.crop_s=0.17", f"output={output}"]
    return train_config(
        load_settings("train/dit-tiny", [*keys, "batch_size=2", "device=cpu", "log_every=1", *overrides])
    )


def adversarial(made: dict[str, Path], output: Path, *overrides: str) -> TrainConfig:
    return config(made, output, f"model.init_from={run_weights(made['base'])}", *ADVERSARIAL, *overrides)


def test_a_killed_and_resumed_run_is_the_uninterrupted_one_and_is_sampled_by_ping_pong(
    runs: Any, made: dict[str, Path], tmp_path: Path
) -> None:
    train(adversarial(made, tmp_path / "whole"))
    runs.kill_after(2, partial(train, adversarial(made, tmp_path / "parts")))
    train(adversarial(made, tmp_path / "parts"))
    runs.assert_same(tmp_path / "whole", tmp_path / "parts", FILES)
    assert {"critic_loss", "critic_contrastive", "distance"} <= runs.metrics(tmp_path / "whole")[-1].keys()
    generator: Any = load_generator(run_weights(tmp_path / "whole"))
    assert generator.settings.one_step
    steps: list[int] = []
    load_pipeline(tmp_path / "whole")(
        "", duration_s=0.1, generator=torch.Generator().manual_seed(0), callback=lambda done, of: steps.append(of)
    )
    assert steps == [8] * 8


def test_what_a_run_cannot_start_from_is_told(made: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"starts from a trained generator: name it in model\.init_from"):
        train(config(made, tmp_path / "fresh", *ADVERSARIAL))
    train(adversarial(made, tmp_path / "whole", "steps=1"))
    again = [f"model.init_from={run_weights(tmp_path / 'whole')}", "steps=1"]
    with pytest.raises(MismatchError, match="one_step"):
        train(config(made, tmp_path / "undone", *again))
    with pytest.raises(ValueError, match=r"undo what objective\.kind=adversarial trained"):
        train(config(made, tmp_path / "undone", *again, "model.config.one_step=true"))
