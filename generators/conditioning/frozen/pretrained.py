"""Checkpoints in transformers' format, local or on a hub: read strictly, or one clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ....core.errors import CheckpointError
from ....core.weights import describe_keys


def load_pretrained(model_class: Any, source: str | Path, what: str, *, may_lack: tuple[str, ...] = ()) -> Any:
    """Loads a model strictly; weights of other parts of the checkpoint are not read.

    Args:
        model_class: of transformers.
        source: folder or hub id.
        what: the part that is loaded, for messages.
        may_lack: beginnings of the names of weights that need not be there.

    Returns:
        The model.

    Raises:
        CheckpointError: nothing there, unreadable, or weights of this part that are missing or of another shape.
    """
    try:
        network, info = model_class.from_pretrained(str(source), output_loading_info=True)
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"cannot load {what} from {source}: {reason}") from error
    missing = sorted({*info["missing_keys"], *(str(key[0]) for key in info.get("mismatched_keys") or ())})
    missing = [key for key in missing if not key.startswith(may_lack)]
    if missing:
        raise CheckpointError(f"{source} holds no {what}: {describe_keys('missing', missing)}")
    return network
