"""Speech from text: a transcript is said sentence by sentence, by a generator that reads one.

Shape letters: C audio channels, N audio samples.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...generators.parts.guidance import TEXT
from .decoded import AudioOutput
from .given_audio import Audio
from .items import values_per_item
from .speakable import REFERENCE, Speakable

BATCH_SIZE = 8  # sentences that are sampled at once


class Speech(Speakable):
    """The part of a pipeline that speaks."""

    @abstractmethod
    def __call__(self, *args: Any, **options: Any) -> AudioOutput:
        """Samples audio."""

    def say(
        self,
        text: str | Sequence[str],
        *,
        voice: Audio | None = None,
        speed: float = 1.0,
        generator: torch.Generator | None = None,
        batch_size: int = BATCH_SIZE,
        callback: Callable[[int, int], None] | None = None,
        conditions: Mapping[str, Any] | None = None,
        labels: str | Sequence[str | None] | None = None,
        **call: Any,
    ) -> AudioOutput:
        """Says texts of any length: each is cut into sentences, which are sampled in batches and joined with pauses.

        Args:
            text: one text or several.
            voice: a recording [C, N] and its rate in Hz, whose voice speaks; by default the generator's own.
            speed: 2 is twice as fast as the training data.
            generator: source of all noise. Sentences draw from it in their order.
            batch_size: number of sentences that are sampled at once. The result depends on it a little.
            callback: called with (sentences done, sentences in all).
            conditions: as in a call of the pipeline, with one value for all texts or one per text.
            labels: class label of each text, or one for all.
            call: further arguments of a call of the pipeline, such as `guidance_scale` or `num_inference_steps`.

        Returns:
            One item per text, at the length that its words take. It has no streams, since an item is several samples.

        Raises:
            ValueError: a pipeline that cannot speak, a text without a letter or digit, a speed or a batch size out of
                range, a voice that is too short, or one for a generator that has a single voice.
            TypeError: a text that is not a string, or an option that the generator does not have.
        """
        texts = [text] if isinstance(text, str) else list(text)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        asked: dict[str, Any] = {"voice": voice, "speed": speed, "conditions": conditions, "labels": labels}
        batches = self._batches(texts, batch_size, generator, call, **asked)
        total = sum(len(self.pieces(text, speed)) for text in texts)
        parts: list[list[Tensor]] = [[] for _ in texts]
        for batch in batches:
            for row, audio in batch:
                parts[row].append(audio)
            if callback is not None:
                callback(sum(map(len, parts)), total)
        items = [torch.cat(part, -1) for part in parts]
        lengths = [item.shape[-1] for item in items]
        audio = torch.stack([torch.nn.functional.pad(item, (0, max(lengths) - item.shape[-1])) for item in items])
        return AudioOutput(
            audio=audio, sample_rate=self.spec.sample_rate, lengths_samples=torch.tensor(lengths), prompts=texts
        )

    def say_stream(
        self,
        text: str,
        *,
        voice: Audio | None = None,
        speed: float = 1.0,
        generator: torch.Generator | None = None,
        conditions: Mapping[str, Any] | None = None,
        labels: str | None = None,
        **call: Any,
    ) -> Iterator[Tensor]:
        """Returns an iterator over the audio [C, N] of a text: each sentence with its pause, as soon as it is sampled.

        All of it together is what `say` gives with `batch_size=1`. A wrong request is refused at once.

        Args:
            text: one text of any length.
            voice: as for `say`.
            speed: as for `say`.
            generator: as for `say`.
            conditions: as for `say`.
            labels: class label of the text.
            call: as for `say`.

        Raises:
            ValueError: as for `say`.
            TypeError: as for `say`.
        """
        asked: dict[str, Any] = {"voice": voice, "speed": speed, "conditions": conditions, "labels": labels}
        batches = self._batches([text], 1, generator, call, **asked)
        return (audio for batch in batches for _, audio in batch)

    def _batches(
        self,
        texts: Sequence[str],
        batch_size: int,
        generator: torch.Generator | None,
        call: Mapping[str, Any],
        *,
        voice: Audio | None,
        speed: float,
        conditions: Mapping[str, Any] | None,
        labels: str | Sequence[str | None] | None,
    ) -> Iterator[list[tuple[int, Tensor]]]:
        """Checks a request and returns an iterator over its batches: rows of texts, and audio with the pause after."""
        self.check_speech(texts, voice=voice, speed=speed)
        spoken = self._transcript()
        values = values_per_item({**(conditions or {}), **({} if voice is None else {REFERENCE: voice})}, len(texts), 1)
        of_texts = [labels] * len(texts) if labels is None or isinstance(labels, str) else list(labels)
        work = [(row, piece) for row, text in enumerate(texts) for piece in self.pieces(text, speed)]

        def sampled() -> Iterator[list[tuple[int, Tensor]]]:
            for start in range(0, len(work), batch_size):
                batch = work[start : start + batch_size]
                rows, said = [row for row, _ in batch], [piece.text for _, piece in batch]
                asked = {name: [per_text[row] for row in rows] for name, per_text in values.items()}
                made = self(
                    said if spoken == TEXT else [""] * len(said),
                    duration_s=[self.generator.duration_of(part, speed) for part in said],
                    conditions=asked if spoken == TEXT else {**asked, spoken: said},
                    labels=[of_texts[row] for row in rows],
                    generator=generator,
                    **call,
                )
                pauses = [round(piece.pause_s / speed * self.spec.sample_rate) for _, piece in batch]
                yield [
                    (row, torch.nn.functional.pad(made.item(place), (0, pause)))
                    for place, (row, pause) in enumerate(zip(rows, pauses, strict=True))
                ]

        return sampled()
