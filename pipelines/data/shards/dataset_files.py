"""The files of a dataset other than its index: `dataset.json`, the shards, and a chunk of silence."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ....core.errors import DatasetError
from ....tokenizers.spec import TokenizerSpec
from .shard import REPAIR, ShardFile, shard_name

logger = logging.getLogger(__name__)

DATASET_FORMAT = "latentune-dataset"
DATASET_VERSION = 3  # 1 had one plan for all time; 2 an index with values that were not those of the shards
DATASET_FILE = "dataset.json"
SILENCE_FILE = "silence.safetensors"


@dataclass(frozen=True, kw_only=True)
class Silence:
    """One chunk of the codec's silence, which padding is made of."""

    latents: Tensor | None  # [chunk_latents, D] float32
    tokens: Tensor | None  # [chunk_tokens, Q] int64


def read_dataset_json(folder: Path) -> dict[str, Any]:
    """Returns the contents of `dataset.json`.

    Raises:
        DatasetError: the folder does not exist, is not a dataset, or has a newer format.
    """
    path = folder / DATASET_FILE
    if not folder.is_dir():
        raise DatasetError(f"no dataset at {folder}: there is no such folder")
    if not path.is_file():
        raise DatasetError(f"{folder} is not a dataset: it holds no {DATASET_FILE}; make one with `latentune encode`")
    try:
        info: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known, version = info["format"] == DATASET_FORMAT, info["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is corrupt ({error!r}): encode again") from error
    if not known:
        raise DatasetError(f"{path} is not the description of a latent dataset")
    if version > DATASET_VERSION:
        raise DatasetError(f"{path} has format version {version}, newer than this program's: update latentune")
    return info


def refuse_dataset(folder: str | Path) -> None:
    """Raises ValueError if an output is a dataset or lies in one, whose files are replaced or removed by `encode`."""
    path = Path(folder).expanduser().absolute()
    for parent in (path, *path.parents):
        if (parent / DATASET_FILE).is_file():
            raise ValueError(f"cannot write to {path}: {parent} is a dataset; choose another output")


def open_shards(folder: Path, info: Mapping[str, Any]) -> list[ShardFile]:
    """Opens the dataset's shards, in order; if it is not complete, those that are there."""
    plan = info["plan"]
    paths = [folder / "shards" / shard_name(number) for number in plan.get("shards", range(plan["num_shards"]))]
    if not info["complete"]:
        present = [path for path in paths if path.exists()]
        logger.warning(
            "%s is not complete: %d of %d shards are there; run encode again to finish it",
            folder,
            len(present),
            len(paths),
        )
        paths = present
    shards = [ShardFile(path) for path in paths]
    contents = {shard["name"]: shard.get("content") for shard in info.get("shards", ())}
    for shard in shards:
        wanted = {
            "fingerprint": info["tokenizer"]["fingerprint"],
            "job": info["job"],
            "content": contents.get(shard.path.name),
        }
        wrong = [name for name, value in wanted.items() if value is not None and shard.header.get(name) != value]
        if wrong:
            raise DatasetError(f"shard {shard.path} is not of this dataset ({wrong[0]} differs): {REPAIR}")
    return shards


def read_silence(folder: Path, spec: TokenizerSpec, streams: tuple[str, ...]) -> Silence:
    """Reads `silence.safetensors`.

    Args:
        folder: of the dataset.
        spec: of the codec.
        streams: that the dataset holds.

    Returns:
        One chunk of digital silence in each stream that the dataset holds.

    Raises:
        DatasetError: the file is missing or does not fit the codec.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / SILENCE_FILE
    try:
        tensors = load_file(path)
        latents = tensors["latents"].float() if "latents" in streams else None
        tokens = tensors["tokens"].long() if "tokens" in streams else None
    except (OSError, SafetensorError, KeyError) as error:
        raise DatasetError(f"{path} is missing or corrupt ({error}): delete it and run encode again") from error
    fits_latents = latents is None or latents.shape == (spec.chunk_latents, spec.latent_dim)
    fits_tokens = tokens is None or tokens.shape == (spec.chunk_tokens, spec.tokens_per_frame)
    if not (fits_latents and fits_tokens):
        raise DatasetError(f"{path} does not fit the dataset's codec: delete it and run encode again")
    return Silence(latents=latents, tokens=tokens)
