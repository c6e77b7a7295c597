"""Where weights come from: a local file, a local folder, or a repository of the hub."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .config import refuse_unknown
from .errors import CheckpointError

# of `from_pretrained` and the loaders: where a file is
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")
WEIGHT_SUFFIXES = (".bin", ".ckpt", ".pt", ".safetensors")  # such a name means a file, existing or not

OUTAGE_S = 60.0  # a hub that did not answer, which takes half a minute to find out, is not asked again for so long
_silent_since: float | None = None  # monotonic time


class AbsentFileError(CheckpointError):
    """A source does not have a file, or has it neither in the cache nor within reach."""


class Source:
    """A local file, a local folder or a repository of the hub, whose files are found by name.

    Args:
        place: path of the file or folder, or `owner/name` on the hub.
        options: those in `HUB_OPTIONS`; only `subfolder` means something for a local folder.

    Raises:
        TypeError: an unknown option.
        CheckpointError: nothing is at `place`, which is not a hub id either.
    """

    def __init__(self, place: str | Path, options: Mapping[str, Any] | None = None):
        self.place, self._options = str(place), dict(options or {})
        refuse_unknown(self._options, HUB_OPTIONS, "a source of weights")
        self.is_remote = is_hub_id(place)
        path = Path(place).expanduser()
        is_file = path.is_file()
        self.given = path if is_file and path.suffix != ".json" else None  # weights in one file; a config: its folder
        self.folder = path.parent if is_file else path / (self._options.get("subfolder") or "")
        if not self.is_remote and not self.folder.is_dir():
            raise CheckpointError(f"there is neither a file or folder at {self.folder} nor on the hub (owner/name)")

    @property
    def elsewhere(self) -> dict[str, Any]:
        """The options with which another repository of the hub is read: all but the place within this one."""
        return {name: value for name, value in self._options.items() if name not in ("revision", "subfolder")}

    def find(self, *names: str) -> Path | None:
        """Returns the local path of the first of these files that exists, fetched where needed; None if there is none.

        Raises:
            CheckpointError: the hub refuses the repository (gated, private, unknown), or does not know the revision.
        """
        try:
            return self.file(*names)
        except AbsentFileError:
            return None

    def file(self, *names: str) -> Path:
        """Returns the local path of the first of these files that exists, fetched where needed.

        Raises:
            CheckpointError: there is none, and the message says why; or the hub refuses the repository.
        """
        if not self.is_remote:
            for name in names:
                if (self.folder / name).is_file():
                    return self.folder / name
            raise AbsentFileError(f"{self.folder} contains none of {', '.join(names)}")
        first: AbsentFileError | None = None
        for name in sorted(names, key=self._is_absent_in_cache):  # no second download of the same in another layout
            try:
                return fetch_file(self.place, name, **self._options)
            except AbsentFileError as error:
                first = first or error
        assert first is not None
        raise first

    def _is_absent_in_cache(self, name: str) -> bool:
        where = {key: value for key, value in self._options.items() if key in ("cache_dir", "revision")}
        return not is_downloaded(self.place, "/".join(filter(None, [self._options.get("subfolder"), name])), **where)

    def __str__(self) -> str:
        return self.place if self.is_remote else str(self.given or self.folder)


def is_hub_id(source: str | Path) -> bool:
    """Returns whether `source` reads as `owner/name` and not as the path of a file or folder."""
    name = str(source)
    reads_as_path = name.startswith((".", "/", "~")) or name.endswith(WEIGHT_SUFFIXES)
    return name.count("/") == 1 and not reads_as_path and not Path(name).exists()


def is_downloaded(hub_id: str, *names: str, **where: Any) -> bool:
    """Returns whether one of these files of the repository `owner/name` is in the hub's cache.

    Args:
        hub_id: `owner/name`.
        names: of the files.
        where: `cache_dir` and `revision`, where they are not the usual ones.

    Returns:
        Whether one is there.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return any(isinstance(try_to_load_from_cache(hub_id, name, **where), str) for name in names)
    except HFValidationError:  # which fetching reports
        return False


def fetch_folder(hub_id: str, **options: Any) -> Path:
    """Returns the local folder of the repository `owner/name`, which is downloaded to the hub's cache as needed.

    Args:
        hub_id: `owner/name`.
        options: those in `HUB_OPTIONS`.

    Returns:
        The folder in the cache.

    Raises:
        CheckpointError: the repository does not exist, or there is neither a network nor a cached copy.
    """
    from huggingface_hub import snapshot_download

    subfolder = options.pop("subfolder", None)
    pattern = f"{subfolder}/*" if subfolder else None
    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=pattern, **options)) / (subfolder or "")
    except (OSError, ValueError) as error:
        raise _refusal(error, hub_id, "files", options) from error
    if not folder.is_dir():
        raise AbsentFileError(f"{hub_id} has no folder {subfolder}")
    return folder


