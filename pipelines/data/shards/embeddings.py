"""Stored embeddings of the prompts of a dataset: `embeddings/COLUMN-.../00000.safetensors`, one store per encoder.

A store maps texts to embeddings, each text once: items share captions, and an item may have several. Of the column
`audio`, which stands for the item's own sound, it maps the ids of items. Shape letters: M entries, S embeddings of an
entry, E embedding width.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....core.errors import DatasetError
from ....core.files import atomic_path
from ....core.outputs import slug

FOLDER = "embeddings"
AUDIO = "audio"  # in place of a metadata column: the sound of the item itself
FORMAT = "latentune-embeddings"
HEADER_KEY = "latentune"


def key_of(text: str) -> np.uint64:
    """Returns the key of a text: the first 64 bits of a hash."""
    return np.uint64(int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little"))


def store_folder(dataset: Path, column: str, source: str) -> Path:
    """Returns the folder of the embeddings of a column.

    Args:
        dataset: its folder.
        column: of the metadata, or `AUDIO`.
        source: of the encoder, as a text.
    """
    digest = hashlib.sha256(json.dumps([column, source]).encode()).hexdigest()[:10]
    return dataset / FOLDER / f"{slug(column)}-{digest}"


def write_part(path: Path, entries: dict[np.uint64, Tensor], header: dict[str, Any]) -> None:
    """Writes entries, whole or not at all.

    Args:
        path: of the file.
        entries: key -> embeddings [S, E].
        header: facts about the store.
    """
    from safetensors.torch import save

    values = torch.cat(list(entries.values()))
    half = values.half()
    lengths = [0, *(len(embeddings) for embeddings in entries.values())]
    tensors = {
        "keys": torch.from_numpy(np.array(list(entries), np.uint64)),
        "offsets": torch.tensor(lengths).cumsum(0),
        "values": half if torch.isfinite(half).all() else values,
    }
    data = save(tensors, {HEADER_KEY: json.dumps({"format": FORMAT, **header}, ensure_ascii=False)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        part.write_bytes(data)


class EmbeddingStore:
    """Embeddings of the texts of a column, read one at a time.

    Args:
        folder: of the store.

    Raises:
        DatasetError: no store there, or a corrupt file of one.
    """

    def __init__(self, folder: Path):
        from safetensors import SafetensorError, safe_open

        self.folder, self.parts = folder, sorted(folder.glob("*.safetensors"))
        if not self.parts:
            raise DatasetError(f"{folder} holds no embeddings: make some with `latentune info DATASET --add`")
        self._files, keys, offsets = [], [], []
        for path in self.parts:
            try:
                file = safe_open(path, framework="pt")
                self.header: dict[str, Any] = json.loads(file.metadata()[HEADER_KEY])
                keys.append(file.get_tensor("keys").numpy())
                offsets.append(file.get_tensor("offsets").numpy())
            except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
                raise DatasetError(f"{path} is corrupt ({error!r}): delete it and add them again") from error
            self._files.append(file.get_slice("values"))
        unsorted = np.concatenate(keys)
        order = np.argsort(unsorted, kind="stable")
        self.keys = unsorted[order]  # [M]
        self._part = np.repeat(np.arange(len(keys)), [len(some) for some in keys])[order]
        begins, ends = (np.concatenate([some[cut] for some in offsets]) for cut in (slice(-1), slice(1, None)))
        self._begin, self._end = begins[order], ends[order]

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, text: str) -> Tensor | None:
        """Returns the embeddings [S, E] float32 of a text (of `AUDIO`, of an item's id), or None."""
        key = key_of(text)
        place = int(np.searchsorted(self.keys, key))
        if place == len(self.keys) or self.keys[place] != key:
            return None
        found: Tensor = self._files[self._part[place]][int(self._begin[place]) : int(self._end[place])]
        return found.float()


def open_store(dataset: Path, column: str, source: str) -> EmbeddingStore | None:
    """Returns the stored embeddings of a column by one encoder, or None where there are none.

    Args:
        dataset: its folder.
        column: of the metadata, or `AUDIO`.
        source: of the encoder, as a text.

    Raises:
        DatasetError: a corrupt store.
    """
    folder = store_folder(dataset, column, source)
    return EmbeddingStore(folder) if any(folder.glob("*.safetensors")) else None


def list_stores(dataset: Path) -> list[dict[str, Any]]:
    """Returns the facts about each store of a dataset: column, source, dim, weights_sha256 and num_entries."""
    folders = sorted(path for path in (dataset / FOLDER).glob("*") if any(path.glob("*.safetensors")))
    stores = [EmbeddingStore(folder) for folder in folders]
    return [{**store.header, "num_entries": len(store)} for store in stores]


def remove_audio_stores(dataset: Path) -> None:
    """Removes the stored embeddings of sounds, for a dataset whose ids no longer have the sounds that they had."""
    for folder in (dataset / FOLDER).glob(f"{slug(AUDIO)}-*"):
        shutil.rmtree(folder)
