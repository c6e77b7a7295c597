"""A tokenizer and a generator made for each other: they turn prompts into audio.

Shape letters: C audio channels, N audio samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch

from ...core.errors import MismatchError
from ...core.random import draw_seed
from ...generators.base import LatentGenerator, SamplingConfig
from ...generators.conditions import Conditions
from ...generators.given import Given
from ...tokenizers.base import AudioTokenizer, TokenizerSpec
from .checks import RequestChecks
from .decoded import AudioOutput, Decoding
from .edits import AudioEdits
from .given_audio import Audio, Regions, given_of
from .items import lengths_in_samples, per_item, places, repeat, values_per_item
from .references import encode_references
from .saved import PipelineDefaults, read_pipeline, write_pipeline
from .speech import Speech
from .stream import StreamSession

__all__ = ["AudioOutput", "GenerationPipeline", "Prompt"]

Prompt = str | Sequence[str]


class GenerationPipeline(AudioEdits, Speech):
    """Samples one stream of a codec and decodes it.

    Args:
        tokenizer: the codec.
        generator: a generator of the codec's latents or tokens.
        defaults: values of a call whose caller gives none.

    Raises:
        MismatchError: the generator was trained on another tokenizer's streams.
    """

    def __init__(self, tokenizer: AudioTokenizer, generator: LatentGenerator, defaults: PipelineDefaults | None = None):
        self.fingerprint = tokenizer.fingerprint()
        if self.fingerprint != generator.binding.fingerprint:
            raise MismatchError(
                f"the generator was trained on streams of the tokenizer {generator.binding.fingerprint[:12]} "
                f"({generator.binding.spec.name}), this one is {self.fingerprint[:12]} ({tokenizer.spec.name}): "
                "load the tokenizer that encoded its training data"
            )
        self.tokenizer = tokenizer
        self.generator = generator
        self.defaults = defaults or PipelineDefaults()
        self._checks = RequestChecks(generator)

    @property
    def spec(self) -> TokenizerSpec:
        return self.tokenizer.spec

    @property
    def device(self) -> torch.device:
        device: torch.device = self.generator.device
        return device

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Moves both networks and returns the pipeline."""
        for model in (self.tokenizer, self.generator):
            model.place(dtype, device)
        return self

    @torch.no_grad()
    def __call__(
        self,
        prompt: Prompt = "",
        *,
        duration_s: float | Sequence[float] | None = None,
        num_per_prompt: int = 1,
        labels: str | Sequence[str | None] | None = None,
        conditions: Mapping[str, Any] | None = None,
        seconds_start: float | None = None,
        seconds_total: float | None = None,
        generator: torch.Generator | None = None,
        guidance_scale: float | None = None,
        given: Given | Audio | None = None,
        keep: Regions | None = None,
        callback: Callable[[int, int], None] | None = None,
        decode: bool = True,
        decode_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AudioOutput:
        """Samples audio for each prompt.

        Args:
            prompt: one text or several; an empty one asks for nothing in particular.
            duration_s: seconds of each item, one number for all or one per prompt; given audio is included.
            num_per_prompt: items for each prompt, one after the other in the result.
            labels: class label of each prompt, or one for all.
            conditions: further conditions of the generator by name, such as `{"bpm": 120}`: a list has one value per
                prompt, anything else is for all.
            seconds_start: where in its recording every item starts; by default the median of the training data.
            seconds_total: length of the recording that every item is part of; by default as for `seconds_start`, and
                never shorter than the item.
            generator: source of all noise. The same state gives the same audio; items draw from it in their order.
            guidance_scale: scale of classifier-free guidance; 1 turns it off.
            given: audio [C, N] and its rate in Hz, of which every item keeps a part; or encoded audio and which of its
                chunks are kept.
            keep: regions (start, end) of given audio in seconds, whose whole chunks are kept; by default all of it, so
                that the items continue it, its last incomplete chunk being sampled again.
            callback: called with (steps done, steps in all) while the streams are sampled.
            decode: decode all items at once. False leaves that to `AudioOutput.pieces`, which decodes an item in
                pieces, as they are asked for; `AudioOutput.audio` then has no samples.
            decode_options: options of `tokenizer.decode`, such as `steps`.
            options: options of the generator's `sampling_class`, such as `num_inference_steps` or `temperature`.

        Raises:
            ValueError: a duration that is not positive or leaves nothing to sample, a condition that the generator
                does not have or never saw in training, an unknown label, or counts that do not agree.
            TypeError: an option that the generator does not have, or a prompt that is not a text.
        """
        if not isinstance(prompt, (str, Sequence)) or not all(isinstance(text, str) for text in prompt):
            raise TypeError(f"prompt must be a text or a list of texts, got {prompt!r}")
        prompts = repeat([prompt] if isinstance(prompt, str) else list(prompt), num_per_prompt)
        seconds = per_item(self.defaults.duration_s if duration_s is None else duration_s, len(prompts), num_per_prompt)
        lengths = lengths_in_samples(seconds, self.spec)
        if isinstance(labels, str):
            labels = [labels] * (len(prompts) // num_per_prompt)
        asked = Conditions.of(prompts, seconds, None if labels is None else repeat(list(labels), num_per_prompt))
        asked = asked.replaced(
            **values_per_item(conditions or {}, len(prompts), num_per_prompt),
            seconds=places(self.generator.trained_on, seconds, seconds_start, seconds_total),
        )
        asked = self._with_references(asked)
        self.check_conditions(asked)
        sampling = self._sampling(guidance_scale, options)
        request = self._given(given, keep)
        # drawn first, so that an item's noise does not depend on how many items come after it
        decode_seed = draw_seed(generator)
        generated = self.generator.sample(
            asked,
            torch.tensor(lengths, device=self.device),
            sampling=sampling,
            given=request,
            generator=generator,
            callback=callback,
        )
        # the whole item takes the level of the audio that it keeps
        gain_db = None if request is None else request.encoded.gain_db
        decoding = Decoding(
            tokenizer=self.tokenizer,
            generated=generated,
            gain_db=None if gain_db is None else gain_db.expand(len(prompts)),
            seed=decode_seed,
            options={**self.defaults.decode, **(decode_options or {})},
        )
        return self._decode(decoding, prompts, decode)

    def _decode(self, decoding: Decoding, prompts: list[str], whole: bool) -> AudioOutput:
        return decoding.output(prompts, whole=whole)

    def stream(
        self,
        prompt: str = "",
        *,
        duration_s: float | None = None,
        label: str | None = None,
        conditions: Mapping[str, Any] | None = None,
        seconds_start: float | None = None,
        seconds_total: float | None = None,
        generator: torch.Generator | None = None,
        guidance_scale: float | None = None,
        decode_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> StreamSession:
        """Returns a session that gives audio while it is sampled; its prompt and guidance may be changed on the way.

        Args:
            prompt: a text; an empty one asks for nothing in particular.
            duration_s: seconds; None: without an end.
            label: class label.
            conditions: further conditions of the generator by name.
            seconds_start: as in a call.
            seconds_total: as in a call.
            generator: source of all noise.
            guidance_scale: scale of classifier-free guidance; 1 turns it off.
            decode_options: options of `tokenizer.stream_decoder`.
            options: options of the generator's `sampling_class`.

        Raises:
            ValueError: a generator that cannot stream, or as in a call.
            TypeError: an option that the generator does not have.
        """
        seconds = [self.defaults.duration_s if duration_s is None else duration_s]
        length = lengths_in_samples(seconds, self.spec)[0]
        asked = Conditions.of([prompt], seconds, None if label is None else [label])
        asked = asked.replaced(
            **values_per_item(conditions or {}, 1, 1),
            seconds=places(self.generator.trained_on, seconds, seconds_start, seconds_total),
        )
        asked = self._with_references(asked)
        self.check_conditions(asked)
        sampling = self._sampling(guidance_scale, options)
        noise = torch.Generator().manual_seed(draw_seed(generator))
        stream = self.generator.open_stream(asked, sampling=sampling, generator=generator)
        return StreamSession(
            stream,
            self.tokenizer,
            self.check_conditions,
            num_samples=None if duration_s is None else length,
            noise=noise,
            decode_options=decode_options or {},
        )

    def _sampling(self, guidance_scale: float | None, options: Mapping[str, Any]) -> SamplingConfig:
        """Returns the options of the generator's sampling, with the defaults of the pipeline."""
        chosen = {"guidance_scale": self.defaults.guidance_scale, **self.defaults.sample, **options}
        if guidance_scale is not None:
            chosen["guidance_scale"] = guidance_scale
        sampling = self.generator.make_sampling(chosen)
        self._checks.check_sampling(sampling)
        return sampling

    def _given(self, given: Given | Audio | None, keep: Regions | None) -> Given | None:
        """Returns what is kept of the given audio."""
        if isinstance(given, tuple):
            given = given_of(given, keep, self.tokenizer, self.device)
        elif keep is not None:
            raise ValueError("keep names regions of given audio: give it as given=(audio, sample_rate)")
        if given is not None:
            self._checks.check_given()
        return given

    def check_conditions(self, conditions: Conditions) -> None:
        """Checks whether the generator can follow these conditions; see `RequestChecks.check_conditions`."""
        self._checks.check_conditions(self._with_references(conditions))

    def _with_references(self, conditions: Conditions) -> Conditions:
        return encode_references(conditions, self.generator, self.tokenizer, self.device)

    def save_pretrained(self, folder: str | Path, *, tokenizer_name: str | None = None) -> None:
        """Writes `pipeline.json`, `generator/` and `tokenizer/`; see `saved.write_pipeline`."""
        write_pipeline(folder, self.tokenizer, self.generator, self.defaults, tokenizer_name=tokenizer_name)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, tokenizer: str | Path | AudioTokenizer | None = None) -> Self:
        """Loads what `save_pretrained` wrote; see `saved.read_pipeline`."""
        return cls(*read_pipeline(folder, tokenizer))
