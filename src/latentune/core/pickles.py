"""Foreign checkpoints that are pickles: read so that nothing in them can run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from torch import Tensor

from .errors import CheckpointError

GLOBAL = re.compile(r"GLOBAL (\S+) (?:was not an allowed|whose module)")  # a name that torch does not unpickle
KNOWN = {  # what torch says -> what that means
    "TorchScript archive": "it is a TorchScript program, not a checkpoint: save its state_dict() with torch.save",
    "legacy .tar format": "it has the .tar format of the first releases of torch: save it again with a later one",
    "Unsupported operand": "it was written by another program than torch.save, or is damaged",
    "central directory": "it is not complete: the end of the file is missing",
}
ADVICE = re.compile(r"`?weights_only`?|In PyTorch|Re-running|trusted source|Check the doc|[Pp]lease", re.ASCII)
PICKLE = b"\x80"  # how pickles of protocol 2 and later begin


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
        raise CheckpointError(f"cannot read {path} as a torch checkpoint: {_reason(Path(path), error)}") from error


def load_state_pickle(path: str | Path, *, mapped: bool = False) -> dict[str, Tensor]:
    """Reads a torch pickle that is a flat state dict, as `load_pickle` does.

    Raises:
        CheckpointError: as of `load_pickle`, or the content is not a flat state dict.
    """
    state = load_pickle(path, mapped=mapped)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path} is not a flat dict of tensors: it is a checkpoint of another kind")
    return dict(state)


def _reason(path: Path, error: Exception) -> str:
    """Returns why a pickle is refused, without torch's advice to let it run its code or to allow a class."""
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())
    if found := GLOBAL.search(text):
        return f"it contains {found[1]}, which is not a weight; loading it could run code, so nothing of it is loaded"
    for said, meaning in KNOWN.items():
        if said in text:
            return meaning
    with open(path, "rb") as file:
        head = file.read(2)
    if not head:
        return "it is an empty file"
    if head[:1] != PICKLE and head != b"PK":
        return "it is not a pickle"
    text = text.rpartition("WeightsUnpickler error:")[2]
    told = [sentence for sentence in re.split(r"(?<=\.) ", text) if not ADVICE.search(sentence)]
    return " ".join(told)[:300].strip().rstrip(".") or f"it cannot be unpickled ({type(error).__name__})"


def _numpy_scalars() -> list[Any]:
    """Returns what unpickling numpy scalars next to the weights (losses, counters) needs; none of it can run code."""
    import numpy as np
    from numpy._core.multiarray import scalar

    dtypes = [type(np.dtype(kind)) for kind in ("float32", "float64", "int32", "int64", "bool")]
    # files written with numpy 1 name it by that module path
    return [(scalar, "numpy.core.multiarray.scalar"), scalar, np.dtype, *dtypes]
