"""Crops of many items at once, gathered from the maps of their shards with one indexing operation per shard.

Shape letters: B batch, T latent or token frames, F width of a frame.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ....core.errors import DatasetError
from ....tokenizers.spec import TokenizerSpec
from .index_table import REBUILD
from .read import LatentDataset


def num_chunks_of(dataset: LatentDataset, rows: np.ndarray) -> np.ndarray:
    """Returns the number of whole chunks of items, padding included.

    Args:
        dataset: of the items.
        rows: [B] their places in its columns.

    Raises:
        DatasetError: an item that does not consist of whole chunks.
    """
    stream = dataset.streams[0]
    per_chunk = chunk_frames(dataset.spec, stream)
    chunks: np.ndarray
    chunks, rest = np.divmod(dataset.columns.numbers(f"num_{stream}")[rows], per_chunk)
    if rest.any() or (chunks < 1).any():
        wrong = int(rows[int(np.flatnonzero(rest.astype(bool) | (chunks < 1))[0])])
        name = dataset.columns.facts("id", np.array([wrong]))[0]
        raise DatasetError(f"item {name} of {dataset.path} does not consist of whole chunks of {per_chunk} {stream}")
    return chunks


def chunk_frames(spec: TokenizerSpec, stream: str) -> int:
    """Returns the frames of a chunk in a stream, `latents` or `tokens`."""
    return spec.chunk_latents if stream == "latents" else spec.chunk_tokens


def gather(
    dataset: LatentDataset, stream: str, indices: np.ndarray, first_chunks: np.ndarray, num_chunks: int
) -> tuple[Tensor, Tensor]:
    """Returns crops of a stream; where an item ends, the silence of the codec follows.

    Args:
        dataset: that holds the stream.
        stream: `latents` or `tokens`.
        indices: [B] of the items.
        first_chunks: [B] where the crops start.
        num_chunks: length of the crops.

    Returns:
        Frames [B, T, F], float32 or int64, and their mask [B, T] bool, True where they are real.

    Raises:
        DatasetError: the index does not fit a shard.
    """
    rows, shards, places = dataset.places(indices)
    per_chunk = chunk_frames(dataset.spec, stream)
    skip, wanted = first_chunks * per_chunk, num_chunks * per_chunk
    lengths = dataset.columns.numbers(f"num_{stream}")[rows]
    found: np.ndarray | None = None  # [B, T * F] as stored
    present = np.unique(shards)
    for number in present.tolist():
        mine = slice(None) if len(present) == 1 else np.flatnonzero(shards == number)
        shard = dataset.shards[number]
        offsets, items = shard.offsets(stream), places[mine]
        begins = offsets[items]
        if (offsets[items + 1] - begins != lengths[mine]).any():
            raise DatasetError(f"{dataset.path}: the index does not fit shard {shard.path.name}: {REBUILD}")
        part = _windows(shard.array(stream), begins + skip[mine], begins + lengths[mine], wanted)
        if len(present) == 1:
            found = part
            break
        if found is None:
            found = np.empty((len(indices), part.shape[1]), part.dtype)
        found[mine] = part
    assert found is not None
    frames = _as_tensor(found).view(len(indices), wanted, -1)
    real = torch.from_numpy(np.minimum(lengths - skip, wanted))
    mask = torch.arange(wanted) < real[:, None]
    if int(real.min()) < wanted:
        _fill(frames, mask, getattr(dataset.silence, stream))
    return frames, mask


def _windows(stream: np.ndarray, begins: np.ndarray, ends: np.ndarray, wanted: int) -> np.ndarray:
    """Returns `wanted` frames from each begin, [B, T * F]; beyond an end, its last frame is repeated."""
    size = wanted * stream.shape[1]
    if (begins + wanted <= ends).all():
        strides = stream.strides[0], stream.itemsize
        windows = np.lib.stride_tricks.as_strided(stream, (len(stream) - wanted + 1, size), strides, writeable=False)
        found: np.ndarray = windows[begins]
    else:
        found = stream[np.minimum(begins[:, None] + np.arange(wanted), ends[:, None] - 1)].reshape(len(begins), size)
    return found


def _as_tensor(found: np.ndarray) -> Tensor:
    """Returns latents as float32 and tokens as int64; torch is the faster one where it knows the type."""
    if found.dtype.kind == "f":
        return torch.from_numpy(found).float()
    return torch.from_numpy(found.astype(np.int64))


def _fill(frames: Tensor, mask: Tensor, silence: Tensor) -> None:
    """Writes silence, chunk after chunk, where the mask is False. Items end with a chunk, so that the phase is 0."""
    short = torch.nonzero(~mask[:, -1])[:, 0]
    silent = silence.to(frames.dtype).repeat(mask.shape[1] // len(silence), 1)
    frames[short] = torch.where(mask[short][..., None], frames[short], silent)
