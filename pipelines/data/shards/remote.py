"""Datasets on remote storage: copied whole to a cache folder to be read, and uploaded from one while they are written.

The cache is `$LATENTUNE_CACHE`, or `~/.cache/latentune`; it holds a folder for each URL and may be removed at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ....core.errors import DatasetError, LatentuneError
from ....core.files import file_sha256, write_json
from ....core.job_log import job_logger
from ....core.outputs import prepare_output
from ....core.storage import UrlFile, UrlFolder, kind_of, remove, upload

logger = logging.getLogger(__name__)

DATASET_FILE = "dataset.json"
SHARDS = "shards/"
UPLOAD_EVERY_S = 30.0  # seconds between two looks for finished shards


def fetch_dataset(url: str) -> Path:
    """Returns a folder of this machine with the dataset at a URL; what it holds already is not copied again.

    Args:
        url: of the dataset's folder.

    Raises:
        DatasetError: there is no dataset, or one that is not complete.
        StorageError: the storage does not answer.
        OSError: the cache cannot be written.
    """
    folder = prepare_output(_cache_folder(url) / "read")
    try:
        UrlFile(f"{url}/{DATASET_FILE}").fetch(folder / f"new-{DATASET_FILE}")
    except FileNotFoundError as error:
        raise DatasetError(f"no dataset at {url}: there is no {DATASET_FILE}") from error
    info = _read(folder / f"new-{DATASET_FILE}")
    if not info.get("complete"):
        raise DatasetError(f"{url} is not complete: finish encoding before it is read from there")
    before = _hashes(_read(folder / DATASET_FILE))
    wanted = _hashes(info)
    there = dict(UrlFolder(url).files())
    job_logger.info("copying %s to %s as far as it is not there", url, folder)
    for name in [*wanted, *(name for name in there if name.startswith("embeddings/"))]:
        path = folder / name
        same = path.is_file() and before.get(name) == wanted.get(name)
        if name not in there:
            raise DatasetError(f"{url} lacks {name}, which its {DATASET_FILE} lists: encode again")
        if same and path.stat().st_size == there[name].size:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        there[name].fetch(path)
        if name in wanted and file_sha256(path) != wanted[name]:
            path.unlink()
            raise DatasetError(f"{url}/{name} is corrupt, or was changed while it was copied: try again")
    os.replace(folder / f"new-{DATASET_FILE}", folder / DATASET_FILE)
    return folder


@contextmanager
def uploaded(url: str) -> Iterator[Path]:
    """Yields a folder of this machine for a dataset that is written to a URL, with what is there already.

    Finished shards are uploaded while the others are made, all else at the end, `dataset.json` last; also after an
    error or an interruption, so that the next run resumes from there.

    Args:
        url: of the dataset's folder.
    """
    target = _Target(url, prepare_output(_cache_folder(url)))
    target.fetch()
    done = threading.Event()
    thread = threading.Thread(target=target.upload_shards_until, args=(done,), daemon=True)
    thread.start()
    try:
        yield target.folder
    finally:
        done.set()
        thread.join()
        target.upload_all()


class _Target:
    """A dataset at a URL and the folder that it is made in.

    Args:
        url: of the dataset.
        cache: folder for it.
    """

    def __init__(self, url: str, cache: Path):
        self.url, self.folder, self._record = url, cache / "write", cache / "uploaded.json"
        self._done: dict[str, list[int]] = _read(self._record)  # name -> size and time of what is there

    def fetch(self) -> None:
        """Copies what is at the URL and not here: a run that began on another machine may continue here."""
        files = dict(UrlFolder(self.url).files()) if kind_of(self.url) else {}
        self._done = {name: facts for name, facts in self._done.items() if name in files}
        for name, file in files.items():
            path = self.folder / name
            if not _is_kept(name) or (name in self._done and path.is_file()):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            file.fetch(path)
            self._done[name] = _state(path)

    def upload_shards_until(self, done: threading.Event) -> None:
        """Uploads finished shards now and then; an error is left to `upload_all`."""
        while not done.wait(UPLOAD_EVERY_S):
            try:
                self._upload([name for name in self._names() if name.startswith(SHARDS)])
            except (LatentuneError, OSError) as error:
                logger.warning("%s: %s; it is tried again", self.url, error)

    def upload_all(self) -> None:
        """Uploads everything that is not there yet, and removes what is not part of the dataset any more."""
        names = self._names()
        self._upload(sorted(names, key=lambda name: (name == DATASET_FILE, not name.startswith(SHARDS), name)))
        for name in set(self._done) - set(names):
            remove(f"{self.url}/{name}")
            del self._done[name]
        write_json(self._record, self._done)

    def _names(self) -> list[str]:
        paths = (path for path in self.folder.rglob("*") if path.is_file())
        return [name for path in paths if _is_kept(name := path.relative_to(self.folder).as_posix())]

    def _upload(self, names: list[str]) -> None:
        for name in names:
            state = _state(self.folder / name)
            if self._done.get(name) != state:
                upload(self.folder / name, f"{self.url}/{name}")
                self._done[name] = state
                write_json(self._record, self._done)


def _is_kept(name: str) -> bool:
    """Returns whether a file belongs to the dataset, and is neither a lock nor a temporary file."""
    return not any(part.startswith(".") for part in name.split("/"))


def _state(path: Path) -> list[int]:
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns]


def _hashes(info: dict[str, Any]) -> dict[str, str]:
    """Returns the hashes of the files of a dataset that its `dataset.json` records."""
    shards = {f"{SHARDS}{shard['name']}": shard["sha256"] for shard in info.get("shards", [])}
    return {**shards, **info.get("files", {})}


def _cache_folder(url: str) -> Path:
    root = os.environ.get("LATENTUNE_CACHE") or "~/.cache/latentune"
    return Path(root).expanduser() / hashlib.sha256(url.encode()).hexdigest()[:16]


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DatasetError(f"{path} is corrupt ({error}): remove it and try again") from error
    return found
