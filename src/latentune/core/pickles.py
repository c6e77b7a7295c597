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
    """The content of a torch pickle, read with `weights_only=True`; numpy scalars among the weights are allowed.

    Args:
        mapped: leave tensors in the file until they are used, for a look at what it holds: it must not change as long
            as they live. Files of torch before 1.6, which are not zip files, are nevertheless read whole.

    Raises:
        CheckpointError: missing, truncated, no pickle, or holding objects that are not allowed.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"no checkpoint file at {path}")
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and is_zipfile(path))
    except Exception as error:  # a pickle can fail in many ways; all mean that the file is not usable
        # of torch's words the reason alone: before it stands the advice to let the pickle run what it likes
        reason = " ".join(str(error).rpartition("WeightsUnpickler error:")[2].split())[:300]
        raise CheckpointError(f"cannot read {path} as a torch checkpoint ({type(error).__name__}: {reason})") from error


def load_state_pickle(path: str | Path, *, mapped: bool = False) -> dict[str, Tensor]:
    """A torch pickle that is a flat state dict, read as `load_pickle` does.

    Raises:
        CheckpointError: as there, or holding something else.
    """
    state = load_pickle(path, mapped=mapped)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path} is not a flat dict of tensors: it is a checkpoint of another kind")
    return dict(state)


def _numpy_scalars() -> list[Any]:
    """Returns what unpickling numpy scalars (losses, counters) needs; none of it can run code."""
    import numpy as np
    from numpy._core.multiarray import scalar

    dtypes = [type(np.dtype(kind)) for kind in ("float32", "float64", "int32", "int64", "bool")]
    # files written with numpy 1 name it by that module path
    return [(scalar, "numpy.core.multiarray.scalar"), scalar, np.dtype, *dtypes]