def fetch_file(hub_id: str, file_name: str, **options: Any) -> Path:
    """Returns the local path of a file of `owner/name`, which is downloaded to the hub's cache unless it is there.

    Args:
        hub_id: `owner/name`.
        file_name: path of the file inside the repository.
        options: those in `HUB_OPTIONS`.

    Returns:
        The path in the cache.

    Raises:
        CheckpointError: the repository or file does not exist, or there is neither a network nor a cached copy.
    """
    from huggingface_hub import hf_hub_download

    global _silent_since
    silent = _silent_since is not None and time.monotonic() - _silent_since < OUTAGE_S
    try:
        return Path(hf_hub_download(hub_id, file_name, **{**options, **({"local_files_only": True} if silent else {})}))
    except (OSError, ValueError) as error:
        if _is_outage(error):
            _silent_since = time.monotonic()
        raise _refusal(error, hub_id, file_name, options) from error


def _refusal(error: Exception, hub_id: str, what: str, options: Mapping[str, Any]) -> CheckpointError:
    """Returns the error to raise: what was asked for, why it is not there, and what to do."""
    from huggingface_hub import constants, errors

    page, revision = f"{constants.ENDPOINT}/{hub_id}", options.get("revision")
    begin = f"cannot fetch {what} of {hub_id} from the hub: "
    if isinstance(error, errors.GatedRepoError):
        return CheckpointError(
            f"{begin}it is gated. Accept its terms at {page} and log in with `hf auth login` as the user who did "
            "(or set HF_TOKEN, or pass token=...)"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return CheckpointError(
            f"{begin}there is no such repository, or it is private (nor is there a folder {hub_id} here). Check the "
            f"name at {page}, or log in with `hf auth login`"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return CheckpointError(f"{begin}it has no revision {revision!r}. {page}/commits lists its revisions")
    if isinstance(error, errors.LocalEntryNotFoundError):
        return AbsentFileError(f"{begin}{_why_absent(error, hub_id, options)}")
    if isinstance(error, errors.EntryNotFoundError):
        return AbsentFileError(f"{begin}it has no such file. {page}/tree/{revision or 'main'} lists its files")
    return CheckpointError(begin + shortened(error))


def _why_absent(error: Exception, hub_id: str, options: Mapping[str, Any]) -> str:
    """Returns why the hub was not asked, what the cache has instead, and how to bring the files."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error.__cause__, OfflineModeIsEnabled):
        reason = "HF_HUB_OFFLINE=1 is set"
    elif options.get("local_files_only"):
        reason = "local_files_only=True is given"
    elif isinstance(error.__cause__, HfHubHTTPError):
        reason = f"it answers with an error ({shortened(error.__cause__, 300)})"
    else:
        reason = f"it cannot be reached ({shortened(error.__cause__ or 'no answer a moment ago', 120)})"
    revision = f" --revision {options['revision']}" if options.get("revision") else ""
    return (
        f"{reason}, and {_cached(hub_id, options)}. Where there is a network, run "
        f"`hf download {hub_id}{revision} --local-dir FOLDER`, and pass FOLDER in place of the name"
    )


def _cached(hub_id: str, options: Mapping[str, Any]) -> str:
    """Returns what the cache has of a repository, for an error message."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    root, revision = Path(options.get("cache_dir") or constants.HF_HUB_CACHE), options.get("revision") or "main"
    cache = root / repo_folder_name(repo_id=hub_id, repo_type="model")
    revisions = sorted(path.name for path in [*cache.glob("refs/*"), *cache.glob("snapshots/*")])
    if any(cache.glob("blobs/*.incomplete")):
        return f"{cache} holds an interrupted download"
    if not revisions:
        return f"there is neither a folder {hub_id} here nor a copy in {root}"
    return f"{cache} has only part of it" if revision in revisions else f"{cache} has revision {', '.join(revisions)}"


def _is_outage(error: Exception) -> bool:
    """Returns whether a file is absent because the hub was asked and did not answer."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    if not isinstance(error, LocalEntryNotFoundError) or error.__cause__ is None:
        return False
    return not isinstance(error.__cause__, (OfflineModeIsEnabled, HfHubHTTPError))


def shortened(error: BaseException | str, width: int = 400) -> str:
    """Returns an error's text as one line of at most `width` characters, cut between words and never inside a URL."""
    return textwrap.shorten(str(error), width, placeholder=" ...")
