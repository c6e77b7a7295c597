"""Batches through the network: items of equal length together, long ones in chunks, so that the memory is bounded.

Attention and group norms of a chunk do not see the others, so that chunks change the result; the overlap, whose halves
are trimmed, keeps the change small, and features are normalised as those of the whole signal. Shape letters: B batch, N
samples of an item, K hops of it when padded, T frames, D latent width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from ...layers.audio import Resampler, span
from ..inputs import prepare_audio
from ..parts.chunking import Chunk, ChunkStream, plan_chunks
from .framing import padded_hops

if TYPE_CHECKING:
    from .model import NeuCodec

CHUNK_S = 30.0  # default length beyond which signals are processed in pieces
OVERLAP_S = 4.0


@dataclass(frozen=True, kw_only=True)
class Chunking:
    """How long signals are cut into chunks."""

    num_frames: int | None  # of a chunk; None: a signal is never cut
    overlap_frames: int  # that neighbouring chunks share, even

    @classmethod
    def of_seconds(cls, chunk_s: float | None, overlap_s: float, frame_rate_hz: float) -> Self:
        """Returns a chunking in whole frames.

        Args:
            chunk_s: seconds of a chunk; None: a signal is never cut.
            overlap_s: seconds that neighbouring chunks share.
            frame_rate_hz: frames per second.

        Returns:
            The chunking.

        Raises:
            ValueError: a chunk that is too short, or not longer than the overlap.
        """
        if chunk_s is None:
            return cls(num_frames=None, overlap_frames=0)
        num_frames, overlap_frames = round(chunk_s * frame_rate_hz), 2 * round(overlap_s * frame_rate_hz / 2)
        if num_frames < 2 or not 0 <= overlap_frames < num_frames:
            raise ValueError(
                f"chunk_s must be at least 2 frames of {1 / frame_rate_hz} s, overlap_s at least 0 and shorter, "
                f"got {chunk_s} and {overlap_s}"
            )
        return cls(num_frames=num_frames, overlap_frames=overlap_frames)

    def plan(self, num_frames: int) -> list[Chunk]:
        """Returns the chunks of a signal of `num_frames` frames."""
        return plan_chunks(num_frames, self.num_frames or num_frames, self.overlap_frames)

    def stream(self) -> ChunkStream:
        """Returns the chunks of a live signal.

        Raises:
            ValueError: the signal would never be cut.
        """
        if self.num_frames is None:
            raise ValueError("a live signal is processed in chunks: set chunk_s in seconds, not to None")
        return ChunkStream(self.num_frames, self.overlap_frames)


def heard_items(
    codec: NeuCodec, audio: Tensor, sample_rate: int, lengths: Tensor | None, resampler: Resampler
) -> tuple[list[Tensor], Tensor]:
    """Converts audio to what the encoders hear.

    Args:
        codec: the codec.
        audio: [B, C, N].
        sample_rate: of the audio, in Hz.
        lengths: [B] valid samples of each item; None: all.
        resampler: see `layers.audio.to_rate`.

    Returns:
        Each item [N] at the encoders' rate, and lengths [B] at the decoder's.

    Raises:
        ValueError: as of `prepare_audio`.
    """
    heard_spec = replace(codec.spec, sample_rate=codec.encoder_rate)
    heard, heard_lengths = prepare_audio(heard_spec, audio, sample_rate, lengths, codec.device, resampler)
    given = [audio.shape[-1]] * len(audio) if lengths is None else lengths.tolist()
    items = [item[0, :length] for item, length in zip(heard, heard_lengths.tolist(), strict=True)]
    return items, torch.tensor([codec.spec.resampled_length(length, sample_rate) for length in given])


def encode_items(codec: NeuCodec, items: Sequence[Tensor], chunking: Chunking) -> list[Tensor]:
    """Encodes items of any lengths.

    Args:
        codec: the codec.
        items: [N] at the encoders' rate, each of its own N.
        chunking: of long items.

    Returns:
        Values [K, D] of each item.
    """
    hop = codec.encoder_hop_samples
    hops = [padded_hops(len(item), hop) for item in items]
    values: dict[int, Tensor] = {}
    for group in _groups_of_equal(hops):
        values.update(
            zip(group, _encode_equal(codec, [items[i] for i in group], hops[group[0]], chunking), strict=True)
        )
    return [values[i] for i in range(len(items))]


def decode_items(codec: NeuCodec, values: Tensor, counts: Sequence[int], chunking: Chunking) -> Tensor:
    """Decodes items of any lengths.

    Args:
        codec: the codec.
        values: [B, T, D].
        counts: frames of each item.
        chunking: of long items.

    Returns:
        Audio [B, 1, max(counts) * hop] in float32, not clipped, silent beyond an item's own frames.
    """
    hop = codec.spec.hop_samples
    audio = values.new_zeros(len(values), 1, max(counts) * hop)
    for group in _groups_of_equal(counts):
        end = 0
        for piece in decode_pieces(codec, values[group, : counts[group[0]]], chunking):
            audio[group, :, end : end + piece.shape[-1]] = piece
            end += piece.shape[-1]
    return audio


def decode_pieces(codec: NeuCodec, values: Tensor, chunking: Chunking) -> Iterator[Tensor]:
    """Decodes items of one length chunk by chunk.

    Args:
        codec: the codec.
        values: [B, T, D].
        chunking: of long items.

    Yields:
        Audio [B, 1, n] in float32, not clipped; joined, [B, 1, T * hop].
    """
    for chunk in chunking.plan(values.shape[1]):
        audio = codec.decoder(codec.quantiser.embed(values[:, chunk.start : chunk.stop]))
        yield audio[..., chunk.scaled(codec.spec.hop_samples).kept]


def _groups_of_equal(counts: Sequence[int]) -> list[list[int]]:
    """Returns the indices of the items that have the same count, for each count."""
    return [[i for i, count in enumerate(counts) if count == size] for size in sorted(set(counts))]


def _encode_equal(codec: NeuCodec, items: Sequence[Tensor], num_hops: int, chunking: Chunking) -> Tensor:
    """Returns values [B, K, D] of items [N] at the encoders' rate, each of its own N, that have K hops when padded."""
    hop = codec.encoder_hop_samples
    plan = chunking.plan(num_hops)
    moments = codec.feature_moments(items, num_hops * hop) if len(plan) > 1 else None
    frames = items[0].new_empty(len(items), num_hops, codec.spec.latent_dim)
    for chunk in plan:
        start = chunk.start - chunk.start % codec.grid_frames
        own = torch.stack([span(item, start * hop, chunk.stop * hop) for item in items])
        if chunk.stop < num_hops:  # padded like a signal of its own
            own = span(own, 0, (chunk.stop - start + 1) * hop)
        values = codec.quantiser.values(codec.fused_frames(codec.semantic_frames(own, moments), own))
        frames[:, chunk.keep_start : chunk.keep_stop] = values[:, chunk.keep_start - start : chunk.keep_stop - start]
    return frames
