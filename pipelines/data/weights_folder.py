"""Name or folder -> folder of weights: shipped pipelines, saved ones, training runs and their checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from ...core.errors import CheckpointError
from ...core.hub import fetch_folder, is_hub_id
from ...generators.adapters import MANIFEST as ADAPTER
from ...generators.load import CONFIG_FILE
from .cards import PIPELINE_CARDS
from .checkpoints import STATE_FILE, last_checkpoint, read_progress


def local_folder(place: str | Path, hub_options: Mapping[str, Any] | None = None) -> Path:
    """Returns the local folder of a shipped pipeline's name, a folder or a hub id.

    Args:
        place: the name, the folder or `owner/name`.
        hub_options: those in `HUB_OPTIONS`; only `subfolder` means something for a local folder.

    Returns:
        The folder, which need not exist.

    Raises:
        CheckpointError: the hub does not have it, or cannot be reached.
    """
    options = dict(hub_options or {})
    if (card := PIPELINE_CARDS.get(str(place))) is not None:
        return Path(files("latentune") / card.place)  # type: ignore[arg-type]
    if not Path(place).is_dir() and is_hub_id(place):
        return fetch_folder(str(place), **options)
    return Path(place) / (options.get("subfolder") or "")


def weights_folder(place: str | Path) -> Path:
    """Returns the folder of the weights that a pipeline (its generator's), a training run or a checkpoint holds.

    Args:
        place: one of these, a shipped pipeline's name or a hub id; of a run the newest checkpoint counts, and of a
            checkpoint the averaged weights. A model's own folder is returned as it is.

    Returns:
        The folder with `config.json`, or with `adapter.json` where an adapter was trained.

    Raises:
        CheckpointError: nothing usable is there, or the checkpoint is damaged.
    """
    folder = local_folder(place)
    if not folder.is_dir():
        known = ", ".join(sorted(PIPELINE_CARDS))
        raise CheckpointError(f"no pipeline {str(folder)!r}: give a pipeline's or a run's folder, or one of {known}")
    folder = last_checkpoint(folder) or folder
    if (folder / STATE_FILE).is_file():
        read_progress(folder)  # refuses a damaged checkpoint
    for name in ("", "ema", "model", "generator"):
        if (folder / name / CONFIG_FILE).is_file() or (folder / name / ADAPTER).is_file():
            return folder / name
    if (folder / "checkpoints").is_dir():
        raise CheckpointError(f"{folder} is a training run that has saved no checkpoint yet")
    raise CheckpointError(f"{folder} holds no pipeline, training run, checkpoint or generator")
