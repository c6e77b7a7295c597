"""Computes the embeddings of a column of a dataset and stores them with it. What is already there is kept.

Shape letters: C audio channels, N samples.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....core.config import nearest_hint
from ....core.device import pick_device
from ....core.errors import AudioError, ConfigError, DatasetError, MismatchError
from ....core.job_log import job_logger
from ....generators.conditioning.base import as_text
from ....generators.conditioning.frozen import FrozenEncoder, FrozenSource, load_frozen
from ....generators.conditions import is_given
from ..audio.find import AudioSource
from ..audio.places import resolve
from ..audio.read import read_audio
from .embeddings import AUDIO, key_of, open_store, store_folder, write_part
from .read import LatentDataset

logger = logging.getLogger(__name__)

TEXTS_AT_ONCE, RECORDINGS_AT_ONCE = 256, 8
PART_NUMBERS = 32_000_000  # numbers in a file, above which the next one is begun

Progress = Callable[[int, int], None]


def store_embeddings(
    path: str | Path, column: str, source: str, *, device: str = "auto", progress: Progress | None = None
) -> int:
    """Stores the embeddings of all values of a column by one encoder; those that are there already stay.

    A call that is interrupted keeps the files that it completed, and the next one continues after them.

    Args:
        path: of the dataset.
        column: of the metadata, whose values are texts or lists of texts; or `audio` for the sound of the items.
        source: of the encoder, such as `frozen_text:FOLDER` or `clap:FILE.pt`.
        device: that the encoder computes on.
        progress: called with the number of items seen and of all items.

    Returns:
        Number of values that were embedded by this call.

    Raises:
        ConfigError: an unknown encoder, or a column that the dataset does not have (the columns are listed).
        CheckpointError: the encoder cannot be loaded.
        MismatchError: the stored embeddings are of other weights at the same place.
        DatasetError: no dataset there, or one without any value in that column.
    """
    dataset, wanted = LatentDataset(path), FrozenSource.parse(source)
    encoder = load_frozen(wanted)
    if column == AUDIO and not encoder.takes_audio:
        raise ConfigError(f"{wanted} takes no audio: name a column with texts, or an encoder such as clap")
    if column == AUDIO and dataset.info["settings"].get("latents_are") is not None:
        raise ConfigError(f"{path} was made of latents, without audio: name a column with texts")
    store = open_store(dataset.path, column, str(wanted))
    header = {
        "version": 1,
        "column": column,
        "source": str(wanted),
        "dim": encoder.dim,
        "weights_sha256": encoder.weights_sha256,
    }
    if store is not None and store.header["weights_sha256"] != encoder.weights_sha256:
        raise MismatchError(
            f"the embeddings in {store.folder} are of other weights than those at {wanted.source} now: delete the "
            "folder to compute them again"
        )
    known = set() if store is None else set(store.keys.tolist())
    values = _audio(dataset, known) if column == AUDIO else _texts(dataset, column, known)
    folder, number = store_folder(dataset.path, column, str(wanted)), 0 if store is None else len(store.parts)
    before = len(known)
    encoder.to(pick_device(device))
    try:
        at_once = RECORDINGS_AT_ONCE if column == AUDIO else TEXTS_AT_ONCE
        for entries in _parts(values, encoder, at_once, len(dataset), progress):
            write_part(folder / f"{number:05d}.safetensors", entries, header)
            known.update(map(int, entries))
            number += 1
    finally:
        encoder.to("cpu")
    if not known:
        raise DatasetError(f"no item of {dataset.path} has a value in the column {column}: nothing to embed")
    job_logger.info("%s: %d embeddings of %s by %s, %d new", folder, len(known), column, wanted, len(known) - before)
    return len(known) - before


Value = tuple[int, np.uint64, Any]  # number of the item, key, and a text or (audio [C, N], sample rate)


def _texts(dataset: LatentDataset, column: str, known: set[int]) -> Iterator[Value]:
    """Yields the texts of a column whose keys are not known, each once."""
    found, seen = set(), set(known)
    for number, meta in enumerate(dataset.metas()):
        found.update(meta["metadata"])
        value = meta["metadata"].get(column)
        for one in value if isinstance(value, list) else [value]:
            if is_given(one) and int(key := key_of(text := as_text(one))) not in seen:
                seen.add(int(key))
                yield number, key, text
    if column not in found:
        raise ConfigError(f"dataset {dataset.path} has no column {column!r}: {nearest_hint(column, found)}")


def _audio(dataset: LatentDataset, known: set[int]) -> Iterator[Value]:
    """Yields the sound of the items whose keys are not known; one that cannot be read is logged and left out."""
    root = AudioSource(dataset.info["source"]["path"]).root
    for number, meta in enumerate(dataset.metas()):
        key = key_of(meta["id"])
        if int(key) in known:
            continue
        try:
            audio = read_audio(resolve(root, meta["path"]), start_s=meta["start_s"], duration_s=meta["duration_s"])
        except (AudioError, OSError) as error:
            logger.warning("item %s has no embedding, since its audio cannot be read: %s", meta["id"], error)
            continue
        yield number, key, audio


def _parts(
    values: Iterator[Value], encoder: FrozenEncoder, at_once: int, num_items: int, progress: Progress | None
) -> Iterator[dict[np.uint64, Tensor]]:
    """Yields the embeddings of values, as many at a time as a file holds."""
    part: dict[np.uint64, Tensor] = {}
    size = 0
    while some := list(islice(values, at_once)):
        for (_, key, value), embeddings in zip(some, encoder.embed([value for _, _, value in some]), strict=True):
            if not torch.isfinite(embeddings).all():
                logger.warning("no embedding is stored of %.80r: the encoder gave NaN or inf", value)
                continue
            part[key] = embeddings
            size += embeddings.numel()
        if progress is not None:
            progress(some[-1][0] + 1, num_items)
        if size >= PART_NUMBERS:
            yield part
            part, size = {}, 0
    if part:
        yield part
