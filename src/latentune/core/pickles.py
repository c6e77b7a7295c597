"""Foreign checkpoints that are pickles: read so that nothing in them can run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from torch import Tensor

from .errors import CheckpointError


def load_pickle(path: str | Path, *, mapped: bool = False) -> Any:
    """Reads a torch pickle with `weights_only=True`; numpy scalars next to the weights are allowed.

    Args:
        path: the file.
        mapped: leave tensors in the file until they are used, to look at what it contains: the file must not change as
            long as they exist. Files of torch before 1.6, which are not zip files, are read completely all the same.

    Returns:
        The content.

    Raises:
        CheckpointError: the file is missing, truncated, not a pickle, or contains objects that are not allowed.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"no checkpoint file at {path}")
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and is_zipfile(path))
    except Exception as error:  # a pickle can fail in many ways, and each means that the file is not usable
        # only the reason out of torch's message, which begins with the advice to let the pickle run code
        reason = " ".join(str(error).rpartition("WeightsUnpickler error:")[2].split())[:300]
        raise CheckpointError(f"cannot read {path} as a torch checkpoint ({type(error).__name__}: {reason})") from error


def load_state_pickle(path: str | Path, *, mapped: bool = False) -> dict[str, Tensor]:
    """Reads a torch pickle that is a flat state dict, as `load_pickle` does.

    Raises:
        CheckpointError: as of `load_pickle`, or the content is not a flat state dict.
    """
    state = load_pickle(path, mapped=mapped)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path} is not a flat dict of tensors: it is a checkpoint of another kind")
    return dict(state)


def _numpy_scalars() -> list[Any]:
    """Returns what unpickling numpy scalars next to the weights (losses, counters) needs; none of it can run code."""
    import numpy as np
    from numpy._core.multiarray import scalar

    dtypes = [type(np.dtype(kind)) for kind in ("float32", "float64", "int32", "int64", "bool")]
    # files written with numpy 1 name it by that module path
    return [(scalar, "numpy.core.multiarray.scalar"), scalar, np.dtype, *dtypes]
