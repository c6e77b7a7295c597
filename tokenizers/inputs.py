"""Checks of a tokenizer's arguments and their conversion to the codec's form, the same for every codec.

Shape letters: B batch, C audio channels, N audio samples, T latent frames, D latent width, T' token frames, Q
codebooks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, get_type_hints

import torch
from torch import Tensor

from ..core.config import convert_value, refuse_unknown
from ..core.errors import ConfigError
from ..layers.audio import Resampler, check_audio, to_channels, to_rate
from ..layers.loudness import check_gain, decoded_level
from .base import AudioTokenizer, TokenizerSpec


def prepare_audio(
    spec: TokenizerSpec,
    audio: Tensor,
    sample_rate: int,
    lengths: Tensor | None,
    device: torch.device,
    resampler: Resampler = "soxr",
) -> tuple[Tensor, Tensor]:
    """Converts audio to the codec's rate and channels, silent beyond each item's length.

    Args:
        spec: of the codec.
        audio: [B, C, N].
        sample_rate: of the audio, in Hz.
        lengths: [B] valid samples of each item at `sample_rate`; None: all.
        device: of the result.
        resampler: see `layers.audio.to_rate`.

    Returns:
        Audio [B, C, N], which may be a view of what came, and the lengths [B] at the codec's rate.

    Raises:
        ValueError: wrong shape, zero length, NaN or inf, channels that cannot be converted, or lengths that do not fit.
    """
    check_audio(audio)
    if lengths is None:
        lengths = torch.full((len(audio),), audio.shape[-1], dtype=torch.int64)
    if lengths.shape != (len(audio),) or int(lengths.min()) < 1 or int(lengths.max()) > audio.shape[-1]:
        raise ValueError(f"lengths must be [{len(audio)}] within 1..{audio.shape[-1]}, got {lengths.tolist()}")
    audio = to_channels(audio.float(), spec.channels)
    audio = to_rate(silence_beyond(audio, lengths), sample_rate, spec.sample_rate, resampler)
    lengths = torch.tensor([spec.resampled_length(int(n), sample_rate) for n in lengths])
    return silence_beyond(audio, lengths).to(device), lengths


def silence_beyond(audio: Tensor, lengths: Tensor) -> Tensor:
    """Returns audio [B, C, N] with zeros from each item's length [B] on; the same tensor if all are whole."""
    if int(lengths.min()) >= audio.shape[-1]:
        return audio
    silent = torch.arange(audio.shape[-1], device=audio.device) >= lengths.to(audio.device)[:, None]
    return audio.masked_fill(silent[:, None], 0.0)


def prepare_streams(
    codec: AudioTokenizer, latents: Tensor | None, tokens: Tensor | None, lengths_samples: Tensor | None
) -> tuple[Tensor, Tensor, list[int]]:
    """Checks the arguments of `decode` and converts them to values.

    Args:
        codec: the tokenizer.
        latents: [B, T, D], or None.
        tokens: [B, T', Q], or None.
        lengths_samples: [B], or None for all that the chunks contain.

    Returns:
        Values [B, chunks, ...] on the codec's device, samples [B] and chunks of each item.

    Raises:
        ValueError: both or neither stream is given, a stream is of another codec, or lengths do not fit.
    """
    if latents is not None and tokens is None:
        values = codec.latents_to_values(latents)
    elif tokens is not None and latents is None:
        values = codec.tokens_to_values(tokens)
    else:
        raise ValueError("pass either latents or tokens to decode")
    lengths = decode_lengths(codec.spec, len(values), values.shape[1], lengths_samples)
    return values.to(codec.device), lengths, [codec.spec.num_chunks(int(n)) for n in lengths]


def prepare_item(
    codec: AudioTokenizer,
    latents: Tensor | None,
    tokens: Tensor | None,
    lengths_samples: Tensor | None,
    gain_db: Tensor | None,
) -> tuple[Tensor, int]:
    """Checks the arguments of `decode_pieces` and converts them to values.

    Args:
        codec: the tokenizer.
        latents: [1, T, D], or None.
        tokens: [1, T', Q], or None.
        lengths_samples: [1], or None for all that the chunks contain.
        gain_db: [1], or None.

    Returns:
        Values [1, chunks, ...] of the item's own chunks, on the codec's device, and its samples.

    Raises:
        ValueError: as `prepare_streams`; a gain that is not one finite number; or more than one item.
    """
    values, lengths, counts = prepare_streams(codec, latents, tokens, lengths_samples)
    if len(values) != 1:
        raise ValueError(
            f"decode_pieces takes one item, [1, frames, ...], got a batch of {len(values)}: call it for each"
        )
    if gain_db is not None:
        check_gain(gain_db, 1)
    return values[:, : counts[0]], int(lengths[0])


