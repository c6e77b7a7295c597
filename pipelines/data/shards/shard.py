"""One shard file: many items end to end in plain safetensors, readable alone and through a memory map.

Tensors: `latents` [sum T, D] and `tokens` [sum T', Q], time-major; `latent_offsets`, `token_offsets` and `meta_offsets`
[items + 1] int64; `meta`, the UTF-8 bytes of one JSON object per item. The file's own metadata has one key,
`latentune`: a JSON object with the shard's number, the codec's fingerprint, the job it is part of, and the failures.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....core.errors import DatasetError
from ....core.files import atomic_path
from ....tokenizers.spec import TokenizerSpec
from .open_maps import map_file, open_maps
from .plan import Failure, PlannedItem, json_text, token_bytes
from .settings import ShardSettings

SHARD_FILE = re.compile(r"^\d{5,}\.safetensors$")
SHARD_FORMAT = "latentune-shard"
SHARD_VERSION = 1
HEADER_KEY = "latentune"
DTYPES = {"F16": np.float16, "F32": np.float32, "I64": np.int64, "U8": np.uint8, "U16": np.uint16, "U32": np.uint32}
DTYPES["U64"] = np.uint64
OFFSETS = {"latents": "latent_offsets", "tokens": "token_offsets", "meta": "meta_offsets"}
CODEC_GAIN = "codec_gain_db"  # of an item: the gain that the codec's `encode` applied, for decoding to undo
ITEM_COLUMNS = (
    "id",
    "path",
    "num_samples",
    "duration_s",
    "start_s",
    "total_s",
    "planned_s",
    "metadata",
)  # of every item
NUMBERS = ("num_samples", "duration_s", "start_s", "total_s")  # of every item, in all versions
FILE_HASH = "file_sha256"  # of the first item of a file: hash of the content of the file
REPAIR = "delete it and run encode again"


@dataclass(frozen=True, kw_only=True)
class EncodedItem:
    """One item as it goes into a shard."""

    item: PlannedItem
    latents: Tensor | None  # [T, D], in the dtype to store
    tokens: Tensor | None  # [T', Q] int64
    num_samples: int  # at the codec's rate
    facts: dict[str, Any] = field(default_factory=dict)  # measured while encoding: hash, loudness, CODEC_GAIN, ...


def shard_name(number: int) -> str:
    """`00000.safetensors`: a function of the plan, so that a re-run finds what is there."""
    return f"{number:05d}.safetensors"


def write_shard(
    path: Path,
    number: int,
    entries: list[EncodedItem],
    failures: list[Failure],
    *,
    spec: TokenizerSpec,
    settings: ShardSettings,
    identity: dict[str, str],
) -> None:
    """Writes a shard, whole or not at all. The same content gives the same bytes.

    Args:
        path: of the file.
        number: of the shard.
        entries: its items.
        failures: items that could not be encoded.
        spec: of the codec.
        settings: of the dataset.
        identity: goes to the header: the codec's `fingerprint`, the `job` of settings and codec, and the `content`.
    """
    from safetensors.numpy import save

    metas = [_meta_bytes(entry, spec) for entry in entries]
    tensors = {
        "meta": np.frombuffer(b"".join(metas), np.uint8),
        "meta_offsets": _offsets([len(meta) for meta in metas]),
    }
    if "latents" in settings.streams:
        rows = [entry.latents.numpy() for entry in entries if entry.latents is not None]
        dtype = np.dtype(settings.dtype)
        tensors["latents"] = np.concatenate([np.empty((0, spec.latent_dim), dtype), *rows])
        tensors["latent_offsets"] = _offsets([len(row) for row in rows])
    if "tokens" in settings.streams:
        kind = np.dtype(f"uint{8 * token_bytes(spec)}")
        rows = [entry.tokens.numpy().astype(kind) for entry in entries if entry.tokens is not None]
        tensors["tokens"] = np.concatenate([np.empty((0, spec.tokens_per_frame), kind), *rows])
        tensors["token_offsets"] = _offsets([len(row) for row in rows])
    header = {
        "format": SHARD_FORMAT,
        "version": SHARD_VERSION,
        "shard": number,
        **identity,
        "failures": [asdict(failure) for failure in failures],
    }
    # a single key, since safetensors writes several in an undefined order
    with atomic_path(path) as part:
        # save_file would write to a temporary file of its own, which a killed run leaves without a name that is known
        part.write_bytes(save(tensors, metadata={HEADER_KEY: json.dumps(header, ensure_ascii=False)}))


def _offsets(lengths: list[int]) -> np.ndarray:
    return np.cumsum([0, *lengths], dtype=np.int64)


def _meta_bytes(entry: EncodedItem, spec: TokenizerSpec) -> bytes:
    item = entry.item
    meta = {
        "id": item.id,
        "path": item.path,
        "num_samples": entry.num_samples,
        "duration_s": entry.num_samples / spec.sample_rate,
        "start_s": item.start_s,
        "total_s": item.total_s,
        "planned_s": item.duration_s,
        **entry.facts,
        "metadata": item.metadata,
    }
    return json_text(meta).encode()


class ShardFile:
    """A shard, mapped into memory when it is first read. Can be sent to worker processes.

    Raises:
        DatasetError: missing, truncated or not a shard; the message names the file.
    """

    def __init__(self, path: Path):
        self.path = path
        self.header, self._layout, self._data_start = _read_header(path)
        self.num_items = self._layout["meta_offsets"]["shape"][0] - 1
        self._opened: tuple[mmap.mmap, dict[str, np.ndarray]] | None = None
        self._checked = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    @property
    def failures(self) -> list[Failure]:
        return [Failure(**failure) for failure in self.header["failures"]]

    def has(self, stream: str) -> bool:
        """True if the shard holds this stream, `latents` or `tokens`."""
        return stream in self._layout

    def array(self, name: str) -> np.ndarray:
        """A whole tensor as a read-only view of the file.

        Raises:
            DatasetError: the offsets of the items do not fit the streams.
        """
        opened = self._opened  # another thread may unmap the shard meanwhile
        if opened is None:
            self._opened = opened = self._map()
            open_maps.add(self)
        whole, arrays = opened
        if name not in arrays:
            arrays[name] = self._view(whole, name)
        return arrays[name]

    def unmap(self) -> None:
        """Closes the map until the shard is read again; views that are in use keep it."""
        self._opened = None

    def offsets(self, stream: str) -> np.ndarray:
        """Where in a stream each item begins, and the end of the last one, [items + 1] int64."""
        return self.array(OFFSETS[stream])

    def lengths(self, stream: str) -> np.ndarray:
        """Frames of a stream that each item has, [items] int64; zeros if the shard does not hold it."""
        return np.diff(self.offsets(stream)) if self.has(stream) else np.zeros(self.num_items, np.int64)

    def size(self, stream: str) -> int:
        """Frames of a stream of all items together, without reading it; 0 if the shard does not hold it."""
        return int(self._layout[stream]["shape"][0]) if self.has(stream) else 0

    def stream(self, name: str, row: int) -> Tensor | None:
        """Item `row` of `latents` as float32 [T, D] or of `tokens` as int64 [T', Q], copied; None if absent."""
        if not self.has(name):
            return None
        offsets = self.offsets(name)
        part = self.array(name)[offsets[row] : offsets[row + 1]]
        return torch.from_numpy(part.astype(np.float32 if name == "latents" else np.int64))

    def meta(self, row: int) -> dict[str, Any]:
        """Returns the facts about item `row`: id, path, num_samples, duration_s, start_s, total_s, metadata, ..."""
        begin, end = self.array("meta_offsets")[row : row + 2]
        try:
            facts: dict[str, Any] = json.loads(self.array("meta")[begin:end].tobytes())
        except ValueError:
            facts = {}
        if not _is_meta(facts):
            raise DatasetError(f"shard {self.path} is corrupt (item {row} has no readable metadata): {REPAIR}")
        return facts

    def metas(self) -> list[dict[str, Any]]:
        """Returns `meta` of all items."""
        texts, offsets = self.array("meta").tobytes(), self.array("meta_offsets").tolist()
        try:
            found: list[dict[str, Any]] = json.loads(
                b"[%b]" % b",".join(texts[begin:end] for begin, end in pairwise(offsets))
            )
        except ValueError:
            found = []
        # one by one if need be, for the number of the item that cannot be read
        sound = len(found) == self.num_items and all(map(_is_meta, found))
        return found if sound else [self.meta(row) for row in range(self.num_items)]

    def _map(self) -> tuple[mmap.mmap, dict[str, np.ndarray]]:
        """Returns the mapped file, and the views of it that were made so far."""
        with open(self.path, "rb") as file:
            whole = map_file(file.fileno())
        arrays: dict[str, np.ndarray] = {}
        if not self._checked:
            arrays = {name: self._view(whole, name) for name in self._layout}
            self._check_offsets(arrays)
            self._checked = True
        return whole, arrays

    def _view(self, whole: mmap.mmap, name: str) -> np.ndarray:
        try:
            entry = self._layout[name]
            begin, end = entry["data_offsets"]
            dtype = np.dtype(DTYPES[entry["dtype"]])
            flat = np.frombuffer(whole, dtype, (end - begin) // dtype.itemsize, self._data_start + begin)
            return flat.reshape(entry["shape"])
        except (KeyError, ValueError, TypeError) as error:
            raise DatasetError(f"shard {self.path} is corrupt ({name} cannot be read: {error}): {REPAIR}") from error

    def _check_offsets(self, arrays: Mapping[str, np.ndarray]) -> None:
        for name, offsets_name in OFFSETS.items():
            if not self.has(name):
                continue
            offsets = arrays[offsets_name]
            rising = offsets[0] == 0 and (np.diff(offsets) >= 0).all() and offsets[-1] == len(arrays[name])
            if len(offsets) != self.num_items + 1 or not rising:
                raise DatasetError(f"shard {self.path} is corrupt ({offsets_name} do not fit {name}): {REPAIR}")


def _is_meta(facts: Any) -> bool:
    return (
        isinstance(facts, dict)
        and isinstance(facts.get("metadata"), dict)
        and all(isinstance(facts.get(name), str) for name in ("id", "path"))
        and all(isinstance(facts.get(name), (int, float)) for name in NUMBERS)
    )


def _read_header(path: Path) -> tuple[dict[str, Any], dict[str, Any], int]:
    """The shard's own header, the tensors' layout, and where in the file their data begins."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > size - 8:
                raise DatasetError(f"shard {path} is truncated ({size} bytes): {REPAIR}")
            layout = json.loads(file.read(length))
        header = json.loads(layout.pop("__metadata__")[HEADER_KEY])
        _ = [Failure(**failure) for failure in header["failures"]]  # TypeError: they are not failures
        data_bytes = max(entry["data_offsets"][1] for entry in layout.values())
        known = header["format"] == SHARD_FORMAT and {"meta", "meta_offsets"} <= set(layout)
        known = known and isinstance(header["shard"], int) and isinstance(header["fingerprint"], str)
        known = known and all(layout[offsets]["shape"][0] > 0 for name, offsets in OFFSETS.items() if name in layout)
    except FileNotFoundError as error:
        raise DatasetError(f"shard {path} is missing: run encode again") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"shard {path} is corrupt or not a shard (unreadable header): {REPAIR}") from error
    if not known:
        raise DatasetError(f"{path} is not a shard of a latent dataset: {REPAIR}")
    if header["version"] > SHARD_VERSION:
        raise DatasetError(f"shard {path} has format version {header['version']}, newer than this program's: update it")
    if size != 8 + length + data_bytes:
        raise DatasetError(f"shard {path} has {size} bytes, its header says {8 + length + data_bytes}: {REPAIR}")
    return header, layout, 8 + length
