"""Decodes a dataset of latents or tokens to audio files: `latentune decode` as a function."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..core.compute import ComputeConfig
from ..core.config import nearest_hint, option
from ..core.errors import DatasetError
from ..core.outputs import slug
from ..tokenizers.base import AudioTokenizer, Stream
from ..tokenizers.inputs import check_decode_options
from ..tokenizers.load import load_tokenizer
from .data.audio.record import RecordedFolder
from .data.audio.write import write_audio
from .data.shards import LatentDataset
from .data.shards.dataset_files import refuse_dataset
from .data.shards.decode import choose_stream, decode_item_pieces
from .data.shards.read import check_tokenizer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DecodeConfig(ComputeConfig):
    """A dataset, the folder for its audio, and how to decode."""

    dataset: str = option(help="Folder of a dataset that `latentune encode` wrote.", positional=True)
    output: str = option(help="Folder for the audio.", positional=True)
    tokenizer: str | None = option(
        None,
        "Tokenizer that encoded the dataset: a shipped or official name, a folder, or a hub id. By default the one "
        "that the dataset names.",
    )
    stream: Stream | None = option(
        None, "Stream to decode: latents or tokens. By default the latents if the dataset holds them."
    )
    ids: tuple[str, ...] = option((), "Item to decode; repeat it for several. By default all items.", name="id")
    num: int | None = option(None, "Largest number of items to decode, the first ones.")
    options: dict[str, Any] = option(
        factory=dict, help="Options of the tokenizer's own `decode`, such as steps=3.", name="option", short="o"
    )
    seed: int = option(0, "Seed of the decoding noise. The noise of an item depends on it and its number alone.")
    subtype: Literal["PCM_16", "PCM_24", "FLOAT"] = option("PCM_24", "Sample format of the wav files.")

    def __post_init__(self) -> None:
        if self.num is not None and self.num < 1:
            raise ValueError(f"num must be at least 1, got {self.num}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")


def decode_dataset(
    config: DecodeConfig,
    *,
    tokenizer: AudioTokenizer | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Decodes items of a shard dataset to wav files of exactly the length, and at the level, that was encoded.

    An item is written as it is decoded, so that the memory does not grow with its length. `decode.json` lists the
    files; a second call with the same folder replaces those that the first one lists.

    Args:
        config: the dataset, the output and how to decode.
        tokenizer: a loaded tokenizer, in place of the one that the config or the dataset names.
        progress: called with (items done, items in all).

    Returns:
        One record per item: file, id, path of the audio it was made from, index, seconds; `decode.json` holds them too.

    Raises:
        DatasetError: no dataset there, or a corrupt shard.
        MismatchError: the tokenizer is not the one that encoded the dataset.
        ValueError: an unknown id, a stream that the dataset does not hold, an option that the codec does not have, or a
            folder that holds audio of others.
        OSError: the output cannot be written; this is checked before anything is decoded.
    """
    dataset = LatentDataset(config.dataset)
    stream = choose_stream(dataset, config.stream)
    chosen = _choose_items(dataset, config.ids, config.num)
    if tokenizer is None:
        source = dataset.info["tokenizer"]["source"] if config.tokenizer is None else config.tokenizer
        tokenizer = load_tokenizer(source)
        check_tokenizer(dataset, tokenizer)
        config.prepare(tokenizer)
    else:
        check_tokenizer(dataset, tokenizer)
    check_decode_options(tokenizer, config.options)
    names = [f"{index:05d}_{slug(Path(dataset.meta(index)['id']).stem)}.wav" for index in chosen]
    refuse_dataset(config.output)
    folder = RecordedFolder(config.output, "decode.json", names)
    contents: dict[str, Any] = {
        "dataset": config.dataset,
        "tokenizer_fingerprint": dataset.fingerprint,
        "stream": stream,
        "seed": config.seed,
        "options": config.options,
    }
    folder.begin(contents)
    records = []
    for done, (index, name) in enumerate(zip(chosen, names, strict=True), start=1):
        item, meta = dataset[index], dataset.meta(index)
        audio = decode_item_pieces(dataset, index, tokenizer, stream, seed=config.seed, **config.options)
        write_audio(folder.path / name, audio, dataset.spec.sample_rate, config.subtype)
        records.append({"file": name, "id": item.id, "path": meta["path"], "index": index, "seconds": item.duration_s})
        if progress is not None:
            progress(done, len(chosen))
    folder.finish({**contents, "items": records})
    logger.info("decoded %d items to %s", len(records), folder.path)
    return records


def _choose_items(dataset: LatentDataset, ids: Sequence[str], num: int | None) -> list[int]:
    if not len(dataset):
        raise DatasetError(f"{dataset.path} holds no items: encode it first")
    chosen = list(range(len(dataset)))
    if ids:
        places = {meta["id"]: index for index, meta in enumerate(dataset.metas())}
        if unknown := [name for name in ids if name not in places]:
            raise ValueError(
                f"{dataset.path} has no item {unknown[0]!r}: {nearest_hint(unknown[0], list(places)[:100])}"
            )
        chosen = [places[name] for name in ids]
    return chosen[:num]
