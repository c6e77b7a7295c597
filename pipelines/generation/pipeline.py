"""A tokenizer and a generator made for each other: prompts in, audio out.

Shape letters: B batch, C audio channels, N audio samples, T latent frames, D latent width, T' token frames,
Q codebooks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from ...core.device import move_model
from ...core.errors import MismatchError
from ...generators.base import Conditions, Generated, LatentGenerator
from ...tokenizers.base import AudioTokenizer, Encoded, TokenizerSpec
from .saved import PipelineDefaults, read_pipeline, write_pipeline

Prompt = str | Sequence[str]


@dataclass(kw_only=True)
class AudioOutput:
    """What a call gives: one item for each prompt and repetition, in that order."""

    audio: Tensor  # [B, C, N] in [-1, 1]; zeros beyond an item's own length
    sample_rate: int  # Hz
    lengths_samples: Tensor  # [B] int64
    prompts: list[str]  # one an item
    latents: Tensor | None = None  # [B, T, D], of a diffusion generator
    tokens: Tensor | None = None  # [B, T', Q], of a language generator

    def item(self, index: int) -> Tensor:
        """Audio [C, n] of one item, cut to its own length."""
        return self.audio[index, :, : int(self.lengths_samples[index])]


class GenerationPipeline:
    """Samples one stream of a codec and decodes it.

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

    @property
    def spec(self) -> TokenizerSpec:
        return self.tokenizer.spec

    @property
    def device(self) -> torch.device:
        return self.generator.device

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move both networks; returns self."""
        for model in (self.tokenizer, self.generator):
            move_model(model, device, dtype)
        return self

    @torch.no_grad()
    def __call__(
        self,
        prompt: Prompt = "",
        *,
        duration_s: float | Sequence[float] | None = None,
        num_per_prompt: int = 1,
        labels: str | Sequence[str | None] | None = None,
        generator: torch.Generator | None = None,
        guidance_scale: float | None = None,
        continue_from: tuple[Tensor, int] | None = None,
        callback: Callable[[int, int], None] | None = None,
        decode_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AudioOutput:
        """Sample audio for each prompt.

        Args:
            prompt: one text or several; an empty one asks for nothing in particular.
            duration_s: seconds of each item, in all or one for each prompt; what `continue_from` brings is included.
            num_per_prompt: items for each prompt, one after the other in the result.
            labels: class label of each prompt, or one for all.
            generator: source of all noise. Same generator state, same audio; items draw from it in their order.
            guidance_scale: classifier-free guidance; 1 is none.
            continue_from: audio [C, N] and its rate in Hz, which every item begins with; its last incomplete chunk
                is sampled anew.
            callback: called with (steps done, steps in all) while the streams are sampled.
            decode_options: options of `tokenizer.decode`, such as `steps`.
            options: options of `generator.sample`, such as `num_inference_steps` or `temperature`.

        Raises:
            ValueError: a duration that is not positive or leaves nothing to sample, an unknown label, counts that do
                not agree.
        """
        prompts = _repeat([prompt] if isinstance(prompt, str) else list(prompt), num_per_prompt)
        seconds = _per_item(
            self.defaults.duration_s if duration_s is None else duration_s, len(prompts), num_per_prompt
        )
        if isinstance(labels, str):
            labels = [labels] * (len(prompts) // num_per_prompt)
        lengths = _lengths(seconds, self.spec)
        prefix = None if continue_from is None else self._prefix(*continue_from, shortest=min(lengths))
        # drawn first, so that an item's noise does not depend on how many items come after it
        decode_seed = int(
            torch.randint(2**62, (), generator=generator, device=generator.device if generator else "cpu")
        )
        generated = self.generator.sample(
            Conditions.of(prompts, seconds, None if labels is None else _repeat(list(labels), num_per_prompt)),
            torch.tensor(lengths, device=self.device),
            generator=generator,
            guidance_scale=self.defaults.guidance_scale if guidance_scale is None else guidance_scale,
            prefix=prefix,
            callback=callback,
            **{**self.defaults.sample, **options},
        )
        noise = torch.Generator().manual_seed(decode_seed)
        gain_db = None if prefix is None else prefix.gain_db
        return self._decode(generated, gain_db, prompts, noise, {**self.defaults.decode, **(decode_options or {})})

    def _decode(
        self,
        generated: Generated,
        gain_db: Tensor | None,
        prompts: list[str],
        noise: torch.Generator,
        options: Mapping[str, Any],
    ) -> AudioOutput:
        audio = self.tokenizer.decode(
            latents=generated.latents if generated.tokens is None else None,
            tokens=generated.tokens,
            lengths_samples=generated.lengths_samples,
            # the whole item takes the level of the audio that it goes on from
            gain_db=None if gain_db is None else gain_db.expand(len(prompts)),
            generator=noise,
            **options,
        )
        return AudioOutput(
            audio=audio.float().cpu(),
            sample_rate=self.spec.sample_rate,
            lengths_samples=generated.lengths_samples.cpu(),
            prompts=prompts,
            latents=generated.latents,
            tokens=generated.tokens,
        )

    def _prefix(self, audio: Tensor, sample_rate: int, shortest: int) -> Encoded:
        """The whole chunks of audio [C, N] as a batch of one."""
        if audio.ndim != 2:
            raise ValueError(f"continue_from takes audio [channels, samples], got shape {tuple(audio.shape)}")
        encoded = self.tokenizer.encode(audio[None].to(self.device), sample_rate)
        chunk = self.spec.chunk_samples
        whole = (int(encoded.lengths_samples[0]) - max(0, self.spec.overlap_samples)) // chunk
        given_s, wanted_s = audio.shape[-1] / sample_rate, shortest / self.spec.sample_rate
        if whole < 1:
            raise ValueError(
                f"continue_from lasts {given_s:.2f} s, less than one chunk of "
                f"{chunk / self.spec.sample_rate:.2f} s: give more of it"
            )
        if whole >= self.spec.num_chunks(shortest):
            raise ValueError(
                f"continue_from lasts {given_s:.2f} s, which leaves nothing of {wanted_s:.2f} s to sample: "
                "ask for a longer duration"
            )
        return Encoded(
            latents=encoded.latents[:, : whole * self.spec.chunk_latents],
            tokens=encoded.tokens[:, : whole * self.spec.chunk_tokens],
            lengths_samples=torch.tensor([whole * chunk + max(0, self.spec.overlap_samples)], device=self.device),
            gain_db=encoded.gain_db,
        )

    def save_pretrained(self, folder: str | Path, *, tokenizer_name: str | None = None) -> None:
        """Write `pipeline.json`, `generator/` and `tokenizer/`; see `saved.write_pipeline`."""
        write_pipeline(folder, self.tokenizer, self.generator, self.defaults, tokenizer_name=tokenizer_name)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, tokenizer: str | Path | AudioTokenizer | None = None) -> Self:
        """Load what `save_pretrained` wrote; see `saved.read_pipeline`."""
        return cls(*read_pipeline(folder, tokenizer))


def _repeat(items: list, times: int) -> list:
    if times < 1 or not items:
        raise ValueError(f"{len(items)} prompts, {times} items of each: at least one of both is needed")
    return [item for item in items for _ in range(times)]


def _per_item(seconds: float | Sequence[float], num_items: int, num_per_prompt: int) -> list[float]:
    if isinstance(seconds, (int, float)):
        return [float(seconds)] * num_items
    return _repeat([float(s) for s in seconds], num_per_prompt)


def _lengths(seconds: list[float], spec: TokenizerSpec) -> list[int]:
    """Samples of each item at the codec's rate."""
    if wrong := [s for s in seconds if not (math.isfinite(s) and round(s * spec.sample_rate) >= 1)]:
        raise ValueError(f"a duration of {wrong[0]} s: give a positive number of seconds")
    return [round(s * spec.sample_rate) for s in seconds]
