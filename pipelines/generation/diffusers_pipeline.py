"""A generation pipeline with the habits of diffusers: `LatentunePipeline`, a `DiffusionPipeline`.

Shape letters: B batch, C audio channels, N audio samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Self

import torch
from diffusers.pipelines.pipeline_utils import AudioPipelineOutput, DiffusionPipeline

from ...core.config import build_config, config_to_dict
from ...core.model_card import CARD_FILE, make_card, push_with_card
from ...generators.base import LatentGenerator
from ...tokenizers.base import AudioTokenizer
from .decoded import AudioOutput, Decoding
from .load import load_pipeline
from .pipeline import GenerationPipeline
from .saved import PipelineDefaults

OUTPUT_TYPES = ("np", "pt", "latent")
StepCallback = Callable[[Any, int, int, dict[str, Any]], dict[str, Any]]


class LatentunePipeline(DiffusionPipeline):
    """Prompts to audio, called, saved and loaded as diffusers' pipelines are.

    It samples as `GenerationPipeline` does, and its folder is a pipeline folder with `model_index.json` in addition:
    `load_pipeline` reads it as well. `to`, `enable_model_cpu_offload` and `push_to_hub` are those of diffusers.

    Args:
        tokenizer: the codec.
        generator: a generator of the codec's latents or tokens.
        defaults: values of a call whose caller gives none, as `PipelineDefaults` or as a mapping of its fields.

    Raises:
        MismatchError: the generator was trained on another tokenizer's streams.
    """

    model_cpu_offload_seq = "generator->tokenizer"  # type: ignore[assignment]  # diffusers declares None
    _optional_components: list[str] = []  # noqa: RUF012  # declared so by diffusers

    def __init__(
        self,
        tokenizer: AudioTokenizer,
        generator: LatentGenerator,
        defaults: PipelineDefaults | Mapping[str, Any] | None = None,
    ):
        super().__init__()
        if not isinstance(defaults, PipelineDefaults):
            defaults = build_config(PipelineDefaults, defaults or {}, "defaults")
        self.inner = _Onloading(tokenizer, generator, defaults)
        self.register_modules(tokenizer=tokenizer, generator=generator)
        self.register_to_config(defaults=config_to_dict(defaults))

    @property
    def sample_rate(self) -> int:
        """Rate of the audio in Hz."""
        return self.inner.spec.sample_rate

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] = "",
        *,
        duration_s: float | Sequence[float] | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        num_waveforms_per_prompt: int = 1,
        generator: torch.Generator | None = None,
        callback_on_step_end: StepCallback | None = None,
        output_type: str = "np",
        return_dict: bool = True,
        **options: Any,
    ) -> AudioPipelineOutput | tuple[Any]:
        """Samples audio for each prompt.

        Args:
            prompt: one text or several.
            duration_s: seconds of each item, one number for all or one per prompt.
            num_inference_steps: of a diffusion generator.
            guidance_scale: scale of classifier-free guidance; 1 turns it off.
            negative_prompt: text that guidance leads away from.
            num_waveforms_per_prompt: items for each prompt, one after the other in the result.
            generator: source of all noise.
            callback_on_step_end: called as `callback(pipeline, step, step, {})`; there are no tensors to change.
            output_type: `np` for a NumPy array and `pt` for a tensor [B, C, N], which is zero beyond an item's own
                length; `latent` for the generator's latents or tokens, which are not decoded.
            return_dict: return an `AudioPipelineOutput` and not a tuple.
            options: further arguments of `GenerationPipeline`, such as `labels`, `conditions` or `temperature`.

        Returns:
            The audio.

        Raises:
            ValueError: an unknown output type; see `GenerationPipeline`.
            TypeError: an option that the generator does not have.
        """
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type must be one of {', '.join(OUTPUT_TYPES)}, got {output_type!r}")
        given: dict[str, Any] = {"num_inference_steps": num_inference_steps, "negative_prompt": negative_prompt}
        made = self.inner(
            prompt,
            duration_s=duration_s,
            num_per_prompt=num_waveforms_per_prompt,
            generator=generator,
            guidance_scale=guidance_scale,
            callback=None if callback_on_step_end is None else self._steps(callback_on_step_end),
            decode=output_type != "latent",
            **{name: value for name, value in given.items() if value is not None},
            **options,
        )
        self.maybe_free_model_hooks()
        stream = made.latents if made.tokens is None else made.tokens
        audios: Any = {"np": made.audio.numpy(), "pt": made.audio, "latent": stream}[output_type]
        return AudioPipelineOutput(audios=audios) if return_dict else (audios,)

    def _steps(self, callback: StepCallback) -> Callable[[int, int], None]:
        def after(done: int, total: int) -> None:
            callback(self, done - 1, done - 1, {})

        return after

    def save_pretrained(  # type: ignore[override]  # options that do not apply have no names here
        self, save_directory: str | PathLike[Any], push_to_hub: bool = False, **options: Any
    ) -> None:
        """Writes a pipeline folder with `model_index.json`; see `saved.write_pipeline`.

        Args:
            save_directory: to write to; a pipeline that is already there is replaced.
            push_to_hub: upload it as well, as `push_to_hub` does.
            options: `safe_serialization` (which must be true), and `repo_id` and further options of `push_to_hub`.

        Raises:
            ValueError: a variant, or weights that are not to be safetensors.
        """
        if not options.pop("safe_serialization", True) or options.pop("variant", None) is not None:
            raise ValueError("weights are saved as safetensors and without variants")
        GenerationPipeline.save_pretrained(self.inner, Path(save_directory))
        self.save_config(save_directory)
        if push_to_hub:
            self.push_to_hub(options.pop("repo_id", Path(save_directory).name), **options)

    def push_to_hub(  # type: ignore[override]  # options that do not apply have no names here
        self, repo_id: str, *, subfolder: str | None = None, **options: Any
    ) -> Any:
        """Uploads the pipeline with a model card; a card that somebody wrote for the repository stays.

        Args:
            repo_id: the repository, which is created if there is none.
            subfolder: place inside the repository, which then gets no card.
            options: `private`, `token`, `commit_message` and `create_pr`.

        Returns:
            What the hub says of the upload.
        """

        def save(folder: Path) -> None:
            self.save_pretrained(folder)
            (folder / CARD_FILE).write_text(self.make_card(), encoding="utf-8")

        return push_with_card(save, self._upload_folder, repo_id, subfolder=subfolder, **options)

    def make_card(self) -> str:
        """Returns a model card with what is known of both networks, as Markdown with YAML front matter."""
        tokenizer, generator = self.inner.tokenizer, self.inner.generator
        facts = {"tokenizer": type(tokenizer).__name__, **tokenizer.card_facts()}
        facts |= {"generator": type(generator).__name__, **generator.card_facts()}
        return make_card(
            "Latentune pipeline",
            licence=tokenizer.licence,
            tags=("audio", *generator.card_tags),
            facts=facts,
            usage="import latentune\n\nlatentune.load_pipeline(PATH_OR_HUB_ID)",
            pipeline_tag="text-to-audio",
        )

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike[Any], **options: Any) -> Self:
        """Loads any pipeline that `load_pipeline` loads: a folder, a hub id, a shipped name, or a training run.

        Args:
            pretrained_model_name_or_path: where it is.
            options: of `load_pipeline`, such as `tokenizer`, `adapters`, `torch_dtype`, `device_map` and `revision`.

        Raises:
            CheckpointError: nothing usable is there.
            MismatchError: tokenizer and generator were not made for each other.
        """
        loaded = load_pipeline(fspath(pretrained_model_name_or_path), **options)
        return cls(loaded.tokenizer, loaded.generator, loaded.defaults)


class _Onloading(GenerationPipeline):
    """Calls the hooks of `enable_model_cpu_offload` before a network is used."""

    @property
    def device(self) -> torch.device:
        _onload(self.generator)
        return super().device

    def _decode(self, decoding: Decoding, prompts: list[str], whole: bool) -> AudioOutput:
        if whole:
            _onload(self.tokenizer)
        return super()._decode(decoding, prompts, whole)


def _onload(model: Any) -> None:
    """Moves a network to its device, if it is offloaded."""
    hook = getattr(model, "_hf_hook", None)
    if hook is not None:
        hook.pre_forward(model)
