"""Hub ids, and one file of a hub repository or one clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import CheckpointError

WEIGHT_SUFFIXES = (".bin", ".ckpt", ".pt", ".safetensors")  # what ends so is meant as a file, there or not


def is_hub_id(source: str | Path) -> bool:
    """Whether `source` reads as `owner/name`, and not as the path of a file or folder."""
    name = str(source)
    reads_as_path = name.startswith((".", "/", "~")) or name.endswith(WEIGHT_SUFFIXES)
    return name.count("/") == 1 and not reads_as_path and not Path(name).exists()


def is_downloaded(hub_id: str) -> bool:
    """Returns whether a version of the repository `owner/name` is in the hub's cache."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    snapshots = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=hub_id, repo_type="model") / "snapshots"
    return snapshots.is_dir() and any(snapshots.iterdir())


def fetch_file(hub_id: str, file_name: str, **options: Any) -> Path:
    """The local path of a file of `owner/name`, fetched into the hub's cache unless it is there.

    Args:
        options: of `huggingface_hub.hf_hub_download`, such as `revision`.

    Raises:
        CheckpointError: no such repository or file, no network, or offline mode without a cached copy.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(hub_id, file_name, **options))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"cannot fetch {file_name} of {hub_id} from the hub, and it is not here: {reason}"
        ) from error
