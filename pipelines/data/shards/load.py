"""From a planned item to audio in the form that the codec takes, loaded ahead of the encoder."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from ....core.errors import AudioError
from ....tokenizers.base import AudioTokenizer, TokenizerSpec
from ..audio.convert import measure_loudness, normalise_loudness, resample, select_channels
from .ids import relative_reason
from .plan import Failure, PlannedItem
from .settings import ShardSettings
from .shard import FILE_HASH
from .source_files import SourceFiles


@dataclass(frozen=True, kw_only=True)
class LoadedItem:
    """An item with its audio in the form that the codec takes."""

    item: PlannedItem
    audio: Tensor  # [C, N] float32 with the codec's channels, at the rate of its encoder
    facts: dict[str, Any]  # columns of the index


def load_item(
    item: PlannedItem, files: SourceFiles, tokenizer: AudioTokenizer, settings: ShardSettings
) -> LoadedItem | Failure:
    """Reads an item's part of its file, with the codec's channels at the encoder's rate.

    Args:
        item: to read.
        files: that it is read from.
        tokenizer: the codec.
        settings: of the dataset.

    Returns:
        The loaded item, or a Failure with the reason.
    """
    try:
        audio, sample_rate = files.read(item)
        audio = select_channels(audio, tokenizer.spec.channels, settings.channels)
        _check_content(audio, sample_rate, settings)
        facts: dict[str, Any] = {}
        if settings.measure_loudness or settings.loudness_lufs is not None:
            loudness = measure_loudness(audio, sample_rate)
            facts["loudness_lufs"] = loudness if math.isfinite(loudness) else None
            if settings.loudness_lufs is not None:
                audio, facts["gain_db"] = normalise_loudness(audio, sample_rate, settings.loudness_lufs, loudness)
        audio = resample(audio, sample_rate, tokenizer.encoder_rate, settings.resampler).contiguous()
        if item.part == 0:
            facts[FILE_HASH] = files.sha256(item)
    except (AudioError, ValueError, OSError) as error:
        return Failure(id=item.id, path=item.path, reason=relative_reason(error, files.path(item), item.path))
    facts["audio_sha256"] = hashlib.sha256(cast(Any, audio.numpy())).hexdigest()
    return LoadedItem(item=item, audio=audio, facts=facts)


def _check_content(audio: Tensor, sample_rate: int, settings: ShardSettings) -> None:
    """Raises AudioError for audio that holds NaN, or is silent or too short."""
    peak = float(torch.linalg.vector_norm(audio, math.inf))
    if not math.isfinite(peak):
        raise AudioError("holds NaN or inf")
    if peak < 10 ** (settings.silence_dbfs / 20):
        level = f"{20 * math.log10(peak):.1f} dBFS" if peak else "digital silence"
        raise AudioError(f"is silent (peak: {level}, limit {settings.silence_dbfs} dBFS)")
    duration_s = audio.shape[-1] / sample_rate
    if duration_s < settings.min_duration_s:
        raise AudioError(f"{duration_s:.3f} s of audio is shorter than min_duration_s {settings.min_duration_s}")


def make_batches(items: Sequence[PlannedItem], spec: TokenizerSpec, batch_s: float) -> list[list[PlannedItem]]:
    """Groups items of similar length.

    The groups depend only on the plan, so that a repeated run has the same batches.

    Args:
        items: of a shard.
        spec: of the codec.
        batch_s: greatest length of a batch in seconds, with padding to whole chunks; a batch has at least one item.

    Returns:
        The items of each batch.
    """
    batches: list[list[PlannedItem]] = []
    longest_s = 0.0
    for item in sorted(items, key=lambda item: item.duration_s, reverse=True):
        if not batches or (len(batches[-1]) + 1) * longest_s > batch_s:
            batches.append([])
            num_chunks = spec.num_chunks(max(1, round(item.duration_s * spec.sample_rate)))
            longest_s = num_chunks * spec.chunk_samples / spec.sample_rate
        batches[-1].append(item)
    return batches


def stack_audio(loaded: Sequence[LoadedItem]) -> tuple[Tensor, Tensor]:
    """Returns the audio of several items as [B, C, N], with zeros after the shorter ones, and their lengths [B]."""
    lengths = torch.tensor([entry.audio.shape[-1] for entry in loaded])
    if len(loaded) == 1:
        return loaded[0].audio[None], lengths
    batch = loaded[0].audio.new_zeros(len(loaded), loaded[0].audio.shape[0], int(lengths.max()))
    for row, entry in zip(batch, loaded, strict=True):
        row[:, : entry.audio.shape[-1]] = entry.audio
    return batch, lengths
