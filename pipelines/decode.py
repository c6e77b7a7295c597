"""A dataset of latents or tokens back to audio files: what `latentune decode` does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import torch

from ..core.config import convert_value, nearest_hint
from ..core.device import pick_device
from ..core.errors import ConfigError, DatasetError
from ..core.files import write_json
from ..core.outputs import prepare_output, slug
from ..tokenizers.base import STREAMS, AudioTokenizer, Stream
from ..tokenizers.inputs import refuse_options
from ..tokenizers.load import load_tokenizer
from .data.audio.write import write_audio
from .data.shards import LatentDataset, LatentItem
from .data.shards.read import check_tokenizer
from .data.shards.shard import CODEC_GAIN

logger = logging.getLogger(__name__)


def decode_dataset(
    dataset_path: str | Path,
    output: str | Path,
    *,
    tokenizer: AudioTokenizer | str | Path | None = None,
    stream: Stream | None = None,
    ids: Sequence[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    subtype: str = "PCM_24",
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Decode items of a shard dataset to wav files of exactly the length, and at the level, that was encoded.

    Args:
        tokenizer: by default the one that `dataset.json` names; it must be the one that encoded the dataset.
        stream: which stream to decode; by default the latents where the dataset holds them.
        ids: the items wanted, by default all.
        limit: at most this many of them, the first ones.
        seed: with an item's number in the dataset it determines its noise, whichever other items are decoded.
        progress: called with (items done, items in all).
        options: of the tokenizer's `decode`, such as `steps`.

    Returns:
        One record an item: file, id, path of the audio it came from, index, seconds; `decode.json` holds them too.

    Raises:
        DatasetError: no dataset there, or a corrupt shard.
        MismatchError: the tokenizer is not the one that encoded the dataset.
        ValueError: an unknown id, a stream the dataset does not hold, a limit below 1, an option the codec lacks.
        OSError: the output cannot be written; found out before anything is decoded.
    """
    dataset = LatentDataset(dataset_path)
    stream = choose_stream(dataset, stream)
    chosen = _choose_items(dataset, ids, limit)
    tokenizer = _load(dataset, tokenizer, pick_device(device))
    check_decode_options(tokenizer, options)
    folder = prepare_output(output)
    records = []
    for done, index in enumerate(chosen, start=1):
        item, meta = dataset[index], dataset.meta(index)
        audio = decode_item(dataset, index, tokenizer, stream, seed=seed, **options)
        name = f"{index:05d}_{slug(Path(item.id).stem)}.wav"
        write_audio(folder / name, audio, dataset.spec.sample_rate, subtype)
        records.append({"file": name, "id": item.id, "path": meta["path"], "index": index, "seconds": item.duration_s})
        if progress is not None:
            progress(done, len(chosen))
    write_json(
        folder / "decode.json",
        {
            "dataset": str(dataset_path),
            "tokenizer_fingerprint": dataset.fingerprint,
            "stream": stream,
            "seed": seed,
            "options": options,
            "items": records,
        },
    )
    logger.info("decoded %d items to %s", len(records), folder)
    return records


def decode_item(
    dataset: LatentDataset, index: int, tokenizer: AudioTokenizer, stream: Stream, *, seed: int = 0, **options: Any
) -> torch.Tensor:
    """Audio [C, N] of one item of a dataset; its noise depends on `seed` and `index` alone."""
    item = dataset[index]
    frames = _frames(item, stream).to(tokenizer.device)
    gain_db = dataset.meta(index).get(CODEC_GAIN)  # not there where the codec applies none
    audio = tokenizer.decode(
        **{stream: frames[None]},
        lengths_samples=torch.tensor([item.num_samples], device=tokenizer.device),
        gain_db=None if gain_db is None else torch.tensor([gain_db]),
        generator=torch.Generator().manual_seed(seed + index),
        **options,
    )
    return audio[0]


def check_decode_options(tokenizer: AudioTokenizer, options: Mapping[str, Any]) -> None:
    """Raise ConfigError for options that the tokenizer's `decode` does not have, or values that they cannot have."""
    try:
        refuse_options(options, tokenizer.decode)
    except TypeError as error:
        raise ConfigError(str(error)) from error
    hints = get_type_hints(tokenizer.decode)
    for name, value in options.items():
        convert_value(value, hints[name], name)


def choose_stream(dataset: LatentDataset, stream: Stream | None) -> Stream:
    """The stream to decode: `stream`, or latents where the dataset holds them; raises ValueError if it does not."""
    if stream is None:
        return "latents" if "latents" in dataset.streams else "tokens"
    if stream not in STREAMS:
        raise ValueError(f"stream must be 'latents' or 'tokens', got {stream!r}")
    if stream not in dataset.streams:
        raise ValueError(f"{dataset.path} holds no {stream}, only {', '.join(dataset.streams)}: ask for those")
    return stream


def _choose_items(dataset: LatentDataset, ids: Sequence[str] | None, limit: int | None) -> list[int]:
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    if not len(dataset):
        raise DatasetError(f"{dataset.path} holds no items: encode it first")
    chosen = list(range(len(dataset)))
    if ids is not None:
        places = {meta["id"]: index for index, meta in enumerate(dataset.metas())}
        if unknown := [name for name in ids if name not in places]:
            raise ValueError(
                f"{dataset.path} has no item {unknown[0]!r}: {nearest_hint(unknown[0], list(places)[:100])}"
            )
        chosen = [places[name] for name in ids]
    return chosen[:limit]


def _load(
    dataset: LatentDataset, tokenizer: AudioTokenizer | str | Path | None, device: torch.device
) -> AudioTokenizer:
    if isinstance(tokenizer, AudioTokenizer):
        found: AudioTokenizer = tokenizer
    else:
        found = load_tokenizer(dataset.info["tokenizer"]["source"] if tokenizer is None else tokenizer).to(device)
    check_tokenizer(dataset, found)
    return found


def _frames(item: LatentItem, stream: Stream) -> torch.Tensor:
    frames = item.latents if stream == "latents" else item.tokens
    assert frames is not None  # the dataset says that it holds this stream
    return frames
