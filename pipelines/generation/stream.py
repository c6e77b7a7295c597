"""A live session: audio chunk after chunk, while prompt and guidance may change.

Shape letters: C audio channels, N audio samples.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...generators.conditions import Conditions
from ...generators.stream import GeneratorStream
from ...tokenizers.base import AudioTokenizer

DEFAULT_GENERATOR = "generator"  # argument of live decoders that draw noise


class StreamSession(Iterator[Tensor]):
    """An iterator of audio [C, N] in [-1, 1] at `sample_rate`; changes take effect at the next block of the generator.

    Memory does not grow with the length. All pieces together are what a call of the pipeline gives for the same state
    of the generator, as far as the codec's live decoder gives what `decode` does.

    Args:
        stream: of the generator, with one item.
        tokenizer: decodes it.
        check: refuses conditions that the generator cannot follow.
        num_samples: length; None: without an end.
        noise: source of the decoder's noise.
        decode_options: of `tokenizer.stream_decoder`.
    """

    def __init__(
        self,
        stream: GeneratorStream,
        tokenizer: AudioTokenizer,
        check: Callable[[Conditions], None],
        *,
        num_samples: int | None,
        noise: torch.Generator,
        decode_options: Mapping[str, Any],
    ):
        self.stream, self.spec, self._check = stream, tokenizer.spec, check
        self.sample_rate = tokenizer.spec.sample_rate
        takes = inspect.signature(tokenizer.stream_decoder).parameters
        extra = {DEFAULT_GENERATOR: noise} if DEFAULT_GENERATOR in takes else {}
        self._decoder = tokenizer.stream_decoder(**extra, **decode_options)
        self._chunks_left = None if num_samples is None else self.spec.num_chunks(num_samples)
        self._samples_left = num_samples
        self._stopped = self._flushed = False

    @property
    def prompt(self) -> str:
        """The text that is asked for."""
        return str(self.stream.conditions.values["text"][0])

    @prompt.setter
    def prompt(self, text: str) -> None:
        self.set_conditions(text=text)

    def set_conditions(self, **values: Any) -> None:
        """Changes values of conditions by name, such as `text` or `bpm`.

        Raises:
            ValueError: a condition that the generator does not have or never saw in training.
        """
        conditions = self.stream.conditions.replaced(**{name: [value] for name, value in values.items()})
        self._check(conditions)
        self.stream.conditions = conditions

    @property
    def guidance(self) -> float:
        """Scale of classifier-free guidance; 1 turns it off."""
        return self.stream.sampling.guidance_scale

    @guidance.setter
    def guidance(self, scale: float) -> None:
        self.set_options(guidance_scale=scale)

    def set_options(self, **options: Any) -> None:
        """Changes options of the generator's sampling, such as `num_inference_steps` or `temperature`.

        Raises:
            TypeError: an option that the generator does not have.
            ValueError: a value that does not fit.
        """
        self.stream.sampling = replace(self.stream.sampling, **options)

    def stop(self) -> None:
        """Ends the stream: what the decoder holds back is the last audio."""
        self._stopped = True

    def __next__(self) -> Tensor:
        audio = self._next_audio()
        while audio is not None and not audio.shape[-1]:
            audio = self._next_audio()
        if audio is None:
            raise StopIteration
        if self._samples_left is not None:
            audio = audio[..., : self._samples_left]
            self._samples_left -= audio.shape[-1]
            if not audio.shape[-1]:
                raise StopIteration
        return audio[0].float().cpu()

    @torch.no_grad()
    def _next_audio(self) -> Tensor | None:
        """Returns the audio [1, C, N] of the next block, which may be empty; None at the end."""
        if self._stopped or self._chunks_left == 0:
            if self._flushed:
                return None
            self._flushed = True
            return self._joined([self._decoder.flush()])
        num_chunks = None
        if self._chunks_left is not None:
            num_chunks = min(self._chunks_left, self.stream.block_samples // self.spec.chunk_samples)
            self._chunks_left -= num_chunks
        block = self.stream.next_block(num_chunks)
        # a codec whose chunk is several frames takes one chunk at a time
        frames = self.spec.chunk_latents if block.is_floating_point() else self.spec.chunk_tokens
        return self._joined([self._decoder.push(part) for part in block.split(frames if frames > 1 else 2**31, 1)])

    def _joined(self, parts: list[Tensor | None]) -> Tensor:
        found = [part for part in parts if part is not None]
        return torch.cat(found, -1) if found else torch.zeros(1, self.spec.channels, 0)
