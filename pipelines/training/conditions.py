"""The conditions of a generator and the metadata of its dataset: which column feeds which, and what is in it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from ...core.config import nearest_hint
from ...core.errors import ConfigError, DatasetError
from ...generators.base import TrainedOn
from ...generators.conditioning import ConditionEncoder
from ...generators.conditioning.base import Conditioner
from ...generators.conditioning.frozen import load_frozen
from ...generators.conditions import SECONDS, is_given
from ..data.shards import LatentDataset, MixedDataset
from ..data.shards.crops import COLUMNS
from .data_config import LatentDataConfig
from .durations import transcript_durations
from .references import check_reference
from .values import hears, stored_embeddings

logger = logging.getLogger(__name__)

VALUES_AT_ONCE = 1024  # that are checked at once


def condition_columns(given: Mapping[str, str], encoder: ConditionEncoder | None) -> dict[str, str]:
    """Returns the metadata column of each condition of a generator: the one of its name where `given` has none.

    Args:
        given: condition -> column, as `data.conditions` says.
        encoder: the generator's conditions; None: any are taken.

    Raises:
        ConfigError: `given` names a condition that the generator does not have, or `seconds`, which has no column.
    """
    names = [*COLUMNS, *given] if encoder is None else list(encoder.conditioners)
    for name in given:
        if name == SECONDS:
            raise ConfigError(f"data.conditions: {SECONDS} come from the items themselves, not from a column")
        if name not in names:
            raise ConfigError(
                f"data.conditions: the generator has no condition {name!r}: {nearest_hint(name, names)} "
                "(model.config.conditioning.conditioners)"
            )
    return {name: given.get(name, name) for name in names if name != SECONDS}


def check_conditions(
    dataset: LatentDataset | MixedDataset, config: LatentDataConfig, encoder: ConditionEncoder
) -> TrainedOn:
    """Checks the conditions of a generator against a dataset before training begins.

    Args:
        dataset: that the generator is trained on.
        config: names the columns.
        encoder: the generator's conditions.

    Returns:
        Facts about the training data for the generator's config.

    Raises:
        ConfigError: see `condition_columns`; or no item has the column of a condition (the columns are listed).
        DatasetError: a value that its condition cannot take, such as an unknown label.
    """
    columns = condition_columns(config.conditions, encoder)
    found = {name for part in dataset.parts for name in part.columns.metadata}
    values = {name: _given_values(dataset, column) for name, column in columns.items()}
    encoders, heard = {}, []
    for name, column in columns.items():
        conditioner = encoder.conditioners[name]
        if conditioner.takes_latents:
            check_reference(dataset, name, column, conditioner)
            heard.append(name)
            continue
        if conditioner.frozen is not None:
            encoders[name] = _check_embeddings(dataset, name, column, conditioner)
            if hears(column, conditioner):
                heard.append(name)
                continue
        _check_column(dataset, name, column, found, explicit=name in config.conditions, conditioner=conditioner)
        if not conditioner.takes_any_value:
            _check_values(dataset, name, column, values[name], conditioner)
        if column in found and not values[name]:
            logger.warning(
                "no item of %s has a value in the column %s, of the condition %s", dataset.path, column, name
            )
    given = [name for name in columns if values[name] and name not in heard]
    return TrainedOn(
        crop_s=dataset.spec.nearest_chunks(config.crop_s) * dataset.spec.chunk_samples / dataset.spec.sample_rate,
        seconds_start=_range(dataset, "start_s"),
        seconds_total=_range(dataset, "total_s"),
        conditions=tuple(sorted([*given, *heard, *([SECONDS] if SECONDS in encoder.conditioners else [])])),
        durations=transcript_durations(dataset, columns, encoder),
        encoders=encoders,
    )


def _check_embeddings(dataset: LatentDataset | MixedDataset, name: str, column: str, conditioner: Conditioner) -> str:
    """Returns the hash of the weights of a condition's frozen encoder: of its stored embeddings, or as it is loaded."""
    assert conditioner.frozen is not None
    store = stored_embeddings(dataset, column, conditioner)
    if store is not None:
        return str(store.header["weights_sha256"])
    add = f"latentune info {dataset.path} --add '{column}={conditioner.frozen}'"
    if hears(column, conditioner):
        raise ConfigError(f"dataset {dataset.path} stores no embeddings of its audio for the condition {name}: {add}")
    logger.info("the texts of the condition %s are encoded while training; to store them once: %s", name, add)
    return load_frozen(conditioner.frozen).weights_sha256


def _check_column(
    dataset: LatentDataset | MixedDataset,
    name: str,
    column: str,
    found: set[str],
    *,
    explicit: bool,
    conditioner: Conditioner,
) -> None:
    if column in found:
        return
    columns = ", ".join(sorted(found)) or "none"
    if conditioner.may_be_absent and not explicit:
        logger.warning(
            "dataset %s has no column %s (its columns: %s): the generator learns nothing of the condition %s; name "
            "another column with data.conditions",
            dataset.path,
            column,
            columns,
            name,
        )
        return
    raise ConfigError(
        f"dataset {dataset.path} has no column {column!r} for the condition {name} (its columns: {columns}): name one "
        f"with data.conditions.{name}=COLUMN, or leave the condition out with "
        f"model.config.conditioning.conditioners.{name}=null"
    )


def _check_values(
    dataset: LatentDataset | MixedDataset, name: str, column: str, values: Sequence[Any], conditioner: Conditioner
) -> None:
    rest = iter(values)
    while some := list(islice(rest, VALUES_AT_ONCE)):
        try:
            conditioner.prepare(some)
        except ValueError as error:
            raise DatasetError(f"dataset {dataset.path}, column {column}, of the condition {name}: {error}") from error


def _given_values(dataset: LatentDataset | MixedDataset, column: str) -> list[Any]:
    """Returns the different values of a metadata column of the items that are trained on, without absent ones."""
    found = {
        json.dumps(value): value
        for part in dataset.parts
        for value in part.columns.distinct(column, part.rows)
        if is_given(value)
    }
    return list(found.values())


def _range(dataset: LatentDataset | MixedDataset, fact: str) -> tuple[float, float, float]:
    seconds = np.concatenate([part.columns.numbers(fact)[part.rows] for part in dataset.parts])
    return float(seconds.min()), float(np.median(seconds)), float(seconds.max())
