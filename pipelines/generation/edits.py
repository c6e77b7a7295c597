"""Edits of a recording by a generator: continued, parts replaced, varied, and made into a loop.

All of them are one request, `Given`. Shape letters: B batch, C audio channels, N audio samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...generators.given import Given
from .given_audio import Regions, codec_audio, put_back, regions_in_samples, replaced_chunks
from .items import MAX_SECONDS

if TYPE_CHECKING:
    from ...generators.base import LatentGenerator
    from ...tokenizers.base import AudioTokenizer
    from .pipeline import AudioOutput


class AudioEdits(ABC):
    """The edits of a pipeline. Audio is [C, N] in [-1, 1] at any rate; the result has the codec's rate and channels.

    Further arguments are those of a call of the pipeline, such as `prompt`, `generator` and options of the sampling.
    Samples that are kept are those of the recording, bit for bit where its rate and channels are the codec's, apart
    from cross-fades of 20 ms at the borders of chunks. The streams in the result are of what was sampled last.

    A generator that was trained without keep patterns (`trained_on.given`) takes given chunks as well, at the noise
    level of all others at each step, and follows them less closely; a warning is logged. A token language model and a
    chunk-causal one can only continue.
    """

    tokenizer: AudioTokenizer
    generator: LatentGenerator

    @abstractmethod
    def __call__(self, *args: Any, **options: Any) -> AudioOutput:
        """Samples audio."""

    def continue_(self, audio: Tensor, sample_rate: int, *, extra_s: float = 10.0, **call: Any) -> AudioOutput:
        """Continues a recording by `extra_s` seconds; its last incomplete chunk is sampled again.

        A generator with a longest item hears the end of the recording, up to half of that item, and continues in
        pieces.

        Args:
            audio: [C, N].
            sample_rate: in Hz.
            extra_s: seconds that are added.
            call: further arguments of the pipeline.

        Returns:
            The recording with its continuation, one item for each prompt and repetition.

        Raises:
            ValueError: a recording without a whole chunk, or seconds that are not positive.
        """
        if not 0 < extra_s <= MAX_SECONDS:
            raise ValueError(f"extra_s must be a positive number of seconds, at most {MAX_SECONDS}, got {extra_s:g}")
        _refuse_undecoded(call)
        spec = self.tokenizer.spec
        current = codec_audio((audio, sample_rate), spec)[None].cpu()  # [1 or B, C, N]
        wanted = current.shape[-1] + max(1, round(extra_s * spec.sample_rate))
        while current.shape[-1] < wanted:
            extra, longest = wanted - current.shape[-1], self._longest_samples()
            context = current.shape[-1]
            if longest is not None:
                context = min(context, max(longest - extra, longest // 2))
                extra = min(extra, longest - context)
            known = current[..., -context:]
            encoded = self.tokenizer.encode(known.to(self.generator.device), spec.sample_rate)
            given = Given.prefix(encoded, spec)
            made = self(given=given, duration_s=(context + extra) / spec.sample_rate, **call)
            replaced = torch.arange(spec.num_chunks(context + extra)) >= int(given.keep[0].sum())
            tail = put_back(known, made.audio, replaced, spec)
            current = torch.cat([current[..., :-context].expand(len(tail), -1, -1), tail], -1)
        return _with_audio(made, current)

    def inpaint(self, audio: Tensor, sample_rate: int, *, regions: Regions, **call: Any) -> AudioOutput:
        """Samples regions of a recording again, each with all chunks that it touches.

        A generator with a longest item hears as much around the regions as fits.

        Args:
            audio: [C, N].
            sample_rate: in Hz.
            regions: (start, end) of each in seconds, such as `[(2.0, 3.5), (6.0, 7.0)]`.
            call: further arguments of the pipeline.

        Returns:
            The edited recording, one item for each prompt and repetition.

        Raises:
            ValueError: regions outside of the recording, all of it, or too far apart for one item.
        """
        spec = self.tokenizer.spec
        original = codec_audio((audio, sample_rate), spec).cpu()
        todo = regions_in_samples(regions, original.shape[1], spec.sample_rate)
        start, stop = self._window(todo, original.shape[1])
        part = original[:, start:stop]
        replaced = replaced_chunks([(a - start, b - start) for a, b in todo], part.shape[1], spec)
        made, middle = self._replace(part, replaced, call)
        before, after = (side.expand(len(middle), -1, -1) for side in (original[:, :start], original[:, stop:]))
        return _with_audio(made, torch.cat([before, middle, after], -1))

    def vary(self, audio: Tensor, sample_rate: int, *, strength: float = 0.6, **call: Any) -> AudioOutput:
        """Samples a variation of a recording: it is given with noise, and denoised again.

        Args:
            audio: [C, N].
            sample_rate: in Hz.
            strength: noise level at which it is given, above 0; at 1 nothing of it is left.
            call: further arguments of the pipeline.

        Returns:
            The variation, one item for each prompt and repetition.

        Raises:
            ValueError: a strength outside of 0..1, or a language model, whose tokens carry no noise.
        """
        if not 0 < strength <= 1:
            raise ValueError(f"strength must lie in 0..1, 0 excluded, got {strength}")
        spec = self.tokenizer.spec
        original = codec_audio((audio, sample_rate), spec)
        encoded = self.tokenizer.encode(original[None].to(self.generator.device), spec.sample_rate)
        keep = torch.ones(1, spec.num_chunks(original.shape[1]), dtype=torch.bool)
        given = Given(encoded=encoded, keep=keep, noise_level=strength)
        return self(given=given, duration_s=original.shape[1] / spec.sample_rate, **call)

    def loop(self, audio: Tensor, sample_rate: int, *, join_s: float = 1.0, **call: Any) -> AudioOutput:
        """Makes a recording into a loop: its last `join_s` seconds are sampled again, so that they lead to its start.

        The loop has whole chunks, so that up to one chunk is cut off at the end. The recording is turned by half its
        length for that; its end and its start then meet in the middle.

        Args:
            audio: [C, N].
            sample_rate: in Hz.
            join_s: seconds that are sampled again.
            call: further arguments of the pipeline.

        Returns:
            The loop, one item for each prompt and repetition.

        Raises:
            ValueError: a recording that is not longer than twice `join_s`.
        """
        spec = self.tokenizer.spec
        original = codec_audio((audio, sample_rate), spec).cpu()
        num_chunks = original.shape[1] // spec.chunk_samples
        join = max(1, round(join_s * spec.sample_rate / spec.chunk_samples))
        if num_chunks < 2 * join + 1:
            raise ValueError(
                f"a recording of {original.shape[1] / spec.sample_rate:.2f} s is too short for a loop whose last "
                f"{join * spec.chunk_samples / spec.sample_rate:.2f} s are sampled again: it must be longer than twice "
                "that"
            )
        half = num_chunks // 2
        turned = original[:, : num_chunks * spec.chunk_samples].roll(half * spec.chunk_samples, 1)
        replaced = torch.zeros(spec.num_chunks(turned.shape[1]), dtype=torch.bool)
        replaced[half - join : half] = True
        made, edited = self._replace(turned, replaced, call)
        return _with_audio(made, edited.roll(-half * spec.chunk_samples, -1))

    def _replace(self, original: Tensor, replaced: Tensor, call: dict[str, Any]) -> tuple[AudioOutput, Tensor]:
        """Returns what was sampled, and audio [B, C, N] of which the chunks `replaced` [chunks] bool are new."""
        _refuse_undecoded(call)
        spec = self.tokenizer.spec
        encoded = self.tokenizer.encode(original[None].to(self.generator.device), spec.sample_rate)
        given = Given(encoded=encoded, keep=~replaced[None])
        made = self(given=given, duration_s=original.shape[1] / spec.sample_rate, **call)
        return made, put_back(original[None], made.audio, replaced, spec)

    def _longest_samples(self) -> int | None:
        """Returns the longest item that the generator samples at once, in samples; None: any."""
        longest_s = self.generator.longest_s
        return None if longest_s is None else int(longest_s * self.tokenizer.spec.sample_rate)

    def _window(self, todo: list[tuple[int, int]], num_samples: int) -> tuple[int, int]:
        """Returns the part of the audio, from the start of a chunk on, that is given around the regions.

        Raises:
            ValueError: the regions, with something before or after them, are longer than the generator samples at once.
        """
        spec, longest = self.tokenizer.spec, self._longest_samples()
        if longest is None or num_samples <= longest:
            return 0, num_samples
        first, last = todo[0][0], max(stop for _, stop in todo)
        room = (longest - (last - first)) // 2
        if room < spec.chunk_samples:
            raise ValueError(
                f"the regions from {first / spec.sample_rate:g} to {last / spec.sample_rate:g} s are too far apart for "
                f"a generator that samples {longest / spec.sample_rate:.1f} s at once: replace them one after the other"
            )
        start = max(0, min(first - room, num_samples - longest)) // spec.chunk_samples * spec.chunk_samples
        return start, min(num_samples, start + longest)


def _refuse_undecoded(call: dict[str, Any]) -> None:
    if not call.get("decode", True):
        raise ValueError("decode=False: this edit joins what is sampled with the recording, so it has to be decoded")


def _with_audio(made: AudioOutput, audio: Tensor) -> AudioOutput:
    """Returns the result with edited audio [B, C, N]."""
    return replace(made, audio=audio, lengths_samples=torch.full((len(audio),), audio.shape[-1]))