def finished(audio: Tensor, lengths: Tensor, gain_db: Tensor | None) -> Tensor:
    """Returns decoded audio as the length of the longest item, in [-1, 1], with zeros beyond each item's own.

    Args:
        audio: [B, C, N], not clipped; perhaps longer than every item.
        lengths: [B] samples of each item.
        gain_db: [B] gain of `encode` to undo; None: there is none.

    Returns:
        [B, C, max(lengths)].
    """
    return decoded_level(silence_beyond(audio[..., : int(lengths.max())], lengths), gain_db)


@torch.no_grad()
def finished_pieces(pieces: Iterable[Tensor], num_samples: int, gain_db: Tensor | None) -> Iterator[Tensor]:
    """Yields the pieces of one item as audio in [-1, 1].

    Args:
        pieces: [1, C, n], end to end, not clipped; perhaps longer than the item.
        num_samples: of the item.
        gain_db: [1] gain of `encode` to undo; None: there is none.

    Yields:
        [C, n], `num_samples` in all.
    """
    left = num_samples
    for piece in pieces:
        if own := min(left, piece.shape[-1]):
            yield decoded_level(piece[..., :own], gain_db)[0]
        left -= own


def check_latents(spec: TokenizerSpec, latents: Tensor) -> None:
    """Raises ValueError unless `latents` is [B, T, D] in whole chunks and finite."""
    _check_frames(latents, spec.chunk_latents, spec.latent_dim, "latents")
    if not torch.isfinite(latents).all():
        raise ValueError("latents hold NaN or inf")


def check_tokens(spec: TokenizerSpec, tokens: Tensor) -> None:
    """Raises ValueError unless `tokens` is [B, T', Q] in whole chunks; the codebooks check their range."""
    if not spec.tokens_per_frame:
        raise ValueError(f"this {spec.name} has no quantiser and thus no tokens: decode latents instead")
    _check_frames(tokens, spec.chunk_tokens, spec.tokens_per_frame, "tokens")


def _check_frames(stream: Tensor, frames_per_chunk: int, width: int, name: str) -> None:
    if stream.ndim != 3 or stream.shape[-1] != width or not stream.shape[1] or stream.shape[1] % frames_per_chunk:
        chunks = f" with whole chunks of {frames_per_chunk} frames" if frames_per_chunk > 1 else ""
        raise ValueError(
            f"{name} must be [batch, frames, {width}]{chunks}, got {tuple(stream.shape)}: is it of another tokenizer?"
        )


def decode_lengths(spec: TokenizerSpec, batch: int, num_chunks: int, lengths: Tensor | None) -> Tensor:
    """Returns the samples that decoding gives for each item.

    Args:
        spec: of the codec.
        batch: B.
        num_chunks: chunks of the stream.
        lengths: [B] samples that are asked for; None: all that there are.

    Returns:
        [B] int64 on the CPU.

    Raises:
        ValueError: a length below 1 or beyond the chunks.
    """
    longest = spec.max_samples(num_chunks)
    if lengths is None:
        return torch.full((batch,), longest)
    if lengths.shape != (batch,) or int(lengths.min()) < 1 or int(lengths.max()) > longest:
        frames = f"{num_chunks} chunks" if spec.chunk_latents > 1 else f"{num_chunks} frames"
        raise ValueError(f"lengths_samples must be [{batch}] within 1..{longest} for {frames}, got {lengths.tolist()}")
    return lengths.cpu()


def refuse_options(options: Mapping[str, Any], method: Callable[..., Any], name: str | None = None) -> None:
    """Raises TypeError for options that a method of a codec, such as its `decode`, does not have of its own.

    Args:
        options: the options.
        method: of a codec.
        name: of the method in the message, where it takes the options of another.
    """
    common = inspect.signature(getattr(AudioTokenizer, method.__name__)).parameters
    own = inspect.signature(method).parameters.values()
    known = [p.name for p in own if p.kind is p.KEYWORD_ONLY and p.name not in common]
    refuse_unknown(options, known, name or method.__qualname__)


def check_decode_options(tokenizer: AudioTokenizer, options: Mapping[str, Any]) -> None:
    """Raises ConfigError for options that the tokenizer's `decode` does not have, or values that they cannot have."""
    _check_options(tokenizer.decode, options)


def check_encode_options(tokenizer: AudioTokenizer, options: Mapping[str, Any]) -> None:
    """Raises ConfigError for options that the tokenizer's `encode` does not have, or values that they cannot have."""
    _check_options(tokenizer.encode, options)


def _check_options(method: Callable[..., Any], options: Mapping[str, Any]) -> None:
    try:
        refuse_options(options, method)
    except TypeError as error:
        raise ConfigError(str(error)) from error
    hints = get_type_hints(method) if options else {}
    for name, value in options.items():
        convert_value(value, hints[name], name)
