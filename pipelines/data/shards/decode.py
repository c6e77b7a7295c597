"""Audio of an item of a dataset.

Shape letters: C audio channels, N audio samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ....tokenizers.base import STREAMS, AudioTokenizer, Stream
from .read import LatentDataset
from .shard import CODEC_GAIN


def choose_stream(dataset: LatentDataset, stream: Stream | None) -> Stream:
    """Returns the stream to decode: `stream`, or by default the latents if the dataset holds them.

    Raises:
        ValueError: there is no such stream, or the dataset does not hold it.
    """
    if stream is None:
        return "latents" if "latents" in dataset.streams else "tokens"
    if stream not in STREAMS:
        raise ValueError(f"stream must be 'latents' or 'tokens', got {stream!r}")
    if stream not in dataset.streams:
        raise ValueError(f"{dataset.path} holds no {stream}, only {', '.join(dataset.streams)}: ask for those")
    return stream


def decode_item(
    dataset: LatentDataset, index: int, tokenizer: AudioTokenizer, stream: Stream, *, seed: int = 0, **options: Any
) -> Tensor:
    """Decodes one item of a dataset.

    Args:
        dataset: where the item is.
        index: of the item.
        tokenizer: the codec that encoded the dataset.
        stream: which of the item's streams to decode.
        seed: of the noise, which depends on it and on `index` alone.
        options: of the codec's `decode`.

    Returns:
        Audio [C, N], at the level that was encoded.
    """
    return tokenizer.decode(**_arguments(dataset, index, tokenizer, stream, seed), **options)[0]


def decode_item_pieces(
    dataset: LatentDataset, index: int, tokenizer: AudioTokenizer, stream: Stream, *, seed: int = 0, **options: Any
) -> Iterator[Tensor]:
    """Decodes one item of a dataset piece by piece, so that a long one is never in memory as a whole.

    Args:
        dataset: as of `decode_item`.
        index: as of `decode_item`.
        tokenizer: as of `decode_item`.
        stream: as of `decode_item`.
        seed: as of `decode_item`.
        options: as of `decode_item`.

    Returns:
        Pieces [C, n], which joined are the audio of `decode_item`.
    """
    return tokenizer.decode_pieces(**_arguments(dataset, index, tokenizer, stream, seed), **options)


def _arguments(
    dataset: LatentDataset, index: int, tokenizer: AudioTokenizer, stream: Stream, seed: int
) -> dict[str, Any]:
    item = dataset[index]
    frames = item.latents if stream == "latents" else item.tokens
    assert frames is not None, "the dataset says that it holds this stream"
    gain_db = dataset.meta(index).get(CODEC_GAIN)  # missing if the codec applies none
    return {
        stream: frames[None].to(tokenizer.device),
        "lengths_samples": torch.tensor([item.num_samples], device=tokenizer.device),
        "gain_db": None if gain_db is None else torch.tensor([gain_db]),
        "generator": torch.Generator().manual_seed(seed + index),
    }
