"""The one training loop, for codecs and generators."""

from __future__ import annotations

from pathlib import Path

from .training.config import TrainConfig, train_config
from .training.environment import make_accelerator, own_randomness
from .training.run import ProgressCallback, Run, TrainSummary
from .training.stop import StopRequest

__all__ = ["TrainConfig", "TrainSummary", "train", "train_config"]


def train(
    config: TrainConfig, *, resume: str | Path | None = "auto", progress: ProgressCallback | None = None
) -> TrainSummary:
    """Train a codec or a generator; see `TrainConfig`. Works alone and under `accelerate launch`.

    An interrupted and resumed run gives the weights of an uninterrupted one: data, noise and learning rate are
    functions of the seed and the step.

    Args:
        resume: `auto` goes on from the last checkpoint in `config.output`, if there is one; a checkpoint's folder goes
            on from that one; None begins anew and refuses a folder that has checkpoints.
        progress: called after each step with steps done, steps in all and the latest figures.

    Raises:
        TrainingError: NaN or inf in the loss or the gradient, nothing to train on, or the run was asked to stop by
            SIGTERM or Ctrl-C (after it has saved a checkpoint).
        CheckpointError: a damaged checkpoint.
        MismatchError: a checkpoint of another run; dataset, tokenizer and weights that do not belong together.
    """
    accelerator = make_accelerator(config)
    with own_randomness(accelerator.device):
        run = Run(config, accelerator, resume)
        with StopRequest() as stop:  # from here on, for there is nothing to save before
            return run.go(stop, progress)
