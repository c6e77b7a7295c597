"""Name -> embedder: the table of cards, or a class of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ....core.device import Precision, pick_dtype
from ....core.errors import CheckpointError, ConfigError
from ....core.hub import is_downloaded
from ....core.job_log import job_logger
from ....core.registry import find_class
from .base import Embedder
from .cards import EMBEDDERS, Checkpoint

DEFAULT, DEFAULT_WITH_CHECKPOINT = "musicnn", "clap"


def load_embedder(
    name: str = "auto",
    *,
    checkpoint: str | Path | None = None,
    device: torch.device | str = "cpu",
    overlap: float | None = None,
    precision: Precision = "fp32",
) -> Embedder:
    """Loads an embedder in eval mode.

    Args:
        name: a name in `EMBEDDERS`, `module:Class` for an `Embedder` of your own, or `auto`: CLAP where a checkpoint is
            given, otherwise MusiCNN.
        checkpoint: for those that ship no weights, a file, folder or hub id as their card says; a file on a hub is
            `owner/name/file.pt`; or the name of one in the card, such as `speech` of CLAP. None: what ships, or the
            default in the card (for CLAP `music`), which is fetched.
        device: of the network.
        overlap: of neighboring windows, as a share of a window; by default half. 0 sets windows end to end.
        precision: number format in which the network multiplies; its weights and its output stay in fp32.

    Returns:
        The embedder, built by its `from_checkpoint` where a checkpoint is given and by `from_package` otherwise.

    Raises:
        ConfigError: an unknown name, a name and a checkpoint that do not go together, or an impossible overlap.
        ValueError: an unknown precision.
        CheckpointError: a checkpoint that cannot be used.
        MissingPackageError: a package that it needs is not installed.
    """
    if name == "auto":
        name = DEFAULT if checkpoint is None else DEFAULT_WITH_CHECKPOINT
    paths = {key: card.path for key, card in EMBEDDERS.items()}
    base: Any = Embedder  # abstract, which find_class need not know
    found: type[Embedder] = find_class(name, paths, base, what="embedder", package=__package__)
    if (card := EMBEDDERS.get(name)) is not None:
        if card.shipped and checkpoint is not None:
            raise ConfigError(f"a checkpoint is given, but the embedder is {name}, which ships its own: leave one out")
        if not card.shipped and checkpoint is None and not card.checkpoints:
            raise ConfigError(f"the embedder {name} ships no weights: give a checkpoint, one of {card.weights}")
        named = str(checkpoint or next(iter(card.checkpoints), None))
        if named in card.checkpoints:
            return _placed(_with_checkpoint(found, name, card.checkpoints[named]), device, overlap, precision)
    embedder = found.from_package() if checkpoint is None else found.from_checkpoint(checkpoint)
    return _placed(embedder, device, overlap, precision)


def _placed(embedder: Embedder, device: torch.device | str, overlap: float | None, precision: Precision) -> Embedder:
    if overlap is not None:
        embedder.set_overlap(overlap)
    embedder.compute_dtype = pick_dtype(precision, device)
    return embedder.to(device)


def _with_checkpoint(found: type[Embedder], name: str, checkpoint: Checkpoint) -> Embedder:
    """Returns the embedder with weights of its card; says first what is fetched if they are not in the cache."""
    hub_id, _, file = checkpoint.source.rpartition("/")
    what = f"{checkpoint.source} (about {checkpoint.size_gb:g} GB; for {checkpoint.use})"
    if not is_downloaded(hub_id, file):
        job_logger.info("embedder %s: fetches %s", name, what)
    try:
        return found.from_checkpoint(checkpoint.source)
    except CheckpointError as error:
        raise CheckpointError(
            f"the embedder {name} needs {what}. Without a network, bring that file (`hf download {hub_id} {file}` "
            f"where there is one) and give its path as the checkpoint: {str(error).partition('. ')[0]}"
        ) from error
