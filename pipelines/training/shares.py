"""The training state of a sharded model in a checkpoint: each process writes and reads its own shares.

It is PyTorch's distributed checkpoint in its safetensors format; the default format of it holds pickles. A file names
the place of each share in its tensor, so that any number of processes can read what another number has written.
"""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import CheckpointError, MismatchError
from .optim import load_optimizer_state, optimizer_state

WEIGHT, ENTRY = "model/", "optimizer/"  # what the names of weights and of optimizer state begin with


def write_shares(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, learning_only: bool) -> None:
    """Writes the weights and the optimizer state; every process calls it, with a folder that all of them see.

    Args:
        folder: to write to.
        model: sharded.
        optimizer: of the model.
        learning_only: leave out the weights that do not learn, which come from elsewhere.

    Raises:
        OSError: a process could not write its file; it is raised in all of them.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    state = {ENTRY + name: value for name, value in optimizer_state(optimizer, model).items()}
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    try:
        save(_weights(model, learning_only) | state, storage_writer=writer)
    except CheckpointException as error:
        shutil.rmtree(folder, ignore_errors=True)
        reasons = "; ".join(f"process {rank}: {reason[0]}" for rank, reason in error.failures.items())
        raise OSError(f"cannot write {folder}: {reasons}") from error


def read_shares(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, learning_only: bool) -> None:
    """Restores what `write_shares` wrote, into a model that is sharded or whole; every process calls it.

    Args:
        folder: with the files.
        model: whose weights are overwritten.
        optimizer: of the model.
        learning_only: as `write_shares` had it.

    Raises:
        CheckpointError: the files do not hold the whole state of this model.
        MismatchError: a weight of another shape.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    saved: dict[str, Any] = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    weights = _weights(model, learning_only)
    if absent := sorted(weights.keys() ^ {name for name in saved if name.startswith(WEIGHT)}):
        raise CheckpointError(f"{folder} is of another model: {absent[0].removeprefix(WEIGHT)} is in one of them only")
    for name, value in weights.items():
        if value.shape != saved[name].size:
            sizes = f"{tuple(saved[name].size)}, this model one of {tuple(value.shape)}"
            raise MismatchError(f"{folder} has a {name.removeprefix(WEIGHT)} of shape {sizes}")
    parameters, entries = dict(model.named_parameters()), dict[str, Tensor]()
    for key in [name.removeprefix(ENTRY) for name in saved if name.startswith(ENTRY)]:
        entries[key] = _room(saved[ENTRY + key], parameters.get(key.rpartition("/")[0]))
    _load(folder, weights | {ENTRY + key: value for key, value in entries.items()})
    load_optimizer_state(optimizer, model, entries)


def _weights(model: nn.Module, learning_only: bool) -> dict[str, Tensor]:
    """Returns the weights, as shares where they are; writing to them changes the model."""
    fixed = {name for name, value in model.named_parameters() if learning_only and not value.requires_grad}
    return {WEIGHT + name: value for name, value in model.state_dict().items() if name not in fixed}


def _room(saved: Any, parameter: Tensor | None) -> Tensor:
    """Returns a tensor for an entry of the optimizer's state, shared out as the parameter is if it has its shape."""
    if parameter is not None and parameter.shape == saved.size:
        return torch.zeros_like(parameter, dtype=saved.properties.dtype, requires_grad=False)
    return torch.zeros(saved.size, dtype=saved.properties.dtype)


def _load(folder: Path, tensors: dict[str, Tensor]) -> None:
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    alone = not torch.distributed.is_initialized()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=alone)
