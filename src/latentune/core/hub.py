"""Hub ids, and the files of hub repositories."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from .errors import CheckpointError

HUB_OPTIONS = ("cache_dir", "local_files_only", "revision", "token")  # of `from_pretrained`: where a file is
WEIGHT_SUFFIXES = (".bin", ".ckpt", ".pt", ".safetensors")  # such a name means a file, existing or not


def is_hub_id(source: str | Path) -> bool:
    """Returns whether `source` reads as `owner/name` and not as the path of a file or folder."""
    name = str(source)
    reads_as_path = name.startswith((".", "/", "~")) or name.endswith(WEIGHT_SUFFIXES)
    return name.count("/") == 1 and not reads_as_path and not Path(name).exists()


def is_downloaded(hub_id: str) -> bool:
    """Returns whether a version of the repository `owner/name` is in the hub's cache."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    snapshots = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=hub_id, repo_type="model") / "snapshots"
    return snapshots.is_dir() and any(snapshots.iterdir())


def fetch_folder(hub_id: str, **options: Any) -> Path:
    """Returns the local folder of the repository `owner/name`, which is downloaded to the hub's cache as needed.

    Args:
        hub_id: `owner/name`.
        options: of `huggingface_hub.snapshot_download`, such as `revision`.

    Returns:
        The folder in the cache.

    Raises:
        CheckpointError: the repository does not exist, or there is neither a network nor a cached copy.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, **options))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = textwrap.shorten(str(error), 300, placeholder=" ...")
        raise CheckpointError(f"cannot fetch {hub_id} from the hub, and there is no local copy: {reason}") from error


def fetch_file(hub_id: str, file_name: str, **options: Any) -> Path:
    """Returns the local path of a file of `owner/name`, which is downloaded to the hub's cache unless it is there.

    Args:
        hub_id: `owner/name`.
        file_name: path of the file inside the repository.
        options: of `huggingface_hub.hf_hub_download`, such as `revision`.

    Returns:
        The path in the cache.

    Raises:
        CheckpointError: the repository or file does not exist, or there is neither a network nor a cached copy.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(hub_id, file_name, **options))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = textwrap.shorten(str(error), 300, placeholder=" ...")
        raise CheckpointError(
            f"cannot fetch {file_name} of {hub_id} from the hub, and there is no local copy: {reason}"
        ) from error
