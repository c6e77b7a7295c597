"""The identity of training data: a hash that is the same if and only if the same examples can be drawn from it."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from ...core.configured import ConfiguredModel
from ...core.errors import MismatchError
from ...generators.base import LatentGenerator
from ..data.shards import LatentDataset, MixedDataset
from .audio_data import AudioStore

logger = logging.getLogger(__name__)

ALLOW = "resume with --allow-changed-data (allow_changed_data=True) to continue all the same"


def latents_identity(dataset: LatentDataset | MixedDataset) -> str:
    """Returns a hex SHA-256 of the tokenizer and the shards of a dataset, or of several; it does not depend on where
    they are.
    """
    return _digest([_facts(part) for part in dataset.parts])


def audio_identity(store: AudioStore) -> str:
    """Returns a hex SHA-256 of the names, lengths, segments and metadata of audio; it does not depend on where it is.

    The samples are not read: a file that is replaced by another one of the same name and length is not noticed.
    """
    return _digest(
        [
            [item.name, int(length), item.start_s, item.metadata]
            for item, length in zip(store.items, store.lengths, strict=True)
        ]
    )


def check_data(checkpoint: Path, before: str, now: str, *, allow: bool) -> None:
    """Compares the training data with that of a checkpoint; checkpoints of earlier releases do not name theirs.

    Args:
        checkpoint: to resume from.
        before: identity of the data that it was trained on, empty where it is not known.
        now: identity of the data.
        allow: log a warning in place of the error.

    Raises:
        MismatchError: the data are not those that the run was trained on.
    """
    if before in ("", now):
        return
    what = f"{checkpoint} was trained on other data ({before[:12]}) than there are now ({now[:12]})"
    if not allow:
        raise MismatchError(f"{what}: bring the former data back, choose another output, or {ALLOW}")
    logger.warning("%s: the run continues with the data as they are now", what)


def keep_statistics(model: ConfiguredModel, saved: ConfiguredModel) -> None:
    """Prepares two generators whose data differ for being compared: nothing else of their settings may.

    Args:
        model: gets the statistics of the latents that the weights of `saved` were trained with.
        saved: gets the facts about the data that the training continues with.

    Raises:
        MismatchError: the data are of another tokenizer.
    """
    if not isinstance(model, LatentGenerator) or not isinstance(saved, LatentGenerator):
        return
    if model.binding.fingerprint != saved.binding.fingerprint:
        raise MismatchError("the data are of another tokenizer than the checkpoint: choose another output")
    model.replace_settings(binding=saved.binding)
    if hasattr(model.settings, "trained_on"):
        saved.replace_settings(trained_on=model.trained_on)


def _facts(part: LatentDataset) -> list[Any]:
    info = part.info
    if part.complete:
        return [part.fingerprint, info["job"], [shard["sha256"] for shard in info["shards"]]]
    return [part.fingerprint, info["job"], info["plan"], [shard.path.name for shard in part.shards]]


def _digest(value: list[Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
