"""The weights that a run starts from: what they say about the model section of its config, and where they stay."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from shutil import copy2, copytree
from typing import TYPE_CHECKING, Any

from ...core.config import build_config, config_to_dict
from ...core.configured import ConfiguredModel
from ...core.errors import ConfigError
from ...core.folders import atomic_folder
from ...core.job_log import job_logger
from ...core.registry import refuse_own_modules
from ...generators.adapters import MANIFEST as ADAPTER
from ...generators.load import CONFIG_FILE, KINDS, generator_class
from ...tokenizers.cards import SHIPPED_CARDS, place_of
from ...tokenizers.load import tokenizer_class
from ..data.cards import PIPELINE_CARDS
from ..data.checkpoints import STATE_FILE, Progress
from ..data.weights_folder import weights_folder
from .data_config import AudioDataConfig, data_class

if TYPE_CHECKING:
    from .config import TrainConfig

START_FOLDER = "start"  # of a run: the weights that it was begun with
# fields of a generator's config that come from the dataset of the run
FROM_DATASET = ("binding", "trained_on")


def with_start(model: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the `model` section of a training config with what `init_from` says about it.

    Without a class, class and config are those of the weights, with the keys that `config` gives on top. The newest
    checkpoint of a run is named by its folder, so that a resumed run starts from the same one.

    Args:
        model: the section, as plain values.

    Returns:
        The section; as it is where `init_from` is not given.

    Raises:
        ConfigError: neither class nor weights are given, or the weights do not say their class.
        CheckpointError: nothing usable is at `init_from`.
    """
    start, class_name = model.get("init_from"), model.get("class_name")
    if start is None and class_name is None:
        raise ConfigError("config model lacks the key class: give it, or name the weights to start from in init_from")
    if not isinstance(start, str) or (class_name is not None and class_name not in KINDS):
        return dict(model)
    folder = Path(place_of(start)) if start in SHIPPED_CARDS else weights_folder(start)
    pinned = {**model, "init_from": start if start in (*SHIPPED_CARDS, *PIPELINE_CARDS) else str(folder)}
    if class_name is not None:
        return pinned
    name, config = _saved(folder)
    return {**pinned, "class_name": name, "config": _on_top(config, model.get("config") or {})}


def keep_start(config: TrainConfig, resumed: Progress | None, *, write: bool) -> TrainConfig:
    """Returns the config of a run with the weights that it starts from where they stay.

    A resumed run keeps those that it was begun with, as long as they are there. A checkpoint of another run, which that
    run removes when it has newer ones, is linked or copied to `start/` in the folder of the run.

    Args:
        config: of the run.
        resumed: progress of the checkpoint that it is resumed from; None where it begins.
        write: link or copy the weights, as one process of a run does before the others.

    Returns:
        The config.

    Raises:
        OutputError: the weights cannot be kept.
    """
    start = config.model.init_from
    if resumed is not None:
        before = resumed.config.get("model", {}).get("init_from")
        if before and start and not Path(before).exists() and Path(start).exists():
            return config  # the weights were moved, or the run continues on another machine
        if before != start:
            job_logger.info("the run was begun with the weights of %s and keeps them", before or "no other model")
        return replace(config, model=replace(config.model, init_from=before))
    if start is None or not (Path(start).parent / STATE_FILE).is_file():
        return config
    kept = config.folder / START_FOLDER
    if write:
        with atomic_folder(kept) as part:
            copytree(start, part, copy_function=_link, dirs_exist_ok=True)
    return replace(config, model=replace(config.model, init_from=str(kept)))


def _link(source: str, target: str) -> None:
    """Links a file, or copies it where the disk cannot."""
    try:
        os.link(source, target)
    except OSError:
        copy2(source, target)


def _saved(folder: Path) -> tuple[str, dict[str, Any]]:
    """Returns the class of saved weights, and their config without what comes from a dataset."""
    path = folder / CONFIG_FILE
    if (folder / ADAPTER).is_file():
        raise ConfigError(
            f"model.init_from: {folder} is an adapter: start from a pipeline that was saved with it "
            "(`load_pipeline(...).save_pretrained(...)`)"
        )
    if path.is_file():
        refuse_own_modules(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        name = values["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"model.init_from: {path} does not say the class of the weights ({error!r})") from error
    is_codec = data_class(name) is AudioDataConfig
    cls: type[ConfiguredModel] = tokenizer_class(name) if is_codec else generator_class(name)
    known = {key: value for key, value in cls.upgrade(values).items() if not key.startswith("_")}
    config = config_to_dict(build_config(cls.config_class, known, str(path)))
    return name, {key: value for key, value in config.items() if key not in FROM_DATASET}


def _on_top(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` on top of `base`, mapping by mapping; a part of another kind takes nothing from the one before."""
    merged = dict(base)
    for key, value in given.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping) and below.get("kind") in (None, value.get("kind")):
            value = _on_top(below, value)
        merged[key] = value
    return merged
