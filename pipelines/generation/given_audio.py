"""Audio that is given to a generator: which chunks of it are kept, and how the original is put back.

Shape letters: B batch, C audio channels, N audio samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...generators.given import Given
from ...layers.audio import to_channels, to_rate
from ...tokenizers.base import AudioTokenizer, TokenizerSpec

Audio = tuple[Tensor, int]  # [C, N] and its rate in Hz
Regions = Sequence[tuple[float, float]]  # (start, end) in seconds
FADE_S = 0.02  # of a cross-fade between the original and the decoded audio


def codec_audio(audio: Audio, spec: TokenizerSpec) -> Tensor:
    """Returns audio [C, N] as the codec has it: bit for bit the same where rate and channels are the codec's.

    Raises:
        ValueError: another shape, or no sample.
    """
    samples, rate = audio
    if samples.ndim != 2 or not samples.shape[1]:
        raise ValueError(f"given audio must be [channels, samples], got shape {tuple(samples.shape)}")
    if rate != spec.sample_rate:
        samples = to_rate(samples, rate, spec.sample_rate)
    return samples if len(samples) == spec.channels else to_channels(samples[None], spec.channels)[0]


def given_of(audio: Audio, keep: Regions | None, tokenizer: AudioTokenizer, device: torch.device) -> Given:
    """Returns the request to keep audio: what lies in the regions, or by default all whole chunks of it.

    Args:
        audio: what is given.
        keep: regions in seconds; of each, the chunks that lie in it entirely.
        tokenizer: that encodes the audio.
        device: of the tokenizer.

    Raises:
        ValueError: audio of another shape or without a whole chunk, or a region outside of it.
    """
    samples, rate = audio
    if samples.ndim != 2:
        raise ValueError(f"given audio must be [channels, samples], got shape {tuple(samples.shape)}")
    encoded = tokenizer.encode(samples[None].to(device), rate)
    if keep is None:
        return Given.prefix(encoded, tokenizer.spec)
    spec, length = tokenizer.spec, int(encoded.lengths_samples[0])
    kept = torch.zeros(1, spec.num_chunks(length), dtype=torch.bool)
    for start, stop in regions_in_samples(keep, length, spec.sample_rate):
        kept[:, -(-start // spec.chunk_samples) : stop // spec.chunk_samples] = True
    return Given(encoded=encoded, keep=kept)


def regions_in_samples(regions: Regions, num_samples: int, sample_rate: int) -> list[tuple[int, int]]:
    """Returns regions in samples, in their order.

    Args:
        regions: (start, end) in seconds.
        num_samples: N, of the audio.
        sample_rate: in Hz.

    Raises:
        ValueError: no region, or one that is empty or lies outside of the audio.
    """
    if not regions:
        raise ValueError("no region is given: name at least one as (start, end) in seconds")
    found = []
    for start_s, stop_s in regions:
        if not (math.isfinite(start_s) and math.isfinite(stop_s)):
            raise ValueError(f"the region {start_s:g} to {stop_s:g} s must have finite ends")
        start, stop = round(start_s * sample_rate), round(stop_s * sample_rate)
        if not 0 <= start < stop <= num_samples:
            end_s = num_samples / sample_rate
            raise ValueError(
                f"the region {start_s:g} to {stop_s:g} s must lie within the audio, 0 to {end_s:g} s, with its start "
                "before its end"
            )
        found.append((start, stop))
    return sorted(found)


def replaced_chunks(regions: list[tuple[int, int]], num_samples: int, spec: TokenizerSpec) -> Tensor:
    """Returns which chunks [chunks] bool of audio hold a part of a region.

    Args:
        regions: (start, end) in samples.
        num_samples: N, of the audio.
        spec: of the codec.
    """
    replaced = torch.zeros(spec.num_chunks(num_samples), dtype=torch.bool)
    for start, stop in regions:
        last = min(-(-stop // spec.chunk_samples), len(replaced))
        replaced[min(start // spec.chunk_samples, len(replaced) - 1) : last] = True
    return replaced


def put_back(original: Tensor, made: Tensor, replaced: Tensor, spec: TokenizerSpec) -> Tensor:
    """Returns audio [B, C, M] with the original samples wherever its chunks were kept, cross-faded at their borders.

    The cross-fade lies in what was kept, where both sound the same: elsewhere the original comes back bit for bit, and
    no sample of the replaced chunks does.

    Args:
        original: [1 or B, C, N].
        made: [B, C, M] decoded; it may be longer than the original.
        replaced: [chunks] bool, of the decoded audio, True where a chunk was sampled.
        spec: of the codec.
    """
    weight = replaced.repeat_interleave(spec.chunk_samples).float()  # of the decoded audio
    length = made.shape[-1]
    weight = torch.cat([weight, weight[-1:].expand(max(0, length - len(weight)))])[:length]
    weight[original.shape[-1] :] = 1.0
    fade = max(1, round(FADE_S * spec.sample_rate))
    ramp = torch.linspace(0, 1, fade + 2)[1:-1]
    edges = (weight[1:] - weight[:-1]).nonzero().flatten().tolist()
    faded = weight.clone()
    for edge in edges:  # the sample before the step
        if weight[edge] < weight[edge + 1]:
            low = max(0, edge + 1 - fade)
            faded[low : edge + 1] = torch.maximum(faded[low : edge + 1], ramp[fade - (edge + 1 - low) :])
        else:
            high = min(length, edge + 1 + fade)
            faded[edge + 1 : high] = torch.maximum(faded[edge + 1 : high], ramp.flip(0)[: high - edge - 1])
    padded = torch.nn.functional.pad(original, (0, max(0, length - original.shape[-1])))[..., :length]
    mixed = padded + faded * (made - padded)
    return torch.where(faded == 0, padded, torch.where(faded == 1, made, mixed))
