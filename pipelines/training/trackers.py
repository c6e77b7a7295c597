"""Experiment trackers (TensorBoard, Weights & Biases, Trackio), which a run writes to if its config names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ...core.extras import import_extra

Tracker = Literal["tensorboard", "wandb", "trackio"]
PROJECT = "latentune"


class Trackers:
    """The trackers of a run, on top of accelerate's; only the main process makes them.

    Args:
        names: of the trackers, each in the extra of its name.
        folder: of the run, which names it.
        first_step: steps that are done already; TensorBoard drops later ones.
        config: of the run, as plain values.

    Raises:
        MissingPackageError: the package of a tracker is not installed.
    """

    def __init__(self, names: Sequence[Tracker], folder: Path, first_step: int, config: Mapping[str, Any]):
        check_trackers(names)
        self.trackers: list[Any] = []
        for name in names:
            from accelerate.tracking import TensorBoardTracker, TrackioTracker, WandBTracker

            if name == "tensorboard":
                tracker: Any = TensorBoardTracker("tensorboard", folder, purge_step=first_step + 1)
            elif name == "wandb":
                tracker = WandBTracker(PROJECT, name=folder.name, dir=str(folder))
            else:
                tracker = TrackioTracker(PROJECT, name=folder.name)
            tracker.start()
            if name != "tensorboard":  # its hyperparameters are a run of their own; `train.yaml` holds the config
                tracker.store_init_configuration(dict(config))
            self.trackers.append(tracker)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Logs figures under the number of steps done."""
        for tracker in self.trackers:
            tracker.log(dict(figures), step=step)

    def audio(self, step: int, name: str, audio: Tensor, sample_rate: int) -> None:
        """Logs audio, as mono.

        Args:
            step: number of steps done.
            name: of the recording.
            audio: [C, N].
            sample_rate: in Hz.
        """
        mono = audio.mean(0).clamp(-1, 1)
        for tracker in self.trackers:
            if tracker.name == "tensorboard":
                tracker.tracker.add_audio(name, mono[None], step, sample_rate)
            else:
                package = import_extra(tracker.name, tracker.name, f"the tracker {tracker.name}")
                pcm = (mono * (2**15 - 1)).round().to(torch.int16).numpy()
                recording = package.Audio(pcm, sample_rate=sample_rate)
                tracker.log({name: recording}, step=step)

    def close(self) -> None:
        """Flushes and closes all."""
        for tracker in self.trackers:
            tracker.finish()


def check_trackers(names: Sequence[Tracker]) -> None:
    """Raises MissingPackageError if the package of a tracker is not installed: known before the data is read."""
    for name in names:
        import_extra(name, name, f"the tracker {name}")
