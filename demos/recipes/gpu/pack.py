"""Random pieces of training audio as small Opus files, so that the data fit on a machine without a network."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from latentune.core.files import write_text
from latentune.pipelines.data.audio.convert import resample
from latentune.pipelines.data.audio.find import AudioItem
from latentune.pipelines.training.audio_data import AudioStore, open_audio
from latentune.pipelines.training.data_config import AudioDataConfig

logger = logging.getLogger(__name__)

OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)  # Hz
HELD_OUT_SHARE = 0.04  # of the bytes
LOWEST_BPS, RANGE_BPS = 6_000, 250_000  # of libsndfile, per channel: compression level 1, and the way to level 0
MANIFEST = "manifest.jsonl"
PACKED = "packed"  # column that says what a piece is for: train or valid


def pack(
    config: AudioDataConfig, rate: int, channels: int, folder: Path, *, max_mb: float, piece_s: float, kbps: float
) -> Path:
    """Writes pieces of the training audio, and of the held-out audio if there is any, below `max_mb` in all.

    Groups of `weight_column` get the shares of `weights`. A folder that is already packed is left as it is.

    Args:
        config: of the data.
        rate: of the codec, in Hz.
        channels: of the codec.
        folder: to write to.
        max_mb: all files together, in 10^6 bytes.
        piece_s: length of a piece; shorter recordings are taken whole.
        kbps: bit rate per channel.

    Returns:
        The manifest: the columns of the source, with the paths of the pieces.
    """
    manifest = folder / MANIFEST
    if manifest.is_file():
        return manifest
    folder.mkdir(parents=True, exist_ok=True)
    held_out = config.valid_where is not None or config.valid_source is not None
    rows: list[dict[str, Any]] = []
    for split, share in (("valid", HELD_OUT_SHARE), ("train", 1.0 - HELD_OUT_SHARE)):
        if split == "train" or held_out:
            store = open_audio(config, rate, channels, held_out=split == "valid")
            budget = 1e6 * max_mb * (share if held_out else 1.0)
            rows += _pack_groups(store, config, rate, folder, split, budget, piece_s, kbps)
    write_text(manifest, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    size = sum(file.stat().st_size for file in folder.iterdir())
    logger.info("packed %.0f minutes in %.1f MB", sum(row["seconds"] for row in rows) / 60, size / 1e6)
    return manifest


def _pack_groups(
    store: AudioStore,
    config: AudioDataConfig,
    rate: int,
    folder: Path,
    split: str,
    budget: float,
    piece_s: float,
    kbps: float,
) -> Iterator[dict[str, Any]]:
    """Writes pieces of the recordings, and yields their rows.

    Args:
        store: the recordings.
        config: names the groups and their shares.
        rate: of the codec, in Hz.
        folder: to write to.
        split: train or valid.
        budget: bytes, for all groups together.
        piece_s: length of a piece.
        kbps: bit rate per channel.
    """
    groups = defaultdict(list)
    for index, item in enumerate(store.items):
        groups[str(item.metadata.get(config.weight_column)) if config.weight_column else ""].append(index)
    weights = {name: config.weights.get(name, 0.0) if config.weights else 1.0 for name in sorted(groups)}
    for name, weight in weights.items():
        left = budget * weight / sum(weights.values())
        for number, (item, audio) in enumerate(_pieces(store, groups[name], round(piece_s * rate))):
            path = folder / f"{split}_{name or 'all'}_{number:05d}.opus"
            size = _write_opus(path, audio, rate, kbps)
            left -= size + 400  # of the row
            if left < 0:
                path.unlink()
                break
            yield {**item.metadata, "path": path.name, "seconds": audio.shape[-1] / rate, PACKED: split}


def _pieces(store: AudioStore, indices: list[int], length: int) -> Iterator[tuple[AudioItem, np.ndarray]]:
    """Yields a piece [C, n] of each recording in a random order, then the next piece of each, until all are used."""
    random = np.random.default_rng(0)
    starts = {index: 0 for index in indices}
    while starts:
        for index in random.permutation(sorted(starts)).tolist():
            start = starts[index]
            count = min(length, int(store.lengths[index]) - start)
            if start and count < length:  # a remainder
                del starts[index]
                continue
            yield store.items[index], store.read(index, start, count).numpy()
            starts[index] = start + count


def _write_opus(path: Path, audio: np.ndarray, rate: int, kbps: float) -> int:
    """Writes audio [C, n] and returns the bytes of the file."""
    wanted = next((known for known in OPUS_RATES if known >= rate), OPUS_RATES[-1])
    samples = resample(torch.from_numpy(audio), rate, wanted).clamp(-1.0, 1.0).numpy().T
    level = min(1.0, max(0.0, 1.0 - (1e3 * kbps - LOWEST_BPS) / RANGE_BPS))
    soundfile.write(path, samples, wanted, format="OGG", subtype="OPUS", compression_level=level)
    return path.stat().st_size
