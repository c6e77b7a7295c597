"""Embeddings kept by what they were made of: the audio's content, the embedder, and how much was measured.

One safetensors file a piece of audio, below a folder by the first byte of its key. A renamed or moved file is found
again; a changed one, or another embedder, is not. Shape letters: W embeddings of a file, D their width.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ....core.files import atomic_path

logger = logging.getLogger(__name__)

FORMAT = "latentune-embeddings-1"
SUFFIX = ".safetensors"


@dataclass(kw_only=True)
class Embedded:
    """The embeddings of a piece of audio."""

    embeddings: np.ndarray  # [W, D] float32
    repeated: bool = False  # shorter than one window
    silent: bool = False  # nothing but zeros


class EmbeddingCache:
    """A folder of embeddings. Several processes may use it at once: files are whole or not there."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder).expanduser()

    @staticmethod
    def key(content_sha256: str, identity: dict[str, Any], max_duration_s: float | None) -> str:
        """Computes the key of embeddings: the hex SHA-256 of all that they depend on.

        Args:
            content_sha256: of the audio.
            identity: of the embedder.
            max_duration_s: how much of the audio is embedded; None is all of it.

        Returns:
            The key.
        """
        facts = {"content": content_sha256, "embedder": identity, "max_duration_s": max_duration_s, "format": FORMAT}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def get(self, key: str) -> Embedded | None:
        """Reads what is kept under a key; None where there is nothing, or it is damaged."""
        from safetensors import SafetensorError, safe_open

        path = self._path(key)
        if not path.is_file():
            return None
        try:
            with safe_open(path, "numpy") as file:
                facts = file.metadata() or {}
                if facts.get("key") != key:
                    raise KeyError("key")
                found = Embedded(
                    embeddings=file.get_tensor("embeddings"),
                    repeated=facts["repeated"] == "1",
                    silent=facts["silent"] == "1",
                )
            os.utime(path)  # used now: `prune` takes it later
        except (SafetensorError, KeyError, OSError) as error:
            logger.warning("the cached embeddings %s are damaged and are computed again (%s)", path, error)
            return None
        return found

    def put(self, key: str, value: Embedded) -> None:
        """Keep embeddings under a key; raises OSError where they cannot be written."""
        from safetensors.numpy import save_file

        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {"embeddings": np.ascontiguousarray(value.embeddings)}
        facts = {"format": FORMAT, "key": key, "repeated": str(int(value.repeated)), "silent": str(int(value.silent))}
        with atomic_path(path) as part:
            save_file(tensors, part, metadata=facts)

    def prune(self, most_bytes: float) -> int:
        """Delete the longest unused embeddings until no more than `most_bytes` are kept; returns how many went."""
        total = sum(size for _, size, _ in self._files())
        if total <= most_bytes:
            return 0
        gone = 0
        for _, size, path in sorted(self._files()):
            path.unlink(missing_ok=True)
            total, gone = total - size, gone + 1
            if total <= most_bytes:
                break
        logger.info("%d cached embeddings deleted from %s, %.3g GB are kept", gone, self.folder, total / 1e9)
        return gone

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """When each file was last used, its bytes and its path."""
        if not self.folder.is_dir():
            return
        for below in os.scandir(self.folder):
            if len(below.name) == 2 and below.is_dir():
                for entry in os.scandir(below.path):
                    if entry.name.endswith(SUFFIX) and not entry.name.startswith("."):
                        facts = entry.stat()
                        yield facts.st_mtime, facts.st_size, Path(entry.path)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}{SUFFIX}"
